"""Starts workers: processes that load AWS's libraries or a keyring, do one job, and end.

So the daemon stays small, and what hangs can be killed. A job is JSON on the command line, for
it never holds a secret; reports come back as JSON lines. worker.py is what runs there.
"""

import json
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from docker_credential_ecr_py.daemon import python_for
from docker_credential_ecr_py.log import log

# Seconds that a job may take; how many jobs run at once, and how many of those that a person waits
# for: these have a lane of their own, so that neither kind holds up the other. Each worker takes
# some 45 MiB.
LIMIT = 120.0
MOST_AT_ONCE, MOST_FOR_PEOPLE = 4, 2
_LONGEST_REPORT = 64 * 1024

Report = dict[str, Any]


@dataclass
class Worker:
    """`reports` is called with each line but the last, `ends` once with the last: the result.

    The result of a worker that died or was killed is {"died": REASON}. A person waits for it, or
    is asked by it, if it is `for_person`.
    """

    job: Report
    environ: Mapping[str, str]
    ends: Callable[[Report], None]
    reports: Callable[[Report], None] = lambda report: None
    limit: float = LIMIT
    for_person: bool = False
    process: "subprocess.Popen[bytes] | None" = None
    deadline: float = 0.0
    read: bytes = b""
    last: Report = field(default_factory=dict)

    def kill(self) -> None:
        if self.process is not None:
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Workers:
    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._running: list[Worker] = []
        self._waiting: deque[Worker] = deque()
        self._people_waiting: deque[Worker] = deque()

    def start(self, worker: Worker) -> None:
        """Runs it as soon as there is room."""
        if self._has_room(for_person=worker.for_person):
            self._run(worker)
        else:
            self._queue(for_person=worker.for_person).append(worker)

    def expire(self) -> float | None:
        """Kills who took too long. Seconds until the next one would, or None."""
        now = time.monotonic()
        for worker in self._running:
            if worker.deadline <= now:
                log.warning("worker for %s took too long", worker.job["do"])
                worker.last = {"died": "it took too long"}
                worker.kill()
        left = [worker.deadline - now for worker in self._running if worker.deadline > now]
        return min(left, default=None)

    def stop(self) -> None:
        self._waiting.clear()
        self._people_waiting.clear()
        for worker in self._running:
            worker.kill()

    def _run(self, worker: Worker) -> None:
        try:
            ours = _begin(worker)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the environment
            worker.ends({"died": f"it cannot be started: {error}"})
            return
        worker.deadline = time.monotonic() + worker.limit
        os.set_blocking(ours, False)
        self._running.append(worker)
        self._selector.register(ours, selectors.EVENT_READ, lambda _: self._receive(worker, ours))

    def _receive(self, worker: Worker, pipe: int) -> None:
        try:
            chunk = os.read(pipe, _LONGEST_REPORT)
        except BlockingIOError:
            return
        worker.read += chunk
        *lines, worker.read = worker.read.split(b"\n")
        for line in lines:
            self._take(worker, line)
        if not chunk or len(worker.read) > _LONGEST_REPORT:
            self._selector.unregister(pipe)
            os.close(pipe)
            self._end(worker)

    def _end(self, worker: Worker) -> None:
        worker.kill()
        code = worker.process.wait() if worker.process else None
        self._running.remove(worker)
        if not worker.last.keys() & {"result", "died"}:
            worker.last = {"died": f"it ended with {code}"}
        worker.ends(worker.last)
        # Where one cannot be started, it is the next one's turn.
        waiting = self._queue(for_person=worker.for_person)
        while waiting and self._has_room(for_person=worker.for_person):
            self._run(waiting.popleft())

    def _has_room(self, *, for_person: bool) -> bool:
        running = sum(one.for_person == for_person for one in self._running)
        return running < (MOST_FOR_PEOPLE if for_person else MOST_AT_ONCE)

    def _queue(self, *, for_person: bool) -> deque[Worker]:
        return self._people_waiting if for_person else self._waiting

    def _take(self, worker: Worker, line: bytes) -> None:
        try:
            report = json.loads(line)
        except ValueError:
            return
        if not isinstance(report, dict) or "died" in worker.last:
            return
        worker.last = report
        if "result" not in report:
            worker.reports(report)


def _begin(worker: Worker) -> int:
    """Starts its process. What it reports comes out of the pipe; raises OSError and ValueError."""
    ours, theirs = os.pipe()
    try:
        worker.process = subprocess.Popen(
            [*python_for(f"{__package__}.worker"), json.dumps(worker.job)],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
            env=dict(worker.environ),
            cwd="/",
            start_new_session=True,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return ours
