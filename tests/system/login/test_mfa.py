"""A role that wants the code of an MFA device: asked for once, and shared with the AWS CLI."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.home import THREE_ACCOUNTS, registry
from tests.support.other_user import AS_ROOT, OTHER, give
from tests.support.user import User, leftovers
from tests.system.login.test_from_get import answer_of, answers, gets

KEY, USER = "AKIAIOSFODNN7EXAMPLE", "arn:aws:iam::111122223333:user/me"
ACCOUNT = "112233445566"
HOST = registry(ACCOUNT)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/deploy"
SERIAL = "arn:aws:iam::111122223333:mfa/me"
CONFIG = f"""
[profile keys]
region = eu-west-1
[profile deploy]
role_arn = {ROLE}
source_profile = keys
mfa_serial = {SERIAL}
region = eu-west-1
"""
GET = f"echo {HOST} | docker-credential-ecr-py get >out 2>err"
ASKED = rf"MFA code of {SERIAL}: "


@pytest.fixture
def deployer(user: User, aws: Aws) -> User:
    secret = aws.add_key(KEY, USER)
    aws.allow_role(ROLE, SERIAL)
    aws.mfa_codes |= {"111111", "222222"}
    home = user.home
    home.write(home.aws_config, CONFIG)
    keys = f"[keys]\naws_access_key_id = {KEY}\naws_secret_access_key = {secret}\n"
    home.write(home.path / ".aws" / "credentials", keys)
    return user


def cli_cache(user: User) -> list[Path]:
    folder = user.home.path / ".aws" / "cli" / "cache"
    return sorted(folder.iterdir()) if folder.exists() else []


def test_the_code_is_asked_for_once(deployer: User, aws: Aws) -> None:
    user = deployer
    with user.at_terminal(GET) as terminal:
        terminal.wait_for(ASKED)
        terminal.type("111111\n")
        answer = answer_of(user, terminal)
        assert terminal.state == terminal.before
    assert aws.issued[answer.password].account == ACCOUNT
    assert answer.stderr == b""
    # Another region is another credential, but the same role: nobody is asked again.
    with user.at_terminal(GET.replace("eu-west-1", "us-east-1")) as terminal:
        answer = answer_of(user, terminal)
        assert terminal.shown == ""
    assert aws.issued[answer.password].region == "us-east-1"
    assert aws.count("AssumeRole") == 1
    assert leftovers([user.home.path]) == []


def test_it_is_kept_as_the_aws_cli_keeps_it(deployer: User) -> None:
    with deployer.at_terminal(GET) as terminal:
        terminal.wait_for(ASKED)
        terminal.type("111111\n")
        assert terminal.wait() == 0
    [file] = cli_cache(deployer)
    kept = json.loads(file.read_text())
    assert set(kept["Credentials"]) >= {
        "AccessKeyId",
        "SecretAccessKey",
        "SessionToken",
        "Expiration",
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@AS_ROOT
def test_root_keeps_no_role_in_another_users_home(deployer: User, aws: Aws) -> None:
    give(deployer.home.path)
    with deployer.at_terminal(GET) as terminal:
        terminal.wait_for(ASKED)
        terminal.type("111111\n")
        answer = answer_of(deployer, terminal)
    assert aws.issued[answer.password].account == ACCOUNT
    aws_folder = deployer.home.path / ".aws"
    assert not (aws_folder / "cli").exists()
    assert {path.stat().st_uid for path in aws_folder.rglob("*")} == {OTHER}


@pytest.mark.parametrize("obstacle", ["pipe", "folder"])
def test_what_lies_where_a_role_is_kept_is_no_role(deployer: User, aws: Aws, obstacle: str) -> None:
    with deployer.at_terminal(GET) as terminal:
        terminal.wait_for(ASKED)
        terminal.type("111111\n")
        assert terminal.wait() == 0
    [file] = cli_cache(deployer)
    file.unlink()
    os.mkfifo(file) if obstacle == "pipe" else file.mkdir()
    other = deployer.home.get(HOST.replace("eu-west-1", "us-east-1"))
    assert "the user cannot be asked for it here" in other.line


def test_the_aws_cli_does_not_ask_after_us(at_aws: User, deployer: User, cli: str) -> None:
    with deployer.at_terminal(GET) as terminal:
        terminal.wait_for(ASKED)
        terminal.type("111111\n")
        assert terminal.wait() == 0
    done = deployer.try_run(cli, "sts", "get-caller-identity", "--profile", "deploy")
    assert json.loads(done.stdout)["Account"] == ACCOUNT, done
    assert len(cli_cache(deployer)) == 1


def test_we_do_not_ask_after_the_aws_cli(at_aws: User, deployer: User, aws: Aws, cli: str) -> None:
    with deployer.at_terminal(f"{cli} sts get-caller-identity --profile deploy") as terminal:
        terminal.wait_for("Enter MFA code")
        terminal.type("111111\n")
        assert terminal.wait() == 0
    answer = deployer.home.get(HOST)
    assert aws.issued[answer.password].account == ACCOUNT
    assert aws.count("AssumeRole") == 1


def test_without_a_terminal_one_line(deployer: User, aws: Aws) -> None:
    line = deployer.home.get(HOST).line
    for wanted in (SERIAL, HOST, "profile deploy", "the user cannot be asked for it here"):
        assert wanted in line
    assert aws.count("AssumeRole") == 0


@pytest.mark.parametrize(
    "environment", [{"CI": "true"}, {"ECR_PY_LOGIN": "never"}], ids=["CI", "never"]
)
def test_nobody_is_asked_where_that_is_said(deployer: User, environment: dict[str, str]) -> None:
    with deployer.at_terminal(GET, **environment) as terminal:
        answer = answer_of(deployer, terminal)
        assert terminal.shown == ""
    assert SERIAL in answer.line
    # There is a terminal: it is not the reason.
    assert "no terminal" not in answer.line


def test_public_images_ask_for_no_code(deployer: User) -> None:
    script = GET.replace(HOST, "public.ecr.aws")
    with deployer.at_terminal(script, AWS_PROFILE="deploy") as terminal:
        answer = answer_of(deployer, terminal)
        assert terminal.shown == ""
    assert answer.line == "credentials not found in native keychain"


@pytest.mark.parametrize("typed", ["000000", "nonsense"])
def test_a_code_that_is_wrong(deployer: User, typed: str) -> None:
    with deployer.at_terminal(GET) as terminal:
        terminal.wait_for(ASKED)
        terminal.type(f"{typed}\n")
        answer = answer_of(deployer, terminal)
        assert terminal.state == terminal.before
    line = answer.line
    assert "MFA" in line
    assert "sts:AssumeRole" not in line or "code" in line
    assert cli_cache(deployer) == []
    # The next one is asked again.
    with deployer.at_terminal(GET) as terminal:
        terminal.wait_for(ASKED)
        terminal.type("222222\n")
        assert answer_of(deployer, terminal).code == 0


def test_no_code_is_typed(deployer: User) -> None:
    with deployer.at_terminal(GET) as terminal:
        terminal.wait_for(ASKED)
        terminal.type("\n")
        answer = answer_of(deployer, terminal)
    assert "MFA code" in answer.line
    assert HOST in answer.line


def test_ctrl_c(deployer: User) -> None:
    with deployer.at_terminal(GET) as terminal:
        terminal.wait_for(ASKED)
        terminal.type("\x03")
        assert terminal.wait() == 130
        assert terminal.state == terminal.before


def test_many_at_once_ask_once(deployer: User, aws: Aws) -> None:
    with deployer.at_terminal(gets([HOST] * 5)) as terminal:
        terminal.wait_for(ASKED)
        terminal.type("111111\n")
        assert terminal.wait() == 0
        assert terminal.shown.count("MFA code of") == 1
    passwords = {answer.password for answer in answers(deployer, 5)}
    assert len(passwords) == 1
    assert aws.count("AssumeRole") == 1


def test_two_regions_at_once_ask_once(deployer: User, aws: Aws) -> None:
    """Two credentials, one role: a code is good for one use."""
    hosts = [HOST, registry(ACCOUNT, "us-east-1"), registry(ACCOUNT, "eu-north-1")]
    with deployer.at_terminal(gets(hosts)) as terminal:
        terminal.wait_for(ASKED)
        terminal.type("111111\n")
        assert terminal.wait() == 0
        assert terminal.shown.count("MFA code of") == 1
    assert [aws.issued[a.password].region for a in answers(deployer, 3)] == [
        "eu-west-1",
        "us-east-1",
        "eu-north-1",
    ]


def test_by_way_of_a_session_that_has_ended(user: User, aws: Aws) -> None:
    """First the session, then the code: one pull, two questions."""
    aws.allow_role(ROLE, SERIAL)
    aws.mfa_codes.add("111111")
    config = CONFIG.replace("source_profile = keys", "source_profile = dev")
    user.home.write(user.home.aws_config, THREE_ACCOUNTS + config)
    with user.at_terminal(GET) as terminal:
        aws.approve(terminal.wait_for(r"user_code=([A-Z]{4}-[A-Z]{4})")[1])
        terminal.wait_for(ASKED)
        terminal.type("111111\n")
        assert aws.issued[answer_of(user, terminal).password].account == ACCOUNT


def test_a_cache_that_is_damaged_is_replaced(deployer: User, aws: Aws) -> None:
    for code in ("111111", "222222"):
        with deployer.at_terminal(f"{GET.replace('get', 'erase')}; {GET}") as terminal:
            terminal.wait_for(ASKED)
            terminal.type(f"{code}\n")
            assert answer_of(deployer, terminal).code == 0
        [file] = cli_cache(deployer)
        file.write_text("{")
    assert aws.count("AssumeRole") == 2
