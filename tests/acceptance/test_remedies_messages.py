"""What a message tells the user to run is run, taken out of the message, and the pull works."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from docker_credential_ecr_py.cli.doctor_checks import Finding
from tests.standin.aws import Aws
from tests.standin.proxy import Proxy
from tests.support.home import DEV, HELPER, PROD, STAGE, Home, registry
from tests.support.user import User

HOST = registry(DEV)
OTHER_REGION = registry(DEV, "us-east-1")
EVERY = {registry(account): "ecr-py" for account in (DEV, STAGE, PROD)}


@pytest.fixture
def user(home: Home, aws: Aws) -> User:
    user = User(home, aws)
    user.write_docker_config({"credHelpers": EVERY})
    return user


@pytest.fixture
def proxied(user: User, aws: Aws) -> Iterator[Proxy]:
    """A proxy between the user and AWS, which wants a login, and whose CA nobody trusts yet."""
    for name in [name for name in user.environment if name.startswith("AWS_ENDPOINT_URL")]:
        del user.environment[name]
    with Proxy(aws, user="bob:secret") as proxy:
        user.environment["HTTPS_PROXY"] = proxy.url.replace("//", "//bob:secret@")
        user.environment["SSL_CERT_FILE"] = str(proxy.ca_file)
        yield proxy


def command_in(message: str) -> str:
    """The command at the end of a message."""
    found = re.search(r"`([^`]+)`$", message.strip())
    assert found, message
    return found[1]


def not_ok(user: User, *options: str, **environment: str) -> list[Finding]:
    run = user.ecr_py if "--deep" in options else user.invoke
    done = run("doctor", "--json", *options, **environment)
    checks = [Finding(**check) for check in json.loads(done.stdout)["checks"]]
    assert (done.code == 0) == all(check.state in ("ok", "note") for check in checks)
    found = [check for check in checks if check.state != "ok"]
    for one in found:
        command_in(f"{one.words}: {one.hint}")
    return found


def only(user: User, *options: str, **environment: str) -> Finding:
    [finding] = not_ok(user, *options, **environment)
    return finding


def pull_after(user: User, command: str, host: str = HOST, **environment: str) -> None:
    """Run a command in a shell, then a get in the same shell; doctor is satisfied, too."""
    script = f"{command}\n{HELPER.name} get <<<{host}\necr-py doctor >&2"
    done = user.try_run("bash", "-ec", script, **environment)
    assert done.code == 0, done
    assert '"Secret"' in done.stdout


# Docker's config


def test_docker_does_not_ask_for_the_registries(user: User) -> None:
    user.write_docker_config({"credsStore": ""})
    finding = only(user)
    assert (finding.state, command_in(finding.hint)) == ("wrong", "ecr-py configure")
    pull_after(user, command_in(finding.hint))
    assert user.read_config()["credHelpers"].keys() == EVERY.keys()


def test_docker_asks_a_helper_that_is_not_installed(user: User) -> None:
    user.write_docker_config({"credHelpers": EVERY | {HOST: "ecr-login"}})
    finding = only(user)
    assert finding.words == f"uses ecr-login, which is not installed, for {HOST}"
    assert finding.state == "wrong"
    command = command_in(finding.hint)
    assert f"`{command}`" in user.invoke("status").stdout
    pull_after(user, command)
    assert user.read_config()["credHelpers"] == EVERY


def test_docker_asks_another_helper(user: User) -> None:
    user.home.write(user.home.path / "bin" / "docker-credential-ecr-login", "").chmod(0o755)
    path = f"{user.home.path / 'bin'}:{user.environment['PATH']}"
    user.write_docker_config({"credHelpers": EVERY | {HOST: "ecr-login"}})
    finding = only(user, PATH=path)
    assert (finding.state, finding.words) == ("note", f"uses ecr-login for {HOST}")
    pull_after(user, command_in(finding.hint), PATH=path)
    assert user.read_config()["credHelpers"] == EVERY


def test_a_registry_that_no_profile_is_in(user: User) -> None:
    """It is known because it was pulled from."""
    assert user.home.get(OTHER_REGION).code == 0
    finding = only(user)
    assert OTHER_REGION in finding.words
    command = command_in(finding.hint)
    assert command in user.invoke("status").stdout
    pull_after(user, command, OTHER_REGION)
    assert user.read_config()["credHelpers"].keys() == {*EVERY, OTHER_REGION}


def test_cred_helpers_takes_creds_store_back(user: User) -> None:
    """With the helper that was there before, or without one."""
    for before in ({"credsStore": "desktop"}, {}):
        user.home.settings.unlink(missing_ok=True)
        user.write_docker_config({"credHelpers": {}, **before})
        user.invoke_ok("configure", "--creds-store", "--yes")
        assert user.read_config()["credsStore"] == "ecr-py"
        user.invoke_ok("configure", "--cred-helpers")
        assert user.read_config() == {"credHelpers": EVERY, **before}
        pull_after(user, ":")


def test_cred_helpers_says_which_logins_docker_no_longer_reads(user: User) -> None:
    user.home.write(user.home.settings, '[defaults]\nfallback = "keyring"\n')
    user.write_docker_config({"credsStore": "ecr-py"})
    done = user.invoke_ok("configure", "--cred-helpers")
    assert "docker no longer reads the logins that ecr-py keeps" in done.stderr
    assert "docker: 3 entries in credHelpers, no credsStore in" in done.stdout
    assert user.read_config() == {"credHelpers": EVERY}
    user.invoke_ok("configure", "--undo")
    assert user.read_config() == {"credsStore": "ecr-py"}


def test_a_docker_config_that_is_no_json(user: User, tmp_path: Path) -> None:
    good = tmp_path / "good.json"
    shutil.copy(user.docker_config, good)
    user.write_config("{")
    finding = only(user)
    assert finding.name == "docker config"
    # The user's editor, which writes what is right.
    pull_after(user, command_in(finding.hint), EDITOR=f"cp {good}")


# The executable and folders


def test_the_executable_is_not_found_or_another_is(user: User) -> None:
    done = user.invoke("doctor", PATH="/usr/bin:/bin")
    [line] = [line for line in done.stdout.splitlines() if line.startswith("wrong")]
    assert command_in(line).startswith(f"ln -s {HELPER} ")
    other = user.home.path / "bin" / HELPER.name
    user.home.write(other, f"#!/bin/sh\necho '{HELPER.name} (x) 0.0.1'\n").chmod(0o755)
    path = f"{other.parent}:{user.environment['PATH']}"
    finding = only(user, PATH=path)
    assert "has version 0.0.1" in finding.words
    pull_after(user, command_in(finding.hint), PATH=path)


def test_a_file_in_the_place_of_the_cache(user: User) -> None:
    user.home.write(user.home.cache, "")
    finding = only(user)
    assert "is not a folder" in finding.words
    pull_after(user, command_in(finding.hint))
    assert (user.home.cache / "credentials").is_dir()


def test_a_fallback_that_is_not_installed(user: User) -> None:
    user.home.write(user.home.settings, '[defaults]\nfallback = "nowhere"\n')
    finding = only(user)
    assert finding.name == "fallback"
    pull_after(user, command_in(finding.hint))


# The way to AWS


def failures(user: User, **environment: str) -> list[str]:
    """What a get and doctor say, which must name the same command: the lines, without it."""
    line = user.home.get(HOST, **environment).line
    finding = only(user, **environment)
    assert command_in(line) == command_in(finding.hint)
    return [line, finding.words]


def command_for(user: User, words: str, **environment: str) -> str:
    """The command for a failure of this cause."""
    for said in failures(user, **environment):
        assert words in said
    return command_in(user.home.get(HOST, **environment).line)


def test_a_proxy_that_is_not_there(user: User, proxied: Proxy) -> None:
    proxy = {"https_proxy": "http://127.0.0.1:1"}
    command = command_for(user, "the proxy 127.0.0.1:1 cannot be reached", **proxy)
    assert command == "unset https_proxy HTTPS_PROXY"
    # Without any proxy the test would call AWS itself.
    pull_after(user, f"{command}\nexport HTTPS_PROXY={user.environment['HTTPS_PROXY']}", **proxy)


def test_a_proxy_that_wants_a_password(user: User, proxied: Proxy) -> None:
    bare = {"HTTPS_PROXY": proxied.url}
    command = command_for(user, "wants a user and password", **bare)
    pull_after(user, command.replace("USER:PASSWORD", "bob:secret"), **bare)


def test_a_certificate_that_is_not_trusted(user: User, proxied: Proxy) -> None:
    untrusted = {"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}
    command = command_for(user, "its certificate is not trusted", **untrusted)
    pull_after(user, command.replace("FILE", str(proxied.ca_file)), **untrusted)


@pytest.mark.parametrize("exists", [True, False])
def test_a_ca_bundle_without_the_ca(
    user: User, proxied: Proxy, tmp_path: Path, exists: bool
) -> None:
    file = tmp_path / "other.pem"
    if exists:
        trustme.CA().cert_pem.write_to_path(file)
    bundle = {"AWS_CA_BUNDLE": str(file)}
    words = "which lacks its CA" if exists else "which does not exist"
    command = command_for(user, f"AWS_CA_BUNDLE names {file}, {words}", **bundle)
    assert command == "unset AWS_CA_BUNDLE"
    pull_after(user, command, **bundle)


def test_an_endpoint_that_is_not_there(user: User, proxied: Proxy) -> None:
    endpoint = {"AWS_ENDPOINT_URL_ECR": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"}
    command = command_for(user, "connection refused", **endpoint)
    assert command == "unset AWS_ENDPOINT_URL_ECR"
    pull_after(user, command, **endpoint)


# One cause, one line


def test_a_profile_that_does_not_exist_is_one_line(user: User) -> None:
    finding = only(user, AWS_PROFILE="nope")
    assert finding.words.startswith(f"{registry(DEV)}, {registry(STAGE)}, {registry(PROD)}: ")
    assert "AWS_PROFILE names profile nope" in finding.words
    status = user.invoke_ok("status", AWS_PROFILE="nope").stdout
    assert status.count("AWS_PROFILE names profile nope") == 1
    assert all(host in status for host in EVERY)
    assert finding.hint == "run `unset AWS_PROFILE`"
    pull_after(user, "unset AWS_PROFILE", AWS_PROFILE="nope")


@pytest.mark.parametrize("damage", ["a line", "a folder"])
def test_an_aws_config_that_cannot_be_read_is_one_line(user: User, damage: str) -> None:
    user.home.get(HOST)
    config, good = user.home.aws_config, user.home.aws_config.with_name("good")
    config.rename(good)
    if damage == "a line":
        config.write_text("no section\n")
    else:
        config.mkdir()
    finding = only(user)
    assert finding.name == "AWS config"
    done = user.invoke("status")
    assert (done.code, done.stderr.count("\n")) == (1, 1)
    assert str(config) in done.stderr
    for host in EVERY:
        assert done.stdout.count(host) == 1
    assert "store   file" in done.stdout
    assert "uses ecr-py for 3 of 3 registries" in done.stdout
    rows = json.loads(user.invoke("status", "--json").stdout)["registries"]
    assert {str(config) in row["error"] for row in rows} == {True}
    config.rename(config.with_name("bad"))
    pull_after(user, f"EDITOR='cp {good}'\n{command_in(finding.hint)}")


def test_status_without_a_docker_config_that_can_be_read(user: User) -> None:
    user.write_config("{")
    done = user.invoke("status")
    assert (done.code, done.stderr.count("\n")) == (1, 1)
    assert str(user.docker_config) in done.stderr
    assert "docker  " not in done.stdout
    assert all(host in done.stdout for host in EVERY)


def test_deep_has_one_line_for_a_cause(user: User) -> None:
    found = not_ok(user, "--deep", AWS_ENDPOINT_URL_ECR="http://127.0.0.1:1")
    assert [one.name for one in found] == ["endpoints", "token"]
    assert all(host in found[1].words for host in EVERY)


# Regions that do not exist


def test_a_region_that_does_not_exist(user: User) -> None:
    for command in ("token dev", "repo ls dev", "policy pull dev"):
        done = user.invoke(*command.split(), "--region", "us-eest-1")
        assert done.line.startswith("ecr-py: ECR has no region 'us-eest-1'; nearest: ")
        assert "us-east-1" in done.line
    assert user.ecr_py("token", "dev", "--region", "us-east-1").code == 0
    # A region that botocore does not know yet, but the user does.
    with user.home.aws_config.open("a") as config:
        config.write("[profile new]\naws_account_id = 112233445566\nregion = eu-west-9\n")
    user.invoke_ok("policy", "pull", "dev", "--region", "eu-west-9")
