"""The records that the daemon answers from: in memory, and on disk, which it only reads."""

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass

from docker_credential_ecr_py.credential import LONGEST_LIFE
from docker_credential_ecr_py.daemon.boundary import Boundary
from docker_credential_ecr_py.hardening import give_back_memory
from docker_credential_ecr_py.store import daemon_client, record
from docker_credential_ecr_py.store.file_backend import NO_ATIME, TEMP_SUFFIX
from docker_credential_ecr_py.store.record_store import CREDENTIALS, SELECTIONS

# Clients may write without end: the records that were used least recently are dropped.
MOST, MOST_BYTES = 10_000, 8 * 1024 * 1024
# Seconds. A selection that was not used in a week is forgotten; an ageing credential that the
# daemon does not renew is renewed by one client a minute; and no expiry is further away than twice
# the longest life, which allows for a clock that is late.
UNUSED = 7 * 86400
_RENEWAL_PAUSE = 60
_LATEST_EXPIRY = 2 * LONGEST_LIFE
_END_OF_TIME = 2**40
_KINDS = {CREDENTIALS: record.CREDENTIAL, SELECTIONS: record.SELECTION}
_HOST = re.compile(rb"[\x21-\x2e\x30-\x7d]{1,300}")
# Bytes of memory that a record takes beyond its content, and each field beyond its own.
_PER_RECORD, _PER_FIELD = 350, 48
_WORTH_GIVING_BACK = 1024 * 1024


@dataclass(frozen=True)
class Times:
    """When a credential was issued, is to be renewed, and so on, in seconds since the epoch.

    From `spent_at` on a `get` waits for a new one, though registries take it until it `expires`.
    """

    issued: int
    renew_at: int
    spent_at: int
    expires: int


class Records:
    """The records in memory and in the cache folder `root` (or None). Names are as in record.py.

    It renews none; what a client may store or have renewed is decided by `boundary`.
    """

    def __init__(self, root: bytes | None, boundary: Boundary) -> None:
        self._root = root
        self._boundary = boundary
        # In the order of their last use.
        self._memory: dict[bytes, list[bytes]] = {}
        self._bytes = 0
        self._freed = 0
        self._used: dict[bytes, float] = {}
        self._client_renewals: dict[bytes, float] = {}
        self._stamps: dict[bytes, bytes] = {}

    def new_turn(self) -> None:
        """Forget the stamps of files: each is read once a turn."""
        self._stamps.clear()

    def hit(self, server_url: bytes, here: bytes, *, can_renew: bool = True) -> bytes:
        """Return the answer to `get` as daemon_client.hit reads it; b"" if it is not a hit.

        The client itself looks at the files that the answer depends on. One that cannot renew gets
        b"" if it is its turn to: it hands over to a client that can.
        """
        host = record.plain_host(server_url)
        if host is None:
            return b""
        conditions: list[bytes] = []

        def note(more: list[bytes]) -> bool:
            conditions.extend(more)
            return True

        hit = record.answer(server_url, host, here, self.read, note)
        if hit is None:
            return b""
        name = record.selection_name(host, here)
        self._use(name)
        self._use(record.credential_name(hit.key))
        renew = hit.ageing and self._client_renews(name, hit.key, here)
        if renew and not can_renew:
            return b""
        if renew:
            self._note_renewal(name)
        state = daemon_client.RENEW if renew else daemon_client.KEPT_FRESH
        return b"\0".join([state, *conditions, hit.answer or daemon_client.NO_CREDENTIALS])

    def document(self, server_url: bytes) -> bytes:
        """Return docker's JSON document for a client on another machine, which sees no files here.

        NO_CREDENTIALS if there are none for the host; b"" if it is not a hit in the daemon's own
        environment.
        """
        host, here = record.plain_host(server_url), self._boundary.own_context
        if host is None:
            return b""
        hit = record.answer(server_url, host, here, self.read, self.holds)
        if hit is None:
            return b""
        self._use(record.selection_name(host, here))
        self._use(record.credential_name(hit.key))
        return hit.answer or daemon_client.NO_CREDENTIALS

    def read(self, name: bytes, kind: bytes) -> list[bytes] | None:
        fields = self._memory.get(name)
        if fields is not None:
            return fields if fields[record.KIND] == kind else None
        return self._from_disk(name, kind)

    def holds(self, conditions: list[bytes]) -> bool:
        """As record.holds, but looks at each file once a turn, and only at the daemon's own."""
        for path, wanted in zip(conditions[::2], conditions[1::2], strict=False):
            if not self._boundary.owns(path):
                return False
            seen = self._stamps.get(path)
            if seen is None:
                seen = self._stamps[path] = record.stamp(path)
            if not record.fits(seen, wanted):
                return False
        return True

    def record(self, name: bytes) -> bytes:
        """Return a record that is in memory, as it goes over the socket; b"" if it is not."""
        fields = self._memory.get(name)
        return record.record_of(fields) if fields else b""

    def write(self, name: bytes, data: bytes) -> bool:
        """Store a record that a client sent. Return False if it is not one, or misnamed."""
        fields = _checked(name, data, time.time())
        if fields is None:
            return False
        used = self._used.get(name, time.time())
        self.remove(name)
        size = _size(name, fields)
        while self._memory and (len(self._memory) >= MOST or self._bytes + size > MOST_BYTES):
            self.remove(next(iter(self._memory)))
        self._memory[name] = fields
        self._bytes += size
        if fields[record.KIND] == record.SELECTION:
            self._used[name] = used
        return True

    def remove(self, name: bytes) -> None:
        fields = self._memory.pop(name, None)
        if fields is not None:
            size = _size(name, fields)
            self._bytes -= size
            self._freed += size
        self._used.pop(name, None)
        self._client_renewals.pop(name, None)

    def names(self, folder: bytes) -> list[bytes]:
        """Return the names of the records in memory."""
        return sorted(name for name in self._memory if name.startswith(folder))

    def selections(self) -> dict[bytes, float]:
        """Return all selections, in memory and on disk, and when each was last used."""
        used_at = {
            name: self._used.get(name, 0.0) for name in self._memory if name.startswith(SELECTIONS)
        }
        folder = self._root and self._root + b"/" + SELECTIONS.rstrip(b"/")
        if folder and record.is_private_folder(folder):
            for file in os.scandir(folder):
                name = SELECTIONS + file.name
                # Other processes write here: it may be a temporary file, or be gone by now.
                if name.endswith(TEMP_SUFFIX):
                    continue
                with suppress(FileNotFoundError):
                    status = file.stat(follow_symlinks=False)
                    used = max(status.st_atime, status.st_mtime)
                    used_at[name] = max(used, self._used.get(name, 0.0))
        return used_at

    def selection(self, name: bytes) -> list[bytes] | None:
        """Return a selection's fields, whether or not it still holds."""
        fields = self._memory.get(name)
        return fields or self._from_disk(name, record.SELECTION, NO_ATIME)

    def times(self, key: bytes, sealed: bytes) -> Times | None:
        """Return a credential's times, or None. `sealed` is the kind of sealed records.

        Their times are in clear.
        """
        name = record.credential_name(key)
        fields = self._memory.get(name)
        if fields is not None and not self.holds(fields[record.CONDITIONS :]):
            fields = None
        for kind in (record.CREDENTIAL, sealed):
            fields = fields or self._from_disk(name, kind, NO_ATIME)
        return _times(fields) if fields else None

    def drop_old(self, now: float) -> None:
        """Remove expired credentials and unused selections, and give memory back to the system."""
        for name in self.names(CREDENTIALS):
            times = _times(self._memory[name])
            if times is None or times.expires < now:
                self.remove(name)
        for name in self.names(SELECTIONS):
            if now - self._used[name] > UNUSED or self._lost_its_credential(self._memory[name]):
                self.remove(name)
        self._give_back()

    def clear(self) -> None:
        for name in list(self._memory):
            self.remove(name)
        self._give_back()

    def _lost_its_credential(self, selection: list[bytes]) -> bool:
        """Whether its credential is gone and the daemon does not fetch it again."""
        key = selection[record.SELECTED_KEY]
        if not key or self._boundary.renews(os.fsdecode(key), selection[record.SELECTED_FOR]):
            return False
        name = record.credential_name(key)
        return name not in self._memory and self._from_disk(name, record.CREDENTIAL) is None

    def _client_renews(self, name: bytes, key: bytes, here: bytes) -> bool:
        """Whether this client is to renew: not if the daemon does, or a client in this minute."""
        if self._boundary.renews(os.fsdecode(key), here):
            return False
        return not 0 <= time.time() - self._client_renewals.get(name, 0.0) < _RENEWAL_PAUSE

    def _note_renewal(self, name: bytes) -> None:
        if len(self._client_renewals) >= MOST:  # of selections on disk
            self._client_renewals.clear()
        self._client_renewals[name] = time.time()

    def _use(self, name: bytes) -> None:
        if name in self._memory:
            self._memory[name] = self._memory.pop(name)
        if name in self._used:
            self._used[name] = time.time()

    def _give_back(self) -> None:
        if self._freed > _WORTH_GIVING_BACK:
            self._freed = 0
            give_back_memory()

    def _from_disk(self, name: bytes, kind: bytes, flags: int = 0) -> list[bytes] | None:
        if self._root is None:
            return None
        return record.read(b"%b/%b" % (self._root, name), kind, flags)


def _checked(name: bytes, data: bytes, now: float) -> list[bytes] | None:
    """Return the fields of a record if it is valid and has this name, else None."""
    folder, slash, _ = name.partition(b"/")
    fields = record.fields_of(data, _KINDS.get(folder + slash, b""))
    if fields is None or len(data) > record.LARGEST_RECORD:
        return None
    if fields[record.KIND] == record.CREDENTIAL:
        times = _times(fields) if len(fields) > record.SECRET else None
        plausible = times is not None and times.expires <= now + _LATEST_EXPIRY
        return fields if plausible and _is_name_of_credential(name, fields[record.KEY]) else None
    host, context, key = fields[record.HOST : record.DETAILS]
    if not _HOST.fullmatch(host) or not record.is_key(key):
        return None
    return fields if name == record.selection_name(host, context) else None


def _is_name_of_credential(name: bytes, key: bytes) -> bool:
    return bool(key) and record.is_key(key) and name == record.credential_name(key)


def _size(name: bytes, fields: list[bytes]) -> int:
    """Estimate the bytes of memory that a record takes."""
    return len(name) + sum(map(len, fields)) + _PER_FIELD * len(fields) + _PER_RECORD


def _times(fields: list[bytes]) -> Times | None:
    try:
        moments = [int(field) for field in fields[record.ISSUED : record.USERNAME]]
    except ValueError:
        return None
    return Times(*moments) if all(0 <= moment < _END_OF_TIME for moment in moments) else None
