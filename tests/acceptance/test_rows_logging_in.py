"""docs/instead-of.md, where somebody logged in: mostly there is nothing to type."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.acceptance.conftest import at_terminal, shell
from tests.acceptance.readme import Row, instead_of
from tests.standin.aws import Aws, Issued
from tests.standin.engine import Engine
from tests.standin.registry import RegistryFront
from tests.support.docker_user import IMAGE, TAG
from tests.support.home import DEV, PROD, STAGE, START_URL, access_key_id, registry
from tests.support.user import User

HOST = registry(DEV)
CANADA, VIRGINIA = registry(DEV, "ca-central-1"), registry(DEV, "us-east-1")
THREE = [registry(account) for account in (DEV, STAGE, PROD)]


@pytest.fixture
def configured(docker_user: User) -> User:
    """Once, by `ecr-py configure`; what docker had before is gone."""
    docker_user.docker_config.unlink()
    shell(docker_user, "ecr-py configure")
    return docker_user


def pulls(docker_user: User, host: str = HOST) -> None:
    done = docker_user.run("docker", "pull", f"{host}/{IMAGE}:{TAG}")
    assert f"Downloaded newer image for {host}/" in done.stdout
    assert "ecr-py" not in done.said


def lies_in(host: str, aws: Aws, front: RegistryFront) -> None:
    """The image, in a registry of dev's other regions."""
    region = host.split(".")[3]
    builder = Issued(f"arn:aws:iam::{DEV}:user/builder", DEV, region, aws.clock() + 60, False)
    aws.issued["somebody"] = builder
    somebody = {"username": "AWS", "password": "somebody"}
    Engine(front).push(f"{host}/{IMAGE}", TAG, somebody)


@pytest.mark.usefixtures("images")
@instead_of(
    "`aws ecr get-login-password --profile dev |",
    "`ecr_login`",
    "`(Get-ECRLoginCommand).Password |",
)
def test_nothing(configured: User, row: Row) -> None:
    assert row.new == "nothing"
    pulls(configured)
    # And the other accounts, in the same shell.
    pulls(configured, registry(STAGE))


@instead_of("`$(aws ecr get-login", "`docker login -u AWS -p", "`Invoke-Expression")
def test_nothing_in_other_regions(
    docker_user: User, aws: Aws, front: RegistryFront, row: Row
) -> None:
    assert row.new == "nothing"
    [host] = [host for host in (CANADA, VIRGINIA) if host.split(".")[3] in row.old]
    lies_in(host, aws, front)
    shell(docker_user, f"ecr-py configure --region {host.split('.')[3]}")
    pulls(docker_user, host)


@pytest.mark.usefixtures("images")
@instead_of("`export AWS_PROFILE=dev`")
def test_no_profile_before_a_pull(configured: User, row: Row) -> None:
    assert row.new == "nothing"
    assert "AWS_PROFILE" not in configured.environment
    for host in THREE:
        pulls(configured, host)


@pytest.mark.usefixtures("images")
@instead_of("`aws --profile dev sso login`")
def test_the_pull_logs_in_or_a_person_does(configured: User, aws: Aws, row: Row) -> None:
    assert row.new == "nothing, or `ecr-py login dev`"
    docker_user, aws.auto_approve = configured, True
    docker_user.environment["BROWSER"] = "true"
    for command in (f"docker pull {HOST}/{IMAGE}:{TAG}", row.command):
        aws.end_session(START_URL)
        shutil.rmtree(docker_user.home.path / ".aws" / "sso")
        aws.reset_calls()
        with at_terminal(docker_user, command) as terminal:
            assert terminal.wait() == 0, terminal.shown
        assert aws.count("StartDeviceAuthorization") == 1
    pulls(docker_user)


@instead_of("`aws --profile dev sts get-caller-identity`")
def test_whether_the_login_worked(configured: User, aws: Aws, row: Row) -> None:
    assert "log in" not in shell(configured, row.command)
    aws.end_session(START_URL)
    shutil.rmtree(configured.home.path / ".aws" / "sso")
    done = configured.run("bash", "-c", row.command, fails=True)
    assert done.code == 3
    assert done.stdout.count("log in") > 3


@pytest.mark.usefixtures("images")
@instead_of("`brew install awscli`")
def test_no_aws_on_the_path(configured: User, row: Row, tmp_path: Path) -> None:
    assert row.new.startswith("nothing")
    folder = tmp_path / "few"
    folder.mkdir()
    for program in ("docker", "docker-credential-ecr-py", "ecr-py"):
        found = shutil.which(program, path=configured.environment["PATH"])
        assert found
        (folder / program).symlink_to(found)
    assert shutil.which("aws", path=folder) is None
    configured.environment["PATH"] = str(folder)
    pulls(configured)


@instead_of("`python -m awscli help`")
def test_help(docker_user: User, row: Row) -> None:
    shown = shell(docker_user, row.command)
    for command in ("login", "configure", "status", "doctor", "repo", "image", "token"):
        assert f"\n  {command} " in shown


@pytest.mark.usefixtures("images")
@instead_of("`aws sso configure`")
def test_profiles_by_the_address_of_the_portal(docker_user: User, aws: Aws, row: Row) -> None:
    docker_user.docker_config.unlink()
    shutil.rmtree(docker_user.home.aws_config.parent)
    aws.account_names = {DEV: "dev", STAGE: "stage", PROD: "prod"}
    aws.auto_approve = True
    shell(docker_user, row.command)
    config = docker_user.home.aws_config.read_text()
    for profile in row.before[1:]:
        assert profile in config
    shell(docker_user, "ecr-py configure")
    for host in THREE:
        pulls(docker_user, host)


@pytest.mark.usefixtures("images")
@instead_of("`aws configure`")
def test_the_key_of_an_iam_user(docker_user: User, aws: Aws, row: Row, cli: str) -> None:
    """By the AWS CLI itself, as it asks."""
    assert row.new.startswith("the same")
    shutil.rmtree(docker_user.home.aws_config.parent)
    docker_user.docker_config.unlink()
    key = access_key_id(DEV)
    secret = aws.add_key(key, f"arn:aws:iam::{DEV}:user/builder")
    docker_user.run(cli, "configure", stdin=f"{key}\n{secret}\neu-west-1\njson\n")
    shell(docker_user, row.command)
    pulls(docker_user)


@instead_of("`credHelpers` by hand")
def test_an_entry_for_each_registry(docker_user: User, row: Row) -> None:
    by_hand = json.loads(docker_user.docker_config.read_text())
    docker_user.docker_config.unlink()
    shell(docker_user, row.command)
    assert json.loads(docker_user.docker_config.read_text()) == by_hand


@pytest.mark.usefixtures("images")
@instead_of('`"credHelpers": {…: "ecr-login"}`')
def test_from_awslabs_helper(docker_user: User, row: Row) -> None:
    docker_user.write_docker_config({"credHelpers": {HOST: "ecr-login", "gcr.io": "gcloud"}})
    shell(docker_user, row.command)
    helpers = json.loads(docker_user.docker_config.read_text())["credHelpers"]
    assert helpers == {"gcr.io": "gcloud"} | dict.fromkeys(THREE, "ecr-py")
    pulls(docker_user)


@instead_of("`rm -r ~/.ecr`")
def test_what_is_cached_is_forgotten(configured: User, aws: Aws, row: Row) -> None:
    first = configured.home.get(HOST).password
    shell(configured, row.command)
    aws.reset_calls()
    assert configured.home.get(HOST).password != first
    assert aws.count("GetAuthorizationToken") == 1
