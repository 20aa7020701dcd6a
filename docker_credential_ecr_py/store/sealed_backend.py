"""`store = "keyring"`: selections in files, credentials in sealed files.

A sealed record has the fields of a credential: its times in clear, and one sealed field instead of
username and secret. The fields in clear are bound to the sealed one, so a record that was moved,
renamed or prolonged does not open. The daemon gets each credential that was opened, and answers
from its memory; it never gets the key.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from docker_credential_ecr_py.errors import EcrPyError, KeyringUnavailable
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.file_backend import FileBackend
from docker_credential_ecr_py.store.lock import Lock
from docker_credential_ecr_py.store.memory_backend import MemoryBackend
from docker_credential_ecr_py.store.record_store import CREDENTIALS, RecordStore
from docker_credential_ecr_py.store.seal import Seal

SEALED = b"ecr-py sealed 1"
_TIMES_END = record.USERNAME


class SealedStore(RecordStore):
    """The store of sealed files. `says` is called once, if a credential cannot be stored."""

    def __init__(
        self, root: Path, environ: Mapping[bytes, bytes], says: Callable[[EcrPyError], None]
    ) -> None:
        files = FileBackend(root, (SEALED,))
        self._sealed = SealedBackend(files, Seal(root / "locks"), MemoryBackend(environ), says)
        super().__init__(self._sealed, environ, files.locks)

    def take_over_leftovers(self) -> None:
        self._sealed.seal_what_is_clear()

    def open_all(self) -> None:
        """As SealedBackend.open_all."""
        self._sealed.open_all()

    def lock(self, key: str, *, wait: float) -> AbstractContextManager[Lock | None]:
        self._sealed.have_key()
        return super().lock(key, wait=wait)


class SealedBackend:
    """Files, with credentials sealed. `memory` is the daemon's, which gets them opened."""

    def __init__(
        self,
        files: FileBackend,
        seal: Seal,
        memory: MemoryBackend,
        says: Callable[[EcrPyError], None],
    ) -> None:
        self._files = files
        self._seal = seal
        self._memory = memory
        self._says = says
        self._said = False

    def read(self, name: bytes, kind: bytes) -> list[bytes] | None:
        if kind != record.CREDENTIAL:
            return self._files.read(name, kind)
        known = self._memory.read(name, kind)
        if known and record.holds(known[record.CONDITIONS :]):
            return known[: record.CONDITIONS]
        sealed = self._files.read(name, SEALED)
        if sealed is None:
            return self._files.read(name, kind)  # left by another store, and still usable
        if len(sealed) <= _TIMES_END:
            return None
        try:
            text = self._seal.open(_about(sealed), sealed[_TIMES_END])
        except KeyringUnavailable as error:
            self._say(error)
            return None
        if text is None:
            return None
        fields = [record.CREDENTIAL, *sealed[1:_TIMES_END], *text.split(b"\0")]
        self._tell_daemon(name, fields)
        return fields

    def write(self, name: bytes, fields: list[bytes], *, used: bool = True) -> None:
        if fields[record.KIND] != record.CREDENTIAL:
            self._files.write(name, fields, used=used)
            return
        sealed = [SEALED, *fields[1:_TIMES_END]]
        try:
            text = self._seal.close(
                _about(sealed), b"\0".join(fields[_TIMES_END : record.CONDITIONS])
            )
        except KeyringUnavailable as error:
            self._say(error)
            # A sealed file stays: it may be usable for hours, and the daemon may have it opened.
            if self._files.read(name, SEALED) is None:
                self.remove(name)
            return
        self._files.write(name, [*sealed, text])
        self._tell_daemon(name, fields)

    def remove(self, name: bytes) -> None:
        self._files.remove(name)
        self._memory.remove(name)

    def names(self, folder: bytes) -> list[bytes]:
        return self._files.names(folder)

    def write_problem(self) -> tuple[str, str]:
        try:
            self._seal.key(make=True)
        except KeyringUnavailable as error:
            return error.what, error.hint
        return self._files.write_problem()

    def open_all(self) -> None:
        """Open each credential, so that the daemon gets it. Raises KeyringUnavailable."""
        names = self.names(CREDENTIALS)
        if names:
            self._seal.key()
        for name in names:
            self.read(name, record.CREDENTIAL)

    def seal_what_is_clear(self) -> None:
        """Seal the credentials that another store left in clear; remove those that cannot be."""
        for name in self.names(CREDENTIALS):
            if self._files.read(name, SEALED):
                continue
            if fields := self._files.read(name, record.CREDENTIAL):
                self.write(name, fields)
            if not self._files.read(name, SEALED):  # damaged, or the disk is full
                self._files.remove(name)
        self._files.drop_half_written()

    def sealed_names(self) -> list[bytes]:
        return [name for name in self.names(CREDENTIALS) if self._files.read(name, SEALED)]

    def reseal(self) -> int:
        """Seal each credential again, under the present key; return how many.

        One that cannot be opened is removed. Raises KeyringUnavailable.
        """
        resealed = 0
        for name in self.sealed_names():
            if fields := self.read(name, record.CREDENTIAL):
                self.write(name, fields)
                resealed += 1
            else:
                self.remove(name)
        return resealed

    def have_key(self) -> None:
        """Fetch the key before a lock is taken: opening a keyring may take long."""
        with suppress(KeyringUnavailable):
            self._seal.key(make=True)

    def _tell_daemon(self, name: bytes, fields: list[bytes]) -> None:
        path = self._files.path(name)
        self._memory.write(name, [*fields[: record.CONDITIONS], path, record.stamp(path)])

    def _say(self, error: EcrPyError) -> None:
        if not self._said:
            self._says(error)
        self._said = True


def _about(sealed: list[bytes]) -> bytes:
    return b"\0".join(sealed[:_TIMES_END])
