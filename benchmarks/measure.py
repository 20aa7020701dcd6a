"""Runs programs side by side and holds the watch. Knows nothing of what they do."""

import os
import selectors
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


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
    began = time.perf_counter()
    process, out = _spawned(command)
    stdout = b""
    while chunk := os.read(out, 65536):
        stdout += chunk
    status = os.wait4(process, 0)[1]
    took = time.perf_counter() - began
    os.close(out)
    command.check(os.waitstatus_to_exitcode(status), stdout)
    return took


def _spawned(command: Command) -> tuple[int, int]:
    """A process that runs it, and the end of a pipe from its standard output."""
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    os.write(in_write, command.stdin)
    os.close(in_write)
    try:
        process = os.posix_spawn(
            command.arguments[0],
            command.arguments,
            command.environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, in_read, 0),
                (os.POSIX_SPAWN_DUP2, out_write, 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
    finally:
        os.close(in_read)
        os.close(out_write)
    return process, out_read


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
                process, out = _spawned(command)
                selector.register(out, selectors.EVENT_READ, (process, time.perf_counter(), []))
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


# A process inherits the peak of whoever started it, so a bare interpreter does, which is smaller
# than any that loads more.
_SPAWN = """
import posix, sys
process = posix.posix_spawn(sys.argv[1], sys.argv[1:], posix.environ)
usage = posix.wait4(process, 0)
posix.write(2, b"%d" % usage[2].ru_maxrss)
sys.exit(usage[1] >> 8)
"""


def peak_memory(command: Command) -> float:
    """The most memory that one run held resident, in MiB."""
    command.before()
    done = subprocess.run(
        [sys.executable, "-IS", "-c", _SPAWN, *command.arguments],
        input=command.stdin,
        env=command.environment,
        capture_output=True,
        check=False,
    )
    command.check(done.returncode, done.stdout)
    return int(done.stderr) / (1024 * 1024 if sys.platform == "darwin" else 1024)
