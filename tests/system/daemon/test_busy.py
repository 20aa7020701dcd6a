"""A busy machine and a daemon that does not answer: what a get makes of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.daemon import Daemon
from tests.support.home import DEV, HELPER, Answer, Home, registry
from tests.support.processes import at_once
from tests.support.programs import need

Traced = Callable[..., tuple[Answer, str]]


@pytest.fixture
def traced(home: Home, tmp_path: Path) -> Traced:
    """A get under strace: its answer, and the system calls that are traced."""

    def get(*options: str) -> tuple[Answer, str]:
        trace = tmp_path / "trace"
        done = subprocess.run(
            [need("strace"), "-o", trace, *options, HELPER, "get", registry(DEV)],
            env=home.environment,
            capture_output=True,
            timeout=60,
            start_new_session=True,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr), trace.read_text()

    return get


def test_a_process_that_had_to_wait_for_its_turn_takes_the_answer_that_is_there(
    home: Home, daemon: Daemon, traced: Traced
) -> None:
    """It is not the daemon that was late. To ask again costs three times as much."""
    first = home.get(registry(DEV))
    late = ["-e", "inject=recvfrom:delay_enter=700000", "-e", "trace=connect,recvfrom"]
    answer, calls = traced(*late)
    assert answer == first
    assert calls.count("connect(") == 1, calls


def test_a_daemon_that_is_stopped_is_not_waited_for(
    home: Home, aws: Aws, daemon: Daemon, traced: Traced
) -> None:
    """A third of a second in all, of all that asks it."""
    home.get(registry(DEV))
    with daemon.stopped():
        answer, calls = traced("-e", "trace=poll,connect")
    assert answer.password in aws.issued
    waited = [int(found) for found in re.findall(r"poll\(\[.*\], 1, (\d+)\) += 0", calls)]
    assert calls.count("connect(") >= 2, calls
    assert 0 < sum(waited) <= 300, calls


def test_a_crowd_is_answered_by_the_daemon_alone(home: Home, aws: Aws, daemon: Daemon) -> None:
    """Few, at most, load all that they need to ask again: that makes it worse for the others."""
    first = home.get(registry(DEV))
    calls = aws.count()
    home.environment["ECR_PY_LOG"] = "debug"
    before = home.log.read_text()
    assert {get.answer.stdout for get in at_once(home, [registry(DEV)] * 60)} == {first.stdout}
    assert aws.count() == calls
    said = home.log.read_text().removeprefix(before)
    assert said.count("(won)") <= 6, said
