"""What goes wrong, and the one line that says what, which registry and profile, and what to run."""

from __future__ import annotations

import base64
import json
import os
import pty
import shlex
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from tests.standin.aws import Aws, _AwsHandler
from tests.standin.proxy import Proxy
from tests.support.home import (
    DEV,
    HELPER,
    PROD,
    ROLE,
    STAGE,
    START_URL,
    THREE_ACCOUNTS,
    Answer,
    Home,
    registry,
)
from tests.support.terminal import Terminal

HOST = registry(DEV)
OTHER = "112233445566"
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEYS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}


def explained(home: Home, host: str = HOST, **environment: str) -> str:
    """The line that a failed `get` says to docker and to the user alike, without a secret."""
    return checked(home.get(host, **environment))


def checked(answer: Answer) -> str:
    line = answer.line
    assert answer.stderr == answer.stdout
    assert line.startswith("ecr-py: ")
    assert "Traceback" not in line
    assert len(line) < 700
    for secret in (SECRET, "aoa", "hunter2"):
        assert secret not in line
    return line


def names(line: str, profile: str = "dev", host: str = HOST) -> bool:
    """Whether the line names the registry and the profile."""
    return f"registry {host}" in line and f"profile {profile}" in line


def section(heading: str, **values: str) -> str:
    return "\n".join([f"[{heading}]", *(f"{key} = {value}" for key, value in values.items()), ""])


def sso(name: str, account: str = DEV, **values: str) -> str:
    shape = {"sso_start_url": START_URL, "sso_region": "eu-west-1", "sso_role_name": ROLE}
    return section(f"profile {name}", **shape, sso_account_id=account, **values)


# Nobody to ask


def test_no_profile_fits(home: Home) -> None:
    line = explained(home, registry(OTHER))
    for wanted in ("no AWS profile", f"account {OTHER}", "dev, stage, prod", "ecr-py config set"):
        assert wanted in line
    assert registry(OTHER) in line
    assert str(home.aws_config) in line


def test_no_profile_at_all(home: Home, aws: Aws) -> None:
    home.aws_config.unlink()
    assert "ecr-py login --start-url" in explained(home)
    assert aws.calls == []


@pytest.mark.parametrize("where", ["settings", "AWS_PROFILE"])
def test_a_profile_that_does_not_exist(home: Home, aws: Aws, where: str) -> None:
    environment = {}
    if where == "settings":
        home.write(home.settings, f'[registries."{HOST}"]\nprofile = "stagge"\n')
    else:
        environment = {"AWS_PROFILE": "stagge"}
    line = explained(home, **environment)
    assert "profile stagge, which is not in" in line
    assert "stage" in line.replace("stagge", "")
    assert HOST in line
    assert where.lower() in line.lower() or str(home.settings) in line
    assert aws.calls == []


# SSO


def test_a_session_that_ended(home: Home, aws: Aws) -> None:
    aws.end_session(START_URL)
    line = explained(home)
    assert names(line)
    assert "not logged in, or the session has expired" in line
    assert "ecr-py login dev" in line


def test_a_session_that_never_began(home: Home, aws: Aws) -> None:
    for file in (home.path / ".aws" / "sso" / "cache").iterdir():
        file.unlink()
    line = explained(home, registry(STAGE))
    assert names(line, "stage", registry(STAGE))
    assert "ecr-py login stage" in line
    assert aws.count("GetAuthorizationToken") == 0


def test_a_session_whose_token_is_past_its_time(home: Home, aws: Aws) -> None:
    aws.write_sso_token(home.path, START_URL, lifetime=-60)
    assert "ecr-py login dev" in explained(home)


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "null", '{"accessToken": 1', "\0" * 100],
    ids=["empty", "no token", "a list", "null", "cut", "zeros"],
)
def test_a_token_file_that_is_damaged(home: Home, content: str) -> None:
    [file] = (home.path / ".aws" / "sso" / "cache").iterdir()
    file.write_text(content)
    assert "ecr-py login dev" in explained(home)


def test_a_role_by_way_of_an_ended_session_names_who_must_log_in(home: Home, aws: Aws) -> None:
    role = f"arn:aws:iam::{OTHER}:role/deploy"
    profile = section("profile deploy", role_arn=role, source_profile="stage")
    home.write(home.aws_config, f"{THREE_ACCOUNTS}\n{profile}")
    aws.end_session(START_URL)
    line = explained(home, registry(OTHER))
    assert names(line, "deploy", registry(OTHER))
    assert "ecr-py login stage" in line


def test_a_role_that_is_not_assigned(home: Home, aws: Aws) -> None:
    aws.assigned.clear()
    line = explained(home)
    assert names(line)
    assert "not assigned" in line
    assert DEV in line
    assert ROLE in line
    assert "sso login" not in line


# Refused


def test_access_denied_shows_who_was_refused_what(home: Home, aws: Aws) -> None:
    aws.deny_ecr("*")
    line = explained(home)
    assert names(line)
    assert "ecr:GetAuthorizationToken" in line
    assert f"arn:aws:sts::{DEV}:assumed-role/AWSReservedSSO_{ROLE}_" in line


def test_a_role_that_may_not_be_assumed(home: Home, aws: Aws) -> None:
    role = f"arn:aws:iam::{OTHER}:role/deploy"
    profile = section("profile deploy", role_arn=role, source_profile="dev")
    home.write(home.aws_config, f"{THREE_ACCOUNTS}\n{profile}")
    line = explained(home, registry(OTHER))
    assert names(line, "deploy", registry(OTHER))
    assert "sts:AssumeRole" in line
    assert role in line
    assert f"arn:aws:sts::{DEV}:assumed-role/" in line


def test_a_web_identity_that_is_not_accepted(home: Home) -> None:
    file = home.write(home.path / "token", "a.b.c")
    role = f"arn:aws:iam::{OTHER}:role/ci"
    line = explained(home, AWS_ROLE_ARN=role, AWS_WEB_IDENTITY_TOKEN_FILE=str(file))
    assert HOST in line
    assert "web identity" in line.lower()
    assert "ecr-py login --start-url" not in line


def test_a_web_identity_without_its_token_file(home: Home) -> None:
    role = f"arn:aws:iam::{OTHER}:role/ci"
    line = explained(home, AWS_ROLE_ARN=role, AWS_WEB_IDENTITY_TOKEN_FILE="/nowhere/token")
    assert HOST in line
    assert "/nowhere/token" in line


def test_keys_that_aws_does_not_know(home: Home) -> None:
    line = explained(home, **KEYS)
    assert HOST in line
    assert "access key" in line
    assert "AWS_ACCESS_KEY_ID" in line
    old = section("old", aws_access_key_id=KEY, aws_secret_access_key=SECRET)
    home.write(home.path / ".aws" / "credentials", old)
    line = explained(home, AWS_PROFILE="old")
    assert names(line, "old")
    assert "aws configure --profile old" in line


def test_a_temporary_key_that_has_expired(home: Home, aws: Aws) -> None:
    key = aws.session_key(f"arn:aws:sts::{DEV}:assumed-role/ci/job", -1)
    line = explained(
        home,
        AWS_ACCESS_KEY_ID=key.access_key_id,
        AWS_SECRET_ACCESS_KEY=key.secret_access_key,
        AWS_SESSION_TOKEN=key.session_token,
    )
    assert "expired" in line.lower()
    assert "ecr-py login --start-url" not in line
    assert key.session_token not in line
    assert key.secret_access_key not in line


@pytest.mark.posix_only("the processes are shell scripts")
def test_a_credential_process_that_fails(home: Home) -> None:
    command = "sh -c 'echo the vault is locked >&2; exit 3' --password hunter2hunter2"
    home.write(home.aws_config, section("profile vault", credential_process=command))
    line = explained(home, AWS_PROFILE="vault")
    assert names(line, "vault")
    assert "the credential_process failed" in line
    assert "by hand" in line
    assert "the vault is locked" not in line


PROCESSES = {
    "says it": "sh -c 'echo the vault is locked >&2; exit 3'",
    "prints it": "sh -c 'echo the vault is locked'",
    "prints a list": """sh -c 'echo [\\"the vault is locked\\"]'""",
    "has a version": """sh -c 'echo {\\"Version\\":\\"the vault is locked\\"}'""",
    "lacks a key": """sh -c 'echo {\\"Version\\":1,\\"Token\\":\\"the vault is locked\\"}'""",
    "does not run": "/nowhere/vault --reason 'the vault is locked'",
}


@pytest.mark.posix_only("the processes are shell scripts")
@pytest.mark.parametrize("role", [False, True], ids=["a process", "a role by a process"])
@pytest.mark.parametrize("what", list(PROCESSES))
def test_what_a_credential_process_prints_is_kept_to_itself(
    home: Home, what: str, role: bool
) -> None:
    """It may be a secret, so it is neither in the answer, nor in the log, nor in JSON."""
    deploy = section(
        "profile deploy", role_arn=f"arn:aws:iam::{OTHER}:role/x", source_profile="vault"
    )
    home.write(home.aws_config, section("profile vault", credential_process=PROCESSES[what]))
    with home.aws_config.open("a") as config:
        config.write(deploy)
    profile = "deploy" if role else "vault"
    line = explained(home, AWS_PROFILE=profile, ECR_PY_LOG="debug")
    assert names(line, profile)
    assert "the vault is locked" not in line + home.log.read_text()
    expected = {
        "lacks a key": "the output of the credential_process has no AccessKeyId",
        "does not run": "the credential_process cannot run: No such file or directory",
        "prints it": "the credential_process did not print a JSON object",
        "prints a list": "the credential_process did not print a JSON object",
    }
    assert expected.get(what, "the credential_process failed") in line


@pytest.mark.posix_only("the terminal is a pty")
def test_a_person_at_the_terminal_sees_why_a_credential_process_failed(home: Home) -> None:
    home.write(home.aws_config, section("profile vault", credential_process=PROCESSES["says it"]))
    environment = home.environment | {"AWS_PROFILE": "vault", "TERM": "xterm"}
    with Terminal(f"{HELPER} get {HOST}", environment, home.path) as terminal:
        assert terminal.wait() == 1
        assert "the credential_process said: the vault is locked" in terminal.shown
        assert "the credential_process failed" in terminal.shown
    assert "the vault is locked" not in home.log.read_text()


def test_a_container_whose_credentials_cannot_be_had(home: Home, aws: Aws) -> None:
    line = explained(home, **aws.container_environment())
    assert HOST in line
    assert "container" in line
    assert aws.container_token not in line


# The way to AWS


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def real_names(home: Home) -> None:
    """From now on the home asks AWS by its real names."""
    for name in [name for name in home.environment if name.startswith("AWS_ENDPOINT_URL")]:
        del home.environment[name]


def test_network_down(home: Home, closed_port: int) -> None:
    url = f"http://127.0.0.1:{closed_port}"
    began = time.monotonic()
    line = explained(home, AWS_ENDPOINT_URL_SSO=url, AWS_ENDPOINT_URL_ECR=url)
    assert time.monotonic() - began < 32
    assert names(line)
    assert "cannot be reached" in line
    assert url in line


def test_a_proxy_that_is_not_there(home: Home, closed_port: int) -> None:
    real_names(home)
    url = f"http://someone:hunter2hunter2@127.0.0.1:{closed_port}"
    line = explained(home, HTTPS_PROXY=url)
    assert names(line)
    assert "proxy" in line
    assert str(closed_port) in line
    assert "HTTPS_PROXY" in line


@pytest.mark.parametrize("password", ["hun/ter2", "hun#ter2"])
def test_a_proxy_whose_password_is_not_encoded(home: Home, password: str) -> None:
    """What comes before the / would be taken for host and port, and be in the error."""
    del home.environment["AWS_ENDPOINT_URL_ECR"], home.environment["AWS_ENDPOINT_URL_SSO"]
    line = explained(home, HTTPS_PROXY=f"http://bob:{password}@127.0.0.1:1")
    assert "HTTPS_PROXY" in line
    home.log.unlink()
    explained(home, HTTPS_PROXY=f"http://bob:{password}@127.0.0.1:1", ECR_PY_LOG="debug")
    assert "DEBUG" in home.log.read_text()
    assert "hun" not in line + home.log.read_text()


def test_an_endpoint_that_is_none(home: Home) -> None:
    line = explained(home, AWS_ENDPOINT_URL_ECR="not a url")
    assert "Invalid endpoint: not a url" in line


def test_a_proxy_that_refuses(home: Home, aws: Aws) -> None:
    real_names(home)
    with Proxy(aws) as proxy:
        proxy.routes.clear()
        line = explained(home, **proxy.environment())
    assert names(line)
    assert "proxy" in line
    assert "502" in line


@pytest.mark.posix_only("wine accepts a certificate whose CA is not there, as Windows does not")
def test_tls_that_is_not_trusted(home: Home, aws: Aws) -> None:
    real_names(home)
    with Proxy(aws) as proxy:
        environment = {"HTTPS_PROXY": proxy.url}
        line = explained(home, **environment)
    assert names(line)
    assert "not trusted" in line
    assert "AWS_CA_BUNDLE" in line


def test_a_ca_bundle_that_does_not_exist(home: Home, aws: Aws) -> None:
    real_names(home)
    with Proxy(aws) as proxy:
        line = explained(home, HTTPS_PROXY=proxy.url, AWS_CA_BUNDLE="/nowhere/ca.pem")
    assert names(line)
    assert "/nowhere/ca.pem" in line


def test_aws_that_hangs(home: Home, aws: Aws) -> None:
    aws.fault("*", "hang")
    began = time.monotonic()
    line = explained(home)
    assert time.monotonic() - began < 50
    assert names(line)
    assert "no answer" in line


def test_aws_that_is_slow_is_waited_for(home: Home, aws: Aws) -> None:
    aws.latency = 2
    assert home.get(HOST).password in aws.issued


@pytest.mark.parametrize("kind", ["hour", "code"])
def test_a_clock_that_is_wrong(
    home: Home, aws: Aws, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """AWS tells its own time in every answer, so a user can be told by how much."""
    if kind == "hour":
        theirs = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
        monkeypatch.setattr(_AwsHandler, "date_time_string", lambda *_: theirs)
        code, said = "InvalidSignatureException", "60 minutes behind"
    else:
        code, said = "RequestExpired", "clock"
    aws.fault("GetAuthorizationToken", "error", status=400, code=code, message="Signature expired")
    line = explained(home)
    assert names(line)
    assert "the clock of this machine" in line
    assert " 0 minutes" not in line
    assert said in line
    assert code in line


ROLE_ELSEWHERE = f"arn:aws:iam::{OTHER}:role/deploy"


def sso_role(home: Home, aws: Aws) -> dict[str, str]:
    return {}


def assumed_role(home: Home, aws: Aws) -> dict[str, str]:
    secret = aws.add_key(KEY, f"arn:aws:iam::{DEV}:user/me")
    keys = section("profile keys", aws_access_key_id=KEY, aws_secret_access_key=secret)
    role = section("profile role", role_arn=ROLE_ELSEWHERE, source_profile="keys")
    home.write(home.aws_config, keys + role)
    aws.allow_role(ROLE_ELSEWHERE)
    return {"AWS_PROFILE": "role"}


def web_identity(home: Home, aws: Aws) -> dict[str, str]:
    file = home.write(home.path / "token", "a.b.c")
    aws.web_identity_tokens.add("a.b.c")
    aws.allow_role(ROLE_ELSEWHERE)
    return {"AWS_ROLE_ARN": ROLE_ELSEWHERE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(file)}


def container(home: Home, aws: Aws) -> dict[str, str]:
    aws.container_role = ROLE_ELSEWHERE
    return aws.container_environment()


def process(home: Home, aws: Aws) -> dict[str, str]:
    expires = datetime.fromtimestamp(aws.clock() + 3600, UTC)
    answer = {
        "Version": 1,
        "AccessKeyId": KEY,
        "SecretAccessKey": SECRET,
        "SessionToken": "hunter2",
        "Expiration": expires.isoformat(),
    }
    file = home.write(home.path / "answer", json.dumps(answer))
    home.write(home.aws_config, section("profile vault", credential_process=f"cat {file}"))
    return {"AWS_PROFILE": "vault"}


AHEAD = "the clock of this machine is {} ahead of AWS's"
HANDED_OUT = "had already expired, by the clock of this machine, when they were issued"


@pytest.mark.parametrize(
    ("identity", "hours", "said"),
    [
        (sso_role, 1.5, AHEAD.format("90 minutes")),
        (sso_role, 3, AHEAD.format("3 hours")),
        (sso_role, 50, AHEAD.format("2 days")),
        (assumed_role, 3, AHEAD.format("3 hours")),
        (web_identity, 3, AHEAD.format("3 hours")),
        # AWS tells its time to whoever asks it; these ask for us.
        (container, 50, f"container {HANDED_OUT}"),
        (process, 3, f"process {HANDED_OUT}"),
    ],
)
def test_a_clock_that_is_ahead_by_more_than_a_role_lives(
    home: Home,
    aws: Aws,
    monkeypatch: pytest.MonkeyPatch,
    identity: Callable[[Home, Aws], dict[str, str]],
    hours: float,
    said: str,
) -> None:
    """What AWS hands out for an hour has expired here when it arrives."""
    aws.write_sso_token(home.path, START_URL, lifetime=100 * 3600)
    then = time.time() - hours * 3600
    aws.clock = lambda: then
    theirs = format_datetime(datetime.fromtimestamp(then, UTC), usegmt=True)
    monkeypatch.setattr(_AwsHandler, "date_time_string", lambda *_: theirs)
    environment = identity(home, aws)
    line = explained(home, **environment)
    assert said in line
    assert "clock" in line.rpartition(":")[2]
    assert "cannot be read" not in line


def fault(aws: Aws, status: int, code: str, message: str = "said AWS", **more: Any) -> None:
    aws.fault("GetAuthorizationToken", "error", status=status, code=code, message=message, **more)


def test_throttled(home: Home, aws: Aws) -> None:
    fault(aws, 400, "ThrottlingException", "Rate exceeded")
    began = time.monotonic()
    line = explained(home)
    assert time.monotonic() - began < 32
    assert names(line)
    assert "try again" in line
    assert aws.count("GetAuthorizationToken") > 2


@pytest.mark.parametrize(("status", "code"), [(400, "ThrottlingException"), (503, "Unavailable")])
def test_what_passes_is_not_seen(home: Home, aws: Aws, status: int, code: str) -> None:
    aws.fault("GetAuthorizationToken", "error", times=2, status=status, code=code)
    aws.fault("GetRoleCredentials", "close", times=1)
    assert home.get(HOST).stderr == b""
    assert aws.count("GetAuthorizationToken") == 3


def test_aws_that_is_down(home: Home, aws: Aws) -> None:
    fault(aws, 500, "ServerException", "Something broke")
    line = explained(home)
    assert names(line)
    assert "500" in line
    assert "Something broke" in line
    assert "try again" in line


@pytest.mark.parametrize(
    ("kind", "detail"),
    [("garbage", {}), ("garbage", {"json": True}), ("close", {})],
    ids=["a page of HTML", "half a document", "a connection that breaks off"],
)
@pytest.mark.parametrize("operation", ["GetRoleCredentials", "GetAuthorizationToken"])
def test_an_answer_that_is_none(
    home: Home, aws: Aws, operation: str, kind: str, detail: dict[str, bool]
) -> None:
    aws.fault(operation, kind, **detail)
    assert names(explained(home))


# Answers that hold no credential


def token_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


LATER, EARLIER = time.time() + 3600, time.time() - 3600


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([{"authorizationToken": token_of("BOB:hunter2"), "expiresAt": LATER}], "user AWS"),
        ([{"authorizationToken": "no base64!", "expiresAt": LATER}], "not base64"),
        ([{"authorizationToken": "/////w==", "expiresAt": LATER}], "base64"),
        ([{"authorizationToken": token_of("AWShunter2"), "expiresAt": LATER}], "no password"),
        ([{"authorizationToken": token_of("AWS:"), "expiresAt": LATER}], "no password"),
        ([{"authorizationToken": token_of("AWS:hunter2")}], "no expiry"),
        ([{"authorizationToken": token_of("AWS:hunter2"), "expiresAt": EARLIER}], "expired"),
        ([{"expiresAt": LATER}], "no authorization token"),
        ([], "no authorization token"),
        (None, "no authorization token"),
    ],
)
def test_an_answer_without_a_credential(home: Home, aws: Aws, data: object, said: str) -> None:
    document = {"authorizationData": data}
    aws.fault("GetAuthorizationToken", "answer", times=1, document=document)
    line = explained(home)
    assert names(line)
    assert said in line
    # It is not kept: the next one is asked for anew.
    assert home.get(HOST).password in aws.issued


def test_the_token_of_motos_ecr_which_expired_in_2015(home: Home) -> None:
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        address, port = moto.get_host_and_port()
        line = explained(home, AWS_ENDPOINT_URL_ECR=f"http://{address}:{port}")
    finally:
        moto.stop()
    assert names(line)
    assert "2015-01-01" in line
    assert "clock" in line


# Settings


@pytest.mark.parametrize(
    ("settings", "line", "key", "allowed"),
    [
        (
            "[defaults]\nprefers = 'account'\n",
            2,
            "prefers",
            "prefer, store, login",
        ),
        ("\n[default]\nprefer = 'account'\n", 2, "default", "defaults, registries"),
        ("prefer = 'account'\n", 1, "prefer", "[defaults]"),
        ("[defaults]\nprefer = 'profile'\n", 2, "prefer", "environment, account"),
        ("[defaults]\nstore = true\n", 2, "store", "quotes"),
        ("[defaults]\nstore = 'disk'\n", 2, "store", "file, keyring, memory, none"),
        ("[defaults]\nfallback = 'ecr-py'\n", 2, "fallback", "its own fallback"),
        ("[defaults]\nfallback = '../evil'\n", 2, "fallback", "name"),
        ("defaults = 1\n", 1, "defaults", "[defaults]"),
        ('[registries."1*"]\nprofil = "dev"\n', 2, "profil", "profile, alias"),
        ('[registries."1*"]\nprofile = 1\n', 2, "profile", "quotes"),
        ('[registries."1*"]\nprofile = ""\n', 2, "profile", "quotes"),
        ('[registries]\n"1*" = "dev"\n', 2, "1*", "[registries"),
        ('[registries."*.example.com"]\nalias = "x"\n', 2, "*.example.com", "one host"),
        ('[registries."e.example"]\nalias = "ghcr.io"\n', 2, "alias", "not an Amazon ECR"),
        ('[registries."http://x y"]\nprofile = "dev"\n', 1, "http://x y", "host"),
        ("[defaults]\nprefer = account\n", 2, "line 2", ""),
        ("[defaults\n", 1, "line 1", ""),
    ],
)
def test_settings_that_are_wrong(
    home: Home, aws: Aws, settings: str, line: int, key: str, allowed: str
) -> None:
    home.write(home.settings, settings)
    said = explained(home)
    for wanted in (str(home.settings), f"line {line}", key, allowed):
        assert wanted in said
    assert aws.calls == []


def test_the_line_of_a_key_that_also_stands_elsewhere(home: Home) -> None:
    """The key is looked for in its own table."""
    wrong = '[registries."a.example"]\nprofile = "dev"\n[registries."b.example"]\nprofile = 1\n'
    home.write(home.settings, wrong)
    assert "line 4" in explained(home)


@pytest.mark.parametrize("action", ["list", "erase", "store"])
def test_settings_that_are_wrong_stop_the_other_actions_too(home: Home, action: str) -> None:
    home.write(home.settings, "[defaults]\nprefers = 'account'\n")
    document = {"ServerURL": HOST, "Username": "AWS", "Secret": "hunter2"}
    stdin = {"list": b"", "erase": HOST.encode(), "store": json.dumps(document).encode()}[action]
    assert "prefers" in checked(home.call(action, stdin=stdin))


def test_settings_that_are_not_text(home: Home) -> None:
    home.write(home.settings, "").write_bytes(b"\xff\xfe\x00")
    assert str(home.settings) in explained(home)


def test_settings_that_are_a_folder(home: Home) -> None:
    home.settings.mkdir(parents=True)
    line = explained(home)
    assert f"{home.settings} cannot be read" in line


# The AWS config


def test_two_thousand_profiles(home: Home, aws: Aws) -> None:
    many = "\n".join(sso(f"p{n}", f"{n:012}", region="eu-west-1") for n in range(2000))
    home.write(home.aws_config, f"{many}\n{THREE_ACCOUNTS}")
    assert aws.issued[home.get(registry(PROD)).password].account == PROD
    line = explained(home, registry(OTHER))
    assert "1998 more" in line


@pytest.mark.parametrize("file", ["config", "credentials"])
def test_sections_that_repeat_are_one(home: Home, aws: Aws, file: str) -> None:
    if file == "config":
        first, last = section("profile dev", region="x"), section("profile dev", output="text")
        home.write(home.aws_config, f"{first}{THREE_ACCOUNTS}\n{last}")
    else:
        secret = aws.add_key(KEY, f"arn:aws:iam::{DEV}:user/me")
        home.aws_config.unlink()
        one = section("default", aws_access_key_id=KEY)
        two = section("default", aws_secret_access_key=secret)
        home.write(home.path / ".aws" / "credentials", one + two)
    assert aws.issued[home.get(HOST).password].account == DEV


@pytest.mark.parametrize("what", ["sso in config", "keys in config", "keys in credentials"])
@pytest.mark.parametrize("kind", ["CRLF", "BOM"])
def test_files_of_windows_editors(home: Home, aws: Aws, what: str, kind: str) -> None:
    text, (_, _, file) = THREE_ACCOUNTS, what.rpartition(" ")
    if what.startswith("keys"):
        home.aws_config.unlink()
        secret = aws.add_key(KEY, f"arn:aws:iam::{DEV}:user/me")
        text = section("default", aws_access_key_id=KEY, aws_secret_access_key=secret)
    text = text.replace("\n", "\r\n") if kind == "CRLF" else f"\ufeff{text}"
    (home.path / ".aws" / file).write_bytes(text.encode())
    assert aws.issued[home.get(HOST).password].account == DEV


@pytest.mark.parametrize("name", ["développement", "开发", "'two words'", "a.b-c_d@e"])
def test_names_that_are_not_plain(home: Home, aws: Aws, name: str) -> None:
    home.write(home.aws_config, sso(name))
    assert aws.issued[home.get(HOST, LC_ALL="C").password].account == DEV
    aws.end_session(START_URL)
    line = explained(home, LC_ALL="C", AWS_ECR_DISABLE_CACHE="1")
    *_, command = line.rstrip("`").rpartition("`")
    assert shlex.split(command) == ["ecr-py", "login", name.strip("'")]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (sso("dev").replace("sso_region", "sso_rejion"), ["profile dev", "has no sso_region"]),
        (sso("dev").replace("sso_role_name", "role"), ["profile dev", "has no sso_role_name"]),
        (
            section("profile dev", sso_session="corp", sso_account_id=DEV, sso_role_name=ROLE),
            ["profile dev", "[sso-session corp]"],
        ),
        (
            section("sso-session corp", sso_start_url=START_URL)
            + section("profile dev", sso_session="corp", sso_account_id=DEV, sso_role_name=ROLE),
            ["corp", "has no sso_region"],
        ),
        (
            section("profile dev", role_arn=f"arn:aws:iam::{DEV}:role/x"),
            ["profile dev", "source_profile"],
        ),
        (
            section("profile dev", role_arn=f"arn:aws:iam::{DEV}:role/x", source_profile="gone"),
            ["profile dev", "source_profile", "gone"],
        ),
        (
            section("profile dev", role_arn=f"arn:aws:iam::{DEV}:role/x", source_profile="b")
            + section("profile b", role_arn=f"arn:aws:iam::{DEV}:role/y", source_profile="dev"),
            ["source_profile"],
        ),
        ("region = eu-west-1\n", ["line 1"]),
        ("[profile dev]\nthis is not a setting\n", ["line 2"]),
        ("[profile dev\nregion = x\n", ["line 1"]),
    ],
    ids=[
        "no sso_region",
        "no sso_role_name",
        "no sso-session",
        "an sso-session without sso_region",
        "a role and no source",
        "a source that does not exist",
        "sources in a circle",
        "no section",
        "no setting",
        "half a section",
    ],
)
def test_a_config_that_is_incomplete(home: Home, aws: Aws, config: str, said: list[str]) -> None:
    home.write(home.aws_config, config)
    line = explained(home)
    for wanted in (*said, HOST, str(home.aws_config)):
        assert wanted in line
    assert aws.calls == []


def test_a_whole_profile_is_taken_before_an_incomplete_one(home: Home, aws: Aws) -> None:
    home.write(home.aws_config, sso("broken").replace("sso_region", "x") + sso("whole"))
    assert aws.issued[home.get(HOST).password].account == DEV


def test_a_config_that_is_not_utf8(home: Home) -> None:
    home.aws_config.write_bytes(b"[profile d\xe9v]\nregion = eu-west-1\n")
    line = explained(home)
    assert str(home.aws_config) in line
    assert "UTF-8" in line


def test_a_config_that_cannot_be_read(home: Home) -> None:
    home.aws_config.unlink()
    home.aws_config.mkdir()  # root reads any file, but no folder
    line = explained(home)
    assert str(home.aws_config) in line
    assert "cannot be read" in line


# The home


@pytest.mark.posix_only("HOME is not looked at")
def test_no_home_in_the_environment(home: Home, aws: Aws) -> None:
    """The password database still knows one; keys in the environment must do."""
    secret = aws.add_key(KEY, f"arn:aws:iam::{DEV}:user/me")
    del home.environment["HOME"]
    environment = {
        **KEYS,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_CONFIG_FILE": str(home.aws_config),
        "XDG_CACHE_HOME": str(home.path / "xdg"),
        "XDG_STATE_HOME": str(home.path / "state"),
        "XDG_CONFIG_HOME": str(home.path / "settings"),
    }
    answer = home.get(HOST, **environment)
    assert answer.stderr == b""
    assert aws.issued[answer.password].account == DEV
    assert home.get(HOST, **environment) == answer


@pytest.mark.posix_only("HOME is not looked at")
@pytest.mark.parametrize("place", ["/nonexistent", "/dev/null", "/proc"])
def test_a_home_that_cannot_be_written(home: Home, aws: Aws, place: str) -> None:
    secret = aws.add_key(KEY, f"arn:aws:iam::{DEV}:user/me")
    environment = {"HOME": place, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": secret}
    for _ in range(2):
        answer = home.get(HOST, **environment)
        assert answer.stderr == b""
        assert aws.issued[answer.password].account == DEV
    assert aws.count("GetAuthorizationToken") == 2
    assert home.call("list", environment=environment).json == {}
    assert home.call("erase", stdin=HOST.encode(), environment=environment).code == 0
    assert not Path("/nonexistent").exists()


# At a terminal


def at_a_terminal(home: Home, *arguments: str, typed: str = "") -> str:
    """All that a user sees who runs the helper by hand."""
    ours, theirs = pty.openpty()
    command = [str(HELPER), *arguments]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=home.environment
    ) as process:
        os.close(theirs)
        os.write(ours, typed.encode())
        seen = b""
        with suppress(OSError), open(ours, "rb", buffering=0) as terminal:  # it ends in an error
            while chunk := terminal.read(4096):
                seen += chunk
        process.wait(30)
    return seen.decode().replace("\r\n", "\n")


@pytest.mark.posix_only("the terminal is a pty")
def test_by_hand_a_line_is_said_once(home: Home, aws: Aws) -> None:
    aws.end_session(START_URL)
    seen = at_a_terminal(home, "get", HOST)
    assert seen.count("ecr-py login dev") == 1
    assert seen.count("\n") == 1


@pytest.mark.posix_only("the terminal is a pty")
def test_by_hand_it_says_what_it_waits_for(home: Home, aws: Aws) -> None:
    seen = at_a_terminal(home, "get", typed=f"{HOST}\n")
    assert "type the registry" in seen
    assert any(password in seen for password in aws.issued)


# Switches of awslabs' helper


def test_the_cache_can_be_switched_off(home: Home, aws: Aws) -> None:
    one, two = (home.get(HOST, AWS_ECR_DISABLE_CACHE="1").password for _ in range(2))
    assert one != two
    assert aws.count("GetAuthorizationToken") == 2
    assert not home.cache.exists()


def test_store_none_keeps_nothing(home: Home, aws: Aws) -> None:
    home.write(home.settings, '[defaults]\nstore = "none"\n')
    for _ in range(2):
        assert home.get(HOST).code == 0
    assert aws.count("GetAuthorizationToken") == 2
    assert home.cached() == []


def test_store_and_erase_can_be_ignored(home: Home, aws: Aws) -> None:
    kept = home.get(HOST).password
    ignore = {"AWS_ECR_IGNORE_CREDS_STORAGE": "true"}
    document = {"ServerURL": HOST, "Username": "bob", "Secret": "hunter2"}
    for action, stdin in (("store", json.dumps(document)), ("erase", HOST)):
        answer = home.call(action, stdin=stdin.encode(), environment=ignore)
        assert answer == Answer(0, b"", b"")
    assert home.get(HOST).password == kept
    assert aws.count("GetAuthorizationToken") == 1
    document["Username"] = "AWS"
    assert home.call("store", stdin=json.dumps(document).encode()).code == 0


# The log


def test_the_log_tells_what_happened_and_no_secret(home: Home, aws: Aws) -> None:
    """Each of these leaves its traces: a fetch, a refusal, a login, an ended session."""
    debug = {"ECR_PY_LOG": "debug"}
    command = f"sh -c 'echo token={SECRET} >&2; exit 3'"
    home.write(home.aws_config, THREE_ACCOUNTS + section("profile v", credential_process=command))
    password = home.get(HOST, **debug).password
    home.get(HOST, AWS_PROFILE="v", **debug)
    home.get(HOST, **KEYS, **debug)
    home.get("https://someone:hunter2hunter2@ghcr.io", **debug)
    document = {"ServerURL": registry(STAGE), "Username": "AWS", "Secret": password}
    home.call("store", stdin=json.dumps(document).encode(), environment=debug)
    tokens = [*aws.access_tokens]
    aws.end_session(START_URL)
    home.get(registry(PROD), **debug)

    logged = home.log.read_text()
    assert stat.S_IMODE(home.log.stat().st_mode) == 0o600
    for host in (HOST, registry(PROD)):
        assert host in logged
    temporary = [key for key in aws.keys.values() if key.session_token]
    hidden = [SECRET, "hunter2", password, *tokens]
    hidden += [secret for key in temporary for secret in (key.secret, key.session_token or "-")]
    assert [secret for secret in hidden if secret in logged] == []


def test_a_hit_logs_nothing(home: Home) -> None:
    home.get(HOST)
    logged = home.log.read_text()
    home.get(HOST, ECR_PY_LOG="debug")
    assert home.log.read_text() == logged


# The fallback helper


def test_a_fallback_helper_that_is_not_installed(home: Home) -> None:
    home.write(home.settings, '[defaults]\nfallback = "nowhere"\n')
    line = explained(home, "ghcr.io")
    assert "docker-credential-nowhere" in line
    assert "PATH" in line
    assert home.get(HOST).code == 0


@pytest.mark.parametrize("fallback", ["", "recording"])
@pytest.mark.parametrize(
    ("host", "usual"),
    [
        (f"{DEV}.dkr.ecr.eu-west-1.amazonaws.com.cn", registry(DEV)),
        (f"{DEV}.dkr.ecr.cn-north-1.amazonaws.com", registry(DEV, "cn-north-1") + ".cn"),
        (f"{DEV}.dkr.ecr.us-gov-west-1.c2s.ic.gov", registry(DEV, "us-gov-west-1")),
        (f"{DEV}.dkr-ecr.eu-west-1.on.amazonwebservices.com.cn", registry(DEV)),
    ],
)
def test_a_registry_of_two_partitions_gets_no_token(
    home: Home, aws: Aws, tmp_path: Path, host: str, usual: str, fallback: str
) -> None:
    """Neither ours nor one of the fallback helper, for a registry that AWS does not have."""
    called = tmp_path / "called"
    program = home.write(tmp_path / "bin" / "docker-credential-recording", "#!/bin/sh\n")
    program.write_text(f'#!/bin/sh\necho "$1" >>{called}\n')
    program.chmod(0o755)
    home.environment["PATH"] += f":{program.parent}"
    home.write(home.settings, f'[defaults]\nfallback = "{fallback}"\n' if fallback else "")
    document = json.dumps({"ServerURL": host, "Username": "AWS", "Secret": "hunter2"})
    for action, given in (("get", host), ("store", document), ("erase", host), ("get", host)):
        line = checked(home.call(action, stdin=given.encode()))
        assert host in line
        assert line.endswith(f"is {usual}")
    assert aws.calls == []
    assert not called.exists()
