"""Records as files that only their owner can read. record.py has the format."""

import errno
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from docker_credential_ecr_py.atomic_file import write_in
from docker_credential_ecr_py.folder import Folder, open_folder
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.record_store import CREDENTIALS, SELECTIONS, RecordStore
from docker_credential_ecr_py.store.writable import advice, problem_of

_FOLDERS = ("selections", "credentials", "locks")
# Seconds for which a selection is kept unused, and a credential after it has expired.
_KEPT_UNUSED = 30 * 86400
_KEPT_EXPIRED = 86400
_SWEEP_EVERY = 86400
_SWEPT = ".swept"
# The suffix of write_whole's temporary files, and the seconds after which one is abandoned.
TEMP_SUFFIX = b".new"
_ABANDONED_AFTER = 60
# The daemon takes a selection's access time for its last use, so other reads must not change it.
NO_ATIME = getattr(os, "O_NOATIME", 0)


class FileStore(RecordStore):
    """The store of plain files, `store = "file"`."""

    def __init__(self, root: Path, environ: Mapping[bytes, bytes]) -> None:
        files = FileBackend(root)
        super().__init__(files, environ, files.locks)


class FileBackend:
    """Records as files under `root`. Credentials of other `kinds` are swept away."""

    def __init__(self, root: Path, kinds: tuple[bytes, ...] = (record.CREDENTIAL,)) -> None:
        self.root = root
        self._root = os.fsencode(root)
        self._kinds = kinds
        self._failure: OSError | None = None

    def read(self, name: bytes, kind: bytes) -> list[bytes] | None:
        if not self._is_sound(_folder_of(name)):
            return None
        return record.read(self.path(name), kind, NO_ATIME)

    def write(self, name: bytes, fields: list[bytes], *, used: bool = True) -> None:
        try:
            self._make_folders()
            with self._opened(_folder_of(name)) as folder:
                file = _file_of(name)
                times = None if used else _times_of(folder, file)
                write_in(folder, file, record.record_of(fields), times=times)
        except OSError as error:
            self._failure = error
            log.warning("not kept: %s", error)
        if _folder_of(name) == "credentials":
            self._sweep(time.time())

    def remove(self, name: bytes) -> None:
        with suppress(OSError), self._opened(_folder_of(name)) as folder:
            folder.remove(_file_of(name))

    def names(self, folder: bytes) -> list[bytes]:
        """Return the names of the records under SELECTIONS or CREDENTIALS."""
        with suppress(OSError), self._opened(_folder_of(folder)) as opened:
            names = map(os.fsencode, opened.names())
            return [folder + name for name in names if not name.endswith(TEMP_SUFFIX)]
        return []

    def wipe(self) -> None:
        for folder in (CREDENTIALS, SELECTIONS):
            for name in self.names(folder):
                self.remove(name)
        self.drop_half_written()

    def drop_half_written(self) -> None:
        """Remove the temporary files of killed processes: they may hold secrets in clear."""
        now = time.time()
        for name in map(_folder_of, (CREDENTIALS, SELECTIONS)):
            with suppress(OSError), self._opened(name) as folder:
                for file in folder.names():
                    if os.fsencode(file).endswith(TEMP_SUFFIX):
                        self._remove_if_old(folder, file, now)

    def write_problem(self) -> tuple[str, str]:
        """As Store.write_problem."""
        try:
            self._make_folders()
        except OSError as error:
            return advice(error, self.root)
        # A problem now takes precedence over the failure of an earlier write.
        problem = problem_of(self.root / "credentials") or self._failure
        return advice(problem, self.root) if problem else ("", "")

    def path(self, name: bytes) -> bytes:
        return b"%b/%b" % (self._root, name)

    def locks(self) -> Path | None:
        """Return the folder for locks, or None if it cannot be made."""
        try:
            self._make_folders()
        except OSError:
            return None
        return self.root / "locks"

    @contextmanager
    def _opened(self, name: str) -> Iterator[Folder]:
        """Open one of our folders, to list or remove files in it.

        Raises OSError unless it and the root are private.
        """
        with (
            open_folder(self.root.parent) as above,
            above.enter(self.root.name) as root,
            root.enter(name) as folder,
        ):
            if not (root.is_private() and folder.is_private()):
                raise PermissionError(errno.EPERM, f"{folder.path} is not private to this user")
            yield folder

    def _is_sound(self, folder: str) -> bool:
        """Whether records in a folder may be read: it and the root are private, and not links."""
        return record.is_private_folder(self._root) and record.is_private_folder(
            os.path.join(self._root, folder.encode())
        )

    def _make_folders(self) -> None:
        """Make the folders, and fix their mode. Raises OSError if one is another user's."""
        with (
            open_folder(self.root.parent, make=True) as above,
            _made(above, self.root.name) as root,
        ):
            for name in _FOLDERS:
                with _made(root, name):
                    pass

    def _sweep(self, now: float) -> None:
        """Remove old records, once a day."""
        with suppress(OSError):
            with self._opened("locks") as locks:
                if not _is_sweep_due(locks, now):
                    return
            for name in _FOLDERS:
                with self._opened(name) as folder:
                    for file in folder.names():
                        if file != _SWEPT:
                            self._remove_if_old(folder, file, now)

    def _remove_if_old(self, folder: Folder, file: str, now: float) -> None:
        with suppress(FileNotFoundError):
            if self._is_old(folder, file, now):
                folder.remove(file)

    def _is_old(self, folder: Folder, file: str, now: float) -> bool:
        """Whether a file is abandoned, unused or expired for long, or not a valid record."""
        status = folder.stat(file)
        if os.fsencode(file).endswith(TEMP_SUFFIX):
            return now - status.st_mtime > _ABANDONED_AFTER
        if os.path.basename(folder.path) != "credentials":
            return now - max(status.st_atime, status.st_mtime) > _KEPT_UNUSED
        for kind in self._kinds:
            fields = record.read(os.fsencode(folder.path_of(file)), kind)
            if fields and fields[record.KEY] == os.fsencode(file):
                with suppress(ValueError):
                    return now > int(fields[record.EXPIRES]) + _KEPT_EXPIRED
        return True


@contextmanager
def _made(folder: Folder, name: str) -> Iterator[Folder]:
    """Open a folder in an open one; make it if it is missing, and close it to other users.

    Raises OSError if it is another user's.
    """
    folder.make(name)
    with folder.enter(name) as made:
        if not made.is_ours():
            raise PermissionError(errno.EPERM, f"{made.path} belongs to another user")
        if not made.is_private():
            made.close_to_others()
            log.warning("%s was open to other users; closed it", made.path)
        yield made


def _is_sweep_due(locks: Folder, now: float) -> bool:
    """Whether the last sweep was a day ago; if so, note this one. Raises OSError."""
    with suppress(FileNotFoundError):
        if 0 <= now - locks.stat(_SWEPT).st_mtime < _SWEEP_EVERY:
            return False
    locks.touch(_SWEPT)
    return True


def _times_of(folder: Folder, file: str) -> tuple[int, int] | None:
    """Return when a file was last read and changed, in nanoseconds; None if it is absent."""
    try:
        status = folder.stat(file)
    except FileNotFoundError:
        return None
    return status.st_atime_ns, status.st_mtime_ns


def _file_of(name: bytes) -> str:
    return os.fsdecode(name.partition(b"/")[2])


def _folder_of(name: bytes) -> str:
    return os.fsdecode(name.partition(b"/")[0])
