"""skopeo, podman, buildah, docker-py and curl: each asks the same helper in its own way."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker.credentials  # type: ignore[import-untyped]
import pytest
from docker.credentials.errors import CredentialsNotFound  # type: ignore[import-untyped]

from tests.standin.aws import Aws
from tests.standin.image import Image
from tests.standin.registry import RegistryFront
from tests.support.docker_user import IMAGE, POLICY, TAG, image, secrets_in
from tests.support.home import ACCOUNTS, DEV, PROD, REGISTRIES, STAGE, START_URL, registry
from tests.support.programs import need
from tests.support.user import User


@pytest.fixture
def docker_user(docker_user: User) -> User:
    docker_user.home.write(docker_user.home.path / ".config" / "containers" / "policy.json", POLICY)
    return docker_user


@pytest.mark.usefixtures("images")
def test_skopeo_lists_and_copies_between_accounts(
    docker_user: User, aws: Aws, front: RegistryFront
) -> None:
    skopeo, target = need("skopeo"), docker_user.home.path / "image"
    for account in ACCOUNTS:
        done = docker_user.run(skopeo, "list-tags", f"docker://{registry(account)}/{IMAGE}")
        assert json.loads(done.stdout)["Tags"] == [TAG]
    copy = (skopeo, "copy")
    docker_user.run(*copy, f"docker://{image(DEV)}", f"docker://{image(PROD, 'promoted')}")
    docker_user.run(*copy, f"docker://{image(PROD, 'promoted')}", f"dir:{target}")
    [layer] = json.loads((target / "manifest.json").read_text())["layers"]
    assert (target / layer["digest"].removeprefix("sha256:")).read_bytes() == Image().layer
    assert aws.count("GetAuthorizationToken") == 3
    # Each registry saw the role of its own account, and no other.
    for account in ACCOUNTS:
        seen = {r.principal for r in front.requests if r.host == registry(account)} - {None}
        assert [str(arn).split(":")[4] for arn in seen] == [account]


def test_skopeo_copies_in(docker_user: User) -> None:
    source = Image().write_oci_layout(docker_user.home.path / "source")
    docker_user.run(need("skopeo"), "copy", source, f"docker://{image(STAGE, 'in')}")
    done = docker_user.run(need("skopeo"), "list-tags", f"docker://{registry(STAGE)}/{IMAGE}")
    assert json.loads(done.stdout)["Tags"] == ["in"]


def test_skopeo_shows_what_is_wrong(docker_user: User, aws: Aws) -> None:
    aws.end_session(START_URL)
    done = docker_user.run(
        need("skopeo"), "list-tags", f"docker://{registry(STAGE)}/{IMAGE}", fails=True
    )
    assert "ecr-py login stage" in done.said


def test_skopeo_reads_auth_json_too(docker_user: User, aws: Aws, images: None) -> None:
    docker_user.write_docker_config({})
    auth = {"credHelpers": {registry(DEV): "ecr-py"}}
    file = docker_user.home.write(docker_user.home.path / "auth.json", json.dumps(auth))
    skopeo = (need("skopeo"), "list-tags", f"docker://{registry(DEV)}/{IMAGE}")
    docker_user.run(*skopeo, fails=True)
    docker_user.run(*skopeo, REGISTRY_AUTH_FILE=str(file))
    assert aws.count("GetAuthorizationToken") == 1


@pytest.fixture
def storage() -> Iterator[tuple[str, ...]]:
    """Where podman and buildah keep images: podman refuses a path over 50 characters."""
    with tempfile.TemporaryDirectory(prefix="c-") as root:
        yield ("--root", f"{root}/root", "--runroot", f"{root}/run", "--storage-driver", "vfs")


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("name", ["podman", "buildah"])
def test_podman_and_buildah_pull_and_push(
    docker_user: User, aws: Aws, storage: tuple[str, ...], name: str
) -> None:
    program = (need(name), *storage)
    for account in ACCOUNTS:
        docker_user.run(*program, "pull", image(account))
    docker_user.run(*program, "push", image(STAGE), f"docker://{image(STAGE, name)}")
    docker_user.run(*program, "pull", image(STAGE, name))
    assert name in docker_user.run(*program, "images").stdout
    assert aws.count("GetAuthorizationToken") == aws.count("GetRoleCredentials") == 3
    assert secrets_in(docker_user.docker_config) == []


# docker-py


@pytest.fixture
def store(docker_user: User, monkeypatch: pytest.MonkeyPatch) -> docker.credentials.Store:
    """It looks for the helper on the PATH of its own process."""
    monkeypatch.setenv("PATH", docker_user.environment["PATH"])
    return docker.credentials.Store("ecr-py", environment=docker_user.environment)


def test_docker_py_gets_stores_erases_and_lists(
    docker_user: User, aws: Aws, store: docker.credentials.Store
) -> None:
    registries = {f"https://{host}": "AWS" for host in REGISTRIES}
    assert store.list() == registries
    assert aws.calls == []
    got = store.get(registry(DEV))
    assert got["Username"] == "AWS"
    assert aws.issued[got["Secret"]].account == DEV

    stored = docker_user.home.get(registry(STAGE), AWS_ECR_DISABLE_CACHE="1").password
    store.store(registry(STAGE), "AWS", stored)
    assert store.get(registry(STAGE))["Secret"] == stored
    store.erase(registry(STAGE))
    store.erase(registry(STAGE))
    assert store.list() == registries
    assert store.get(registry(STAGE))["Secret"] != stored


def test_docker_py_goes_on_and_the_user_reads_why(
    aws: Aws, store: docker.credentials.Store, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CredentialsNotFound):
        store.get("https://index.docker.io/v1/")
    assert capfd.readouterr().err == ""
    aws.end_session(START_URL)
    with pytest.raises(CredentialsNotFound):
        store.get(registry(PROD))
    assert "ecr-py login prod" in capfd.readouterr().err


# Static keys


@pytest.mark.usefixtures("images")
def test_keys_of_aws_configure_open_the_registry_to_curl(
    docker_user: User, aws: Aws, front: RegistryFront
) -> None:
    curl, cli = need("curl"), need("aws")
    docker_user.home.aws_config.unlink()
    secret = aws.add_key("AKIAIOSFODNN7EXAMPLE", f"arn:aws:iam::{DEV}:user/me")
    typed = "\n".join(["AKIAIOSFODNN7EXAMPLE", secret, "eu-west-1", "json", ""])
    docker_user.run(cli, "configure", stdin=typed)

    answer = docker_user.home.get(registry(DEV))
    authorization = base64.b64encode(f"AWS:{answer.password}".encode()).decode()
    url = f"https://{registry(DEV)}/v2/{IMAGE}/tags/list"
    ask = (curl, "--silent", "--show-error", "--fail")
    assert "401" in docker_user.run(*ask, url, fails=True).said
    done = docker_user.run(*ask, url, "--header", f"Authorization: Basic {authorization}")
    assert json.loads(done.stdout) == {"name": IMAGE, "tags": [TAG]}
    assert front.requests[-1].principal == f"arn:aws:iam::{DEV}:user/me"
    assert [call.access_key for call in aws.calls] == ["AKIAIOSFODNN7EXAMPLE"]


def test_the_answer_is_what_the_aws_cli_prints(docker_user: User, aws: Aws, tmp_path: Path) -> None:
    """Both are passwords of one principal, and either stands in for the other."""
    cli = need("aws")
    theirs = docker_user.run(cli, "ecr", "get-login-password", "--profile", "dev").stdout.strip()
    ours = docker_user.home.get(registry(DEV)).password
    one, two = aws.issued[theirs], aws.issued[ours]
    assert (one.account, one.region) == (two.account, two.region)
    assert one.principal_arn == two.principal_arn
