"""Many calls of the installed helper at once, and a look at the processes they leave behind."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.home import HELPER, Answer, Home


@dataclass
class Timed:
    answer: Answer
    seconds: float
    ended: float


def timed_get(home: Home, server_url: str) -> Timed:
    began = time.monotonic()
    answer = home.get(server_url)
    ended = time.monotonic()
    return Timed(answer, ended - began, ended)


def at_once(home: Home, server_urls: list[str]) -> list[Timed]:
    """A get of each, all started together."""
    with ThreadPoolExecutor(len(server_urls)) as pool:
        return list(pool.map(lambda url: timed_get(home, url), server_urls))


def wait_until(happens: Callable[[], object], *, seconds: float = 60, every: float = 0.02) -> None:
    """Wait for what should happen soon. The limit is for a machine with much other work."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(every)


def renewals(home: Home) -> list[int]:
    """The processes that renew credentials of this home in the background."""
    return running(home, b"renew")


def running(home: Home, argument: bytes = b"") -> list[int]:
    """The processes of the helper that run in this home, of those with an argument if one is given.

    Only root may look at their environment: for anybody else the test is skipped.
    """
    ours, ours_by_name = f"HOME={home.path}".encode(), f"/{HELPER.name}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            if not any(part.endswith(ours_by_name) for part in command):
                continue
            if argument and argument not in command:
                continue
            if ours in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except PermissionError:
            pytest.skip("only root may look at a process that holds secrets")
        except OSError:
            continue  # it has ended
    return found


def holders_of(lock: Path) -> list[int]:
    """The processes that hold the lock file, as the kernel lists them."""
    try:
        inode = lock.stat().st_ino
    except OSError:
        return []
    rows = [row.split() for row in Path("/proc/locks").read_text().splitlines()]
    return [int(r[4]) for r in rows if r[1] == "FLOCK" and r[5].split(":")[2] == str(inode)]


def open_files(process: int) -> dict[int, str]:
    folder = f"/proc/{process}/fd"
    return {int(number): os.readlink(f"{folder}/{number}") for number in os.listdir(folder)}
