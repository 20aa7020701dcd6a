"""`store = "memory"`: the daemon alone has credentials and selections; nothing lies on disk."""

import os
from collections.abc import Mapping
from pathlib import Path

from docker_credential_ecr_py.atomic_file import make_private_folder
from docker_credential_ecr_py.folder import other_owner
from docker_credential_ecr_py.store import daemon_client, record
from docker_credential_ecr_py.store.file_backend import FileBackend
from docker_credential_ecr_py.store.record_store import CREDENTIALS, SELECTIONS, RecordStore


class MemoryStore(RecordStore):
    """`files` is what another store may have left, or None."""

    def __init__(self, environ: Mapping[bytes, bytes], files: FileBackend | None) -> None:
        self._memory = MemoryBackend(environ, files)
        super().__init__(self._memory, environ, self._memory.locks)

    def take_over_leftovers(self) -> None:
        self._memory.take_over_leftovers()


class MemoryBackend:
    """The daemon's memory. Where there is no daemon nothing is kept.

    What another store left in `files` is read until it is taken over.
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
        # The daemon knows of each use, since it is asked first.
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
        """Nothing stays on disk; what is in clear is given to the daemon first."""
        files = self._files
        if files is None:
            return
        for folder, kind in ((CREDENTIALS, record.CREDENTIAL), (SELECTIONS, record.SELECTION)):
            for name in files.names(folder):
                # What was sealed the daemon may have, as long as its file is there.
                fields = files.read(name, kind) or self.read(name, kind)
                files.remove(name)
                if fields:
                    self.write(
                        name,
                        fields[: record.CONDITIONS] if kind == record.CREDENTIAL else fields,
                    )
        files.drop_half_written()

    def _ask(self, request: bytes, body: bytes = b"") -> bytes | None:
        """A daemon that did not answer once is not asked again by this process."""
        if self._path is None:
            return None
        limit = daemon_client.LIMIT_AFTER_HIT if daemon_client.hit_was_late else daemon_client.LIMIT
        answer = daemon_client.ask(self._path, request, body, limit=limit)
        if answer is None:
            self._path = None
        return answer
