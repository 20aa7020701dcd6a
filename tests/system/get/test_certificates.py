"""Which certificates are trusted: the same for a get, a login, the daemon's workers and doctor."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.standin.aws import Aws
from tests.standin.proxy import Proxy
from tests.support.home import DEV, PROD, STAGE, START_URL, Home, registry
from tests.support.programs import need, own_mounts
from tests.support.user import SESSION, User

HOST = registry(DEV)
WORKER = "docker_credential_ecr_py.daemon.worker"


@pytest.fixture
def user(home: Home, aws: Aws) -> User:
    """Asks AWS by its real names, has a session that can be refreshed, and a docker config."""
    user = User(home, aws)
    user.use_session_profiles()
    aws.write_sso_token(home.path, START_URL, session=SESSION, refresh=True)
    hosts = {registry(account): "ecr-py" for account in (DEV, STAGE, PROD)}
    user.write_docker_config({"credHelpers": hosts})
    for name in [name for name in home.environment if name.startswith("AWS_ENDPOINT_URL")]:
        del home.environment[name]
    return user


@pytest.fixture
def proxy(user: User, aws: Aws) -> Iterator[Proxy]:
    """A company's proxy, which opens TLS connections and signs with a CA of its own."""
    with Proxy(aws) as proxy:
        user.environment["HTTPS_PROXY"] = proxy.url
        yield proxy


@pytest.fixture
def other_ca(tmp_path: Path) -> Path:
    file = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(file)
    return file


def set_ca_bundle(user: User, file: Path) -> None:
    """In every profile, as `aws configure set ca_bundle` does for one."""
    text = user.home.aws_config.read_text()
    settings = f"ca_bundle = {file}\nsso_account_id"
    user.home.write(user.home.aws_config, text.replace("sso_account_id", settings))


def hashed(folder: Path, ca: Path) -> Path:
    """A folder of certificates as OpenSSL looks for them."""
    folder.mkdir()
    (folder / "ca.pem").write_bytes(ca.read_bytes())
    subprocess.run([need("openssl"), "rehash", folder], check=True)
    return folder


def check_all(user: User, aws: Aws, **environment: str) -> None:
    """All that calls AWS trusts its certificate."""
    assert user.home.get(HOST, **environment).code == 0
    found = json.loads(user.ecr_py("doctor", "--json", "--deep", **environment).stdout)
    assert [check for check in found["checks"] if check["state"] != "ok"] == []
    rows = json.loads(user.ecr_py("status", "--check", "--json", **environment).stdout)
    # There is no registry behind the proxy, but what is there is reached.
    assert {"rejected its token" in row["error"] for row in rows["registries"]} == {True}
    aws.auto_approve = True
    # By the name of its session: the profiles say how its portal is reached.
    login = user.ecr_py("login", SESSION, "--force", "--device", **environment)
    assert login.code == 0, login
    aws.write_sso_token(user.home.path, START_URL, session=SESSION, lifetime=600, refresh=True)
    refreshes = aws.count("CreateToken")
    job = json.dumps({"do": "refresh", "host": HOST})
    done = user.try_run(sys.executable, "-m", WORKER, job, **environment)
    assert json.loads(done.stdout) == {"result": None}
    assert aws.count("CreateToken") == refreshes + 1


def check_none(user: User, **environment: str) -> str:
    """Nothing trusts it; returns what a get says."""
    line = user.home.get(HOST, **environment).line
    assert "its certificate is not trusted" in line
    done = user.ecr_py("doctor", "--json", **environment)
    assert done.code == 1
    endpoints = [one for one in json.loads(done.stdout)["checks"] if one["name"] == "endpoints"]
    assert [one["state"] for one in endpoints] == ["wrong"]
    assert "its certificate is not trusted" in endpoints[0]["words"]
    return line


@pytest.mark.parametrize("where", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_the_store_of_the_operating_system(
    user: User, aws: Aws, proxy: Proxy, tmp_path: Path, where: str
) -> None:
    """OpenSSL's variables stand in for it."""
    folder = where == "SSL_CERT_DIR"
    store = hashed(tmp_path / "certs", proxy.ca_file) if folder else proxy.ca_file
    check_all(user, aws, **{where: str(store)})


@pytest.mark.parametrize("where", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_a_file_that_the_environment_names(user: User, aws: Aws, proxy: Proxy, where: str) -> None:
    check_all(user, aws, **{where: str(proxy.ca_file)})


def test_a_file_that_the_profile_names(user: User, aws: Aws, proxy: Proxy) -> None:
    set_ca_bundle(user, proxy.ca_file)
    check_all(user, aws)


def test_nothing_names_the_ca(user: User, proxy: Proxy) -> None:
    assert check_none(user).endswith("or run `export AWS_CA_BUNDLE=FILE`")


@pytest.mark.parametrize("where", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "ca_bundle"])
def test_a_file_that_the_user_names_is_decisive(
    user: User, proxy: Proxy, other_ca: Path, where: str
) -> None:
    """Whatever the operating system's store has."""
    environment = {"SSL_CERT_FILE": str(proxy.ca_file)}
    if where == "ca_bundle":
        set_ca_bundle(user, other_ca)
    else:
        environment[where] = str(other_ca)
    assert f"{where} names {other_ca}, which lacks its CA" in check_none(user, **environment)


def test_a_ca_that_the_administrator_installed(
    user: User, aws: Aws, proxy: Proxy, tmp_path: Path
) -> None:
    """By Debian's update-ca-certificates, in a mount namespace; without any setting of ours."""
    update = need("update-ca-certificates")
    if os.path.realpath(ssl.get_default_verify_paths().openssl_capath) != "/etc/ssl/certs":
        pytest.skip("this Python does not use the system's OpenSSL")
    (tmp_path / "empty").mkdir()
    (tmp_path / "certs").mkdir()
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "company.crt").write_bytes(proxy.ca_file.read_bytes())
    script = (
        'mount --bind "$0/certs" /etc/ssl/certs'
        ' && mount --bind "$0/local" /usr/local/share/ca-certificates'
        f' && PATH=/usr/sbin:/usr/bin:/sbin:/bin {update} >&2 && exec "$@"'
    )
    by = [*own_mounts(tmp_path / "empty"), "sh", "-c", script, str(tmp_path)]
    answer = user.home.call("get", stdin=HOST.encode(), by=by)
    assert answer.password in aws.issued


def test_a_container_without_a_store_trusts_what_botocore_does(
    user: User, proxy: Proxy, tmp_path: Path
) -> None:
    """botocore's certificates are trusted even if the operating system has none."""
    script = (
        "import sys, botocore.httpsession\n"
        "botocore.httpsession.where = lambda: sys.argv[1]\n"
        "from docker_credential_ecr_py.aws.probe import Target, probe\n"
        "print(probe(Target('https://api.ecr.eu-west-1.amazonaws.com/')).status)\n"
    )
    empty = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": str(tmp_path)}
    done = user.try_run(sys.executable, "-c", script, str(proxy.ca_file), **empty)
    assert done.stdout.strip().isdigit(), done
