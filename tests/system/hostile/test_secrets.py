"""Whatever happens, and however much is logged: no secret lies where it does not belong."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.standin.aws import Aws
from tests.support.home import DEV, HELPER, PROD, STAGE, THREE_ACCOUNTS, Answer, Home, registry
from tests.support.processes import renewals, wait_until
from tests.support.records import HALF_LIFE, let_pass
from tests.support.secrets import Secrets

PROXY_PASSWORD = "proxyPassw0rdOfThisTest"
PROCESS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYPROCESSKEY"
EXTERNAL_ID = "external-id-of-a-third-party"
# Nothing about these says that they are secrets.
WORDS, QUERY_TOKEN = "correct-horse-battery", "four-score-and-seven"
ECR_PY = HELPER.with_name("ecr-py")

CONFIG = f"""{THREE_ACCOUNTS}
[profile assumed]
role_arn = arn:aws:iam::111111111111:role/Reader
source_profile = keys
external_id = {EXTERNAL_ID}
[profile refused]
role_arn = arn:aws:iam::222222222222:role/Nobody
source_profile = keys
[profile process]
credential_process = echo 'aws_secret_access_key={PROCESS_SECRET} is no JSON'
aws_account_id = 333333333333
[profile fails]
credential_process = sh -c 'echo "denied: {PROCESS_SECRET}" >&2; exit 1'
aws_account_id = 444444444444
[profile words]
credential_process = sh -c 'echo "the vault says {WORDS}" >&2; exit 1' --password {WORDS}
aws_account_id = 555555555555
[profile assumed-by-words]
role_arn = arn:aws:iam::666666666666:role/Reader
source_profile = words
external_id = {EXTERNAL_ID}
"""


def known_secrets(aws: Aws) -> Secrets:
    return Secrets(aws, PROXY_PASSWORD, PROCESS_SECRET, EXTERNAL_ID, WORDS, QUERY_TOKEN)


def test_the_search_finds_a_piece(aws: Aws) -> None:
    secret = aws.add_key("AKIADEV", f"arn:aws:iam::{DEV}:user/dev")
    assert known_secrets(aws).within(f"x{secret}x".encode()) == [secret]
    assert known_secrets(aws).within(b"nothing") == []


def many_calls(home: Home, aws: Aws) -> list[Answer]:
    """Whatever can be asked, and go wrong; returns the answers that are failures."""
    key = aws.add_key("AKIADEV", f"arn:aws:iam::{DEV}:user/dev")
    keys = {"AWS_ACCESS_KEY_ID": "AKIADEV", "AWS_SECRET_ACCESS_KEY": key}
    wrong_key = {**keys, "AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"}
    home.aws_config.write_text(CONFIG)
    credentials = f"[keys]\naws_access_key_id = AKIADEV\naws_secret_access_key = {key}\n"
    home.write(home.path / ".aws" / "credentials", credentials)
    aws.allow_role("arn:aws:iam::111111111111:role/Reader")
    aws.deny_ecr(f"*:{STAGE}:*")
    password = home.get(registry(DEV)).password
    proxy = f"http://user:{PROXY_PASSWORD}@127.0.0.1:9"
    container = aws.container_environment()
    failures = [
        home.get(registry(STAGE)),
        home.get(registry(PROD), HTTP_PROXY=proxy, http_proxy=proxy),
        home.get(registry("222222222222")),
        home.get(registry("333333333333")),
        home.get(registry("444444444444")),
        home.get(registry(PROD), **wrong_key),
        home.get(registry(PROD), AWS_SESSION_TOKEN=password, **keys),
        home.get(registry("555555555555")),
        home.get(registry("666666666666")),
        home.get(
            registry(PROD), HTTPS_PROXY=f"http://u:12345/{WORDS}@127.0.0.1:9", **real_names(home)
        ),
        home.get(registry(PROD), **container),
        home.get(registry(PROD), **with_query(container)),
        home.get(f"https://AWS:{password}@{registry(DEV)}"),
        home.get(f"AWS:{password}@{registry(DEV)}"),
        home.get(f"https://{registry(DEV)}/?password={password}&\n"),
        home.call("get", f"https://AWS:{password}@{registry(DEV)}"),
        store(home, registry(DEV), "somebody", password),
        store(home, f"https://AWS:{password}@{registry(DEV)}", "AWS", password),
        store(home, "registry.example.com", "AWS", password),
        home.call("store", stdin=b'{"Secret": "%b"' % password.encode()),
    ]
    succeed = [
        home.get(registry("111111111111")),
        home.get(registry(DEV), **keys),
        store(home, registry(PROD), "AWS", password),
        home.get(registry(PROD)),
        home.call("list"),
        home.call("erase", stdin=registry(PROD).encode()),
    ]
    assert [answer for answer in succeed if answer.code or answer.stderr] == []
    faults: list[tuple[str, dict[str, Any]]] = [
        ("garbage", {}),
        ("garbage", {"json": True}),
        ("close", {}),
        ("error", {"status": 500}),
    ]
    documents = [
        {"authorizationData": [{"authorizationToken": password, "expiresAt": 1}]},
        {"authorizationData": [{"authorizationToken": f"AWS:{password}", "expiresAt": password}]},
        {"authorizationData": [{"authorizationToken": 1, "expiresAt": password}]},
    ]
    faults += [("answer", {"document": document}) for document in documents]
    faults.append(("error", {"status": 400, "code": "Odd", "message": f"no: token={password}"}))
    for kind, detail in faults:
        aws.fault("GetAuthorizationToken", kind, times=1 if kind == "answer" else 4, **detail)
        failures.append(home.get(registry(PROD)))
        aws.clear_faults()
        home.call("erase", stdin=registry(PROD).encode())
    aws.end_session()
    failures.append(home.get(registry(PROD)))
    return failures


def real_names(home: Home) -> dict[str, str]:
    """What makes the helper ask AWS by its real names, and so through a proxy."""
    return {name: "" for name in home.environment if name.startswith("AWS_ENDPOINT_URL")}


def with_query(container: dict[str, str]) -> dict[str, str]:
    name = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    return {**container, name: f"{container[name]}?token={QUERY_TOKEN}&{QUERY_TOKEN}"}


def test_ecr_py_shows_no_secret(home: Home, aws: Aws) -> None:
    """Neither for people nor for programs; and what it fails with goes to the log, too."""
    home.environment["ECR_PY_LOG"] = "debug"
    many_calls(home, aws)
    secrets = known_secrets(aws)
    proxy = {"HTTPS_PROXY": f"http://user:{PROXY_PASSWORD}@127.0.0.1:9"}
    container = with_query(aws.container_environment())
    calls: list[tuple[str, dict[str, str]]] = [
        ("explain 111111111111", {}),
        ("explain assumed-by-words --json", {}),
        ("explain words --json", {}),
        (f"explain {registry(PROD)} --json", container),
        ("token words", {}),
        ("token assumed-by-words", {}),
        (f"token {registry(PROD)}", container),
        ("status --json", container),
        ("daemon install --dry-run", proxy),
    ]
    for command, environment in calls:
        done = subprocess.run(
            [ECR_PY, *command.split()],
            env=home.environment | environment,
            capture_output=True,
            timeout=60,
            start_new_session=True,
        )
        assert done.stdout + done.stderr
        assert b"unexpected" not in done.stdout + done.stderr
        assert secrets.within(done.stdout + done.stderr) == [], command
    assert secrets.within(home.log.read_bytes()) == []


def test_no_secret_is_left_anywhere(home: Home, aws: Aws) -> None:
    home.environment["ECR_PY_LOG"] = "debug"
    failures = many_calls(home, aws)
    secrets = known_secrets(aws)
    assert len(secrets.known) > 15
    for answer in failures:
        assert answer.line
        assert secrets.within(answer.stdout + answer.stderr) == [], answer
    logged = home.log.read_bytes()
    assert b"DEBUG" in logged
    assert secrets.within(logged) == []
    left = [path for path in home.path.rglob("*") if path.is_file()]
    users = [path for path in left if path.is_relative_to(home.path / ".aws")]
    credentials = [path for path in left if path.parent == home.cache / "credentials"]
    assert credentials
    for path in left:
        assert secrets.within(str(path).encode()) == []
        if path not in users and path not in credentials:
            assert secrets.within(path.read_bytes()) == [], path
    for path in credentials:
        assert not set(secrets.within(path.read_bytes())) - set(aws.issued), path


def test_a_renewal_shows_no_secret(home: Home, aws: Aws) -> None:
    home.get(registry(DEV))
    let_pass(home, HALF_LIFE + 60)
    aws.fault("GetAuthorizationToken", "delay", seconds=2)
    home.get(registry(DEV))
    wait_until(lambda: aws.count("GetAuthorizationToken") == 2)
    (renewal,) = renewals(home)
    # The shell and the interpreter add a few of their own.
    process = Path(f"/proc/{renewal}")
    command, environ = ((process / name).read_bytes() for name in ("cmdline", "environ"))
    assert known_secrets(aws).within(command + environ) == []
    assert command.split(b"\0")[-3:] == [b"renew", registry(DEV).encode(), b""]
    names = {pair.partition(b"=")[0].decode() for pair in environ.split(b"\0") if pair}
    assert names - home.environment.keys() <= {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}
    wait_until(lambda: not renewals(home))


def store(home: Home, server_url: str, username: str, secret: str) -> Answer:
    given = {"ServerURL": server_url, "Username": username, "Secret": secret}
    return home.call("store", stdin=json.dumps(given).encode())


@pytest.mark.parametrize("level", ["", "debug"])
def test_nothing_is_logged_on_a_hit(home: Home, level: str) -> None:
    home.environment["ECR_PY_LOG"] = level
    home.get(registry(DEV))
    before = home.log.read_bytes()
    time.sleep(0.01)
    home.get(registry(DEV))
    assert home.log.read_bytes() == before
