"""Decides what the daemon does when, so that no pull waits: renewals, refreshes, notifications.

It looks at the records and token files at each turn and starts what is due; a turn comes at least
once a minute, so a machine that slept, a clock that was set and files that changed are all the
same case.
"""

import os
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker_credential_ecr_py.daemon.boundary import Boundary
from docker_credential_ecr_py.daemon.machine import machine_salt, network_stamp
from docker_credential_ecr_py.daemon.memory import UNUSED, Records
from docker_credential_ecr_py.daemon.notified_sessions import NotifiedSessions
from docker_credential_ecr_py.daemon.outages import Outage, Outages
from docker_credential_ecr_py.daemon.worker_pool import Report
from docker_credential_ecr_py.errors import EcrPyError, LoginNeeded, Unreachable, error_from_dict
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.pause import pause_after
from docker_credential_ecr_py.sso.token_cache import Token, read_token
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.record_store import selection_of
from docker_credential_ecr_py.store.sealed_backend import SEALED
from docker_credential_ecr_py.store.store import StoredSelection

# Seconds.
LONGEST_SLEEP = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 3600.0
# No event says that a network beyond the next router works again.
_LONGEST_PAUSE_OF_OUTAGE = 600.0
# Renewals are spread over the last twentieth of the fresh half of a token's life.
_SPREAD = 1 / 20
# Seconds. sso/sessions.py refreshes a little earlier if a `get` comes, botocore a little later.
_REFRESH_BEFORE_END = 15.5 * 60
_TELL_BEFORE_END = 15 * 60
_ENDED_LATELY = 86400
# Registries that are kept fresh, those used last: each costs a process now and then.
MOST_REGISTRIES = 500
# The details of a selection that `status` shows, and how long each may be.
_DETAILS = ("account", "region", "profile", "rule")
_LONGEST_DETAIL = 128

Start = Callable[[Report, Mapping[str, str], Callable[[Report], None]], None]
Tell = Callable[["Ending"], None]


@dataclass(frozen=True)
class Ending:
    """A session that needs a login by the user. `expires` is in seconds since the epoch.

    `profile` is one of the AWS config, or "". `environ` is that of a worker that logs in.
    """

    host: str
    profile: str
    expires: float
    environ: Mapping[str, str]


@dataclass
class Failure:
    """Why a job failed, how many times in a row, and when it is tried again.

    `outage` is set if AWS could not be reached. `files` are stamps of what the job depends on.
    """

    what: str
    tries: int
    at: float
    again: float
    files: bytes
    outage: Outage | None = None

    def pauses(self, now: float, files: bytes) -> bool:
        """Whether to wait still; not if a file has changed since, or the clock was set back."""
        return self.at <= now < self.again and files == self.files


@dataclass(frozen=True)
class _Known:
    """A selection, the name of its record, its context, and when it was last used.

    `environ` is that of a worker for it, None if the daemon does not renew it; `files` are the
    paths that it depends on and their stamps, None if one of them is not the daemon's own.
    """

    name: str
    selection: StoredSelection
    context: bytes
    used: float
    environ: Mapping[str, str] | None
    files: Mapping[bytes, bytes] | None

    @property
    def host(self) -> str:
        return self.selection.host

    @property
    def key(self) -> str:
        return self.selection.key

    @property
    def details(self) -> dict[str, str]:
        """The known details that can be shown: they come from a client or a file."""
        details = self.selection.details
        return {
            name: details[name]
            for name in _DETAILS
            if name in details
            and len(details[name]) <= _LONGEST_DETAIL
            and details[name].isprintable()
        }

    @property
    def conditions(self) -> list[bytes]:
        return [part for condition in (self.files or {}).items() for part in condition]

    @property
    def token_file(self) -> bytes | None:
        """The token file of the SSO session that the credential comes from, or None."""
        conditions = (self.files or {}).items()
        return next((path for path, stamp in conditions if stamp == record.PRESENT), None)


@dataclass
class Scheduler:
    """Starts renewals, refreshes and notifications when they are due, and retries failures.

    It does not call AWS: `start` starts a worker that does. Nor does it wait: `turn` returns how
    long to sleep. `named` returns the hosts that the settings and docker's config name; `watched`
    are the user's files whose change ends the pause after a failure.
    """

    records: Records
    start: Start
    tell: Tell
    boundary: Boundary
    named: Callable[[], Iterable[str]]
    watched: list[bytes]
    clock: Callable[[], float] = time.time
    told: NotifiedSessions = field(default_factory=lambda: NotifiedSessions(None))
    salt: bytes = field(default_factory=machine_salt)
    network: Callable[[], bytes] = network_stamp
    _outages: Outages = field(default_factory=Outages)
    _busy: set[str] = field(default_factory=set)
    _seen: set[str] = field(default_factory=set)
    _done: dict[str, float] = field(default_factory=dict)
    _failures: dict[str, Failure] = field(default_factory=dict)
    _to_unseal: bool = False

    def turn(self) -> float:
        """Start what is due. Return the seconds until the next turn."""
        now = self.clock()
        known = self._known(now)
        self._seen.clear()
        self._end_outages(known, now)
        due = [now + LONGEST_SLEEP]
        due += self._renew(known, now)
        due += self._refresh(known, now)
        self._forget_old(now)
        return max(0.0, min(due) - now)

    def unseal(self) -> None:
        """Have a worker open the sealed credentials and give them to the daemon."""
        self._to_unseal = True

    def status(self) -> dict[str, Any]:
        """Return the registries and sessions that are kept alive, and the failures, as JSON."""
        now = self.clock()
        known = self._known(now)
        registries = []
        for one in sorted(known, key=lambda one: one.host):
            times = self.records.times(one.key.encode(), SEALED)
            registries.append(
                {
                    **one.details,
                    "registry": one.host,
                    "differs": self.boundary.differing(one.context),
                    "issued": times and times.issued,
                    "renew_at": times and times.renew_at,
                    "expires": times and times.expires,
                }
            )
        sessions = []
        for path, one in self._sessions(known).items():
            token = _token(path)
            sessions.append(
                {
                    "profile": self._profile(one),
                    "expires": token and token.expires,
                    "refreshable": bool(token and token.refreshable(now)),
                }
            )
        return {
            "registries": registries,
            "sessions": sessions,
            "busy": sorted(self._busy),
            "failures": [
                {"job": job, "what": failure.what, "tries": failure.tries, "again": failure.again}
                for job, failure in self._failures.items()
            ],
        }

    def _known(self, now: float) -> list[_Known]:
        """Return the selections that are kept alive: named ones, then those used last."""
        named = set(self.named())
        known: list[_Known] = []
        seen = self.records.selections()
        hosts = {name: os.fsdecode(name.partition(b"/")[2].partition(b"~")[0]) for name in seen}

        def worth(name: bytes) -> tuple[bool, float]:
            return hosts[name] in named, seen[name]

        for name in sorted(seen, key=worth, reverse=True):
            if len(known) == MOST_REGISTRIES:
                break
            used = seen[name]
            if now - used > UNUSED and hosts[name] not in named:
                continue
            fields = self.records.selection(name)
            selection = selection_of(fields) if fields else None
            if fields and selection:
                known.append(
                    self._as_known(os.fsdecode(name), selection, fields[record.SELECTED_FOR], used)
                )
        return known

    def _as_known(
        self, name: str, selection: StoredSelection, context: bytes, used: float
    ) -> _Known:
        environ = self.boundary.environment(context)
        conditions = selection.conditions
        own = environ is not None and all(map(self.boundary.owns, conditions))
        return _Known(name, selection, context, used, environ, conditions if own else None)

    def _renew(self, known: list[_Known], now: float) -> Iterable[float]:
        holding: dict[str, _Known] = {}
        for one in sorted(known, key=lambda one: one.used):
            if not self._renews(one) or self._lacks_token(one):
                continue
            if one.files is not None and self.records.holds(one.conditions):
                holding[one.key] = one
            else:
                # The files that it depends on have changed, or are not ours: select again.
                yield self._do(f"renew {one.name}", now, now, one)
        for key, one in holding.items():
            times = self.records.times(one.key.encode(), SEALED)
            when, ahead = now, 0.0
            if times is not None and times.issued <= now < times.spent_at:
                ahead = (times.renew_at - times.issued) * _SPREAD * self._share(key)
                when = times.renew_at - ahead
            yield self._do(f"renew {key}", when, now, one, ahead)
        for host in set(self.named()) - {one.host for one in known}:
            yield self._do(f"renew {host}", now, now, self._unknown(host))
        if self._to_unseal:
            yield self._do("unseal", now, now, None)

    def _refresh(self, known: list[_Known], now: float) -> Iterable[float]:
        for path, one in self._sessions(known).items():
            token = _token(path)
            if token is None:
                continue
            job = f"refresh {os.fsdecode(path)}"
            if token.refreshable(now):
                yield self._do(job, token.expires - _REFRESH_BEFORE_END, now, one)
            if not token.refreshable(now) or job in self._failures:
                yield self._notify(path, token, one, now)

    def _notify(self, path: bytes, token: Token, one: _Known, now: float) -> float:
        """Show once that a session ends, when that is due. Return when to look again."""
        when = token.expires - _TELL_BEFORE_END
        if self.told.knows(path, token.expires) or now > token.expires + _ENDED_LATELY:
            return now + LONGEST_SLEEP
        if now < when:
            return when
        self.told.add(path, token.expires)
        self.tell(Ending(one.host, self._profile(one), token.expires, one.environ or {}))
        return now + LONGEST_SLEEP

    def _profile(self, one: _Known) -> str:
        """Return the selection's profile, or "" if it is not in the daemon's AWS config."""
        profile = one.details.get("profile", "")
        return profile if self.boundary.has_profile(profile) else ""

    def _do(
        self, job: str, when: float, now: float, one: "_Known | None", ahead: float = 0.0
    ) -> float:
        """Start a job if it is due and does not run. Return when to look again."""
        if job in self._busy:
            self._seen.add(job)
            return now + LONGEST_SLEEP
        if now < when:
            return when
        self._seen.add(job)
        files = self._files(one)
        failure = self._failures.get(job)
        if failure is not None and failure.pauses(now, files):
            return failure.again
        done = self._done.get(job, 0.0)
        if done <= now < done + _FIRST_PAUSE:  # another process may have been doing it
            return done + _FIRST_PAUSE
        self._busy.add(job)
        what, _, _ = job.partition(" ")
        order: Report = {"do": what}
        environ: Mapping[str, str] = self.boundary.own_environment
        if one is not None:
            order["host"] = one.host
            environ = one.environ or environ
        if what == "renew":
            order["ahead"] = ahead
        log.debug("%s is due", job)
        places = _places(what, one)
        self.start(order, environ, lambda report: self._ended(job, files, places, report))
        return now + LONGEST_SLEEP

    def _ended(self, job: str, files: bytes, places: frozenset[str], report: Report) -> None:
        """Note the result of a job; after a failure, set the pause before the next try."""
        self._busy.discard(job)
        now = self.clock()
        error = _error_in(report)
        if error is None:
            self._outages.note_success(places, now)
            self._failures.pop(job, None)
            self._done[job] = now
            if job == "unseal":
                self._to_unseal = False
            return
        tries = self._failures[job].tries + 1 if job in self._failures else 1
        pause = pause_after(tries, _FIRST_PAUSE, _LONGEST_PAUSE)
        outage = None
        if isinstance(error, LoginNeeded):
            pause = _LONGEST_PAUSE  # until the token file changes
        elif isinstance(error, Unreachable):
            pause = min(pause, _LONGEST_PAUSE_OF_OUTAGE)
            outage = Outage(places, self.network())
        pause *= 0.9 + 0.2 * self._share(f"{job} {tries}")
        self._failures[job] = Failure(str(error), tries, now, now + pause, files, outage)
        log.warning("%s failed (%d): %s", job, tries, error)

    def _end_outages(self, known: list[_Known], now: float) -> None:
        """End the pauses of jobs whose network or endpoint answers again."""
        waiting = [failure for failure in self._failures.values() if failure.outage]
        if not waiting:
            return
        for one in known:
            times = self.records.times(one.key.encode(), SEALED) if self._renews(one) else None
            if times is not None:  # fetched by a worker, or by a `get`
                self._outages.note_success(_places("renew", one), times.issued)
        network = self.network()
        for failure in waiting:
            if failure.outage and self._outages.is_over(failure.outage, failure.at, now, network):
                # It may be too early (DNS does not work yet, say): then the pauses start again.
                failure.tries, failure.again, failure.outage = 0, now, None

    def _forget_old(self, now: float) -> None:
        """Drop the failures of jobs that are no longer due."""
        failures, done = self._failures.items(), self._done.items()
        self._failures = {job: failure for job, failure in failures if job in self._seen}
        self._done = {job: at for job, at in done if now - at < _FIRST_PAUSE}

    def _files(self, one: "_Known | None") -> bytes:
        """Return stamps of the files that may have made a job fail."""
        of_one = (one.files or ()) if one is not None else ()
        return b" ".join(record.stamp(path) for path in [*self.watched, *of_one])

    def _sessions(self, known: list[_Known]) -> dict[bytes, _Known]:
        return {path: one for one in known if self._renews(one) and (path := one.token_file)}

    def _renews(self, one: _Known) -> bool:
        return self.boundary.renews(one.key, one.context)

    def _lacks_token(self, one: _Known) -> bool:
        """Whether the user has logged out: no credential can be fetched then."""
        path = one.token_file
        return path is not None and record.stamp(path) == record.ABSENT

    def _share(self, name: str) -> float:
        """Return a number from 0 to 1, always the same for a name on this machine.

        It spreads renewals; on each machine differently, or a company's would all call AWS at
        the same moment.
        """
        return zlib.crc32(self.salt + name.encode(errors="surrogateescape")) / 2**32

    def _unknown(self, host: str) -> _Known:
        selection = StoredSelection(host, "", {}, {})
        return _Known(host, selection, b"", 0.0, self.boundary.own_environment, {})


def _token(path: bytes) -> Token | None:
    """Read a token file without retries: if it is being written, the next turn reads it."""
    return read_token(Path(os.fsdecode(path)), retries=0)


def _places(what: str, one: _Known | None) -> frozenset[str]:
    """Return the services that a job calls: a region's ECR and SSO portal. Empty if unknown."""
    places = set()
    if one is not None and what == "renew" and (region := one.selection.details.get("region")):
        places.add(f"ecr {region}")
    if one is not None and one.token_file and (token := _token(one.token_file)):
        places.add(f"sso {token.region}")
    return frozenset(places)


def _error_in(report: Report) -> EcrPyError | None:
    if "died" in report:
        return EcrPyError(f"a worker died: {report['died']}")
    note = report["result"]
    return error_from_dict(note) if isinstance(note, dict) else None
