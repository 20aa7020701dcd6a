"""What the daemon knows: records in memory, and those on disk that it only looks at."""

import os
import time
from contextlib import suppress

from docker_credential_ecr_py.store import client, entry
from docker_credential_ecr_py.store.files import HALF_WRITTEN, QUIETLY
from docker_credential_ecr_py.store.records import CREDENTIALS, SELECTIONS

MOST = 10_000
_END_OF_TIME = 2**40
_KINDS = {CREDENTIALS: entry.CREDENTIAL, SELECTIONS: entry.SELECTION}


class Records:
    """`root` is the cache folder, or None. Names are as in entry.py."""

    def __init__(self, root: bytes | None) -> None:
        self._root = root
        self._memory: dict[bytes, list[bytes]] = {}
        self._used: dict[bytes, float] = {}
        self._stamps: dict[bytes, bytes] = {}

    def new_turn(self) -> None:
        """Files are looked at anew: what was asked until now was asked before this moment."""
        self._stamps.clear()

    def hit(self, server_url: bytes, here: bytes) -> bytes:
        """What goes to whoever asked: docker's document, client.NOBODY, or nothing."""
        host = entry.plain_host(server_url)
        if host is None:
            return b""
        name = entry.selection_name(host, here)
        if name in self._memory:
            self._used[name] = time.time()
        found = entry.answer(server_url, host, here, self.read, self.holds)
        return (found.answer or client.NOBODY) if found else b""

    def read(self, name: bytes, kind: bytes) -> list[bytes] | None:
        fields = self._memory.get(name)
        if fields is not None:
            return fields if fields[0] == kind else None
        return self._from_disk(name, kind)

    def holds(self, conditions: list[bytes]) -> bool:
        """As entry.holds, looking at each file once a turn."""
        for path, wanted in zip(conditions[::2], conditions[1::2], strict=False):
            seen = self._stamps.get(path)
            if seen is None:
                seen = self._stamps[path] = entry.stamp(path)
            if not entry.fits(seen, wanted):
                return False
        return True

    def record(self, name: bytes) -> bytes:
        """A record that is in memory, as it goes over the socket."""
        fields = self._memory.get(name)
        return entry.record_of(fields) if fields else b""

    def write(self, name: bytes, record: bytes) -> bool:
        folder, slash, _ = name.partition(b"/")
        fields = entry.fields_of(record, _KINDS.get(folder + slash, b""))
        if fields is None:
            return False
        if fields[0] == entry.CREDENTIAL and (len(fields) < 8 or _times(fields) is None):
            return False
        if name not in self._memory and not self._has_room():
            return False
        self._memory[name] = fields
        if fields[0] == entry.SELECTION:
            self._used.setdefault(name, time.time())
        return True

    def remove(self, name: bytes) -> None:
        self._memory.pop(name, None)
        self._used.pop(name, None)

    def names(self, folder: bytes) -> list[bytes]:
        """Those in memory."""
        return sorted(name for name in self._memory if name.startswith(folder))

    def selections(self) -> dict[bytes, float]:
        """All selections, in memory and on disk, and when each was last used."""
        found = {
            name: self._used.get(name, 0.0) for name in self._memory if name.startswith(SELECTIONS)
        }
        folder = self._root and self._root + b"/" + SELECTIONS.rstrip(b"/")
        if folder and entry.is_private_folder(folder):
            for file in os.scandir(folder):
                name = SELECTIONS + file.name
                # Others may be at it: what is listed may have its name, or be gone, by now.
                if name.endswith(HALF_WRITTEN):
                    continue
                with suppress(FileNotFoundError):
                    seen = file.stat(follow_symlinks=False)
                    used = max(seen.st_atime, seen.st_mtime)
                    found[name] = max(used, self._used.get(name, 0.0))
        return found

    def selection(self, name: bytes) -> list[bytes] | None:
        """A selection's fields, whether or not it still holds."""
        fields = self._memory.get(name)
        return fields or self._from_disk(name, entry.SELECTION, QUIETLY)

    def times(self, key: bytes, sealed: bytes) -> tuple[int, int, int, int] | None:
        """When a credential was issued, ages, is spent and ends; sealed ones say so in clear."""
        name = entry.credential_name(key)
        fields = self._memory.get(name)
        if fields is not None and not self.holds(fields[8:]):
            fields = None
        for kind in (entry.CREDENTIAL, sealed):
            fields = fields or self._from_disk(name, kind, QUIETLY)
        return _times(fields) if fields else None

    def drop_spent(self, now: float) -> None:
        for name in self.names(CREDENTIALS):
            times = _times(self._memory[name])
            if times is None or times[3] < now:
                self.remove(name)

    def clear(self) -> None:
        self._memory.clear()
        self._used.clear()

    def _has_room(self) -> bool:
        """Where all is taken, the selection goes that was used least recently.

        Credentials go when they are spent. Each access key in somebody's environment brings a
        selection of its own, and most of them never come again.
        """
        if len(self._memory) >= MOST and self._used:
            self.remove(min(self._used, key=lambda name: self._used[name]))
        return len(self._memory) < MOST

    def _from_disk(self, name: bytes, kind: bytes, flags: int = 0) -> list[bytes] | None:
        if self._root is None:
            return None
        return entry.read(b"%b/%b" % (self._root, name), kind, flags)


def _times(fields: list[bytes]) -> tuple[int, int, int, int] | None:
    try:
        issued, renew_at, spent_at, expires = map(int, fields[2:6])
    except ValueError:
        return None
    times = issued, renew_at, spent_at, expires
    return times if all(0 <= moment < _END_OF_TIME for moment in times) else None
