"""ecr-py login: whose session, by which grant, at what cost, and what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import time

import pytest

from tests.standin.aws import Aws
from tests.support.home import DEV, PROD, ROLE, START_URL, registry
from tests.support.user import SESSION, User, eventually, leftovers, visit

SECOND_URL = "https://second.awsapps.com/start"
SECOND = f"""
[sso-session second]
sso_start_url = {SECOND_URL}
sso_region = eu-west-1
sso_registration_scopes = sso:account:access
[profile other]
sso_session = second
sso_account_id = 112233445566
sso_role_name = {ROLE}
region = eu-west-1
"""
KEYS = """
[profile keys]
aws_access_key_id = AKIAIOSFODNN7EXAMPLE
aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
"""


@pytest.fixture
def approved(user: User, aws: Aws) -> User:
    """Somebody who clicks Allow at once."""
    aws.auto_approve = True
    return user


@pytest.fixture
def with_session(user: User) -> User:
    user.use_session_profiles()
    user.add_browser()
    return user


def add_second_session(user: User) -> None:
    config = user.home.aws_config
    config.write_text(config.read_text() + SECOND)


# Whose session


@pytest.mark.parametrize("name", ["stage", registry(PROD), f"https://{registry(DEV)}"])
def test_a_legacy_session_by_profile_or_registry(approved: User, aws: Aws, name: str) -> None:
    done = approved.invoke("login", name)
    assert done.code == 0, done
    assert START_URL in done.stdout
    assert done.stdout.count("\n") == 1
    [file] = approved.token_files()
    assert json.loads(file.read_text())["accessToken"] in aws.access_tokens
    assert approved.home.get(registry(DEV)).code == 0


@pytest.mark.parametrize("name", [SESSION, "dev", registry(PROD), ""])
def test_a_named_session_by_its_name_profile_registry_or_alone(approved: User, name: str) -> None:
    approved.use_session_profiles()
    done = approved.invoke("login", *([name] if name else []), "--no-browser")
    assert done.code == 0, done
    assert f"Logged in to {SESSION} ({START_URL})" in done.stdout


def test_two_profiles_of_one_session_log_in_once(approved: User, aws: Aws) -> None:
    assert approved.invoke("login", "dev", "stage", registry(PROD)).code == 0
    assert aws.count("StartDeviceAuthorization") == 1


def test_all_logs_in_to_every_session(approved: User) -> None:
    add_second_session(approved)
    done = approved.invoke("login", "--all")
    assert done.code == 0, done
    assert START_URL in done.stdout
    assert SECOND_URL in done.stdout
    assert len(approved.token_files()) == 2


def test_one_of_several_is_chosen_at_the_terminal(approved: User, aws: Aws) -> None:
    add_second_session(approved)
    with approved.at_terminal("ecr-py login") as terminal:
        terminal.wait_for(r"1 +second(.|\n)*2 +https")
        terminal.type("7\n")
        terminal.wait_for(r"(?i)1.*2")
        terminal.type("2\n")
        assert terminal.wait() == 0
        assert f"Logged in to {START_URL}" in terminal.shown
    assert len(approved.token_files()) == 1


def test_one_of_several_cannot_be_chosen_without_a_terminal(approved: User, aws: Aws) -> None:
    add_second_session(approved)
    done = approved.invoke("login")
    assert done.code != 0
    assert "second" in done.stderr
    assert "--all" in done.stderr
    assert aws.calls == []


@pytest.mark.parametrize(("name", "near"), [("stge", "stage"), ("secnd", "second"), ("dve", "dev")])
def test_a_name_that_nobody_has_brings_the_nearest(user: User, name: str, near: str) -> None:
    add_second_session(user)
    line = user.invoke("login", name).line
    assert f"nearest: {near}" in line
    assert str(user.home.aws_config) in line


def test_a_name_unlike_any(user: User, aws: Aws) -> None:
    line = user.invoke("login", "zzzzzz").line
    assert "zzzzzz" in line
    assert "nearest" not in line
    assert aws.calls == []


def test_a_profile_without_a_session_has_nothing_to_log_in_to(user: User) -> None:
    config = user.home.aws_config
    config.write_text(config.read_text() + KEYS)
    assert "does not use IAM Identity Center" in user.invoke("login", "keys").line


def test_no_session_at_all(user: User) -> None:
    user.home.aws_config.unlink()
    line = user.invoke("login").line
    assert "no SSO session" in line
    assert "ecr-py login --start-url" in line
    assert user.invoke("logout").line.endswith(f"no SSO session in {user.home.aws_config}")
    assert "no SSO session" in user.invoke("login", "--all").line


# By which grant, and at what cost


def test_a_legacy_session_takes_the_device_grant(user: User, aws: Aws) -> None:
    """Even with a browser: a registration without scopes may not redirect."""
    user.add_browser()
    with user.at_terminal("ecr-py login dev") as terminal:
        address = user.next_address()
        assert address.startswith(aws.url)
        assert "user_code=" in address
        visit(address, "allow")
        assert terminal.wait() == 0
    asked = user.calls("RegisterClient", "StartDeviceAuthorization", "CreateToken", "Authorize")
    assert list(dict.fromkeys(asked)) == [
        "RegisterClient",
        "StartDeviceAuthorization",
        "CreateToken",
    ]


def test_a_named_session_with_a_browser_takes_the_code_grant(with_session: User, aws: Aws) -> None:
    user = with_session
    with user.at_terminal("ecr-py login") as terminal:
        status, page = visit(user.next_address(), "allow")
        assert status == 200
        assert "You are logged in" in page
        assert terminal.wait() == 0
        assert terminal.state == terminal.before
    assert aws.count("StartDeviceAuthorization") == 0
    assert user.calls("RegisterClient", "CreateToken") == ["RegisterClient", "CreateToken"]
    [registration] = [r for r in aws.registrations.values() if r.redirect_uris]
    assert registration.redirect_uris == ("http://127.0.0.1/oauth/callback",)
    assert registration.grant_types == ("authorization_code", "refresh_token")
    assert registration.start_url == START_URL


@pytest.mark.parametrize("option", ["--device", "--no-browser"])
def test_the_device_grant_where_it_is_asked_for(with_session: User, aws: Aws, option: str) -> None:
    with with_session.at_terminal(f"ecr-py login {option}") as terminal:
        code = terminal.wait_for(r"user_code=([A-Z]{4}-[A-Z]{4})")[1]
        if option == "--device":
            assert code in with_session.next_address()
        aws.approve(code)
        assert terminal.wait() == 0
    assert aws.count("StartDeviceAuthorization") == 1
    assert len(with_session.addresses) == (option == "--device")


def test_calls_with_a_live_registration(with_session: User, aws: Aws) -> None:
    """Device: two, and one for each further poll. Code: one; the browser's are its own."""
    user = with_session
    aws.auto_approve = True
    for arguments in (("--device",), ()):
        if not arguments:
            with user.at_terminal("ecr-py login --force") as terminal:
                visit(user.next_address(after=1))
                assert terminal.wait() == 0
        else:
            assert user.ecr_py("login", *arguments).code == 0
            eventually(lambda: user.addresses)
    assert aws.count("RegisterClient") == 2  # one for each grant

    aws.reset_calls()
    aws.auto_approve = False
    with user.at_terminal("ecr-py login --force --device --no-browser") as terminal:
        code = terminal.wait_for(r"user_code=([A-Z]{4}-[A-Z]{4})")[1]
        eventually(lambda: aws.count("CreateToken") == 2)
        aws.approve(code)
        assert terminal.wait() == 0
    assert user.calls() == ["StartDeviceAuthorization", *["CreateToken"] * 3]

    aws.reset_calls()
    with user.at_terminal("ecr-py login --force") as terminal:
        visit(user.next_address(after=2), "allow")
        assert terminal.wait() == 0
    assert [name for name in user.calls() if name != "Authorize"] == ["CreateToken"]


def test_a_registration_that_has_expired_is_replaced(approved: User, aws: Aws) -> None:
    assert approved.invoke("login", "dev").code == 0
    registrations = [f for f in approved.sso_cache.iterdir() if f not in approved.token_files()]
    [file] = registrations
    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"expiresAt": "2020-01-01T00:00:00Z"}))
    assert approved.invoke("login", "dev", "--force").code == 0
    assert aws.count("RegisterClient") == 2
    assert json.loads(file.read_text())["clientId"] != kept["clientId"]


def test_a_registration_that_the_portal_has_forgotten(approved: User, aws: Aws) -> None:
    """It says it is good for weeks, and is refused: a new one must do, in the same call."""
    assert approved.invoke("login", "dev").code == 0
    aws.registrations.clear()
    done = approved.invoke("login", "dev", "--force")
    assert done.code == 0, done
    assert aws.count("RegisterClient") == 2


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("", ("sso:account:access",)),
        ("sso:account:access", ("sso:account:access",)),
        ("sso:account:access, codewhisperer:completions", None),
    ],
    ids=["none", "usual", "two"],
)
def test_the_scopes_of_the_session_are_asked_for(
    approved: User, aws: Aws, written: str, asked: tuple[str, ...] | None
) -> None:
    approved.use_session_profiles(scopes=written)
    assert approved.invoke("login", "--device").code == 0
    wanted = asked or ("sso:account:access", "codewhisperer:completions")
    assert [r.scopes for r in aws.registrations.values() if r.scopes] == [wanted]


def test_other_scopes_take_another_registration(approved: User, aws: Aws) -> None:
    approved.use_session_profiles()
    assert approved.invoke("login", "--device").code == 0
    approved.use_session_profiles(scopes="sso:account:access,codewhisperer:completions")
    assert approved.invoke("login", "--device", "--force").code == 0
    assert aws.count("RegisterClient") == 2


def test_a_session_that_is_alive_is_left_alone_unless_forced(approved: User, aws: Aws) -> None:
    assert approved.invoke("login", "dev").code == 0
    [file] = approved.token_files()
    before, calls = file.read_text(), aws.count()
    done = approved.invoke("login", "dev")
    assert "Already logged in" in done.stdout
    assert "for 7h59m" in done.stdout
    assert (file.read_text(), aws.count()) == (before, calls + 1)
    assert aws.count("ListAccounts") == 1  # it might have ended at the portal
    assert approved.invoke("login", "dev", "--force").code == 0
    assert file.read_text() != before


def test_two_profiles_of_one_portal_are_one_login(approved: User, aws: Aws) -> None:
    done = approved.invoke("login", "--force", "dev", "stage", DEV)
    assert (done.code, done.stdout.count("Logged in")) == (0, 1)
    assert aws.count("StartDeviceAuthorization") == 1


# What it leaves behind


def test_the_token_file_is_the_aws_clis(with_session: User, aws: Aws) -> None:
    user = with_session
    shutil.rmtree(user.home.path / ".aws" / "sso")
    with user.at_terminal("umask 0; ecr-py login") as terminal:
        visit(user.next_address(), "allow")
        assert terminal.wait() == 0
    [file] = user.token_files()
    assert file.name == f"{hashlib.sha1(SESSION.encode()).hexdigest()}.json"
    kept = json.loads(file.read_text())
    assert set(kept) == {
        "startUrl",
        "region",
        "accessToken",
        "expiresAt",
        "clientId",
        "clientSecret",
        "registrationExpiresAt",
        "refreshToken",
    }
    assert kept["startUrl"] == START_URL
    assert kept["region"] == "eu-west-1"
    assert kept["refreshToken"] in aws.refresh_tokens
    for moment, seconds in (("expiresAt", 3600), ("registrationExpiresAt", 90 * 86400)):
        written = time.mktime(time.strptime(kept[moment], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
        assert abs(written - time.time() - seconds) < 30
    assert {stat.S_IMODE(f.stat().st_mode) for f in user.sso_cache.iterdir()} == {0o600}
    for folder in (user.sso_cache, user.sso_cache.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert leftovers([user.home.path]) == []


def test_a_legacy_token_has_no_refresh_token(approved: User) -> None:
    assert approved.invoke("login", "dev").code == 0
    [file] = approved.token_files()
    assert "refreshToken" not in json.loads(file.read_text())


# What goes wrong


def test_denied_at_the_device_page(user: User, aws: Aws) -> None:
    with user.at_terminal("ecr-py login dev") as terminal:
        aws.deny(terminal.wait_for(r"user_code=([A-Z]{4}-[A-Z]{4})")[1])
        assert terminal.wait() == 1
        assert terminal.state == terminal.before
        assert terminal.shown.endswith("ecr-py: the login was refused\n")
    assert user.token_files() == []


def test_denied_in_the_browser(with_session: User) -> None:
    user = with_session
    with user.at_terminal("ecr-py login") as terminal:
        _, page = visit(user.next_address(), "deny")
        assert "Not logged in" in page
        assert terminal.wait() == 1
        terminal.wait_for("the login was refused")
        assert terminal.state == terminal.before
        assert terminal.shown.rstrip().splitlines()[-1].endswith("refused (access_denied)")
    assert user.token_files() == []


def test_a_device_code_that_expires(user: User) -> None:
    user.portal_fails_with("ExpiredTokenException")
    done = user.ecr_py("login", "dev", "--no-browser")
    last = done.stderr.splitlines()[-1]
    assert "not approved in time" in last
    assert (done.code, done.stdout) == (1, "")


def test_the_portals_own_limit_counts_where_it_is_shorter(user: User, aws: Aws) -> None:
    """Two seconds, say: the screen and the wait must both keep to it."""
    answer = {
        "deviceCode": "x",
        "userCode": "ABCD-EFGH",
        "verificationUri": f"{aws.url}/device",
        "verificationUriComplete": f"{aws.url}/device?user_code=ABCD-EFGH",
        "expiresIn": 2,
        "interval": 1,
    }
    aws.fault("StartDeviceAuthorization", "answer", document=answer)
    user.portal_fails_with("AuthorizationPendingException")
    began = time.monotonic()
    done = user.ecr_py("login", "dev", "--no-browser")
    assert time.monotonic() - began < 30
    assert done.code == 1
    last = done.stderr.splitlines()[-1]
    assert "the login was not approved within" in last
    assert "within 0 minutes" not in last
    assert "0 minutes" not in done.stderr


def test_slow_down_is_heeded(user: User, aws: Aws) -> None:
    user.portal_fails_with("SlowDownException", times=1)
    aws.auto_approve = True
    began = time.monotonic()
    assert user.ecr_py("login", "dev", "--no-browser").code == 0
    assert 5.5 < time.monotonic() - began < 60
    assert aws.count("CreateToken") == 2


@pytest.mark.parametrize("operation", ["RegisterClient", "StartDeviceAuthorization", "CreateToken"])
def test_a_portal_that_answers_html(user: User, aws: Aws, operation: str) -> None:
    aws.fault(operation, "garbage")
    done = user.ecr_py("login", "dev", "--no-browser")
    assert done.code == 1
    assert "Traceback" not in done.stderr
    assert "cannot be read" in done.stderr.splitlines()[-1]
    assert user.token_files() == []
    assert leftovers([user.home.path]) == []


def test_a_portal_that_fails_while_it_is_polled(user: User, aws: Aws) -> None:
    """A hiccup in the middle of a login does not end it."""
    aws.fault("CreateToken", "error", times=2, status=503, code="InternalServerException")
    aws.auto_approve = True
    assert user.ecr_py("login", "dev", "--no-browser").code == 0


def test_a_poll_that_gets_no_answer_is_tried_again(user: User, aws: Aws) -> None:
    aws.fault("CreateToken", "hang", times=1)
    aws.auto_approve = True
    began = time.monotonic()
    assert user.ecr_py("login", "dev", "--no-browser").code == 0
    assert time.monotonic() - began < 20


def test_a_portal_that_is_not_there(user: User) -> None:
    gone = {"AWS_ENDPOINT_URL_SSO_OIDC": "http://127.0.0.1:1"}
    line = user.invoke("login", "dev", **gone).line
    assert "cannot be reached" in line


@pytest.mark.parametrize("force", ["", "--force"])
def test_two_logins_at_once_are_one(user: User, aws: Aws, force: str) -> None:
    """Two terminals, the same command: the second one finds the session that the first began."""
    if force:
        aws.write_sso_token(user.home.path, START_URL)
    command = f"ecr-py login dev --no-browser {force}"
    with user.at_terminal(command) as first, user.at_terminal(command) as second:
        both = (first, second)
        waits = "waiting for the login that another process"
        eventually(lambda: any(waits in one.shown for one in both))
        [one] = [one for one in both if waits not in one.shown]
        aws.approve(one.wait_for(r"user_code=([A-Z]{4}-[A-Z]{4})")[1])
        assert [one.wait() for one in both] == [0, 0]
    assert aws.count("StartDeviceAuthorization") == 1


def test_the_registration_of_the_aws_cli_serves_for_devices(approved: User, aws: Aws) -> None:
    """The AWS CLI's own name for it, its own fields: botocore's SSOTokenFetcher."""
    client = aws._register()
    parts = {
        "tool": "botocore",
        "startUrl": START_URL,
        "region": "eu-west-1",
        "scopes": None,
        "session_name": None,
    }
    name = hashlib.sha1(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    theirs = {
        "clientId": client.client_id,
        "clientSecret": client.secret,
        "expiresAt": "2099-01-01T00:00:00Z",
        "scopes": None,
    }
    approved.home.write(approved.sso_cache / f"{name}.json", json.dumps(theirs))
    assert approved.invoke("login", "dev").code == 0
    assert aws.count("RegisterClient") == 0


def test_a_session_that_the_portal_has_ended_begins_anew(approved: User, aws: Aws) -> None:
    """An administrator ends it, or a logout on another machine: its token's file knows nothing."""
    aws.write_sso_token(approved.home.path, START_URL)
    aws.end_session()
    assert "run `ecr-py login dev`" in approved.home.get(registry(DEV), CI="true").line
    assert "Logged in to" in approved.try_run("ecr-py", "login", "dev").stdout
    assert approved.home.get(registry(DEV)).password in aws.issued


def test_a_session_that_nobody_can_be_asked_about_is_taken_for_alive(user: User, aws: Aws) -> None:
    aws.write_sso_token(user.home.path, START_URL)
    aws.fault("ListAccounts", "error", status=500, code="InternalServerException")
    assert "Already logged in to" in user.try_run("ecr-py", "login", "dev").stdout
