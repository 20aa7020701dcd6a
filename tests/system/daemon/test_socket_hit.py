"""A hit that the daemon answers: the bytes of a hit by file, and no more loaded than it takes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.daemon import (
    TOKEN,
    Daemon,
    as_bytes,
    document_in,
    names,
    socket_path,
    use_store,
)
from tests.support.home import DEV, HELPER, LAUNCHER, PROD, STAGE, Answer, Home, registry
from tests.support.imports import BARE, imported
from tests.support.programs import need
from tests.support.records import files
from tests.support.secrets import Secrets

OTHER = "registry.example.com"
ACCOUNTS = (DEV, STAGE, PROD)
Start = Callable[..., Daemon]


def test_a_get_by_socket_asks_aws_once(home: Home, aws: Aws, daemon: Daemon) -> None:
    first = home.get(registry(DEV))
    calls = aws.count()
    assert [home.get(registry(DEV)) for _ in range(3)] == [first] * 3
    assert aws.issued[first.password].account == DEV
    assert first.stderr == b""
    assert aws.count() == calls


def test_a_daemon_that_has_answered_and_gone_already(home: Home, aws: Aws, daemon: Daemon) -> None:
    """macOS fails then to shut down what the other end has closed."""
    home.get(registry(DEV))
    first, calls = home.get(registry(DEV)), aws.count()
    refused = ["-f", "-o", "/dev/null", "-e", "inject=shutdown:error=ENOTCONN"]
    done = subprocess.run(
        [need("strace"), *refused, "-e", "trace=shutdown", HELPER, "get"],
        input=registry(DEV).encode(),
        env=home.environment,
        capture_output=True,
        timeout=60,
        start_new_session=True,
        check=False,
    )
    assert Answer(done.returncode, done.stdout, done.stderr) == first
    assert aws.count() == calls


def test_by_socket_the_answer_is_that_by_file_to_the_byte(
    home: Home, aws: Aws, start: Start
) -> None:
    start("file")
    urls = [
        registry(DEV),
        f"https://{registry(DEV)}",
        f"https://{registry(DEV)}/",
        f"https://{registry(DEV)}/v2/",
        f"  {registry(DEV)}\n",
        OTHER,
    ]
    for url in urls:
        home.get(url)
    by_file = [home.get(url) for url in urls]
    calls = aws.count()
    use_store(home, "memory")
    for url in urls:
        home.get(url)
    assert files(home, "credentials") == []
    assert [home.get(url) for url in urls] == by_file
    assert aws.count() == calls


def test_a_registry_of_somebody_else_is_not_found_by_socket(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    first = home.get(OTHER)
    answer = daemon.ask(b"get %b %b" % (OTHER.encode(), context(home)))
    assert document_in(answer) == b"-\n"
    again = home.get(OTHER)
    assert again == first
    assert (again.code, again.stderr) == (1, b"")
    assert again.stdout == b"credentials not found in native keychain\n"


def context(home: Home) -> bytes:
    from docker_credential_ecr_py.store import record

    return record.context(as_bytes(home)).hex().encode()


@pytest.mark.parametrize("host", [registry(DEV), OTHER])
def test_it_imports_nothing_but_the_module_that_asks(home: Home, daemon: Daemon, host: str) -> None:
    home.get(host)
    ours = {"", ".helper", ".store", ".store.record", ".store.daemon_client"}
    wanted = {f"docker_credential_ecr_py{name}" for name in ours} | {"_socket"}
    assert imported(home, LAUNCHER, "get", host) - imported(home, "-c", "pass") == wanted


def test_a_hit_by_file_leaves_the_running_daemon_alone(home: Home, start: Start) -> None:
    start("file")
    home.get(registry(DEV))
    loaded = imported(home, LAUNCHER, "get", registry(DEV))
    assert "docker_credential_ecr_py.store.record" in loaded
    assert "docker_credential_ecr_py.store.daemon_client" not in loaded


def test_a_hit_by_socket_says_nothing_on_standard_error_and_writes_no_file(
    home: Home, daemon: Daemon
) -> None:
    home.get(registry(DEV))
    before = {path: path.lstat().st_mtime_ns for path in home.path.rglob("*")}
    done = subprocess.run(
        [*BARE, LAUNCHER, "get", registry(DEV)], env=home.environment, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert {path: path.lstat().st_mtime_ns for path in home.path.rglob("*")} == before


def test_each_environment_has_its_own_answer(home: Home, aws: Aws, daemon: Daemon) -> None:
    asked = {name: home.get(registry(DEV), AWS_PROFILE=name) for name in ("dev", "stage")}
    again = {name: home.get(registry(DEV), AWS_PROFILE=name) for name in ("dev", "stage")}
    assert again == asked
    owners = {name: aws.issued[answer.password].account for name, answer in asked.items()}
    assert owners == {"dev": DEV, "stage": STAGE}


def test_a_changed_aws_config_is_heeded_at_once(home: Home, aws: Aws, daemon: Daemon) -> None:
    assert aws.issued[home.get(registry(DEV)).password].account == DEV
    home.get(registry(DEV))
    home.write(home.settings, f'{home.settings.read_text()}[registries."*"]\nprofile = "stage"\n')
    assert aws.issued[home.get(registry(DEV)).password].account == STAGE


def test_a_logout_ends_the_answers_at_once(home: Home, aws: Aws, daemon: Daemon) -> None:
    home.get(registry(DEV))
    assert home.get(registry(DEV)).code == 0
    for token in (home.path / ".aws" / "sso" / "cache").iterdir():
        token.unlink()
    aws.end_session()
    assert "ecr-py login dev" in home.get(registry(DEV)).line


def test_erase_and_cache_ls_reach_the_memory(home: Home, aws: Aws, daemon: Daemon) -> None:
    first = home.get(registry(DEV)).password
    home.get(registry(STAGE))
    assert set(home.cached()) == {registry(DEV), registry(STAGE)}
    assert home.call("erase", stdin=registry(DEV).encode()).code == 0
    assert home.cached() == [registry(STAGE)]
    assert home.get(registry(DEV)).password != first


def test_what_docker_login_gave_is_kept_in_memory(home: Home, aws: Aws, daemon: Daemon) -> None:
    password = home.get(registry(DEV)).password
    given = {"ServerURL": registry(PROD), "Username": "AWS", "Secret": password}
    calls = aws.count()
    assert home.call("store", stdin=json.dumps(given).encode()).code == 0
    assert [home.get(registry(PROD)).password for _ in range(2)] == [password] * 2
    assert aws.count() == calls


def test_keys_in_the_environment_are_answered_for_by_socket(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    secret = aws.add_key("AKIADEV", f"arn:aws:iam::{PROD}:user/dev")
    keys = {"AWS_ACCESS_KEY_ID": "AKIADEV", "AWS_SECRET_ACCESS_KEY": secret}
    first = home.get(registry(DEV), **keys)
    assert aws.issued[first.password].account == PROD
    assert home.get(registry(DEV), **keys) == first
    assert aws.count(TOKEN) == 1


def texts(top: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in top.rglob("*") if path.is_file()}


def test_nothing_lies_on_disk(home: Home, aws: Aws, daemon: Daemon) -> None:
    home.environment["ECR_PY_LOG"] = "debug"
    hosts = [registry(account) for account in ACCOUNTS]
    for host in (*hosts, *hosts, OTHER):
        home.get(host)
    home.call("list")
    home.call("erase", stdin=hosts[2].encode())
    daemon.looks()
    assert len(names(daemon, "credentials/")) == 2
    secrets = Secrets(aws)
    assert len(secrets.known) > 6
    theirs = home.path / ".aws"  # the AWS CLI's
    found = texts(home.path) | texts(socket_path(home).parent)
    ours = {path: text for path, text in found.items() if not path.is_relative_to(theirs)}
    assert home.settings in ours
    assert [path for path, text in ours.items() if secrets.within(text)] == []
    # A log says what was done for whom; all else must not even say that.
    named = re.compile("|".join([*ACCOUNTS, re.escape(OTHER)]).encode())
    silent = {path: text for path, text in ours.items() if path != home.log}
    assert [path for path, text in silent.items() if named.search(text + bytes(path))] == []
    assert files(home, "credentials") == files(home, "selections") == []


def test_without_a_daemon_memory_keeps_nothing(home: Home, aws: Aws) -> None:
    use_store(home, "memory")
    answers = [home.get(registry(DEV)) for _ in range(2)]
    assert {aws.issued[answer.password].account for answer in answers} == {DEV}
    assert {answer.stderr for answer in answers} == {b""}
    assert aws.count(TOKEN) == 2
    assert files(home, "credentials") == files(home, "selections") == []


def test_an_ended_daemon_takes_its_memory_along(
    home: Home, aws: Aws, daemon: Daemon, start: Start
) -> None:
    first = home.get(registry(DEV)).password
    daemon.process.terminate()
    assert daemon.process.wait(10) == 0
    start("memory")
    assert home.get(registry(DEV)).password != first
