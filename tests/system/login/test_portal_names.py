"""Names from the portal are input: the config gets the profiles that were meant, and no more."""

from __future__ import annotations

import configparser
import os
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docker_credential_ecr_py.cli.onboarding import append, sections
from docker_credential_ecr_py.config.aws_config import AwsConfig, load_aws_config
from docker_credential_ecr_py.errors import BadAnswer
from docker_credential_ecr_py.selection import DEFAULT_SCOPE, SsoSession
from docker_credential_ecr_py.sso.portal import Assignment, assignments
from tests.standin.aws import Aws
from tests.support.home import DEV, PROD, ROLE, STAGE, START_URL, registry
from tests.support.user import Done, User

PORTAL = ("--start-url", START_URL, "--sso-region", "eu-west-1")
SESSION = SsoSession(START_URL, "eu-west-1", "telia", "", (DEFAULT_SCOPE,))
THE_ATTACK = "Admin\n[profile x]\ncredential_process = touch /tmp/owned"
THEIRS = "[default]\nregion = eu-north-1\n[profile mine]\ncredential_process = x\n"


@pytest.fixture
def newcomer(user: User, aws: Aws) -> User:
    """A config of theirs, and Allow is clicked at once."""
    user.home.aws_config.write_text(THEIRS)
    aws.auto_approve = True
    return user


def answers(
    aws: Aws, *accounts: tuple[object, object], roles: tuple[object, ...] = (ROLE,)
) -> None:
    """What the portal says: accounts by ID and name, and the roles in each."""
    listed = [{"accountId": number, "accountName": name} for number, name in accounts]
    aws.fault("ListAccounts", "answer", document={"accountList": listed})
    of_each = [{"roleName": role, "accountId": DEV} for role in roles]
    aws.fault("ListAccountRoles", "answer", document={"roleList": of_each})


def written(user: User) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    parser.read_string(user.home.aws_config.read_text())
    return {name: dict(parser[name]) for name in parser.sections()}


# What AWS would not give


@pytest.mark.parametrize(
    "role",
    [
        THE_ATTACK,
        "Admin\r[profile x]",
        "Admin\u2028x",
        "Admin\x1b]0;owned\x07",
        "Admin ",
        "",
        "A" * 65,
        "A/B",
        "Ädmin",
        "\u0661",
        "$(id)",
        7,
        ["Admin"],
        {"a": 1},
    ],
    ids=ascii,
)
def test_a_role_that_cannot_be_one(newcomer: User, aws: Aws, role: object) -> None:
    answers(aws, (DEV, "dev"), roles=(role,))
    assert_refused(newcomer, newcomer.ecr_py("login", *PORTAL, "--all"))


@pytest.mark.parametrize(
    "account",
    [
        f"{DEV}\n[profile x]",
        f"{DEV}\n",
        DEV[:-1],
        DEV + "0",
        "",
        int(DEV),
        "\u0661" * 12,
        "../../../etc",
        "64297614771\x1b",
        ["642976147714"],
    ],
    ids=ascii,
)
def test_an_account_that_cannot_be_one(newcomer: User, aws: Aws, account: object) -> None:
    answers(aws, (account, "dev"))
    assert_refused(newcomer, newcomer.ecr_py("login", *PORTAL, "--all"))


def assert_refused(user: User, done: Done) -> None:
    last = done.stderr.splitlines()[-1]
    assert done.code == 1, done
    assert "which cannot be an AWS" in last
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert done.stdout == ""
    assert user.home.aws_config.read_text() == THEIRS


@pytest.mark.parametrize(
    "document",
    [[], 7, "x", None, {"accountList": 7}, {"accountList": [7]}, {"accountList": [{}]}],
    ids=str,
)
@pytest.mark.parametrize("operation", ["ListAccounts", "RegisterClient", "CreateToken"])
def test_an_answer_of_another_shape(
    newcomer: User, aws: Aws, operation: str, document: Any
) -> None:
    aws.fault(operation, "answer", document=document)
    done = newcomer.invoke("login", *PORTAL, "--all")
    assert done.code == 1
    assert "cannot be read" in done.stderr.splitlines()[-1]
    assert newcomer.home.aws_config.read_text() == THEIRS


def test_a_list_without_an_end(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at_portal: str
) -> None:
    """Each page names another that follows."""
    pages = iter(range(10**9))

    class Endless:
        def get_paginator(self, operation: str) -> Endless:
            return self

        def paginate(self, **given: str) -> Iterator[dict[str, Any]]:
            return ({"accountList": []} for _ in pages)

    monkeypatch.setattr(
        "docker_credential_ecr_py.sso.portal.unsigned_client", lambda *given: Endless()
    )
    with pytest.raises(BadAnswer, match="is too long"):
        assignments(SESSION, "token")


# Names that AWS would give, and the profiles that come of them


def test_a_profile_is_never_called_default(newcomer: User, aws: Aws) -> None:
    """Every command that names no profile would use it."""
    answers(aws, (DEV, "Default"), (STAGE, "default"), (PROD, " default "))
    done = newcomer.invoke("login", *PORTAL, "--all")
    assert done.code == 0, done
    found = written(newcomer)
    assert found["default"] == {"region": "eu-north-1"}
    assert "profile default" not in found
    assert {values.get("sso_account_id") for values in found.values()} >= {DEV, STAGE, PROD}
    for account in (DEV, STAGE, PROD):
        assert newcomer.home.get(registry(account)).code == 0


def test_without_a_config_neither(newcomer: User, aws: Aws) -> None:
    newcomer.home.aws_config.unlink()
    answers(aws, (DEV, "default"))
    assert newcomer.invoke("login", *PORTAL, "--all").code == 0
    assert sorted(written(newcomer)) == [f"profile default-{DEV}", "sso-session teliacompany"]


@pytest.mark.parametrize(
    "name", ["x" * 51, "Dev ]\n[profile evil", "\x1b[2J", "\u202eved", "a\u200bb", 7, None, ""]
)
def test_an_account_name_that_aws_does_not_allow(newcomer: User, aws: Aws, name: object) -> None:
    """Its number will do: the account is real."""
    answers(aws, (DEV, name))
    done = newcomer.invoke("login", *PORTAL, "--all")
    assert done.code == 0, done
    assert f"profile {DEV}" in written(newcomer)
    assert done.stdout.isascii()


def test_a_name_that_is_taken_three_times_over(newcomer: User, aws: Aws) -> None:
    taken = "".join(
        f"[profile {name}]\nregion = eu-north-1\n"
        for name in ("dev", f"dev-{DEV}", f"dev-{DEV}-{ROLE}", f"dev-{DEV}-{ROLE}-2")
    )
    newcomer.home.aws_config.write_text(taken)
    answers(aws, (DEV, "dev"))
    assert newcomer.invoke("login", *PORTAL, "--all").code == 0
    found = written(newcomer)
    assert found[f"profile dev-{DEV}-{ROLE}-3"]["sso_account_id"] == DEV
    assert found["profile dev"] == {"region": "eu-north-1"}


# Whatever the portal answers

ACCOUNTS = st.one_of(
    st.text(string.digits, min_size=12, max_size=12), st.sampled_from([DEV, STAGE, "\n", 7])
)
PIECES = ["default", "dev", "Admin", "\n[profile x]\n", "credential_process = x", "]", "[", "#"]
NAMES = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=4).map("".join),
    st.sampled_from([None, 7, "default", "a b", "a\r\nb", "é", "x" * 50]),
)
ROLES = st.one_of(
    st.text(string.ascii_letters + string.digits + "_+=,.@-", min_size=1, max_size=64),
    st.sampled_from([ROLE, THE_ATTACK, "default", "=", "..", "-"]),
    st.text(max_size=70),
)
SECTIONS = st.lists(
    st.sampled_from(
        [
            "[default]\nregion = eu-north-1\n",
            "[profile dev]\ncredential_process = x\n",
            f"[profile {DEV}]\nregion = x\n",
            f"[profile dev-{DEV}]\nregion = x\n",
            "# a comment\n",
            "[sso-session telia]\nsso_start_url = https://x.awsapps.com/start\nsso_region = x\n",
        ]
    ),
    max_size=6,
).map("".join)
# With and without an end of the last line.
CONFIGS = st.one_of(SECTIONS, SECTIONS.map(str.rstrip))


@pytest.fixture
def at_portal(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An access token that the portal takes."""
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    file = aws.write_sso_token(tmp_path, START_URL)
    (token,) = aws.access_tokens
    assert token in file.read_text()
    return token


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    accounts=st.lists(st.tuples(ACCOUNTS, NAMES), max_size=4),
    roles=st.lists(ROLES, max_size=3),
    before=CONFIGS,
)
def test_the_config_has_what_was_meant_and_no_more(
    aws: Aws,
    at_portal: str,
    tmp_path: Path,
    accounts: list[tuple[object, object]],
    roles: list[object],
    before: str,
) -> None:
    aws.clear_faults()
    answers(aws, *accounts, roles=tuple(roles))
    config = tmp_path / "config"
    config.write_text(before)
    had = load(config)
    try:
        offered = assignments(SESSION, at_portal)
    except BadAnswer:
        return
    assert_by_the_rules(offered)
    if not offered:
        return  # onboard says so, and writes nothing
    added = sections(SESSION, offered, offered, "eu-west-1", had)
    append(config, added)
    assert config.read_text().startswith(before)
    has = load(config)
    assert {name: has.profiles[name] for name in had.profiles} == had.profiles
    new = {name: values for name, values in has.profiles.items() if name not in had.profiles}
    assert "default" not in new
    expected = {
        (one.account, one.role): {
            "sso_session": "telia",
            "sso_account_id": one.account,
            "sso_role_name": one.role,
            "region": "eu-west-1",
        }
        for one in offered
    }
    found = [sorted(values.items()) for values in new.values()]
    assert sorted(found) == sorted(sorted(values.items()) for values in expected.values())
    sessions: Mapping[str, Mapping[str, str]] = {
        "telia": {
            "sso_start_url": START_URL,
            "sso_region": "eu-west-1",
            "sso_registration_scopes": DEFAULT_SCOPE,
        }
    }
    assert has.sso_sessions == (had.sso_sessions or sessions)


def load(config: Path) -> AwsConfig:
    return load_aws_config(config, config.with_name("credentials"))


def assert_by_the_rules(offered: list[Assignment]) -> None:
    for one in offered:
        assert len(one.account) == 12
        assert one.account.isascii()
        assert one.account.isdigit()
        assert 1 <= len(one.role) <= 64
        assert not set(one.role) - set(string.ascii_letters + string.digits + "_+=,.@-")
        assert one.account_name.isprintable()
        assert len(one.account_name) <= 50
    assert len({(one.account, one.role) for one in offered}) == len(offered)


def test_the_attack_does_not_run(newcomer: User, aws: Aws, tmp_path: Path) -> None:
    """A role's name that was a profile of its own, with a command to run."""
    owned = tmp_path / "owned"
    role = f"Admin\n[profile x]\ncredential_process = touch {owned}"
    answers(aws, (DEV, "dev"), roles=(role,))
    assert newcomer.invoke("login", *PORTAL, "--all").code == 1
    newcomer.home.get(registry(DEV), AWS_PROFILE="x")
    assert not os.path.exists(owned)
