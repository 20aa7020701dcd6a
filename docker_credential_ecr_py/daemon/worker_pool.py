"""Starts workers: processes that load AWS's libraries or a keyring, do one job, and end.

So the daemon stays small, and a call that hangs can be killed. A job is JSON on the command line,
for it never holds a secret; its reports come back as lines of JSON. The process runs worker.py.
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

# Seconds that a job may take, and how many jobs run at once. Each worker takes some 45 MiB. Jobs
# that the user began do not count: they wait for the user, and must not delay the others.
LIMIT = 120.0
MOST_AT_ONCE = 4
_LONGEST_REPORT = 64 * 1024

Report = dict[str, Any]


@dataclass
class Worker:
    """A job in a process of its own. `ends` is called once, with the result.

    The result of a worker that died or was killed is {"died": REASON}. `notes` gets what it reports
    before that. `by_user` means that it may wait for the user: it starts at once, no matter how
    many others run.
    """

    job: Report
    environ: Mapping[str, str]
    ends: Callable[[Report], None]
    limit: float = LIMIT
    by_user: bool = False
    notes: Callable[[Report], None] | None = None
    process: "subprocess.Popen[bytes] | None" = None
    deadline: float = 0.0
    read: bytes = b""
    last: Report = field(default_factory=dict)

    def kill(self) -> None:
        if self.process is not None:
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Workers:
    """The workers that run and those that wait for their turn. `selector` watches their pipes."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._running: list[Worker] = []
        self._waiting: deque[Worker] = deque()

    def start(self, worker: Worker) -> None:
        """Start a worker as soon as fewer than MOST_AT_ONCE run."""
        if worker.by_user or self._has_room():
            self._run(worker)
        else:
            self._waiting.append(worker)

    def expire(self) -> float | None:
        """Kill workers that took too long; return the seconds until the next would, or None."""
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
        # In a loop, because a worker that cannot be started does not run.
        while self._waiting and self._has_room():
            self._run(self._waiting.popleft())

    def _has_room(self) -> bool:
        return sum(not worker.by_user for worker in self._running) < MOST_AT_ONCE

    def _take(self, worker: Worker, line: bytes) -> None:
        try:
            report = json.loads(line)
        except ValueError:
            return
        if not isinstance(report, dict) or "died" in worker.last:
            return
        if "result" in report:
            worker.last = report
        elif worker.notes is not None:
            worker.notes(report)


def _begin(worker: Worker) -> int:
    """Start its process; return the pipe with its result. Raises OSError and ValueError."""
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
