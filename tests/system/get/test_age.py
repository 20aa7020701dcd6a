"""Fresh, ageing, spent: who waits for AWS, and who does not."""

import os
import time
from typing import Any

import pytest

from tests.standin.aws import Aws
from tests.support.home import DEV, Home, registry
from tests.support.processes import at_once, open_files, renewals, timed_get, wait_until
from tests.support.records import DAY, HALF_LIFE, LIFE, files, let_pass

SLOW = 6.0
TOKEN = "GetAuthorizationToken"


@pytest.fixture
def first(home: Home) -> str:
    """The password that is cached, some hours old by the time a test asks again."""
    return home.get(registry(DEV)).password


def renewed(home: Home, first: str) -> bool:
    return home.get(registry(DEV)).password != first


def test_fresh_is_not_renewed(home: Home, aws: Aws, first: str) -> None:
    let_pass(home, HALF_LIFE - 60)
    assert home.get(registry(DEV)).password == first
    time.sleep(0.5)
    assert renewals(home) == []
    assert aws.count(TOKEN) == 1


def test_ageing_is_answered_at_once_and_renewed_by_one_process(
    home: Home, aws: Aws, first: str
) -> None:
    let_pass(home, HALF_LIFE + 60)
    aws.fault("GetRoleCredentials", "delay", seconds=SLOW)
    gets = at_once(home, [registry(DEV)] * 10)
    assert {get.answer.password for get in gets} == {first}
    assert {get.answer.stderr for get in gets} == {b""}
    # The pipes have closed, too: home.get waits for their end.
    assert max(get.seconds for get in gets) < SLOW / 2
    wait_until(lambda: aws.count("GetRoleCredentials") == 2)
    # A second process may have been started at the same moment; it finds the lock held.
    wait_until(lambda: len(renewals(home)) == 1, seconds=SLOW / 2)
    (renewal,) = renewals(home)
    assert os.getsid(renewal) == renewal
    assert [open_files(renewal)[number] for number in (0, 1, 2)] == ["/dev/null"] * 3
    assert not [file for file in open_files(renewal).values() if file.startswith("pipe:")]
    assert timed_get(home, registry(DEV)).seconds < SLOW / 2
    assert len(renewals(home)) == 1
    wait_until(lambda: renewed(home, first))
    wait_until(lambda: not renewals(home))
    assert (aws.count("GetRoleCredentials"), aws.count(TOKEN)) == (2, 2)
    assert aws.issued[home.get(registry(DEV)).password].account == DEV


def test_a_renewal_holds_nothing_else_that_the_helper_was_given(
    home: Home, aws: Aws, first: str
) -> None:
    # `(flock 9; docker pull ...) 9>lock`: a CI job must not stay locked for as long as AWS takes.
    let_pass(home, HALF_LIFE + 60)
    aws.fault("GetRoleCredentials", "delay", seconds=SLOW)
    reader, writer = os.pipe()
    helper = home.start("get", pass_fds=(writer,))
    os.close(writer)
    with open(reader, "rb") as inherited:
        assert first.encode() in helper.communicate(registry(DEV).encode())[0]
        began = time.monotonic()
        inherited.read()
        assert time.monotonic() - began < SLOW / 2


def test_a_renewal_that_fails_shows_nothing(home: Home, aws: Aws, first: str) -> None:
    let_pass(home, HALF_LIFE + 60)
    aws.end_session()
    for _ in range(3):
        answer = home.get(registry(DEV))
        assert (answer.password, answer.stderr) == (first, b"")
    wait_until(lambda: aws.count("GetRoleCredentials") == 2)
    wait_until(lambda: not renewals(home))
    answer = home.get(registry(DEV))
    assert (answer.password, answer.stderr) == (first, b"")
    time.sleep(0.5)
    assert aws.count("GetRoleCredentials") == 2, "it was tried again within the minute"
    assert "ecr-py login dev" in home.log.read_text()


def test_a_renewal_is_tried_again_after_a_minute(home: Home, aws: Aws, first: str) -> None:
    let_pass(home, HALF_LIFE + 60)
    aws.fault("GetRoleCredentials", "error", status=403, code="ForbiddenException", times=1)
    home.get(registry(DEV))
    wait_until(lambda: aws.count("GetRoleCredentials") == 2)
    wait_until(lambda: not renewals(home))
    let_pass(home, 61)
    wait_until(lambda: renewed(home, first))
    assert aws.count(TOKEN) == 2


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(LIFE - 240, id="spent: minutes before its end"),
        pytest.param(LIFE + 60, id="past its end"),
        pytest.param(DAY, id="clock a day forward"),
        pytest.param(-DAY, id="from the future: clock a day back"),
        pytest.param(-60, id="from the future: clock a minute back"),
    ],
)
def test_not_answered_before_it_is_renewed(home: Home, aws: Aws, first: str, seconds: int) -> None:
    let_pass(home, seconds)
    renewed = home.get(registry(DEV))
    assert renewed.password != first
    assert aws.issued[renewed.password].account == DEV
    assert home.get(registry(DEV)) == renewed
    assert aws.count(TOKEN) == 2


def test_spent_and_no_way_to_renew_is_a_failure_once_it_has_ended(
    home: Home, aws: Aws, first: str
) -> None:
    """Nobody can log in; registries take the token for four minutes more."""
    let_pass(home, LIFE - 240)
    aws.end_session()
    answer = home.get(registry(DEV))
    assert (answer.password, answer.stderr) == (first, b"")
    assert "ecr-py login dev" in home.log.read_text()
    let_pass(home, 241)
    assert "ecr-py login dev" in home.get(registry(DEV)).line


FAULTS: dict[str, dict[str, Any]] = {
    "down": {"kind": "error", "status": 503, "code": "Unavailable"},
    "throttled": {"kind": "error", "status": 400, "code": "ThrottlingException"},
    "breaks off": {"kind": "close"},
    "garbage": {"kind": "garbage"},
}


@pytest.mark.parametrize("what", list(FAULTS))
def test_many_at_once_share_a_failure_and_each_has_the_valid_token(
    home: Home, aws: Aws, first: str, what: str
) -> None:
    let_pass(home, LIFE - 240)
    aws.fault("GetAuthorizationToken", **FAULTS[what])
    answers = [timed.answer for timed in at_once(home, [registry(DEV)] * 10)]
    assert {answer.password for answer in answers} == {first}
    assert {answer.stderr for answer in answers} == {b""}
    tries = aws.count("GetAuthorizationToken")
    assert tries <= 1 + 4, "each process asked"
    assert home.get(registry(DEV)).password == first
    assert aws.count("GetAuthorizationToken") == tries, "it was tried again within the minute"
    aws.clear_faults()
    for lock in files(home, "locks"):
        lock.unlink()  # with the time of the failure
    assert home.get(registry(DEV)).password != first


def test_a_logout_ends_it_all_the_same(home: Home, aws: Aws, first: str) -> None:
    let_pass(home, LIFE - 240)
    for file in (home.path / ".aws" / "sso" / "cache").iterdir():
        file.unlink()
    assert "ecr-py login dev" in home.get(registry(DEV)).line


def test_a_clock_that_is_wrong_by_more_does_not_prolong_a_token(home: Home, aws: Aws) -> None:
    aws.token_lifetime = 3 * DAY  # what the answer looks like where our clock is days behind
    first = home.get(registry(DEV)).password
    let_pass(home, LIFE)
    assert home.get(registry(DEV)).password != first
