"""Credentials are renewed before they age, by nobody's get: once, and not again and again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from docker_credential_ecr_py.store import record
from tests.standin.aws import Aws
from tests.support.daemon import TOKEN, Daemon, ecr_py, let_pass_in_memory, names, use_store
from tests.support.home import DEV, PROD, ROLE, STAGE, START_URL, THREE_ACCOUNTS, Home, registry
from tests.support.records import (
    DAY,
    HALF_LIFE,
    LIFE,
    files,
    let_pass,
    only,
    store_of,
)
from tests.support.secrets import Secrets
from tests.support.user import eventually

Start = Callable[..., Daemon]
ACCOUNTS = (DEV, STAGE, PROD)
OF_DEV = '[registries."*"]\nprofile = "dev"\n'
WEEK = 7 * DAY


def named(*hosts: str, profile: str = "dev") -> str:
    return "".join(f'[registries."{host}"]\nprofile = "{profile}"\n' for host in hosts)


def kept(home: Home) -> str:
    """The password that is in the one file."""
    credential = store_of(home).load(only(home, "credentials").name)
    assert credential is not None
    return credential.secret


# When, and how often


def test_what_is_past_its_half_life_is_renewed_by_nobodys_get(
    home: Home, aws: Aws, start: Start
) -> None:
    first = home.get(registry(DEV)).password
    let_pass(home, HALF_LIFE + 60)
    daemon = start("file")
    eventually(lambda: kept(home) != first)
    for _ in range(3):
        daemon.looks()
    assert aws.count(TOKEN) == 2
    calls = aws.count()
    answer = home.get(registry(DEV))
    assert (answer.password, answer.stderr) == (kept(home), b"")
    assert aws.count() == calls


def test_in_memory_too_even_if_it_was_asked_for_but_once(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    first = home.get(registry(DEV)).password
    let_pass_in_memory(daemon, HALF_LIFE + 60)
    daemon.looks()
    eventually(lambda: aws.count(TOKEN) == 2)
    for _ in range(3):
        daemon.looks()
    answer = home.get(registry(DEV))
    assert answer.password != first
    assert answer.stderr == b""
    assert aws.count(TOKEN) == 2


@pytest.mark.parametrize("seconds", [0, 3600, HALF_LIFE - 1200])
def test_what_is_fresh_is_left_alone(home: Home, aws: Aws, start: Start, seconds: int) -> None:
    first = home.get(registry(DEV)).password
    let_pass(home, seconds)
    daemon = start("file")
    for _ in range(3):
        daemon.looks()
    assert kept(home) == first
    assert aws.count(TOKEN) == 1


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(LIFE - 60, id="spent"),
        pytest.param(LIFE + DAY, id="the machine slept, or its clock went a day forward"),
        pytest.param(-DAY, id="its clock was set back by a day"),
    ],
)
def test_what_cannot_be_answered_any_more_is_renewed_at_once(
    home: Home, aws: Aws, start: Start, seconds: int
) -> None:
    daemon = start("file")
    first = home.get(registry(DEV)).password
    let_pass(home, seconds)
    daemon.looks()
    eventually(lambda: kept(home) != first)
    daemon.looks()
    assert aws.count(TOKEN) == 2
    calls = aws.count()
    assert home.get(registry(DEV)).password == kept(home)
    assert aws.count() == calls


def test_several_registries_of_one_identity_cost_one_call(
    home: Home, aws: Aws, start: Start
) -> None:
    use_store(home, "file", OF_DEV)
    for account in ACCOUNTS:
        home.get(registry(account))
    assert aws.count(TOKEN) == 1
    let_pass(home, HALF_LIFE + 60)
    daemon = start("file", OF_DEV)
    daemon.looks()
    eventually(lambda: aws.count(TOKEN) == 2)
    daemon.looks()
    assert aws.count(TOKEN) == 2
    assert len(daemon.status()["registries"]) == 3


@pytest.mark.parametrize("store", ["file", "memory"])
def test_several_that_are_named_and_nobody_asked_for_cost_one_call(
    home: Home, aws: Aws, start: Start, store: str
) -> None:
    daemon = start(store, named(*map(registry, ACCOUNTS)))
    eventually(lambda: aws.count(TOKEN) == 1)
    daemon.looks()
    daemon.looks()
    assert aws.count(TOKEN) == 1


def test_each_identity_costs_one_call(home: Home, aws: Aws, start: Start) -> None:
    for account in ACCOUNTS:
        home.get(registry(account))
    let_pass(home, HALF_LIFE + 60)
    daemon = start("file")
    eventually(lambda: aws.count(TOKEN) == 6)
    daemon.looks()
    assert aws.count(TOKEN) == 6
    calls = aws.count()
    for account in ACCOUNTS:
        assert aws.issued[home.get(registry(account)).password].account == account
    assert aws.count() == calls


def test_after_a_change_of_the_aws_config_it_chooses_anew(
    home: Home, aws: Aws, start: Start
) -> None:
    daemon = start("file")
    first = home.get(registry(DEV)).password
    home.write(home.aws_config, f"# changed\n{THREE_ACCOUNTS}")
    daemon.looks()
    calls = aws.count()
    assert home.get(registry(DEV)).password == first
    fields = record.read(os.fsencode(only(home, "selections")), record.SELECTION)
    assert fields is not None
    assert record.holds(fields[5:])
    assert aws.count() == calls
    assert aws.count(TOKEN) == 1


def test_what_was_erased_is_not_fetched_again(home: Home, aws: Aws, start: Start) -> None:
    daemon = start("file")
    home.get(registry(DEV))
    home.call("erase", stdin=registry(DEV).encode())
    daemon.looks()
    assert daemon.status()["registries"] == []
    assert aws.count(TOKEN) == 1


def test_after_a_logout_nothing_is_fetched(home: Home, aws: Aws, start: Start) -> None:
    home.get(registry(DEV))
    let_pass(home, HALF_LIFE + 60)
    for token in (home.path / ".aws" / "sso" / "cache").iterdir():
        token.unlink()
    daemon = start("file")
    daemon.looks()
    assert aws.count() == 2
    assert daemon.failures == []


def test_what_docker_login_gave_is_not_renewed(home: Home, aws: Aws, start: Start) -> None:
    password = home.get(registry(STAGE)).password
    home.call("erase", stdin=registry(STAGE).encode())
    given = {"ServerURL": registry(DEV), "Username": "AWS", "Secret": password}
    home.call("store", stdin=json.dumps(given).encode())
    let_pass(home, HALF_LIFE + 60)
    start("file").looks()
    assert aws.count(TOKEN) == 1


def test_nothing_is_fetched_where_nothing_is_kept(home: Home, aws: Aws, start: Start) -> None:
    start("none", named(registry(DEV))).looks()
    assert aws.count() == 0


def test_names_that_are_no_registry_are_passed_over(home: Home, aws: Aws, start: Start) -> None:
    home.write(
        home.path / ".docker" / "config.json",
        json.dumps({"credHelpers": dict.fromkeys(["ghcr.io", "public.ecr.aws"], "ecr-py")}),
    )
    daemon = start("file", named("*.dkr.ecr.eu-west-1.amazonaws.com"))
    daemon.looks()
    assert aws.count() == 0
    assert daemon.status()["registries"] == []


# Use


def test_unused_for_more_than_a_week_is_not_renewed(home: Home, aws: Aws, start: Start) -> None:
    unused(home, WEEK + 3600)
    daemon = start("file")
    daemon.looks()
    assert aws.count(TOKEN) == 1
    assert daemon.status()["registries"] == []


def unused(home: Home, seconds: int) -> None:
    """A registry that was asked for so long ago, and has aged."""
    home.get(registry(DEV))
    let_pass(home, HALF_LIFE + 60)
    then = time.time() - seconds
    os.utime(only(home, "selections"), (then, then))


def test_unused_for_less_than_a_week_is_renewed(home: Home, aws: Aws, start: Start) -> None:
    unused(home, WEEK - 3600)
    start("file").looks()
    assert aws.count(TOKEN) == 2


def test_what_docker_names_is_renewed_however_long_it_was_not_used(
    home: Home, aws: Aws, start: Start
) -> None:
    unused(home, 3 * WEEK)
    config = {"credHelpers": {registry(DEV): "ecr-py", registry(STAGE): "another"}}
    home.write(home.path / ".docker" / "config.json", json.dumps(config))
    daemon = start("file")
    eventually(lambda: aws.count(TOKEN) == 2)
    daemon.looks()
    assert aws.count(TOKEN) == 2
    assert [one["registry"] for one in daemon.status()["registries"]] == [registry(DEV)]


def test_a_renewal_is_no_use(home: Home, aws: Aws, start: Start) -> None:
    """Or else what was asked for once would be renewed for ever."""
    unused(home, WEEK - DAY)
    start("file").looks()
    assert aws.count(TOKEN) == 2
    assert unused_for(only(home, "selections")) > WEEK - 2 * DAY


def unused_for(file: Path) -> float:
    found = file.stat()
    return time.time() - max(found.st_atime, found.st_mtime)


def test_neither_is_a_change_of_the_aws_config(home: Home, aws: Aws, start: Start) -> None:
    unused(home, WEEK - DAY)
    home.write(home.aws_config, f"# changed\n{THREE_ACCOUNTS}")
    start("file").looks()
    assert unused_for(only(home, "selections")) > WEEK - 2 * DAY


def test_a_look_is_no_use(home: Home, aws: Aws, start: Start) -> None:
    home.get(registry(DEV))
    file = only(home, "selections")
    now = time.time()
    os.utime(file, (now - 3 * DAY, now - 2 * DAY))
    if atime_of_a_read(home) == 0:
        pytest.skip("reading a file here does not change when it was last read")
    daemon = start("file")
    daemon.looks()
    daemon.status()
    assert abs(file.stat().st_atime - (now - 3 * DAY)) < 1


def atime_of_a_read(home: Home) -> float:
    """What a read does to a file like it."""
    probe = home.write(home.path / "probe", "x")
    os.utime(probe, (0, 0))
    probe.read_text()
    return probe.stat().st_atime


def test_a_hit_by_socket_is_a_use(home: Home, aws: Aws, daemon: Daemon) -> None:
    home.get(registry(DEV))
    home.get(registry(DEV))
    assert [one["registry"] for one in daemon.status()["registries"]] == [registry(DEV)]


# Failures


@pytest.fixture
def failing(home: Home, aws: Aws, start: Start) -> Daemon:
    """A daemon whose renewal has just failed."""
    home.get(registry(DEV))
    let_pass(home, HALF_LIFE + 60)
    aws.fault("GetRoleCredentials", "error", status=403, code="ForbiddenException")
    daemon = start("file")
    daemon.failure()
    return daemon


def test_a_failure_is_shown_and_backed_off(home: Home, aws: Aws, failing: Daemon) -> None:
    calls = aws.count()
    for _ in range(3):
        failing.looks()
    failure = failing.failure()
    assert (failure["tries"], DEV in failure["what"]) == (1, True)
    assert 20 < failure["again"] - time.time() < 60
    assert aws.count() == calls


@pytest.mark.parametrize("store", ["file", "memory"])
def test_a_valid_token_is_answered_while_aws_is_down(
    home: Home, aws: Aws, start: Start, store: str
) -> None:
    """In the last minutes of its life the daemon answers no hit; what it has is still of use."""
    aws.token_lifetime = 290  # all of it is the last minutes
    daemon = start(store)
    home.get(registry(DEV))
    aws.fault(TOKEN, "error", status=503, code="Unavailable")
    daemon.looks()
    for _ in range(2):
        answer = home.get(registry(DEV))
        assert answer.stderr == b""
        assert answer.password in aws.issued
    assert "503" in daemon.failure()["what"]


def test_a_changed_aws_config_makes_it_try_at_once(home: Home, aws: Aws, failing: Daemon) -> None:
    aws.clear_faults()
    home.write(home.aws_config, f"# mended\n{THREE_ACCOUNTS}")
    failing.looks()
    eventually(lambda: aws.count(TOKEN) == 2)
    failing.looks()
    assert failing.failures == []
    assert aws.count(TOKEN) == 2


def test_a_changed_token_file_makes_it_try_at_once(home: Home, aws: Aws, failing: Daemon) -> None:
    aws.clear_faults()
    aws.write_sso_token(home.path, START_URL)
    failing.looks()
    eventually(lambda: aws.count(TOKEN) == 2)
    assert failing.failures == []


def test_it_fails_again_where_a_change_did_not_mend_it(
    home: Home, aws: Aws, failing: Daemon
) -> None:
    aws.write_sso_token(home.path, START_URL)
    failing.looks()
    eventually(lambda: failing.failure()["tries"] == 2)
    calls = aws.count()
    failing.looks()
    assert aws.count() == calls


def test_a_failure_to_choose_anew_is_shown(home: Home, aws: Aws, start: Start) -> None:
    home.get(registry(DEV))
    daemon = start("file")
    home.write(home.aws_config, THREE_ACCOUNTS.replace(DEV, "111111111111"))
    daemon.looks()
    failure = daemon.failure()
    assert DEV in failure["what"]
    home.write(home.aws_config, THREE_ACCOUNTS)
    daemon.looks()
    assert daemon.failures == []


def test_a_named_registry_that_cannot_be_fetched_is_shown(
    home: Home, aws: Aws, start: Start
) -> None:
    aws.assigned[DEV].clear()
    daemon = start("file", named(registry(DEV)))
    daemon.looks()
    assert registry(DEV) in daemon.failure()["job"]
    shown = ecr_py(home, "daemon", "status").stdout
    assert "tried 1 time," in shown
    assert DEV in shown


def test_a_failure_is_forgotten_once_a_get_has_brought_a_token(
    home: Home, aws: Aws, failing: Daemon
) -> None:
    aws.clear_faults()
    let_pass(home, LIFE)
    assert home.get(registry(DEV)).code == 0
    failing.looks()
    assert failing.failures == []


def test_a_session_that_the_portal_ended_is_said_with_what_mends_it(
    home: Home, aws: Aws, start: Start
) -> None:
    home.get(registry(DEV))
    let_pass(home, HALF_LIFE + 60)
    aws.end_session()
    daemon = start("file")
    failure = daemon.failure()
    assert "ecr-py login dev" in failure["what"]
    calls = aws.count()
    daemon.looks()
    assert aws.count() == calls
    aws.write_sso_token(home.path, START_URL)
    daemon.looks()
    eventually(lambda: aws.count(TOKEN) == 2)


def test_one_that_fails_holds_up_no_other(home: Home, aws: Aws, start: Start) -> None:
    for account in ACCOUNTS:
        home.get(registry(account))
    let_pass(home, HALF_LIFE + 60)
    aws.assigned[STAGE].remove(ROLE)
    daemon = start("file")
    eventually(lambda: aws.count(TOKEN) == 5)
    assert STAGE in daemon.failure()["what"]


# Secrets


def test_keys_in_the_askers_environment_are_not_kept_for_renewals(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    secret = aws.add_key("AKIADEV", f"arn:aws:iam::{PROD}:user/dev")
    keys = {"AWS_ACCESS_KEY_ID": "AKIADEV", "AWS_SECRET_ACCESS_KEY": secret}
    home.get(registry(DEV), **keys)
    home.get(registry(DEV), **keys)
    let_pass_in_memory(daemon, HALF_LIFE + 60)
    daemon.looks()
    assert aws.count(TOKEN) == 1
    held = [daemon.ask(b"read " + name) or b"" for name in names(daemon, "")]
    assert held
    assert [text for text in held if secret.encode() in text] == []


def test_workers_have_no_secret_in_environment_and_arguments(
    home: Home, aws: Aws, start: Start
) -> None:
    home.get(registry(DEV))
    let_pass(home, HALF_LIFE + 60)
    secret = aws.add_key("AKIADEV", f"arn:aws:iam::{PROD}:user/dev")
    aws.fault("GetRoleCredentials", "hang")
    daemon = start(
        "file",
        AWS_ACCESS_KEY_ID="AKIADEV",
        AWS_SECRET_ACCESS_KEY=secret,
        AWS_SESSION_TOKEN=f"session-{secret}",
        AWS_SECURITY_TOKEN=f"session-{secret}",
        AWS_PROFILE="prod",
        AWS_CONTAINER_AUTHORIZATION_TOKEN=aws.container_token,
    )
    eventually(lambda: aws.count("GetRoleCredentials") == 2)
    (worker,) = daemon.workers()
    process = Path(f"/proc/{worker}")
    assert Secrets(aws).within((process / "cmdline").read_bytes()) == []
    try:
        environ = (process / "environ").read_bytes()
    except PermissionError:
        pytest.skip("nobody but root may look at a worker")
    assert f"HOME={home.path}".encode() in environ.split(b"\0")
    assert Secrets(aws).within(environ) == []
    # Who asks is as it was when the registry was asked for.
    assert b"AWS_PROFILE=" not in environ
    assert b"AKIADEV" not in environ


def test_an_outage_ends_for_all_when_one_get_is_answered(
    home: Home, aws: Aws, start: Start
) -> None:
    """The others need not wait for their next tries."""
    for account in (DEV, STAGE):
        home.get(registry(account))
    let_pass(home, HALF_LIFE + 60)
    aws.fault(TOKEN, "close")
    daemon = start("file")
    eventually(lambda: len(daemon.failures) == 2, seconds=60)
    daemon.looks()
    assert {failure["tries"] for failure in daemon.failures} == {1}
    aws.clear_faults()
    aws.reset_calls()
    daemon.looks()
    assert aws.count(TOKEN) == 0
    assert home.get(registry(PROD)).code == 0
    daemon.looks()
    assert daemon.failures == []
    assert aws.count(TOKEN) == 3


def test_a_renewal_asks_as_the_one_who_asked(home: Home, aws: Aws, start: Start) -> None:
    home.get(registry(DEV), AWS_PROFILE="stage")
    let_pass(home, HALF_LIFE + 60)
    daemon = start("file", AWS_PROFILE="prod")
    daemon.looks()
    eventually(lambda: aws.count(TOKEN) == 2)
    assert len(files(home, "selections")) == 1
    calls = aws.count()
    answer = home.get(registry(DEV), AWS_PROFILE="stage")
    assert aws.issued[answer.password].account == STAGE
    assert aws.count() == calls
