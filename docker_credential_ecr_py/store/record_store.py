"""The store that is made of records, in the format of record.py, over any backend.

A backend keeps records by name and does not interpret them: a folder of files, the same with the
credentials sealed, or the daemon's memory.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.lock import Lock, locked
from docker_credential_ecr_py.store.store import StoredSelection

SELECTIONS, CREDENTIALS = b"selections/", b"credentials/"


class Backend(Protocol):
    """Keeps records by name, as lists of fields.

    It knows their kind, for it may seal credentials alone, but neither locks nor contexts: those
    are RecordStore's. No method raises: a record that cannot be stored is fetched again.
    """

    def read(self, name: bytes, kind: bytes) -> list[bytes] | None:
        """Return the fields of a record, or None, as record.read."""

    def write(self, name: bytes, fields: list[bytes], *, used: bool = True) -> None:
        """Store a record. If it is not `used`, keep the time of its last use."""

    def remove(self, name: bytes) -> None: ...

    def names(self, folder: bytes) -> list[bytes]:
        """Return the names of the records under SELECTIONS or CREDENTIALS."""

    def write_problem(self) -> tuple[str, str]:
        """As Store.write_problem."""


def stamps_of(*files: Path) -> dict[bytes, bytes]:
    """Return the absolute path and the stamp of each file, as StoredSelection.conditions."""
    paths = sorted({os.fsencode(file.absolute()) for file in files})
    return {path: record.stamp(path) for path in paths}


class RecordStore:
    """The Store over a backend: turns credentials and selections into records and back.

    Where and how the records are kept is the backend's. `environ` gives the context of its
    selections; `locks` makes the folder for locks and returns it, or None if it cannot.
    """

    def __init__(
        self, backend: Backend, environ: Mapping[bytes, bytes], locks: Callable[[], Path | None]
    ) -> None:
        self.backend = backend
        self._here = record.context(environ)
        self._locks = locks
        self._has_taken_over = False

    def load(self, key: str) -> Credential | None:
        name = key.encode()
        fields = self.backend.read(record.credential_name(name), record.CREDENTIAL)
        return credential_of(fields) if fields and fields[record.KEY] == name else None

    def take_over_leftovers(self) -> None:
        """Do nothing; a store that is not of plain files overrides it."""

    def save(self, key: str, credential: Credential) -> None:
        self._prepare_to_write()
        self.backend.write(record.credential_name(key.encode()), fields_of(key, credential))

    def save_selection(self, selection: StoredSelection, *, used: bool = True) -> None:
        name, fields = self._record_of(selection)
        self._prepare_to_write()
        if used or self.backend.read(name, record.SELECTION) != fields:
            self.backend.write(name, fields, used=used)

    def has_selection(self, selection: StoredSelection) -> bool:
        name, fields = self._record_of(selection)
        return self.backend.read(name, record.SELECTION) == fields

    def write_problem(self) -> tuple[str, str]:
        return self.backend.write_problem()

    def forget(self, host: str) -> set[str]:
        start = SELECTIONS + host.encode() + b"~"
        return {key for _, key in self._forget(lambda name, fields: name.startswith(start))}

    def forget_by_file(self, file: bytes) -> set[tuple[str, str]]:
        return self._forget(lambda name, fields: file in fields[record.SELECTION_CONDITIONS :: 2])

    def forget_all(self) -> set[str]:
        self._prepare_to_write()
        credentials = set(self.backend.names(CREDENTIALS))
        forgotten = self._forget(lambda name, fields: True)
        for name in credentials:
            self.backend.remove(name)
        return {
            host for host, key in forgotten if record.credential_name(key.encode()) in credentials
        }

    def discard(self, key: str) -> None:
        self.backend.remove(record.credential_name(key.encode()))

    def selections(self) -> Iterator[StoredSelection]:
        for name in sorted(self.backend.names(SELECTIONS)):
            host = name.removeprefix(SELECTIONS).partition(b"~")[0]
            if name != record.selection_name(host, self._here):
                continue
            fields = record.selection_for(host, self._here, self.backend.read, record.holds)
            selection = fields and selection_of(fields)
            if selection:
                yield selection

    def lock(self, key: str, *, wait: float) -> AbstractContextManager[Lock | None]:
        folder = self._locks()
        return locked(folder / key if folder else None, wait=wait)

    def _record_of(self, selection: StoredSelection) -> tuple[bytes, list[bytes]]:
        """Return the name and the fields of a selection's record."""
        host = selection.host.encode()
        fields = [
            record.SELECTION,
            host,
            self._here,
            selection.key.encode(),
            json.dumps(dict(selection.details)).encode(),
        ]
        for path, stamp in selection.conditions.items():
            fields += [path, stamp]
        return record.selection_name(host, self._here), fields

    def _prepare_to_write(self) -> None:
        if not self._has_taken_over:
            self._has_taken_over = True
            self.take_over_leftovers()

    def _forget(self, unwanted: Callable[[bytes, list[bytes]], bool]) -> set[tuple[str, str]]:
        """Remove the selections that are `unwanted`; return the host and key of each."""
        self._prepare_to_write()
        forgotten = set()
        for name in self.backend.names(SELECTIONS):
            fields = self.backend.read(name, record.SELECTION) or []
            if not unwanted(name, fields):
                continue
            if fields and fields[record.SELECTED_KEY]:
                host, key = fields[record.HOST], fields[record.SELECTED_KEY]
                # Noise becomes text that can be encoded again, unlike that of os.fsdecode.
                forgotten.add((host.decode(errors="replace"), key.decode(errors="replace")))
            self.backend.remove(name)
        return forgotten


def fields_of(key: str, credential: Credential) -> list[bytes]:
    """Return the fields of a credential's record."""
    times = (credential.issued, credential.renew_at, credential.spent_at, credential.expires)
    return [
        record.CREDENTIAL,
        key.encode(),
        *(b"%d" % moment for moment in times),
        json.dumps(credential.username).encode(),
        json.dumps(credential.secret).encode(),
    ]


def credential_of(fields: list[bytes]) -> Credential | None:
    """Return the credential that a record's fields hold, or None if they are not valid."""
    try:
        issued, renew_at, spent_at, expires = map(int, fields[record.ISSUED : record.USERNAME])
        username, secret = (_string(text) for text in fields[record.USERNAME : record.CONDITIONS])
    except (ValueError, RecursionError):
        return None
    return Credential(username, secret, issued, renew_at, spent_at, expires)


def selection_of(fields: list[bytes]) -> StoredSelection | None:
    """Return the selection that a record's fields hold, or None if they are not valid."""
    if not record.is_key(fields[record.SELECTED_KEY]):
        return None
    conditions = fields[record.SELECTION_CONDITIONS :]
    stamps = dict(zip(conditions[::2], conditions[1::2], strict=False))
    try:
        details = {
            str(name): str(text) for name, text in json.loads(fields[record.DETAILS]).items()
        }
    except (ValueError, AttributeError, RecursionError):
        return None
    return StoredSelection(
        os.fsdecode(fields[record.HOST]), os.fsdecode(fields[record.SELECTED_KEY]), stamps, details
    )


def _string(text: bytes) -> str:
    """Parse a JSON string. Raises ValueError."""
    value = json.loads(text)
    if not isinstance(value, str):
        raise ValueError("not a string")
    return value
