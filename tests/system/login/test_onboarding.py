"""ecr-py login --start-url: from the address of a portal to pulls from every account."""

from __future__ import annotations

import configparser
import os
import shutil
import stat

import pytest
from botocore.session import Session

from tests.standin.aws import Aws
from tests.support.home import DEV, PROD, ROLE, STAGE, START_URL, registry
from tests.support.user import Done, User, leftovers

ACCOUNTS = (DEV, STAGE, PROD)
PORTAL = ("--start-url", START_URL, "--sso-region", "eu-west-1")
READER = "ReadOnly"
THEIRS = """\
# mine, do not touch
[default]
region=eu-north-1
cli_pager =

[profile   old]   ; odd, but legal
  aws_access_key_id = AKIAIOSFODNN7EXAMPLE
s3 =
    max_concurrent_requests = 20
\t
"""


@pytest.fixture
def newcomer(user: User, aws: Aws) -> User:
    """No AWS config at all, three accounts at the portal, and Allow is clicked at once."""
    user.home.aws_config.unlink()
    aws.auto_approve = True
    return user


def sections(user: User) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    parser.read_string(user.home.aws_config.read_text())
    return {name: dict(parser[name]) for name in parser.sections()}


def onboards(user: User, *options: str, **environment: str) -> Done:
    done = user.invoke("login", *PORTAL, *options, **environment)
    assert done.code == 0, done
    return done


def test_three_accounts_by_one_command_and_a_pull_works(newcomer: User, aws: Aws) -> None:
    user = newcomer
    done = user.ecr_py("login", *PORTAL, "--all")
    assert done.code == 0, done
    written = sections(user)
    [session] = [name for name in written if name.startswith("sso-session ")]
    assert written[session] == {
        "sso_start_url": START_URL,
        "sso_region": "eu-west-1",
        "sso_registration_scopes": "sso:account:access",
    }
    profiles = {name: values for name, values in written.items() if name != session}
    assert sorted(values["sso_account_id"] for values in profiles.values()) == sorted(ACCOUNTS)
    for name, values in profiles.items():
        assert name.removeprefix("profile ") in done.stdout
        assert values["sso_session"] == session.removeprefix("sso-session ")
        assert values["sso_role_name"] == ROLE
        assert values["region"] == "eu-west-1"
    # Nothing more to type: not even a login.
    logins = aws.count("StartDeviceAuthorization")
    for account in ACCOUNTS:
        assert aws.issued[user.home.get(registry(account)).password].account == account
    assert aws.count("StartDeviceAuthorization") == logins == 1
    for path, mode in ((user.home.aws_config, 0o600), (user.home.aws_config.parent, 0o755)):
        assert stat.S_IMODE(path.stat().st_mode) in (mode, 0o700)


def test_the_aws_clis_own_reader_finds_the_same(newcomer: User) -> None:
    onboards(newcomer, "--all")
    session = Session()
    session.set_config_variable("config_file", str(newcomer.home.aws_config))
    config = session.full_config
    assert len(config["profiles"]) == 3
    assert len(config["sso_sessions"]) == 1


def test_for_a_profile_that_is_still_to_come(newcomer: User, aws: Aws) -> None:
    """As a project's .envrc names it."""
    onboards(newcomer, "--all", AWS_PROFILE="dev")
    assert newcomer.home.get(registry(DEV)).password in aws.issued


def test_a_second_run_adds_nothing(newcomer: User, aws: Aws) -> None:
    onboards(newcomer, "--all")
    before = newcomer.home.aws_config.read_bytes()
    changed = newcomer.home.aws_config.stat().st_mtime_ns
    done = onboards(newcomer, "--all")
    assert newcomer.home.aws_config.read_bytes() == before
    assert newcomer.home.aws_config.stat().st_mtime_ns == changed
    assert "already" in done.stdout
    assert aws.count("StartDeviceAuthorization") == 1


def test_an_account_that_came_later_is_added(newcomer: User, aws: Aws) -> None:
    onboards(newcomer, "--all")
    before = newcomer.home.aws_config.read_bytes()
    aws.assign("112233445566", ROLE)
    onboards(newcomer, "--all")
    after = newcomer.home.aws_config.read_bytes()
    assert after.startswith(before)
    assert after[len(before) :].count(b"[") == 1
    assert b"112233445566" in after[len(before) :]


# What was there stays


@pytest.mark.parametrize(
    ("end", "last"),
    [("\n", ""), ("\r\n", ""), ("\r\n", "[profile z]\nregion = x")],
    ids=["LF", "CRLF", "no newline"],
)
def test_what_was_there_stays_to_the_byte(newcomer: User, end: str, last: str) -> None:
    user, config = newcomer, newcomer.home.aws_config
    before = (THEIRS + last).replace("\n", end).encode()
    config.write_bytes(before)
    config.chmod(0o640)
    onboards(user, "--all")
    after = config.read_bytes()
    assert after.startswith(before)
    added = after[len(before) :]
    assert added.count(b"\n") == added.count(end.encode())
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    backup = config.with_name("config.bak")
    assert backup.read_bytes() == before
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert leftovers([config.parent]) == []
    assert user.home.get(registry(PROD)).code == 0


def test_a_config_that_is_a_link_stays_one(newcomer: User) -> None:
    """As people have it who keep their dotfiles elsewhere."""
    user, config = newcomer, newcomer.home.aws_config
    target = user.home.write(user.home.path / "dotfiles" / "aws-config", THEIRS)
    config.symlink_to(os.path.relpath(target, config.parent))
    onboards(user, "--all")
    assert config.is_symlink()
    assert target.read_text().startswith(THEIRS)
    assert START_URL in target.read_text()


def test_a_config_elsewhere(newcomer: User) -> None:
    file = newcomer.home.path / "elsewhere" / "config"
    onboards(newcomer, "--all", AWS_CONFIG_FILE=str(file))
    assert START_URL in file.read_text()
    assert not newcomer.home.aws_config.exists()


def test_no_folder_at_all(newcomer: User) -> None:
    shutil.rmtree(newcomer.home.aws_config.parent)
    onboards(newcomer, "--all")
    assert stat.S_IMODE(newcomer.home.aws_config.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(newcomer.home.aws_config.stat().st_mode) == 0o600


def test_profiles_for_the_same_accounts_are_kept(user: User, aws: Aws) -> None:
    """Seed 001's config by hand: the three are there already, by start URL."""
    aws.auto_approve = True
    before = user.home.aws_config.read_text()
    done = onboards(user, "--all")
    assert "already" in done.stdout or user.home.aws_config.read_text().startswith(before)
    assert "[profile" not in user.home.aws_config.read_text()[len(before) :]


def test_a_name_that_is_taken_is_not_taken_again(newcomer: User) -> None:
    config = newcomer.home.aws_config
    config.write_text(f"[profile account-{DEV}]\nregion = eu-north-1\n")
    onboards(newcomer, "--all")
    written = sections(newcomer)
    assert written[f"profile account-{DEV}"] == {"region": "eu-north-1"}
    assert sum(values.get("sso_account_id") == DEV for values in written.values()) == 1
    assert newcomer.home.get(registry(DEV)).code == 0


def test_a_session_of_that_name_that_is_another_portals(newcomer: User) -> None:
    name = "teliacompany"
    other = f"[sso-session {name}]\nsso_start_url = https://x.awsapps.com/start\n"
    newcomer.home.write(newcomer.home.aws_config, f"{other}sso_region = eu-west-1\n")
    line = newcomer.invoke("login", *PORTAL, "--all").line
    assert "--session" in line
    onboards(newcomer, "--all", "--session", "mine")
    assert sections(newcomer)["sso-session mine"]["sso_start_url"] == START_URL


# Choosing


def test_a_dry_run_writes_nothing_but_says_what(newcomer: User, aws: Aws) -> None:
    config = newcomer.home.aws_config
    config.write_text(THEIRS)
    done = onboards(newcomer, "--all", "--dry-run")
    assert config.read_text() == THEIRS
    assert not config.with_name("config.bak").exists()
    assert done.stdout.startswith("[sso-session ")
    assert done.stdout.count("[profile ") == 3
    onboards(newcomer, "--all")
    assert config.read_text().endswith(done.stdout)


def test_one_role_of_several(newcomer: User, aws: Aws) -> None:
    aws.assign(DEV, READER)
    aws.assign(PROD, READER)
    onboards(newcomer, "--role", READER, "--region", "eu-north-1")
    profiles = [values for values in sections(newcomer).values() if "sso_account_id" in values]
    assert [values["sso_account_id"] for values in profiles] == [DEV, PROD]
    assert {values["sso_role_name"] for values in profiles} == {READER}
    assert {values["region"] for values in profiles} == {"eu-north-1"}


def test_every_role_of_an_account_gets_a_name_of_its_own(newcomer: User, aws: Aws) -> None:
    aws.assign(DEV, READER)
    onboards(newcomer, "--all")
    names = [name for name, values in sections(newcomer).items() if values.get("sso_account_id")]
    assert len(set(names)) == 4
    assert any(ROLE in name for name in names)
    assert any(READER in name for name in names)


def test_a_role_that_nobody_has_brings_those_there_are(newcomer: User) -> None:
    done = newcomer.invoke("login", *PORTAL, "--role", "Administratr")
    assert done.code == 1
    assert f"you have {ROLE}" in done.stderr
    assert not newcomer.home.aws_config.exists()


CHOOSE = f"ecr-py login --start-url {START_URL} --sso-region eu-west-1"
PICKER = "Tab chooses a row"


def chosen(user: User) -> list[tuple[str, str]]:
    return [
        (values["sso_account_id"], values["sso_role_name"])
        for values in sections(user).values()
        if "sso_account_id" in values
    ]


def test_choosing_at_the_terminal(newcomer: User) -> None:
    with newcomer.at_terminal(CHOOSE) as terminal:
        terminal.wait_for(PICKER)
        terminal.type(f"{DEV}\t\x15{PROD[:6]}\t\r")  # Ctrl-U empties the filter
        assert terminal.wait() == 0
        assert terminal.state == terminal.before
    assert chosen(newcomer) == [(DEV, ROLE), (PROD, ROLE)]


def test_a_thousand_roles(newcomer: User, aws: Aws) -> None:
    roles = (ROLE, READER, "Billing", "Auditor", "Developer")
    for number in range(200):
        account = f"{300000000000 + number}"
        aws.account_names[account] = f"team-{number:03}"
        for role in roles:
            aws.assign(account, role)
    with newcomer.at_terminal(CHOOSE) as terminal:
        terminal.wait_for(r"none chosen of 1,003", seconds=60)
        terminal.type("team-04 read\x01\r")  # Ctrl-A: all that are shown
        assert terminal.wait() == 0
    assert chosen(newcomer) == [(f"{300000000040 + number}", READER) for number in range(10)]


def test_a_dumb_terminal_has_a_list(newcomer: User) -> None:
    with newcomer.at_terminal(CHOOSE, TERM="dumb") as terminal:
        terminal.wait_for(rf"1 +{DEV}.*{ROLE}\n +2 +{STAGE}(.|\n)*Which")
        terminal.type("\n9\n")  # there is no default
        terminal.wait_for("1 to 3")
        terminal.type("1, 3\n")
        assert terminal.wait() == 0
    assert [account for account, _ in chosen(newcomer)] == [DEV, PROD]


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_giving_up_at_the_choice_writes_nothing(newcomer: User, term: str) -> None:
    with newcomer.at_terminal(CHOOSE, TERM=term) as terminal:
        terminal.wait_for(PICKER if term == "xterm" else "Which")
        terminal.type("\x03")
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.shown
        assert "ecr-py: cancelled" in terminal.shown
        assert terminal.state == terminal.before
    assert not newcomer.home.aws_config.exists()


def test_without_a_terminal_it_says_how_to_choose(newcomer: User, aws: Aws) -> None:
    done = newcomer.invoke("login", *PORTAL)
    assert done.code != 0
    assert "--all" in done.stderr
    assert "--role" in done.stderr
    assert not newcomer.home.aws_config.exists()


def test_a_person_without_any_account(newcomer: User, aws: Aws) -> None:
    aws.assigned.clear()
    done = newcomer.invoke("login", *PORTAL, "--all")
    assert done.code == 1
    assert "no account" in done.stderr.splitlines()[-1]
    assert not newcomer.home.aws_config.exists()


def test_hundreds_of_accounts(newcomer: User, aws: Aws) -> None:
    """The portal answers in pages."""
    aws.page_size = 7
    for number in range(20):
        aws.assign(f"{100000000000 + number}", ROLE)
    onboards(newcomer, "--all")
    assert len([v for v in sections(newcomer).values() if "sso_account_id" in v]) == 23


def test_names_from_the_portal_are_made_harmless(newcomer: User, aws: Aws) -> None:
    """An account's name may hold anything; a section's heading and a command line may not."""
    accounts = [
        {"accountId": DEV, "accountName": "Dev ]\n[profile default", "emailAddress": "x"},
        {"accountId": STAGE, "accountName": "Größe & Co", "emailAddress": "x"},
        {"accountId": PROD, "accountName": "", "emailAddress": "x"},
    ]
    aws.fault("ListAccounts", "answer", document={"accountList": accounts})
    onboards(newcomer, "--all")
    names = [name.removeprefix("profile ") for name in sections(newcomer)]
    assert "default" not in names
    assert len(names) == 4
    for name in names[1:]:
        assert name.removeprefix("sso-session ").replace("-", "").replace("_", "").isalnum()
        assert name.isascii()
    for account in ACCOUNTS:
        assert newcomer.home.get(registry(account)).code == 0


# What is not a portal


@pytest.mark.parametrize(
    "url",
    [
        "http://example.awsapps.com/start",
        "https://",
        "https://user:password@example.com/start",
        "https://example.com/start\n[profile evil]\ncredential_process = x",
        "",
    ],
)
def test_a_start_url_that_is_none(newcomer: User, aws: Aws, url: str) -> None:
    done = newcomer.invoke("login", "--start-url", url, "--sso-region", "eu-west-1", "--all")
    assert done.code in (1, 2)
    assert "Traceback" not in done.stderr
    assert "password" not in done.stderr
    assert aws.calls == []
    assert not newcomer.home.aws_config.exists()


def test_a_region_that_is_none(newcomer: User, aws: Aws) -> None:
    options = ("--start-url", START_URL, "--sso-region", "eu-wst-1", "--all")
    line = newcomer.invoke("login", *options).line
    assert "eu-wst-1" in line
    assert "nearest: eu-west-1" in line
    assert aws.calls == []


def test_a_registry_region_that_is_none(newcomer: User, aws: Aws) -> None:
    """It would be written into every profile."""
    done = newcomer.invoke("login", *PORTAL, "--all", "--region", "eu-wst-1")
    assert done.code != 0
    assert "eu-wst-1" in done.stderr
    done = newcomer.invoke("login", *PORTAL, "--all", "--region", "x\ncredential_process = y")
    assert done.code != 0
    assert not newcomer.home.aws_config.exists()


@pytest.mark.parametrize("name", ["a b", "a]", "é", "a\nb"])
def test_a_session_name_that_is_none(newcomer: User, name: str) -> None:
    done = newcomer.invoke("login", *PORTAL, "--all", "--session", name)
    assert done.code in (1, 2)
    assert "Traceback" not in done.stderr
    assert not newcomer.home.aws_config.exists()


def test_a_portal_that_answers_html(newcomer: User, aws: Aws) -> None:
    aws.fault("ListAccounts", "garbage")
    done = newcomer.invoke("login", *PORTAL, "--all")
    assert done.code == 1
    assert "Traceback" not in done.stderr
    assert not newcomer.home.aws_config.exists()


def test_a_config_that_cannot_be_written(newcomer: User) -> None:
    newcomer.home.aws_config.mkdir()
    done = newcomer.invoke("login", *PORTAL, "--all")
    assert done.code == 1
    assert "Traceback" not in done.stderr
    assert str(newcomer.home.aws_config) in done.stderr
