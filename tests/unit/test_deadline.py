"""Calls in threads: what they return, and that a thread that hangs is left behind."""

from __future__ import annotations

import subprocess
import sys
from threading import Event, Lock

import pytest

from docker_credential_ecr_py.deadline import call_parallel, call_with_deadline
from docker_credential_ecr_py.errors import Unreachable

TOO_LATE = Unreachable("too late")


def test_what_the_call_returns_or_raises() -> None:
    assert call_with_deadline(60, lambda: "done", TOO_LATE) == "done"
    with pytest.raises(ZeroDivisionError):
        call_with_deadline(60, lambda: 1 / 0, TOO_LATE)


def test_a_time_limit_of_the_call_itself_is_not_ours() -> None:
    def gives_up() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        call_with_deadline(60, gives_up, TOO_LATE)


def test_a_call_that_hangs_is_left_behind() -> None:
    never = Event()
    with pytest.raises(Unreachable, match="too late"):
        call_with_deadline(0.01, never.wait, TOO_LATE)
    never.set()


def test_results_come_in_the_order_of_the_items_and_are_counted() -> None:
    counts: list[int] = []
    assert call_parallel(str, range(50), counts.append) == [str(number) for number in range(50)]
    assert counts == list(range(1, 51))


def test_no_more_than_eight_at_a_time() -> None:
    lock, full = Lock(), Event()
    now, most = 0, 0

    def work(number: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            if now == 8:
                full.set()
        assert full.wait(60)
        with lock:
            now -= 1

    call_parallel(work, range(40), lambda count: None)
    assert most == 8


def test_one_that_fails_fails_all() -> None:
    with pytest.raises(ZeroDivisionError):
        call_parallel(lambda number: 1 / number, [1, 0, 2], lambda count: None)


@pytest.mark.parametrize(
    "interrupted",
    [
        "call_with_deadline(0.01, Event().wait, KeyboardInterrupt())",
        "call_parallel(lambda event: event.wait(), [set_already, Event()], interrupt)",
    ],
)
def test_a_process_ends_though_a_call_hangs(interrupted: str) -> None:
    """An executor's thread would be waited for when the interpreter ends."""
    script = f"""
from threading import Event
from docker_credential_ecr_py.deadline import call_parallel, call_with_deadline

def interrupt(count):
    raise KeyboardInterrupt

set_already = Event()
set_already.set()
try:
    {interrupted}
except KeyboardInterrupt:
    print("ended")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=90, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")
