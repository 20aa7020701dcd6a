"""ecr-py status: what is live, as the files say; with --check, as AWS and the registries do."""

from __future__ import annotations

import json
import os
import re
import stat
from typing import Any

import pytest

from tests.standin.aws import Aws
from tests.standin.registry import RegistryFront
from tests.support.home import DEV, PROD, STAGE, START_URL, registry
from tests.support.user import ECR_PY, SESSION, User, eventually

HOST = registry(DEV)
ELSEWHERE = registry("112233445566")
ACCOUNT_OF_B = "sso_account_id = 112233445566\nsso_role_name = r\nregion = eu-west-1\n"


def as_json(user: User, **environment: str) -> dict[str, dict[str, Any]]:
    """The rows, by registry."""
    done = user.invoke("status", "--json", **environment)
    assert done.code == 0, done
    assert done.stderr == ""
    return {row["registry"]: row for row in json.loads(done.stdout)["registries"]}


def rows(shown: str) -> dict[str, str]:
    """The lines of the table by their first word."""
    return {line.split()[0]: line for line in shown.partition("\n\n")[0].splitlines()}


# What is told


def test_a_registry_for_each_account(user: User, aws: Aws) -> None:
    found = as_json(user)
    assert list(found) == [registry(account) for account in (DEV, STAGE, PROD)]
    row = found[HOST]
    assert (row["account"], row["region"]) == (DEV, "eu-west-1")
    assert (row["profile"], row["chosenBy"]) == ("dev", "account")
    assert (row["token"], row["error"]) == (None, None)
    assert (row["needsLogin"], row["docker"]) == (False, False)
    assert row["session"]["state"] == "alive"
    assert row["session"]["startUrl"] == START_URL
    assert aws.calls == []


def test_the_registries_that_are_named(user: User) -> None:
    table = rows(user.invoke_ok("status", "dev", PROD).stdout)
    assert list(table) == ["REGISTRY", HOST, registry(PROD)]
    elsewhere = registry(DEV, "us-east-1")  # no profile is there
    assert list(rows(user.invoke_ok("status", elsewhere).stdout)) == ["REGISTRY", elsewhere]
    assert "nearest: dev" in user.invoke("status", "dve").line


def test_the_end_of_a_session_that_renews(user: User) -> None:
    user.use_session_profiles()
    with user.at_terminal("ecr-py login --no-browser") as terminal:
        code = terminal.wait_for(r"[A-Z]{4}-[A-Z]{4}")[0]
        user.aws.approve(code)
        assert terminal.wait() == 0
    row = rows(user.invoke_ok("status", "dev").stdout)[HOST]
    assert re.search(r"\d+h\d\dm, renews$|\d+m, renews$", row.rstrip()), row


def test_a_kept_token_and_how_long_it_lasts(user: User, aws: Aws) -> None:
    user.home.get(HOST)
    aws.reset_calls()
    token = as_json(user)[HOST]["token"]
    assert token["state"] == "fresh"
    table = rows(user.invoke("status").stdout)
    assert "██████ 11h59m" in table[HOST]
    assert table[HOST].rstrip().endswith(("7h59m", "8h00m"))
    assert "░░░░░░ none" in table[registry(STAGE)]
    assert aws.calls == []


def test_one_token_is_every_registrys_of_its_identity(user: User) -> None:
    """Though docker never asked for the other one."""
    alias = f'[registries."images.corp.se"]\nalias = "{HOST}"\n'
    user.home.write(user.home.settings, alias)
    user.home.get(HOST)
    found = as_json(user)
    assert found["images.corp.se"]["token"] == found[HOST]["token"] is not None


def test_a_password_of_docker_login(user: User, aws: Aws) -> None:
    secret = user.home.get(HOST).password
    document = {"ServerURL": registry(STAGE), "Username": "AWS", "Secret": secret}
    assert user.home.call("store", stdin=json.dumps(document).encode()).code == 0
    user.end_session()
    found = as_json(user)[registry(STAGE)]
    assert found["token"] is not None
    assert found["needsLogin"] is False


def test_an_ended_session_is_marked(user: User, aws: Aws) -> None:
    user.home.get(HOST)
    aws.write_sso_token(user.home.path, START_URL, lifetime=-60)
    done = user.invoke("status")
    assert done.code == 0
    table = rows(done.stdout)
    assert "ended" in table[HOST]  # what is kept is still answered
    assert "log in" in table[registry(STAGE)]
    assert "run `ecr-py login stage`" in done.stdout  # once, for both: it is one session
    assert [row["needsLogin"] for row in as_json(user).values()] == [False, True, True]


def test_no_session_ends_what_it_brought(user: User) -> None:
    user.home.get(HOST)
    user.end_session()
    found = as_json(user)[HOST]
    assert found["token"] is None
    assert found["needsLogin"] is True
    assert found["session"]["expiresAt"] is None


def test_a_session_that_the_next_pull_refreshes_needs_nobody(user: User, aws: Aws) -> None:
    user.use_session_profiles()
    lived = {"session": SESSION, "lifetime": -60.0, "refresh": True}
    aws.write_sso_token(user.home.path, START_URL, **lived)  # type: ignore[arg-type]
    row = as_json(user)[HOST]
    assert row["session"]["state"] == "refreshes"
    assert row["session"]["name"] == SESSION
    assert row["needsLogin"] is False


def test_keys_have_no_session(user: User) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "x" * 40}
    row = as_json(user, **keys)[HOST]
    assert row["chosenBy"] == "environment"
    assert row["session"] is None
    assert row["profile"] is None


def test_the_store(user: User) -> None:
    def store(**environment: str) -> dict[str, str]:
        done = user.invoke("status", "--json", **environment)
        found: dict[str, str] = json.loads(done.stdout)["store"]
        return found

    assert store() == {"kind": "file", "path": str(user.home.cache), "problem": None}
    assert store(AWS_ECR_DISABLE_CACHE="1") == {"kind": "none", "path": None, "problem": None}
    if os.path.isdir("/proc"):  # the folder is not there, and cannot be made
        assert "/proc" in store(XDG_CACHE_HOME="/proc/cache")["problem"]


# Docker's config


def docker(user: User, config: object) -> None:
    user.home.write(user.home.path / ".docker" / "config.json", json.dumps(config))


def test_what_docker_asks_us_for(user: User) -> None:
    docker(user, {"credHelpers": {HOST: "ecr-py", registry(STAGE): "ecr-login"}})
    found = as_json(user)
    assert [row["docker"] for row in found.values()] == [True, False, False]
    hint = "for 1 of 3 registries: run `ecr-py configure --replace ecr-login`, `ecr-py configure`"
    assert hint in user.invoke("status").stdout
    docker(user, {"credsStore": "ecr-py", "credHelpers": {registry(STAGE): "ecr-login"}})
    assert [row["docker"] for row in as_json(user).values()] == [True, False, True]


def test_hosts_that_nobody_answers_for(user: User) -> None:
    hosts = (ELSEWHERE, "docker.io", "public.ecr.aws", HOST)
    docker(user, {"credHelpers": dict.fromkeys(hosts, "ecr-py")})
    found = as_json(user)
    assert "no AWS profile" in found[ELSEWHERE]["error"]
    assert found["public.ecr.aws"]["error"] is None  # anybody may pull there
    assert "docker.io" not in found
    done = user.invoke("status")
    assert done.code == 0
    assert f"(registry {ELSEWHERE})" in done.stdout
    assert "docker.io, which is not an ECR registry" in done.stdout
    # Those of the registries that are not asked for are no others.
    assert user.invoke("status", "dev").stdout.count("which is not") == 1


def test_a_docker_config_that_is_none_is_one_line(user: User) -> None:
    user.home.write(user.home.path / ".docker" / "config.json", "{")
    done = user.invoke("status")
    assert (done.code, done.stderr.count("\n")) == (1, 1)
    assert "not JSON" in done.stderr


def test_names_in_brackets_are_shown_as_they_are(user: User) -> None:
    """What would be rich's markup for bold, or the end of it, is a name."""
    config = user.home.aws_config
    named = config.read_text().replace("[profile dev]", '[profile "x[/y]"]')
    config.write_text(f"{named}\n[profile b]\nsso_session = bold\n{ACCOUNT_OF_B}")
    docker(user, {"credHelpers": {ELSEWHERE: "ecr-py"}})
    user.ecr_py("token", HOST)
    done = user.invoke("status")
    assert "x[/y]" in rows(done.stdout)[HOST]
    assert "[sso-session bold]" in done.stdout
    with user.at_terminal("ecr-py status; ecr-py cache ls; ecr-py configure") as terminal:
        assert terminal.wait() == 0
        assert terminal.shown.count("x[/y]") == 3
        assert "[sso-session bold]" in terminal.shown


def test_nothing_at_all(user: User) -> None:
    user.home.aws_config.unlink()
    done = user.invoke("status")
    assert done.code == 0
    assert "ecr-py login --start-url" in done.stdout
    assert as_json(user) == {}


def test_it_writes_nothing(user: User) -> None:
    user.invoke("status")
    assert not user.home.cache.exists()
    assert stat.S_IMODE(user.home.log.stat().st_mode) == 0o600


# How it looks


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_no_row_is_folded(user: User, columns: int) -> None:
    user.home.get(HOST)
    with user.at_terminal(f"stty cols {columns}; ecr-py status", NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        table = rows(re.sub(r"\x1b\[[12]?m|\x1b\[0m", "", terminal.shown))
    assert "\x1b" not in "".join(table.values())  # bold and dim are no colours
    assert len(table) == 4
    for account, profile in ((DEV, "dev"), (STAGE, "stage"), (PROD, "prod")):
        [line] = [line for start, line in table.items() if start.startswith(account)]
        assert len(line.rstrip()) <= columns
        assert f" {profile} " in line


@pytest.mark.parametrize("columns", [60, 80])
def test_no_word_below_the_table_is_broken(user: User, columns: int) -> None:
    user.home.aws_config.write_text("")
    user.write_docker_config({"credHelpers": {HOST: "ecr-py"}})
    with user.at_terminal(f"stty cols {columns}; ecr-py status", NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        _, notes = terminal.shown.split("\n\n")
    for line in notes.splitlines():
        assert len(line) <= columns or " " not in line.strip() or line.strip().startswith("`")


def test_colour_is_for_a_terminal(user: User) -> None:
    with user.at_terminal("ecr-py status") as terminal:
        assert terminal.wait() == 0
        assert "\x1b[" in terminal.shown
    assert "\x1b" not in user.invoke("status").stdout


def test_nothing_slow_is_imported(user: User) -> None:
    done = user.ecr_py("status", PYTHONPROFILEIMPORTTIME="1")
    assert "rich.console" in done.stderr
    for slow in ("botocore", "boto3", "keyring", "urllib.request", "ssl", "segno"):
        assert f" {slow}\n" not in done.stderr


def test_a_thousand_profiles(user: User) -> None:
    profiles = (
        f"[profile p{number}]\nsso_account_id = {number:012}\nsso_role_name = r\n"
        f"sso_start_url = {START_URL}\nsso_region = eu-west-1\nregion = eu-west-1\n"
        for number in range(1000)
    )
    user.home.aws_config.write_text("".join(profiles))
    assert len(as_json(user)) == 1000


# --check


@pytest.fixture
def at_desk(docker_user: User) -> User:
    docker_user.docker_config.unlink()
    return docker_user


def test_check_asks_aws_and_the_registries(at_desk: User, front: RegistryFront) -> None:
    done = at_desk.run(str(ECR_PY), "status", "--check")
    assert done.stdout.count("11h59m") == 3
    assert {(request.host, request.status) for request in front.requests} == {
        (registry(account), 200) for account in (DEV, STAGE, PROD)
    }


def test_check_with_variables_that_are_empty(at_desk: User, front: RegistryFront) -> None:
    """As unset. Several threads ask AWS, and all of them read the environment."""
    names = ["AWS_PROFILE", *(f"AWS_ENDPOINT_URL_{number}" for number in range(50))]
    empty: dict[str, Any] = dict.fromkeys(names, "")
    done = at_desk.run(str(ECR_PY), "status", "--check", **empty)
    assert done.stdout.count("11h59m") == 3


@pytest.mark.parametrize("command", ["status --check", "doctor --deep"])
def test_ctrl_c_ends_it_though_aws_is_silent(user: User, aws: Aws, command: str) -> None:
    aws.fault("GetAuthorizationToken", "hang")
    with user.at_terminal(f"ecr-py {command}") as terminal:
        eventually(lambda: aws.count("GetAuthorizationToken"))
        terminal.wait_for(r"(registries|tokens)\.\.\.")
        terminal.type("\x03")
        assert terminal.wait() == 130
        assert "ecr-py: cancelled\n" in terminal.shown
        assert "Traceback" not in terminal.shown
        assert terminal.state == terminal.before
    assert aws.count("GetAuthorizationToken") <= 3  # whoever waits for an end sees it tried again


def test_check_counts_at_a_terminal(user: User, aws: Aws) -> None:
    aws.fault("GetAuthorizationToken", "delay", seconds=1)
    with user.at_terminal("ecr-py status --check; ecr-py doctor --deep") as terminal:
        terminal.wait_for("registries: [123]")
        terminal.wait_for("tokens: [123]")
        terminal.wait()


def test_check_finds_a_token_that_the_registry_no_longer_takes(at_desk: User, aws: Aws) -> None:
    at_desk.run(str(ECR_PY), "token", "dev")
    aws.issued.clear()
    done = at_desk.run(str(ECR_PY), "status", "--check", fails=True)
    assert done.code == 1
    assert f"rejected its token (status 400) (registry {HOST})" in done.stdout


def test_check_logs_in_nowhere(at_desk: User, aws: Aws) -> None:
    aws.end_session()
    done = at_desk.run(str(ECR_PY), "status", "--check", fails=True, BROWSER="touch browser-%s")
    assert done.code == 3
    assert done.stdout.count("log in") == 4
    assert "run `ecr-py login dev`" in done.stdout
    assert aws.count("StartDeviceAuthorization") == 0
