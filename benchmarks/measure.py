"""Runs programs side by side and holds the watch. Knows nothing of what they do."""

import atexit
import os
import selectors
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path


class Wrong(Exception):
    """A program did not answer as it should: its time would say nothing."""


@dataclass(frozen=True)
class Command:
    """A program as its user calls it. `before` runs ahead of each run, and is not timed."""

    arguments: list[str]
    environment: Mapping[str, str]
    stdin: bytes = b""
    code: int = 0
    answer: bytes = b""  # must be in its standard output
    before: Callable[[], None] = lambda: None

    def check(self, code: int, stdout: bytes) -> None:
        if code != self.code or self.answer not in stdout:
            raise Wrong(f"{' '.join(self.arguments)}: exit {code}, {stdout[:400]!r}")


@dataclass(frozen=True)
class Ratio:
    """One program's wall times over another's, taken in turn. `low` and `high` are quartiles."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, above: list[float], below: list[float]) -> "Ratio":
        pairs = [a / b for a, b in zip(above, below, strict=True)]
        low, _, high = statistics.quantiles(pairs, n=4)
        return cls(statistics.median(above) / statistics.median(below), low, high)


def seconds(command: Command) -> float:
    """The wall time of one run, from its start until it has answered and ended."""
    command.before()
    process, out, began = _spawned(command)
    stdout = b""
    while chunk := os.read(out, 65536):
        stdout += chunk
    status = os.wait4(process, 0)[1]
    took = time.perf_counter() - began
    os.close(out)
    command.check(os.waitstatus_to_exitcode(status), stdout)
    return took


def _spawned(command: Command) -> tuple[int, int, float]:
    """A process that runs it, the end of a pipe from its standard output, and when it began."""
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    os.write(in_write, command.stdin)
    os.close(in_write)
    file_actions = [
        (os.POSIX_SPAWN_DUP2, in_read, 0),
        (os.POSIX_SPAWN_DUP2, out_write, 1),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    began = time.perf_counter()
    try:
        process = os.posix_spawn(
            command.arguments[0],
            command.arguments,
            command.environment,
            file_actions=file_actions,
        )
    finally:
        os.close(in_read)
        os.close(out_write)
    return process, out_read, began


@dataclass
class Crowd:
    """What many runs at once took: seconds of each, and of all together."""

    took: list[float] = field(default_factory=list)
    span: float = 0.0

    def __iadd__(self, other: "Crowd") -> "Crowd":
        self.took += other.took
        self.span += other.span
        return self

    @property
    def rate(self) -> float:
        """Runs a second."""
        return len(self.took) / self.span

    @property
    def p99(self) -> float:
        """Seconds."""
        return statistics.quantiles(self.took, n=100)[98]


def at_once(command: Command, width: int, runs: int) -> Crowd:
    """Runs a command so often, `width` processes at any time. Raises Wrong."""
    found, started = Crowd(), 0
    with selectors.DefaultSelector() as selector:
        began = time.perf_counter()
        while started < runs or selector.get_map():
            while started < runs and len(selector.get_map()) < width:
                process, out, start = _spawned(command)
                selector.register(out, selectors.EVENT_READ, (process, start, []))
                started += 1
            for key, _ in selector.select():
                process, start, said = key.data
                if chunk := os.read(key.fd, 65536):
                    said.append(chunk)
                    continue
                selector.unregister(key.fd)
                os.close(key.fd)
                status = os.wait4(process, 0)[1]
                found.took.append(time.perf_counter() - start)
                command.check(os.waitstatus_to_exitcode(status), b"".join(said))
        found.span = time.perf_counter() - began
    return found


def race(runs: int, *commands: Command) -> list[list[float]]:
    """Each command's wall times: A B A B …, so that a busy moment of the machine meets all."""
    for command in commands:
        seconds(command)
    rounds = [[seconds(command) for command in commands] for _ in range(runs)]
    return [list(times) for times in zip(*rounds, strict=True)]


@lru_cache
def _watcher() -> str:
    """peak_memory.c, compiled. Raises FileNotFoundError without a C compiler."""
    folder = tempfile.mkdtemp(prefix="peak-")
    atexit.register(shutil.rmtree, folder)
    program = Path(folder, "peak_memory")
    source = Path(__file__).with_name("peak_memory.c")
    subprocess.run(["cc", "-O2", "-static", "-o", program, source], check=True)
    return str(program)


def peak_memory(command: Command) -> float:
    """Return the most memory that one run held resident, in MiB."""
    command.before()
    done = subprocess.run(
        [_watcher(), *command.arguments],
        input=command.stdin,
        env=command.environment,
        capture_output=True,
        check=False,
    )
    command.check(done.returncode, done.stdout)
    return int(done.stderr) / 1024
