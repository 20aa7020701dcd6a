"""What `get` answers while the daemon, or the process that asks AWS, is killed again and again.

`python -m benchmarks.kills [TIMES]`. The daemon is killed TIMES times (50) and started again each
time, while gets go on. Then fifty cold gets are started at once, TIMES // 10 times; in each round
the process that holds the lock, and so asks AWS, is killed five times.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.measure import Wrong
from tests.standin.aws import Aws
from tests.support.daemon import ecr_py, short_folder, use_store
from tests.support.home import DEV, Home, new_home, registry
from tests.support.processes import holders_of
from tests.support.records import files

_CROWD, _LEADERS = 50, 5
# Seconds.
_PATIENCE = 60
_LATENCY = 0.3  # of each call to AWS: long enough to find the process that makes it


@dataclass
class Gets:
    """What gets came to: seconds of each that answered, and how many did not."""

    took: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def all(self) -> int:
        return len(self.took) + self.failed

    def reached(self, number: int) -> bool:
        return self.all >= number

    def __str__(self) -> str:
        figures = f"{statistics.median(self.took):.2f}, {max(self.took):.2f} s"
        return f"{len(self.took)} answered, {self.failed} failed | {figures}"


def wait_for(happens: Callable[[], int]) -> int:
    """Return what `happens` returns, as soon as that is not 0. Raises Wrong."""
    deadline = time.monotonic() + _PATIENCE
    while not (found := happens()):
        if time.monotonic() > deadline:
            raise Wrong("it did not happen in time")
        time.sleep(0.005)
    return found


@contextmanager
def going_on(home: Home) -> Iterator[Gets]:
    """Call the helper as docker does, one get after the other, until the context ends."""
    found, ends = Gets(), threading.Event()

    def ask() -> None:
        while not ends.is_set():
            began = time.monotonic()
            answer = home.get(registry(DEV))
            if answer.code or answer.stderr:
                found.failed += 1
            else:
                found.took.append(time.monotonic() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield found
    finally:
        ends.set()
        thread.join()


def start_daemon(home: Home) -> int:
    """Start it as a user does; its PID."""
    if (done := ecr_py(home, "daemon", "start")).code:
        raise Wrong(done.stderr)
    return int(json.loads(ecr_py(home, "daemon", "status", "--json").stdout)["pid"])


def kill_daemons(aws: Aws, folder: Path, store: str, times: int) -> str:
    home = new_home(folder, aws)
    use_store(home, store)
    aws.reset_calls()
    with going_on(home) as gets:
        for _ in range(times):
            pid = start_daemon(home)
            enough = gets.all + 3
            wait_for(partial(gets.reached, enough))
            os.kill(pid, signal.SIGKILL)
    calls = aws.count("GetAuthorizationToken")
    return f'the daemon, store = "{store}" | {times} | {gets} | {calls}'


def kill_leaders(aws: Aws, folder: Path, rounds: int) -> str:
    """Fifty cold gets at once, of which the one that asks AWS is killed, five times over."""
    home, gets, killed = new_home(folder, aws), Gets(), 0
    aws.reset_calls()
    for _ in range(rounds):
        for file in files(home, "credentials"):
            file.unlink()
        with ThreadPoolExecutor(_CROWD) as pool:
            began = time.monotonic()
            crowd = {one.pid: one for one in [_started(home) for _ in range(_CROWD)]}
            ended = {pid: pool.submit(_ended, one, began) for pid, one in crowd.items()}
            for _ in range(_LEADERS):
                pid = wait_for(partial(_leader, home, crowd))
                os.kill(pid, signal.SIGKILL)
                killed += 1
                del crowd[pid]
                ended.pop(pid).result()
            for one in ended.values():
                code, seconds = one.result()
                gets.took += [seconds] if code == 0 else []
                gets.failed += code != 0
    calls = aws.count("GetAuthorizationToken")
    return f"the get that asks AWS, of {_CROWD} at once | {killed} | {gets} | {calls}"


def _ended(process: subprocess.Popen[bytes], began: float) -> tuple[int, float]:
    """Wait for the end of a process: its exit code, and the seconds since `began`."""
    code = process.wait(_PATIENCE)
    return code, time.monotonic() - began


def _started(home: Home) -> subprocess.Popen[bytes]:
    command = [str(home.helper), "get", registry(DEV)]
    null = subprocess.DEVNULL
    return subprocess.Popen(command, env=home.environment, stdin=null, stdout=null, stderr=null)


def _leader(home: Home, crowd: Collection[int]) -> int:
    """The process of the crowd that holds the lock of the identity, 0 if none does."""
    holders = [pid for lock in files(home, "locks") for pid in holders_of(lock)]
    return next((pid for pid in holders if pid in crowd), 0)


def main(times: int) -> None:
    with Aws() as aws:
        print("killed | times | the other gets | median, longest | calls to AWS")
        for store in ("file", "memory"):
            with short_folder() as folder:
                print(kill_daemons(aws, folder / "home", store, times), flush=True)
        aws.latency = _LATENCY
        with tempfile.TemporaryDirectory() as name:
            print(kill_leaders(aws, Path(name), max(1, times // 10)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
