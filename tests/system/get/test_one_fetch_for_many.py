"""Many calls at once: one asks AWS, all are answered; and where it fails, all fail together."""

import threading

import pytest

from tests.standin.aws import Aws
from tests.support.home import DEV, PROD, STAGE, Answer, Home, registry
from tests.support.processes import Timed, at_once
from tests.support.records import damaged


def test_fifty_cold_gets_make_one_call(home: Home, aws: Aws) -> None:
    aws.latency = 0.3
    answers = [timed.answer for timed in at_once(home, [registry(DEV)] * 50)]
    assert {answer.stderr for answer in answers} == {b""}
    (password,) = {answer.password for answer in answers}
    assert aws.issued[password].account == DEV
    assert [call.operation for call in aws.calls] == ["GetRoleCredentials", "GetAuthorizationToken"]


def test_three_identities_at_once_make_one_call_each(home: Home, aws: Aws) -> None:
    aws.latency = 0.3
    accounts = [DEV, STAGE, PROD] * 4
    answers = [timed.answer for timed in at_once(home, [registry(account) for account in accounts])]
    assert [aws.issued[answer.password].account for answer in answers] == accounts
    assert aws.count("GetAuthorizationToken") == 3


def test_fifty_gets_while_entries_are_erased(home: Home, aws: Aws) -> None:
    ended = threading.Event()
    erased: list[Answer] = []

    def erase() -> None:
        while not ended.is_set():
            erased.append(home.call("erase", stdin=registry(DEV).encode()))

    eraser = threading.Thread(target=erase)
    eraser.start()
    try:
        answers = [t.answer for t in at_once(home, [registry(DEV), registry(STAGE)] * 25)]
    finally:
        ended.set()
        eraser.join()
    assert [answer for answer in erased if answer != Answer(0, b"", b"")] == []
    assert {answer.stderr for answer in answers} == {b""}
    assert [aws.issued[a.password].account for a in answers] == [DEV, STAGE] * 25
    assert aws.count("GetAuthorizationToken") >= 2
    assert damaged(home) == []


def ended_together(gets: list[Timed]) -> float:
    """Seconds between the end of the first and of the last."""
    return max(get.ended for get in gets) - min(get.ended for get in gets)


def test_an_ended_session_fails_for_all_at_once(home: Home, aws: Aws) -> None:
    aws.end_session()
    aws.fault("GetRoleCredentials", "delay", seconds=6)
    gets = at_once(home, [registry(DEV)] * 20)
    assert len({get.answer.line for get in gets}) == 1
    assert "ecr-py login dev" in gets[0].answer.line
    assert ended_together(gets) < 30
    assert aws.count("GetRoleCredentials") == 1


@pytest.mark.timeout(90)
def test_aws_that_hangs_fails_for_all_at_once(home: Home, aws: Aws) -> None:
    aws.fault("*", "hang")
    gets = at_once(home, [registry(DEV)] * 20)
    assert len({get.answer.line for get in gets}) == 1
    assert ended_together(gets) < 30
