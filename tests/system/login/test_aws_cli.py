"""One session, two tools: what ecr-py begins the AWS CLI has too, and the reverse."""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from docker_credential_ecr_py.selection import DEFAULT_SCOPE, SsoSession
from docker_credential_ecr_py.sso.token_cache import SsoFiles
from tests.standin.aws import Aws
from tests.support.home import DEV, PROD, STAGE, START_URL, registry
from tests.support.user import SESSION, Done, Person, visit

HOST = registry(DEV)
# botocore's own way to a session's token: as any AWS SDK in Python takes it, with its refresher.
TOKEN = """
import json, sys
from botocore.session import Session
session = Session(profile=sys.argv[1])
for _ in range(int(sys.argv[2])):
    token = session.get_component("token_provider").load_token().get_frozen_token()
    print(json.dumps([token.token, token.expiration.isoformat()]))
    session = Session(profile=sys.argv[1])
"""


def identity(person: Person, cli: str, profile: str) -> Done:
    return person.runs(cli, "sts", "get-caller-identity", "--profile", profile)


# Ours is theirs


@pytest.mark.parametrize("sessions", [False, True], ids=["legacy", "sso-session"])
def test_after_our_login_the_aws_cli_needs_none(
    at_aws: Person, aws: Aws, cli: str, sessions: bool
) -> None:
    person = at_aws
    if sessions:
        person.use_session_profiles()
    else:
        assert identity(person, cli, "dev").code != 0  # or the test would show nothing
    aws.auto_approve = True
    assert person.invokes("login", "dev", "--no-browser").code == 0
    aws.reset_calls()
    for profile, account in (("dev", DEV), ("prod", PROD)):
        done = identity(person, cli, profile)
        assert json.loads(done.stdout)["Account"] == account, done
    assert set(person.calls()) == {"GetRoleCredentials", "GetCallerIdentity"}


def test_after_our_login_by_redirect_too(at_aws: Person, aws: Aws, cli: str) -> None:
    person = at_aws
    person.use_session_profiles()
    person.has_browser()
    with person.at_terminal("ecr-py login") as terminal:
        address = person.next_address()
        assert address.startswith("https://oidc.eu-west-1.amazonaws.com/authorize?")
        visit(address.replace("https://oidc.eu-west-1.amazonaws.com", aws.url), "allow")
        assert terminal.wait() == 0
    aws.reset_calls()
    assert json.loads(identity(person, cli, "prod").stdout)["Account"] == PROD
    assert set(person.calls()) == {"GetRoleCredentials", "GetCallerIdentity"}


def test_after_our_logout_the_aws_cli_has_none_either(at_aws: Person, aws: Aws, cli: str) -> None:
    person = at_aws
    aws.auto_approve = True
    assert person.invokes("login", "dev").code == 0
    assert person.invokes("logout").code == 0
    done = identity(person, cli, "dev")
    assert done.code != 0
    assert "Error loading SSO Token" in done.stderr


# Theirs is ours


@pytest.mark.parametrize("sessions", [False, True], ids=["legacy", "sso-session"])
def test_after_their_login_we_need_none(at_aws: Person, aws: Aws, cli: str, sessions: bool) -> None:
    person = at_aws
    if sessions:
        person.use_session_profiles()
    aws.auto_approve = True
    assert "ecr-py login" in person.home.get(HOST).line
    done = person.runs(cli, "sso", "login", "--profile", "dev", "--no-browser")
    assert done.code == 0, done
    aws.reset_calls()
    for account in (DEV, PROD):
        assert aws.issued[person.home.get(registry(account)).password].account == account
    assert set(person.calls()) == {"GetRoleCredentials", "GetAuthorizationToken"}
    assert "You are logged in" in person.invokes("login", "dev").stdout


def test_their_registration_is_used_and_their_token_refreshed(
    at_aws: Person, aws: Aws, cli: str
) -> None:
    person = at_aws
    person.use_session_profiles()
    aws.auto_approve = True
    aws.access_token_lifetime = 600
    assert person.runs(cli, "sso", "login", "--profile", "dev", "--no-browser").code == 0
    aws.access_token_lifetime = 3600
    [file] = person.token_files()
    before = json.loads(file.read_text())
    assert before["refreshToken"]
    aws.reset_calls()
    assert person.home.get(HOST).password in aws.issued
    assert person.calls() == ["CreateToken", "GetRoleCredentials", "GetAuthorizationToken"]
    after = json.loads(file.read_text())
    assert after["clientId"] == before["clientId"]
    # And theirs goes on from what we wrote.
    assert json.loads(identity(person, cli, "dev").stdout)["Account"] == DEV
    aws.end_session()
    assert person.invokes("login", "--device", "--force").code == 0
    assert aws.count("RegisterClient") == 0


@pytest.mark.parametrize("sessions", [False, True], ids=["legacy", "sso-session"])
def test_after_their_logout_nothing_is_answered_from_the_cache(
    at_aws: Person, aws: Aws, cli: str, sessions: bool
) -> None:
    person = at_aws
    if sessions:
        person.use_session_profiles()
    aws.auto_approve = True
    assert person.invokes("login", "dev", "--no-browser").code == 0
    assert person.home.get(HOST).code == 0
    assert person.runs(cli, "sso", "logout").code == 0
    assert person.token_files() == []
    assert "ecr-py login" in person.home.get(HOST).line
    assert person.home.call("list").json == {}


# botocore, on the same files


def reads_token(person: Person, profile: str, times: int = 1) -> list[tuple[str, str]]:
    done = person.runs(sys.executable, "-c", TOKEN, profile, str(times))
    assert done.code == 0, done
    return [(token, expires) for token, expires in map(json.loads, done.stdout.splitlines())]


def test_botocore_reads_our_token_and_refreshes_it(person: Person, aws: Aws) -> None:
    person.use_session_profiles()
    person.has_browser()
    aws.access_token_lifetime = 800  # botocore refreshes below 900
    with person.at_terminal("ecr-py login") as terminal:
        visit(person.next_address(), "allow")
        assert terminal.wait() == 0
    [file] = person.token_files()
    ours = json.loads(file.read_text())
    aws.access_token_lifetime = 3600
    aws.reset_calls()
    [(token, _)] = reads_token(person, "dev")
    assert person.calls() == ["CreateToken"]
    theirs = json.loads(file.read_text())
    assert token == theirs["accessToken"] != ours["accessToken"]
    # What botocore wrote is ours again.
    aws.reset_calls()
    assert person.home.get(HOST).password in aws.issued
    assert aws.count("CreateToken") == 0
    assert "You are logged in" in person.types("login").stdout


def test_both_refresh_at_the_same_time(person: Person, aws: Aws) -> None:
    """botocore takes no lock, and a refresh token is good once: who loses must still be served."""
    person.use_session_profiles()
    aws.access_token_lifetime = 3600
    file = aws.write_sso_token(
        person.home.path, START_URL, session=SESSION, lifetime=850, refresh=True
    )
    aws.fault("CreateToken", "delay", seconds=0.2)
    hosts = [registry(account) for account in (DEV, STAGE, PROD, DEV)]
    with ThreadPoolExecutor(8) as pool:
        watched = pool.submit(_watch, file, seconds=4)
        theirs = [pool.submit(reads_token, person, name) for name in ("dev", "stage", "prod")]
        ours = [pool.submit(person.home.get, host) for host in hosts]
        for got in ours:
            assert got.result().password in aws.issued
        for read in theirs:
            assert read.result()[0][0] in aws.access_tokens
        assert watched.result() > 0
    kept = json.loads(file.read_text())
    assert kept["accessToken"] in aws.access_tokens
    assert kept["refreshToken"] in aws.refresh_tokens
    assert aws.count("StartDeviceAuthorization") == 0


def _watch(file: Path, *, seconds: float) -> int:
    """How often the file could be read as a whole document; it must be one whenever it is read.

    botocore itself truncates the file and then writes: an empty or a cut one is its doing, and
    not looked at twice.
    """
    seen, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            seen += "accessToken" in json.loads(file.read_text())
        except ValueError:
            time.sleep(0.01)
            assert "accessToken" in json.loads(file.read_text())
        time.sleep(0.002)
    return seen


def test_a_file_that_botocore_is_writing_is_looked_at_again(person: Person, aws: Aws) -> None:
    """It truncates the file and then writes: a moment later the session is there after all."""
    file = aws.write_sso_token(person.home.path, START_URL, session=SESSION)
    whole = file.read_text()
    session = SsoSession(START_URL, "eu-west-1", SESSION, "", (DEFAULT_SCOPE,))
    for half in ("", whole[:100]):
        file.write_text(half)
        writes = threading.Timer(0.02, file.write_text, [whole])
        writes.start()
        found = SsoFiles(file.parent).token(session)
        writes.join()
        assert found is not None
        assert found.access_token in aws.access_tokens
