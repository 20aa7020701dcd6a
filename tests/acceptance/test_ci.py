"""docs/ci.md and action.yml: the lines of each set-up are run as they are written."""

from __future__ import annotations

import json
import re
import shutil
import stat
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml

from tests.acceptance.conftest import shell
from tests.acceptance.readme import PROJECT
from tests.standin.aws import Aws
from tests.standin.engine import Engine
from tests.standin.registry import RegistryFront
from tests.support.docker_user import IMAGE, POLICY, TAG, image
from tests.support.github_runner import OidcServer, Runner
from tests.support.home import DEV, HELPER, PROD, STAGE, access_key_id, registry
from tests.support.programs import need
from tests.support.user import Done, User

CI = PROJECT / "docs" / "ci.md"
HOST = registry(DEV)
ROLES = {account: f"arn:aws:iam::{account}:role/ci" for account in (DEV, STAGE)}
INSTALL = "Install"


def blocks(heading: str, language: str) -> list[str]:
    """Return the code blocks of this language under a heading of docs/ci.md, up to the next."""
    flags = re.MULTILINE | re.DOTALL
    [text] = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^##+ |\Z)", CI.read_text(), flags)
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags)


def lines_of(heading: str) -> str:
    """Return the shell lines under a heading."""
    found = blocks(heading, "sh")
    assert found, heading
    return "\n".join(found)


@pytest.fixture
def job(docker_user: User) -> User:
    """A user as a CI has it: our executables and docker, but no config of AWS or docker."""
    shutil.rmtree(docker_user.home.aws_config.parent)
    docker_user.docker_config.unlink()
    docker_user.environment["CI"] = "true"
    return docker_user


def keys(aws: Aws, account: str = DEV) -> dict[str, str]:
    """Return an access key of the account as environment variables."""
    key = access_key_id(account)
    secret = aws.add_key(key, f"arn:aws:iam::{account}:user/ci")
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}


def temporary_keys(aws: Aws) -> dict[str, str]:
    key = aws.session_key(f"arn:aws:sts::{DEV}:assumed-role/ci/job", 3600)
    return {
        "AWS_ACCESS_KEY_ID": key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": key.secret_access_key,
        "AWS_SESSION_TOKEN": key.session_token,
    }


def web_identity(aws: Aws, folder: Path) -> dict[str, str]:
    aws.allow_role(ROLES[DEV])
    aws.web_identity_tokens.add("a.b.c")
    token = folder / "web-identity"
    token.write_text("a.b.c")
    return {"AWS_ROLE_ARN": ROLES[DEV], "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}


def container_role(aws: Aws) -> dict[str, str]:
    aws.container_role = ROLES[DEV]
    return aws.container_environment()


def instance_role(aws: Aws) -> dict[str, str]:
    aws.instance_role = ROLES[DEV]
    return aws.instance_environment()


def as_input(python: str, folder: Path) -> Path:
    """Return a python3 whose new environments see the libraries of the tests', not an index."""
    script = f"""#!/bin/sh
{quote(python)} "$@" || exit
case $1$2 in
-mvenv) for site in "$3"/lib/python3.*/site-packages; do
    echo {quote(sysconfig.get_path("purelib"))} >"$site/dependencies.pth"
done ;;
esac
"""
    folder.mkdir()
    (folder / "python3").write_text(script)
    (folder / "python3").chmod(0o755)
    return folder / "python3"


@pytest.fixture
def offline(job: User, tmp_path: Path) -> User:
    """Pip installs the package, for which it finds all that it needs installed."""
    python = as_input(str(HELPER.with_name("python")), tmp_path / "python")
    job.home.environment |= {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    # Not the helper of the tests, but the one that is installed.
    others = job.environment["PATH"].partition(":")[2]
    job.environment["PATH"] = f"{python.parent}:{others}"
    return job


def pulled(done: Done | str, account: str = DEV) -> bool:
    said = done if isinstance(done, str) else done.said
    return f"Downloaded newer image for {registry(account)}/{IMAGE}:{TAG}" in said


# Any job


@pytest.mark.usefixtures("images")
def test_any_job(offline: User, aws: Aws) -> None:
    """With keys, from the installation to the pull; and what a runner that is kept does then."""
    (offline.home.path / "docker-credential-ecr-py").symlink_to(PROJECT)
    offline.home.environment |= keys(aws)
    install, set_up, clean = blocks("Set up any job", "sh")
    said = shell(offline, f"{install}\nwhich ecr-py\n{set_up}")
    assert f"{offline.home.path}/.ecr-py/bin/ecr-py" in said
    assert pulled(said)
    assert aws.count("GetAuthorizationToken") == 1

    shell(offline, f"PATH=$HOME/.ecr-py/bin:$PATH\n{clean}")
    assert not offline.docker_config.exists()
    assert not list(offline.home.cache.rglob("*.dkr.*"))


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    "kind", ["keys", "temporary keys", "web identity", "container role", "instance role"]
)
def test_credentials(job: User, aws: Aws, tmp_path: Path, kind: str) -> None:
    """Each row of the table that says "nothing": the same three lines."""
    job.home.environment |= {
        "keys": lambda: keys(aws),
        "temporary keys": lambda: temporary_keys(aws),
        "web identity": lambda: web_identity(aws, tmp_path),
        "container role": lambda: container_role(aws),
        "instance role": lambda: instance_role(aws),
    }[kind]()
    _, set_up, _ = blocks("Set up any job", "sh")
    assert pulled(shell(job, set_up))
    assert aws.count("GetAuthorizationToken") == 1
    doctor = shell(job, "ecr-py doctor")
    assert {line.split()[0] for line in doctor.splitlines()} <= {"ok", "note"}


def test_a_wrong_role_fails_before_the_pull(job: User, aws: Aws, engine: Engine) -> None:
    job.home.environment |= keys(aws)
    aws.deny_ecr("*")
    _, set_up, _ = blocks("Set up any job", "sh")
    done = job.run("bash", "-ec", set_up, fails=True)
    assert "ecr:GetAuthorizationToken" in done.said
    assert engine.asked == []


@pytest.mark.usefixtures("images")
def test_without_credentials_it_fails_at_once(job: User, aws: Aws) -> None:
    _, set_up, _ = blocks("Set up any job", "sh")
    done = job.run("bash", "-ec", set_up, fails=True)
    assert HOST in done.said
    assert "Traceback" not in done.said
    assert aws.calls == []


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("source", ["Environment", "EcsContainer", "Ec2InstanceMetadata"])
def test_several_accounts(job: User, aws: Aws, source: str) -> None:
    for role in ROLES.values():
        aws.allow_role(role)
    job.home.environment |= {
        "Environment": lambda: keys(aws),
        "EcsContainer": lambda: container_role(aws),
        "Ec2InstanceMetadata": lambda: instance_role(aws),
    }[source]()
    [config] = blocks("Several accounts in one job", "ini")
    assert source in CI.read_text()
    job.home.write(job.home.aws_config, config.replace("Environment", source))
    said = shell(job, lines_of("Several accounts in one job"))
    assert pulled(said, DEV)
    assert pulled(said, STAGE)
    assert aws.count("AssumeRole") == 2


# GitHub's action


@pytest.fixture
def oidc() -> Iterator[OidcServer]:
    with OidcServer() as running:
        yield running


@pytest.fixture
def runner(job: User, tmp_path: Path) -> Runner:
    """A runner on which the step "Install" has been run: with the executables of the tests."""
    temp = tmp_path / "runner"
    (temp / "ecr-py").mkdir(parents=True)
    (temp / "ecr-py" / "bin").symlink_to(HELPER.parent)
    return Runner(job, PROJECT, temp)


def workflow_steps() -> list[dict[str, Any]]:
    """Return the steps of the workflow in docs/ci.md that has roles."""
    workflow = yaml.safe_load(blocks("GitHub Actions", "yaml")[0])
    steps: list[dict[str, Any]] = workflow["jobs"]["build"]["steps"]
    return steps


@pytest.mark.usefixtures("images")
def test_the_action_installs_and_sets_up(offline: User, aws: Aws, tmp_path: Path) -> None:
    """Each step as it is in action.yml, on a machine that has Python and docker."""
    runner = Runner(offline, PROJECT, tmp_path / "runner")
    runner.variables |= keys(aws)
    [step] = yaml.safe_load(blocks("GitHub Actions", "yaml")[1])
    assert step["uses"] == "./docker-credential-ecr-py"
    assert runner.run(**step["with"]).code == 0, runner.log
    assert runner.path == [str(runner.temp / "ecr-py" / "bin")]
    assert pulled(runner.script(f"docker pull {image(DEV)}")), runner.log
    secrets = (*aws.issued, runner.variables["AWS_SECRET_ACCESS_KEY"])
    assert not [secret for secret in secrets if secret in runner.log]


@pytest.mark.usefixtures("images")
def test_the_action_takes_the_roles_of_several_accounts(
    runner: Runner, aws: Aws, oidc: OidcServer
) -> None:
    """The workflow of docs/ci.md."""
    for role in ROLES.values():
        aws.allow_role(role)
    aws.web_identity_tokens.add(oidc.token)
    runner.variables |= oidc.environment()
    checkout, action, *pulls = workflow_steps()
    assert (checkout["uses"], action["uses"]) == (
        "actions/checkout@v4",
        "./docker-credential-ecr-py",
    )
    assert runner.run(skip=(INSTALL,), **action["with"]).code == 0, runner.log
    assert oidc.asked == ["sts.amazonaws.com"]
    # The check has fetched both tokens: the OIDC token may end now.
    aws.web_identity_tokens.clear()
    for step, account in zip(pulls, ROLES, strict=True):
        assert pulled(runner.script(step["run"]), account), runner.log
    assert aws.count("AssumeRoleWithWebIdentity") == aws.count("GetAuthorizationToken") == 2
    # The log has the OIDC token in the line that masks it, and nowhere else.
    assert runner.log.count(oidc.token) == runner.log.count(f"::add-mask::{oidc.token}\n") == 1
    assert oidc.bearer not in runner.log
    for file in (runner.temp / "ecr-py").glob("[!b]*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_the_action_keeps_the_aws_config_that_there_is(
    runner: Runner, aws: Aws, oidc: OidcServer
) -> None:
    """Also its own, if a job uses it twice."""
    user = runner.user
    user.home.write(user.home.aws_config, f"[profile mine]\naws_account_id = {PROD}\nregion = x-1")
    runner.variables |= oidc.environment()
    for role in ROLES.values():
        done = runner.run(skip=(INSTALL,), roles=role, region="eu-west-1", check="false")
        assert done.code == 0, runner.log
    config = Path(runner.variables["AWS_CONFIG_FILE"]).read_text()
    headings = [line for line in config.splitlines() if line.startswith("[")]
    assert headings == ["[profile mine]", f"[profile github-{DEV}]", f"[profile github-{STAGE}]"]
    assert user.home.aws_config.read_text().startswith("[profile mine]")
    assert set(user.read_config()["credHelpers"]) >= {registry(DEV), registry(STAGE)}


@pytest.mark.parametrize(
    ("inputs", "variables", "said"),
    [
        ({}, {"ACTIONS_ID_TOKEN_REQUEST_URL": ""}, "permissions: id-token: write"),
        ({"roles": "ci"}, {}, "this is not the ARN of a role: ci"),
        ({"roles": f"{ROLES[DEV]} {ROLES[DEV]}2"}, {}, f"two roles for account {DEV}"),
        ({"roles": "*"}, {}, "this is not the ARN of a role: *"),
        ({"region": ""}, {}, "roles need a region"),
        ({"region": "eu-west-1\n[profile x]"}, {}, "roles need a region"),
        ({}, {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"}, "AWS_ACCESS_KEY_ID is set"),
        ({}, {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "no"}, "401"),
    ],
)
def test_the_action_says_what_is_wrong(
    runner: Runner,
    oidc: OidcServer,
    inputs: dict[str, str],
    variables: dict[str, str],
    said: str,
) -> None:
    runner.variables |= oidc.environment() | variables
    given = {"roles": ROLES[DEV], "region": "eu-west-1"} | inputs
    assert runner.run(skip=(INSTALL,), **given).code != 0
    assert said in runner.log
    assert "AWS_CONFIG_FILE" not in runner.variables
    assert not runner.user.docker_config.exists()


def test_the_action_fails_if_a_pull_would(runner: Runner, aws: Aws, oidc: OidcServer) -> None:
    """AWS knows the token, but lets it assume no role."""
    aws.web_identity_tokens.add(oidc.token)
    runner.variables |= oidc.environment()
    done = runner.run(skip=(INSTALL,), roles=ROLES[DEV], region="eu-west-1")
    assert done.code != 0
    assert "AssumeRoleWithWebIdentity" in done.said
    assert HOST in done.said


def test_the_action_refuses_windows(runner: Runner) -> None:
    runner.variables["RUNNER_OS"] = "Windows"
    assert runner.run().code == 1
    assert "::error::" in runner.log


def test_the_inputs_are_those_of_the_action() -> None:
    inputs = yaml.safe_load((PROJECT / "action.yml").read_text())["inputs"]
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", CI.read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == list(inputs)
    for name, default in rows:
        assert not inputs[name]["default"] or inputs[name]["default"] == default.strip("`"), name


# GitLab


@pytest.mark.usefixtures("images")
def test_gitlab(job: User, aws: Aws, tmp_path: Path) -> None:
    """Its runner has the token in a variable, and runs each line of the script in one shell."""
    [document] = blocks("GitLab", "yaml")
    pull = yaml.safe_load(document)["pull"]
    assert pull["id_tokens"] == {"ECR_TOKEN": {"aud": "sts.amazonaws.com"}}
    aws.allow_role(pull["variables"]["AWS_ROLE_ARN"])
    aws.web_identity_tokens.add("the.gitlab.token")
    token = tmp_path / "token"
    assert pull["variables"]["AWS_WEB_IDENTITY_TOKEN_FILE"].startswith("/tmp/")
    variables = pull["variables"] | {"AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
    said = shell(job, "\n".join(pull["script"]), ECR_TOKEN="the.gitlab.token", **variables)
    assert pulled(said)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


# Docker in docker, BuildKit, kaniko, Testcontainers


@pytest.mark.usefixtures("images")
def test_docker_in_docker(job: User, aws: Aws, engine: Engine) -> None:
    """The daemon is elsewhere: only the client, here, has a helper and AWS credentials."""
    _, set_up, _ = blocks("Set up any job", "sh")
    host, pull = blocks("Docker in docker", "sh")[0].splitlines()
    assert host == "export DOCKER_HOST=tcp://docker:2375"
    job.home.environment |= keys(aws)
    assert pulled(shell(job, f"{set_up}\n{pull}"))
    assert aws.issued[engine.asked[-1].auth["password"]].account == DEV


@pytest.mark.usefixtures("images")
def test_a_config_that_names_a_missing_helper(job: User, docker: str, tmp_path: Path) -> None:
    """What docs/ci.md warns of."""
    job.write_docker_config({"credHelpers": {HOST: "ecr-py"}})
    done = job.run(docker, "pull", image(DEV), fails=True, PATH=str(tmp_path))
    assert "no basic auth credentials" in done.said
    assert "no basic auth credentials" in CI.read_text()


@pytest.fixture
def no_helper(job: User, tmp_path: Path) -> dict[str, str]:
    """Return the variables of a place with neither the helper nor AWS credentials."""
    job.home.write(job.home.path / ".config" / "containers" / "policy.json", POLICY)
    return {"PATH": str(tmp_path), "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("heading", ["Where no helper can run", "kaniko"])
def test_a_config_with_the_token(
    job: User, aws: Aws, docker: str, no_helper: dict[str, str], heading: str
) -> None:
    """The file is good for docker, and for skopeo, which reads it as kaniko does."""
    job.home.environment |= keys(aws)
    write = "\n".join(blocks(heading, "sh")[0].splitlines()[:2])
    assert "--format docker-config > auth/config.json" in write
    shell(job, write)
    auth = job.home.path / "auth"
    assert stat.S_IMODE(auth.stat().st_mode) == 0o700
    assert pulled(job.try_run(docker, "--config", str(auth), "pull", image(DEV), **no_helper))
    skopeo = (need("skopeo"), "inspect", "--authfile", str(auth / "config.json"))
    assert job.try_run(*skopeo, f"docker://{image(DEV)}", **no_helper).code == 0
    if heading != "kaniko":
        pull = blocks(heading, "sh")[0].splitlines()[2]
        assert pulled(shell(job, pull, **no_helper | {"PATH": job.environment["PATH"]}))


@pytest.mark.usefixtures("images")
def test_a_config_with_several_tokens(
    job: User, aws: Aws, front: RegistryFront, docker: str, no_helper: dict[str, str]
) -> None:
    job.home.environment |= keys(aws)
    front.allow(STAGE, DEV)
    shell(job, blocks("Where no helper can run", "sh")[1])
    auth = job.home.path / "auth"
    assert set(json.loads((auth / "config.json").read_text())["auths"]) == {HOST, registry(STAGE)}
    for account in (DEV, STAGE):
        done = job.try_run(docker, "--config", str(auth), "pull", image(account), **no_helper)
        assert pulled(done, account)


@pytest.mark.usefixtures("images")
def test_testcontainers_finds_the_registry_in_the_list(job: User, aws: Aws) -> None:
    """The one for node asks for the list first, and then only about what is in it."""
    job.home.environment |= keys(aws)
    shell(job, lines_of("Testcontainers"))
    assert set(job.home.call("list", environment=job.environment).json) == {f"https://{HOST}"}
