"""Fetches credentials for the controller: one AWS call for each identity in a region.

By workers, processes that load botocore, fetch a few and end, so that botocore is not resident and
a call that hangs can be killed. What is due when is the plan's; here are the pauses after failures.
"""

import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from queue import SimpleQueue

from docker_credential_ecr_py.controller.plan import Entry, Token
from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.daemon import python_for
from docker_credential_ecr_py.deadline import start_call
from docker_credential_ecr_py.environment import as_given
from docker_credential_ecr_py.errors import EcrPyError, Throttled, Unreachable, error_from_dict
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.pause import pause_after
from docker_credential_ecr_py.registry import Registry

# Each worker takes some 45 MiB.
_WORKERS = 2
# The credentials that a worker fetches, and the seconds that it may take for each.
_BATCH = 8
_LIMIT = 40.0
# Seconds before the next try after a failure: doubled each time.
_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 3600.0
# If AWS cannot be reached or throttles: that passes by itself.
_LONGEST_PAUSE_OF_OUTAGE = 600.0

Result = Credential | EcrPyError
# Fetches the credentials of some registries; yields each key with what came of it.
Fetch = Callable[[list[Entry]], Iterator[tuple[str, Result]]]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no new credential, how many tries failed, and when the next is."""

    error: EcrPyError
    tries: int
    at: float
    again: float


class Credentials:
    """The credentials that the controller has, by their keys, and the workers that fetch more.

    Its methods are called by one thread. `came` is called by another one when `take` has something
    to take; `count` with each result, for the metrics. `start` runs a call in a thread.
    """

    def __init__(
        self,
        came: Callable[[], None],
        clock: Callable[[], float],
        *,
        fetch: Fetch | None = None,
        count: Callable[[Result], None] = lambda result: None,
        start: Callable[[Callable[[], None]], object] = start_call,
    ) -> None:
        self._came = came
        self._clock = clock
        self._fetch = fetch or fetch_by_worker
        self._count = count
        self._start_call = start
        self._held: dict[str, Credential] = {}
        self._tokens: dict[str, Token] = {}
        self._failures: dict[str, Failure] = {}
        self._busy: set[str] = set()
        self._workers = 0
        self._arrived: SimpleQueue[tuple[list[Entry], dict[str, Result]]] = SimpleQueue()

    @property
    def tokens(self) -> Mapping[str, Token]:
        """When each credential was issued and expires."""
        return self._tokens

    @property
    def failures(self) -> Mapping[str, Failure]:
        """The last failure of each key whose last fetch failed."""
        return self._failures

    def get(self, key: str) -> Credential | None:
        return self._held.get(key)

    def start_due(self, due: Mapping[str, float], entries: Mapping[str, Entry]) -> float | None:
        """Start the fetches that are due, as far as workers are free.

        `due` tells when each key has to be fetched, `entries` a registry of each. Returns when the
        next is due, or None if none is, or if that depends on a worker.
        """
        now = self._clock()
        later: list[float] = []
        ready: list[Entry] = []
        for key, when in due.items():
            failure = self._failures.get(key)
            if failure is not None and failure.at <= now:  # else the clock was set back
                when = max(when, failure.again)
            if when > now:
                later.append(when)
            elif key not in self._busy and key in entries:
                ready.append(entries[key])
        for batch in _batches(ready):
            if self._workers == _WORKERS:
                return None
            self._workers += 1
            self._busy.update(entry.key for entry in batch)
            self._start(batch)
        return min(later, default=None)

    def take(self) -> bool:
        """Take what workers have brought. Returns whether there was anything."""
        taken = False
        while not self._arrived.empty():
            batch, results = self._arrived.get()
            taken = True
            self._workers -= 1
            for entry in batch:
                self._busy.discard(entry.key)
                result = results.get(entry.key, EcrPyError("the worker gave no answer"))
                self._count(result)
                self._note(entry, result)
        return taken

    def retry_now(self) -> None:
        """End all pauses after failures: the AWS config or the grants have changed."""
        for key, failure in self._failures.items():
            self._failures[key] = replace(failure, tries=0, again=0.0)

    def drop_unused(self, keys: Collection[str]) -> None:
        """Drop what no grant needs any more."""
        for table in (self._held, self._tokens, self._failures):
            for key in table.keys() - set(keys):
                del table[key]

    def _start(self, batch: list[Entry]) -> None:
        def fetch() -> None:
            results: dict[str, Result] = {}
            try:
                results.update(self._fetch(batch))
            except EcrPyError as error:
                results.update((entry.key, error) for entry in batch)
            finally:
                self._arrived.put((batch, results))
                self._came()

        self._start_call(fetch)

    def _note(self, entry: Entry, result: Result) -> None:
        if isinstance(result, Credential):
            self._held[entry.key] = result
            self._tokens[entry.key] = Token(result.issued, result.expires)
            self._failures.pop(entry.key, None)
            log.info("fetched a token for %s as %s", entry.host, entry.identity)
            return
        now = self._clock()
        tries = self._failures[entry.key].tries + 1 if entry.key in self._failures else 1
        is_outage = isinstance(result, Unreachable | Throttled)
        longest = _LONGEST_PAUSE_OF_OUTAGE if is_outage else _LONGEST_PAUSE
        pause = pause_after(tries, _FIRST_PAUSE, longest)
        pause *= 0.9 + 0.2 * zlib.crc32(f"{entry.key} {tries}".encode()) / 2**32
        self._failures[entry.key] = Failure(result, tries, now, now + pause)
        log.warning("no token for %s as %s (%d): %s", entry.host, entry.identity, tries, result)


def fetch_by_worker(entries: list[Entry]) -> Iterator[tuple[str, Result]]:
    """Fetch by a process of its own. Yields what it brought. Raises EcrPyError if it cannot."""
    job = {"fetch": [[entry.key, entry.host, entry.profile] for entry in entries]}
    try:
        process = subprocess.Popen(
            [*python_for(f"{__package__}.worker"), json.dumps(job)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(as_given()),
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise EcrPyError(f"a worker cannot be started: {error.strerror}") from None
    try:
        output, _ = process.communicate(timeout=_LIMIT * len(entries))
    except subprocess.TimeoutExpired as late:
        output = late.output or b""
        log.warning("a worker took too long")
    finally:
        _kill(process)
        process.wait()
    for line in output.splitlines():
        with suppress(ValueError, TypeError, KeyError):
            found = json.loads(line)
            brought = found.get("credential")
            yield (
                found["key"],
                Credential(**brought) if brought else error_from_dict(found["error"]),
            )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker and, except on Windows, the `credential_process` that it has started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


def _batches(entries: list[Entry]) -> list[list[Entry]]:
    """Return the entries in groups of one region, each small enough for a worker."""

    def region(entry: Entry) -> str:
        return Registry.of_host(entry.host).region

    of_region = (list(found) for _, found in groupby(sorted(entries, key=region), region))
    return [
        found[start : start + _BATCH]
        for found in of_region
        for start in range(0, len(found), _BATCH)
    ]
