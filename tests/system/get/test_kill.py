"""SIGKILL of fetching processes at random moments: nobody hangs, nothing is damaged."""

import random
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.home import DEV, Home, new_home, registry
from tests.support.processes import at_once, holders_of
from tests.support.records import damaged, files

KILLS, LANES, VICTIMS = 100, 2, 4


class Lane:
    """A home of its own in which processes are killed, round after round."""

    def __init__(self, home: Home, aws: Aws, seed: int) -> None:
        self.home, self.aws = home, aws
        self.random = random.Random(seed)
        self.killed = self.killed_with_lock = 0
        # Seconds from the first start to the last kill: what a crowd of cold gets takes here.
        crowd = at_once(home, [registry(DEV)] * (VICTIMS + 1))
        self.longest_life = max(get.seconds for get in crowd)

    def round(self) -> None:
        """Cold gets at once, all but one killed; the one left must answer, and so the next."""
        for file in files(self.home, "credentials"):
            file.unlink()
        began = time.monotonic()
        victims = [self._start() for _ in range(VICTIMS)]
        waiter = self._start()
        moments = sorted(self.random.uniform(0, self.longest_life) for _ in victims)
        for moment, victim in zip(moments, self.random.sample(victims, VICTIMS), strict=True):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            self._kill(victim)
        stdout, stderr = waiter.communicate(timeout=60)
        assert (waiter.returncode, stderr) == (0, b"")
        assert damaged(self.home) == []
        following = self.home.get(registry(DEV))
        assert following.stdout == stdout
        assert self.aws.issued[following.password].account == DEV

    def _start(self) -> subprocess.Popen[bytes]:
        process = self.home.start("get")
        assert process.stdin is not None
        process.stdin.write(registry(DEV).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def _kill(self, victim: subprocess.Popen[bytes]) -> None:
        locks = files(self.home, "locks")
        held = locks and victim.pid in holders_of(locks[0])
        victim.kill()
        victim.communicate()
        if victim.returncode < 0:
            self.killed += 1
            self.killed_with_lock += bool(held)


@pytest.mark.timeout(600)
def test_fetching_processes_killed_at_random_moments(tmp_path: Path, aws: Aws) -> None:
    aws.latency = 0.1
    lanes = [Lane(new_home(tmp_path / str(n), aws), aws, seed=n) for n in range(LANES)]
    enough = threading.Event()

    def run(lane: Lane) -> None:
        while sum(lane.killed for lane in lanes) < KILLS and not enough.is_set():
            try:
                lane.round()
            except BaseException:
                enough.set()
                raise

    with ThreadPoolExecutor(LANES) as pool:
        for done in [pool.submit(run, lane) for lane in lanes]:
            done.result()
    with_lock = sum(lane.killed_with_lock for lane in lanes)
    assert with_lock >= KILLS / 20, "hardly any was killed while it held the lock"
