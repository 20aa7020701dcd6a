"""One question for many things, some at a time, and Ctrl-C ends it."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, as_completed
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

_AT_ONCE = 8

_T = TypeVar("_T")
_A = TypeVar("_A")


def call_parallel(
    ask: Callable[[_T], _A], things: Iterable[_T], counter: Callable[[int], None]
) -> list[_A]:
    """The answer for each, in their order; raises what `ask` raises.

    `counter` is told how many have come so far. The threads may be left behind: an executor's would
    be waited for, at the latest when the process ends, and a call may take half a minute.
    """
    waiting: SimpleQueue[tuple[_T, Future[_A]]] = SimpleQueue()
    answers: list[Future[_A]] = []
    for thing in things:
        answers.append(Future())
        waiting.put((thing, answers[-1]))

    def work() -> None:
        with suppress(Empty):
            while True:
                thing, answer = waiting.get_nowait()
                try:
                    answer.set_result(ask(thing))
                except BaseException as error:
                    answer.set_exception(error)

    for _ in answers[:_AT_ONCE]:
        Thread(target=work, daemon=True).start()
    for count, _ in enumerate(as_completed(answers), 1):
        counter(count)
    return [answer.result() for answer in answers]
