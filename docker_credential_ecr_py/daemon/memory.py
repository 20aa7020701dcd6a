"""What the daemon knows: records in memory, and those on disk that it only looks at."""

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

# A client may write as much as it likes: what was used least recently goes.
MOST, MOST_BYTES = 10_000, 8 * 1024 * 1024
# Seconds. A selection that nobody asked for in a week is forgotten; an ageing credential that the
# daemon does not renew is left to one client a minute; and an expiry is half a day off at most,
# on a clock that is late by as much again.
UNUSED = 7 * 86400
_RENEWAL_PAUSE = 60
_LATEST_EXPIRY = 2 * LONGEST_LIFE
_END_OF_TIME = 2**40
_KINDS = {CREDENTIALS: record.CREDENTIAL, SELECTIONS: record.SELECTION}
_HOST = re.compile(rb"[\x21-\x2e\x30-\x7d]{1,300}")
# What a record takes in memory beside its bytes, and beside those of each field.
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
    """`root` is the cache folder, or None. Names are as in record.py."""

    def __init__(self, root: bytes | None, boundary: Boundary) -> None:
        self._root = root
        self._boundary = boundary
        # In the order of their last use.
        self._memory: dict[bytes, list[bytes]] = {}
        self._bytes = 0
        self._freed = 0
        self._used: dict[bytes, float] = {}
        self._left_to_clients: dict[bytes, float] = {}
        self._stamps: dict[bytes, bytes] = {}

    def new_turn(self) -> None:
        """Files are looked at anew: what was asked until now was asked before this moment."""
        self._stamps.clear()

    def hit(self, server_url: bytes, here: bytes, *, client_renews: bool = True) -> bytes:
        """What goes to a client that asked for a server URL: see client.hit. Or nothing.

        The files that the answer depends on are the client's to look at. A client that does not
        renew gets nothing if it should: it hands over to one that does.
        """
        host = record.plain_host(server_url)
        if host is None:
            return b""
        conditions: list[bytes] = []

        def noted(more: list[bytes]) -> bool:
            conditions.extend(more)
            return True

        found = record.answer(server_url, host, here, self.read, noted)
        if found is None:
            return b""
        name = record.selection_name(host, here)
        self._use(name)
        self._use(record.credential_name(found.key))
        renew = found.ageing and self._is_left_to_clients(name, found.key, here)
        if renew and not client_renews:
            return b""
        if renew:
            self._note_renewal(name)
        state = daemon_client.RENEW if renew else daemon_client.KEPT_FRESH
        return b"\0".join([state, *conditions, found.answer or daemon_client.NO_CREDENTIALS])

    def read(self, name: bytes, kind: bytes) -> list[bytes] | None:
        fields = self._memory.get(name)
        if fields is not None:
            return fields if fields[record.KIND] == kind else None
        return self._from_disk(name, kind)

    def holds(self, conditions: list[bytes]) -> bool:
        """As record.holds, looking at each file once a turn, and at none that is not our own."""
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
        """A record that is in memory, as it goes over the socket."""
        fields = self._memory.get(name)
        return record.record_of(fields) if fields else b""

    def write(self, name: bytes, data: bytes) -> bool:
        """Keeps a record that a client sent. False if it is not one, or not of that name."""
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
        self._left_to_clients.pop(name, None)

    def names(self, folder: bytes) -> list[bytes]:
        """Those in memory."""
        return sorted(name for name in self._memory if name.startswith(folder))

    def selections(self) -> dict[bytes, float]:
        """All selections, in memory and on disk, and when each was last used."""
        found = {
            name: self._used.get(name, 0.0) for name in self._memory if name.startswith(SELECTIONS)
        }
        folder = self._root and self._root + b"/" + SELECTIONS.rstrip(b"/")
        if folder and record.is_private_folder(folder):
            for file in os.scandir(folder):
                name = SELECTIONS + file.name
                # Others may be at it: what is listed may have its name, or be gone, by now.
                if name.endswith(TEMP_SUFFIX):
                    continue
                with suppress(FileNotFoundError):
                    seen = file.stat(follow_symlinks=False)
                    used = max(seen.st_atime, seen.st_mtime)
                    found[name] = max(used, self._used.get(name, 0.0))
        return found

    def selection(self, name: bytes) -> list[bytes] | None:
        """A selection's fields, whether or not it still holds."""
        fields = self._memory.get(name)
        return fields or self._from_disk(name, record.SELECTION, NO_ATIME)

    def times(self, key: bytes, sealed: bytes) -> Times | None:
        """When a credential was issued, ages, is spent and ends; sealed ones say so in clear."""
        name = record.credential_name(key)
        fields = self._memory.get(name)
        if fields is not None and not self.holds(fields[record.CONDITIONS :]):
            fields = None
        for kind in (record.CREDENTIAL, sealed):
            fields = fields or self._from_disk(name, kind, NO_ATIME)
        return _times(fields) if fields else None

    def drop_old(self, now: float) -> None:
        """Drops what is of no use any more, and gives its memory back to the system."""
        for name in self.names(CREDENTIALS):
            times = _times(self._memory[name])
            if times is None or times.expires < now:
                self.remove(name)
        for name in self.names(SELECTIONS):
            if now - self._used[name] > UNUSED or self._is_useless(self._memory[name]):
                self.remove(name)
        self._give_back()

    def clear(self) -> None:
        for name in list(self._memory):
            self.remove(name)
        self._give_back()

    def _is_useless(self, selection: list[bytes]) -> bool:
        """Whether it names a credential that is gone and that the daemon does not fetch again."""
        key = selection[record.SELECTED_KEY]
        if not key or self._boundary.renews(os.fsdecode(key), selection[record.SELECTED_FOR]):
            return False
        name = record.credential_name(key)
        return name not in self._memory and self._from_disk(name, record.CREDENTIAL) is None

    def _is_left_to_clients(self, name: bytes, key: bytes, here: bytes) -> bool:
        """Whether the client that asks is to renew: nobody else does, nor did in this minute."""
        if self._boundary.renews(os.fsdecode(key), here):
            return False
        return not 0 <= time.time() - self._left_to_clients.get(name, 0.0) < _RENEWAL_PAUSE

    def _note_renewal(self, name: bytes) -> None:
        if len(self._left_to_clients) >= MOST:  # of selections on disk
            self._left_to_clients.clear()
        self._left_to_clients[name] = time.time()

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
    """The fields of a record that may be kept under this name, or None."""
    folder, slash, _ = name.partition(b"/")
    fields = record.fields_of(data, _KINDS.get(folder + slash, b""))
    if fields is None or len(data) > record.LARGEST_RECORD:
        return None
    if fields[record.KIND] == record.CREDENTIAL:
        times = _times(fields) if len(fields) > record.SECRET else None
        right = times is not None and times.expires <= now + _LATEST_EXPIRY
        return fields if right and _is_name_of_credential(name, fields[record.KEY]) else None
    host, context, key = fields[record.HOST : record.DETAILS]
    if not _HOST.fullmatch(host) or not record.is_key(key):
        return None
    return fields if name == record.selection_name(host, context) else None


def _is_name_of_credential(name: bytes, key: bytes) -> bool:
    return bool(key) and record.is_key(key) and name == record.credential_name(key)


def _size(name: bytes, fields: list[bytes]) -> int:
    """About how many bytes of memory a record takes."""
    return len(name) + sum(map(len, fields)) + _PER_FIELD * len(fields) + _PER_RECORD


def _times(fields: list[bytes]) -> Times | None:
    try:
        moments = [int(field) for field in fields[record.ISSUED : record.USERNAME]]
    except ValueError:
        return None
    return Times(*moments) if all(0 <= moment < _END_OF_TIME for moment in moments) else None
