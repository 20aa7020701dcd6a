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
from tests.support.user import SESSION, Done, User, visit

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


def identity(user: User, cli: str, profile: str) -> Done:
    return user.try_run(cli, "sts", "get-caller-identity", "--profile", profile)


# Ours is theirs


@pytest.mark.parametrize("sessions", [False, True], ids=["legacy", "sso-session"])
def test_after_our_login_the_aws_cli_needs_none(
    at_aws: User, aws: Aws, cli: str, sessions: bool
) -> None:
    user = at_aws
    if sessions:
        user.use_session_profiles()
    else:
        assert identity(user, cli, "dev").code != 0  # or the test would show nothing
    aws.auto_approve = True
    assert user.invoke("login", "dev", "--no-browser").code == 0
    aws.reset_calls()
    for profile, account in (("dev", DEV), ("prod", PROD)):
        done = identity(user, cli, profile)
        assert json.loads(done.stdout)["Account"] == account, done
    assert set(user.calls()) == {"GetRoleCredentials", "GetCallerIdentity"}


def test_after_our_login_by_redirect_too(at_aws: User, aws: Aws, cli: str) -> None:
    user = at_aws
    user.use_session_profiles()
    user.add_browser()
    with user.at_terminal("ecr-py login") as terminal:
        address = user.next_address()
        assert address.startswith("https://oidc.eu-west-1.amazonaws.com/authorize?")
        visit(address.replace("https://oidc.eu-west-1.amazonaws.com", aws.url), "allow")
        assert terminal.wait() == 0
    aws.reset_calls()
    assert json.loads(identity(user, cli, "prod").stdout)["Account"] == PROD
    assert set(user.calls()) == {"GetRoleCredentials", "GetCallerIdentity"}


def test_after_our_logout_the_aws_cli_has_none_either(at_aws: User, aws: Aws, cli: str) -> None:
    user = at_aws
    aws.auto_approve = True
    assert user.invoke("login", "dev").code == 0
    assert user.invoke("logout").code == 0
    done = identity(user, cli, "dev")
    assert done.code != 0
    assert "Error loading SSO Token" in done.stderr


# Theirs is ours


@pytest.mark.parametrize("sessions", [False, True], ids=["legacy", "sso-session"])
def test_after_their_login_we_need_none(at_aws: User, aws: Aws, cli: str, sessions: bool) -> None:
    user = at_aws
    if sessions:
        user.use_session_profiles()
    aws.auto_approve = True
    assert "ecr-py login" in user.home.get(HOST).line
    done = user.try_run(cli, "sso", "login", "--profile", "dev", "--no-browser")
    assert done.code == 0, done
    aws.reset_calls()
    for account in (DEV, PROD):
        assert aws.issued[user.home.get(registry(account)).password].account == account
    assert set(user.calls()) == {"GetRoleCredentials", "GetAuthorizationToken"}
    assert "Already logged in" in user.invoke("login", "dev").stdout


def test_their_registration_is_used_and_their_token_refreshed(
    at_aws: User, aws: Aws, cli: str
) -> None:
    user = at_aws
    user.use_session_profiles()
    aws.auto_approve = True
    aws.access_token_lifetime = 600
    assert user.try_run(cli, "sso", "login", "--profile", "dev", "--no-browser").code == 0
    aws.access_token_lifetime = 3600
    [file] = user.token_files()
    before = json.loads(file.read_text())
    assert before["refreshToken"]
    aws.reset_calls()
    assert user.home.get(HOST).password in aws.issued
    assert user.calls() == ["CreateToken", "GetRoleCredentials", "GetAuthorizationToken"]
    after = json.loads(file.read_text())
    assert after["clientId"] == before["clientId"]
    # And theirs goes on from what we wrote.
    assert json.loads(identity(user, cli, "dev").stdout)["Account"] == DEV
    aws.end_session()
    assert user.invoke("login", "--device", "--force").code == 0
    assert aws.count("RegisterClient") == 0


@pytest.mark.parametrize("sessions", [False, True], ids=["legacy", "sso-session"])
def test_after_their_logout_nothing_is_answered_from_the_cache(
    at_aws: User, aws: Aws, cli: str, sessions: bool
) -> None:
    user = at_aws
    if sessions:
        user.use_session_profiles()
    aws.auto_approve = True
    assert user.invoke("login", "dev", "--no-browser").code == 0
    assert user.home.get(HOST).code == 0
    assert user.try_run(cli, "sso", "logout").code == 0
    assert user.token_files() == []
    assert "ecr-py login" in user.home.get(HOST).line
    assert user.home.cached() == []


# botocore, on the same files


def reads_token(user: User, profile: str, times: int = 1) -> list[tuple[str, str]]:
    done = user.try_run(sys.executable, "-c", TOKEN, profile, str(times))
    assert done.code == 0, done
    return [(token, expires) for token, expires in map(json.loads, done.stdout.splitlines())]


def test_botocore_reads_our_token_and_refreshes_it(user: User, aws: Aws) -> None:
    user.use_session_profiles()
    user.add_browser()
    aws.access_token_lifetime = 800  # botocore refreshes below 900
    with user.at_terminal("ecr-py login") as terminal:
        visit(user.next_address(), "allow")
        assert terminal.wait() == 0
    [file] = user.token_files()
    ours = json.loads(file.read_text())
    aws.access_token_lifetime = 3600
    aws.reset_calls()
    [(token, _)] = reads_token(user, "dev")
    assert user.calls() == ["CreateToken"]
    theirs = json.loads(file.read_text())
    assert token == theirs["accessToken"] != ours["accessToken"]
    # What botocore wrote is ours again.
    aws.reset_calls()
    assert user.home.get(HOST).password in aws.issued
    assert aws.count("CreateToken") == 0
    assert "Already logged in" in user.ecr_py("login").stdout


def test_both_refresh_at_the_same_time(user: User, aws: Aws) -> None:
    """botocore takes no lock, and a refresh token is good once: who loses must still be served."""
    user.use_session_profiles()
    aws.access_token_lifetime = 3600
    file = aws.write_sso_token(
        user.home.path, START_URL, session=SESSION, lifetime=850, refresh=True
    )
    aws.fault("CreateToken", "delay", seconds=0.2)
    hosts = [registry(account) for account in (DEV, STAGE, PROD, DEV)]
    with ThreadPoolExecutor(8) as pool:
        watched = pool.submit(_watch, file, seconds=4)
        theirs = [pool.submit(reads_token, user, name) for name in ("dev", "stage", "prod")]
        ours = [pool.submit(user.home.get, host) for host in hosts]
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


def test_a_file_that_botocore_is_writing_is_looked_at_again(user: User, aws: Aws) -> None:
    """It truncates the file and then writes: a moment later the session is there after all."""
    file = aws.write_sso_token(user.home.path, START_URL, session=SESSION)
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
