"""`store = "memory"`: credentials and selections are in the daemon's memory, and not on disk."""

import os
from collections.abc import Mapping
from pathlib import Path

from docker_credential_ecr_py.atomic_file import make_private_folder
from docker_credential_ecr_py.folder import other_owner
from docker_credential_ecr_py.store import daemon_client, record
from docker_credential_ecr_py.store.file_backend import FileBackend
from docker_credential_ecr_py.store.record_store import CREDENTIALS, SELECTIONS, RecordStore


class MemoryStore(RecordStore):
    """The store in the daemon's memory. `files` may hold another store's records, or is None."""

    def __init__(self, environ: Mapping[bytes, bytes], files: FileBackend | None) -> None:
        self._memory = MemoryBackend(environ, files)
        super().__init__(self._memory, environ, self._memory.locks)

    def take_over_leftovers(self) -> None:
        self._memory.take_over_leftovers()


class MemoryBackend:
    """The daemon's memory, reached over its socket. Without a daemon nothing is stored.

    The records that another store left in `files` are read until they are taken over.
    """

    def __init__(self, environ: Mapping[bytes, bytes], files: FileBackend | None = None) -> None:
        self._folder = record.runtime_folder(environ)
        self._path = record.socket_path(environ)
        self._files = files

    def read(self, name: bytes, kind: bytes) -> list[bytes] | None:
        answer = self._ask(b"read " + name)
        if answer:
            return record.fields_of(answer, kind)
        return self._files.read(name, kind) if self._files else None

    def write(self, name: bytes, fields: list[bytes], *, used: bool = True) -> None:
        # `used` is not sent: each use is a request to the daemon, which notes it.
        self._ask(b"write " + name, record.record_of(fields))

    def remove(self, name: bytes) -> None:
        self._ask(b"remove " + name)

    def names(self, folder: bytes) -> list[bytes]:
        return (self._ask(b"names " + folder) or b"").splitlines()

    def write_problem(self) -> tuple[str, str]:
        if self._ask(b"names locks/") is None:
            return "the daemon does not answer", "run `ecr-py daemon start`"
        return "", ""

    def locks(self) -> Path | None:
        if self._folder is None:
            return None
        locks = Path(os.fsdecode(self._folder)) / "locks"
        if other_owner(locks) is not None:
            return None
        try:
            make_private_folder(locks.parent)
            if not record.is_private_folder(self._folder):
                return None
            make_private_folder(locks)
        except OSError:
            return None
        return locks if record.is_private_folder(os.fsencode(locks)) else None

    def take_over_leftovers(self) -> None:
        """Remove the records on disk; those in clear are given to the daemon first."""
        files = self._files
        if files is None:
            return
        for folder, kind in ((CREDENTIALS, record.CREDENTIAL), (SELECTIONS, record.SELECTION)):
            for name in files.names(folder):
                # The daemon may have the sealed ones opened, as long as their files exist.
                fields = files.read(name, kind) or self.read(name, kind)
                files.remove(name)
                if fields:
                    self.write(
                        name,
                        fields[: record.CONDITIONS] if kind == record.CREDENTIAL else fields,
                    )
        files.drop_half_written()

    def _ask(self, request: bytes, body: bytes = b"") -> bytes | None:
        """Send a request to the daemon; after one without an answer, send no more."""
        if self._path is None:
            return None
        limit = daemon_client.LIMIT_AFTER_HIT if daemon_client.hit_was_late else daemon_client.LIMIT
        answer = daemon_client.ask(self._path, request, body, limit=limit)
        if answer is None:
            self._path = None
        return answer
