"""docs/instead-of.md, for programs that want the token itself."""

from __future__ import annotations

import base64
import json
import re

import pytest

from tests.acceptance.conftest import shell
from tests.acceptance.readme import Row, instead_of
from tests.standin.aws import Aws
from tests.support.docker_user import IMAGE, TAG, image
from tests.support.home import DEV, registry
from tests.support.kubernetes import ApiServer
from tests.support.programs import need
from tests.support.user import User

HOST = registry(DEV)


def opens(aws: Aws, password: str) -> None:
    """It is one that AWS handed out to dev."""
    assert aws.issued[password].account == DEV


@instead_of("`aws ecr get-login-password --profile dev`")
def test_the_password(docker_user: User, aws: Aws, cli: str, row: Row) -> None:
    [theirs] = row.before
    for command in (row.command, theirs.replace("aws", cli, 1)):
        password, end = shell(docker_user, command).split("\n")
        opens(aws, password)
        assert end == ""


@instead_of("`AWS_TOKEN=$(aws")
def test_the_authorization_token(docker_user: User, aws: Aws, cli: str, row: Row) -> None:
    [theirs] = row.before
    for command in (row.command, theirs.replace("$(aws", f"$({cli}", 1)):
        token = shell(docker_user, f"{command}; echo $AWS_TOKEN", AWS_PROFILE="dev")
        user, _, password = base64.b64decode(token).decode().partition(":")
        assert user == "AWS"
        opens(aws, password)


@pytest.mark.usefixtures("images")
@instead_of("`curl -i -H")
def test_curl(docker_user: User, row: Row) -> None:
    need("curl")
    answer = shell(docker_user, row.command)
    assert json.loads(answer.splitlines()[-1]) == {"name": IMAGE, "tags": [TAG]}
    # The way that the documents have it, with our token.
    theirs = f"AWS_TOKEN=$(ecr-py token dev --format basic); {row.before[0]}"
    theirs = theirs.replace("https://…/v2/amazonlinux", f"https://{HOST}/v2/{IMAGE}")
    assert shell(docker_user, theirs).splitlines()[-1] == answer.splitlines()[-1]


@instead_of("`kubectl create secret")
def test_kubernetes(docker_user: User, aws: Aws, row: Row) -> None:
    need("kubectl")
    # No cluster: kubectl shows what it would send.
    with ApiServer() as server:
        dry = f"kubectl --server {server.url} create --dry-run=client --validate=false -o json"
        shown = shell(docker_user, row.command.replace("kubectl apply", dry))
    secret = json.loads(shown)
    assert secret["metadata"]["name"] == "ecr"
    [login] = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"].values()
    opens(aws, login["password"])


@pytest.mark.usefixtures("images")
@instead_of("`singularity pull docker://…`")
def test_singularity_and_apptainer(docker_user: User, row: Row) -> None:
    """They read docker's format by the library that skopeo reads it by."""
    docker_user.docker_config.unlink()
    shell(docker_user, row.command)
    for tool in ("singularity", "apptainer"):
        file = docker_user.home.path / f".{tool}" / "docker-config.json"
        inspect = ("inspect", "--raw", "--authfile", str(file), f"docker://{image(DEV)}")
        assert json.loads(docker_user.run(need("skopeo"), *inspect).stdout)["schemaVersion"] == 2


@instead_of("the same where no helper runs")
def test_the_variables_of_apptainer(docker_user: User, aws: Aws, row: Row) -> None:
    found = variables(shell(docker_user, f"{row.command}; env"))
    assert found["APPTAINER_DOCKER_USERNAME"] == "AWS"
    opens(aws, found["APPTAINER_DOCKER_PASSWORD"])


@instead_of("`export AWS_TOKEN`")
def test_the_variables_of_sregistry(docker_user: User, row: Row, cli: str) -> None:
    """It asks AWS as the AWS CLI does; tests/system/cli/test_token.py runs sregistry itself."""
    found = variables(shell(docker_user, f"{row.command}; env"))
    assert (found["SREGISTRY_AWS_ID"], found["SREGISTRY_AWS_ZONE"]) == (DEV, "eu-west-1")
    identity = json.loads(shell(docker_user, f"{row.command}; {cli} sts get-caller-identity"))
    assert identity["Account"] == DEV


@instead_of("`(Get-ECRLoginCommand).Password` in a script")
def test_powershell(docker_user: User, aws: Aws, row: Row) -> None:
    """What comes before the pipe: there is no PowerShell in Debian."""
    ours, evaluated = row.command.removeprefix("$login = ").split(" | ", 1)
    assert evaluated == "Out-String | Invoke-Expression"
    shown = re.fullmatch(r"\[pscustomobject\]@\{ (.*) \}\n", shell(docker_user, ours))
    assert shown
    properties = dict(each.split(" = ") for each in shown[1].split("; "))
    assert properties["Username"] == "'AWS'"
    opens(aws, properties["Password"].strip("'"))


def variables(shown: str) -> dict[str, str]:
    """What `env` prints."""
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
