"""Makes calls in threads: one with a time limit, or many in parallel.

A thread may be left behind, because a name lookup, a credential_process or a keyring cannot be
stopped. So these are not an executor's threads, for which the process would wait when it ends.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, as_completed, wait
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

_AT_ONCE = 8

_T = TypeVar("_T")
_R = TypeVar("_R")


def start_call(work: Callable[[], _R]) -> Future[_R]:
    """Call `work` in a thread of its own, for which the process does not wait when it ends."""
    future: Future[_R] = Future()
    Thread(target=_run, args=(future, work), daemon=True).start()
    return future


def call_with_deadline(seconds: float, work: Callable[[], _R], too_late: Exception) -> _R:
    """Return or raise what `work` does; raise `too_late` after so many seconds."""
    call = start_call(work)
    if not wait([call], seconds).done:
        raise too_late
    return call.result()


def call_parallel(
    work: Callable[[_T], _R], items: Iterable[_T], counter: Callable[[int], None]
) -> list[_R]:
    """Call `work` for each item, eight at a time. Return the results in the items' order.

    `counter` is called with how many are done. Raises as `work`.
    """
    waiting: SimpleQueue[tuple[Future[_R], Callable[[], _R]]] = SimpleQueue()
    calls: list[Future[_R]] = []
    for item in items:
        calls.append(Future())
        waiting.put((calls[-1], partial(work, item)))

    def run_waiting() -> None:
        with suppress(Empty):
            while True:
                _run(*waiting.get_nowait())

    for _ in calls[:_AT_ONCE]:
        start_call(run_waiting)
    for count, _ in enumerate(as_completed(calls), 1):
        counter(count)
    return [call.result() for call in calls]


def _run(future: Future[_R], work: Callable[[], _R]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)
