"""A time limit for what has none of its own."""

import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def call_with_deadline(seconds: float, work: Callable[[], _T], too_late: Exception) -> _T:
    """What `work` returns or raises; raises `too_late` after so many seconds.

    It runs in a thread that may be left behind, because neither a name lookup, nor a
    credential_process of the user's, nor a keyring that asks can be stopped otherwise.
    """
    done: list[_T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise too_late
    return done[0]
