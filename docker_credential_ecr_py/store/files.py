"""Records as files that only their owner can read. entry.py has the format."""

import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.store import entry
from docker_credential_ecr_py.store.records import CREDENTIALS, SELECTIONS, RecordStore
from docker_credential_ecr_py.store.room import advice, problem_of
from docker_credential_ecr_py.whole_file import make_private_folder, write_whole

_FOLDERS = ("selections", "credentials", "locks")
# What nobody has asked for in a month is not asked for again; a spent token is of no use sooner.
_KEPT_UNUSED = 30 * 86400
_KEPT_SPENT = 86400
_SWEEP_EVERY = 86400
# How write_whole names what it is at, and how many seconds later nobody is at it any more.
HALF_WRITTEN = b".new"
_AT_WORK = 60
# When a selection was last read tells the daemon when it was last used, so that whoever merely
# looks does not count.
QUIETLY = getattr(os, "O_NOATIME", 0)


class FileStore(RecordStore):
    def __init__(self, root: Path, environ: Mapping[bytes, bytes]) -> None:
        files = FileShelf(root)
        super().__init__(files, environ, files.locks)


class FileShelf:
    """`kinds` are the kinds of credentials that are of use here; others are swept away."""

    def __init__(self, root: Path, kinds: tuple[bytes, ...] = (entry.CREDENTIAL,)) -> None:
        self.root = root
        self._root = os.fsencode(root)
        self._kinds = kinds
        self._failure: OSError | None = None

    def read(self, name: bytes, kind: bytes) -> list[bytes] | None:
        if not self._is_sound(_folder_of(name)):
            return None
        return entry.read(self.path(name), kind, QUIETLY)

    def write(self, name: bytes, fields: list[bytes], *, used: bool = True) -> None:
        path = Path(os.fsdecode(self.path(name)))
        try:
            self._make_folders()
            before = None if used or not path.exists() else path.stat()
            write_whole(path, entry.record_of(fields))
            if before is not None:
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        except OSError as error:
            self._failure = error
            log.warning("not kept: %s", error)
        if _folder_of(name) == "credentials":
            self._sweep(time.time())

    def remove(self, name: bytes) -> None:
        if self._is_sound(_folder_of(name)):
            with suppress(OSError):
                os.unlink(self.path(name))

    def names(self, folder: bytes) -> list[bytes]:
        return [name for name in self._names(folder) if not name.endswith(HALF_WRITTEN)]

    def wipe(self) -> None:
        for folder in (CREDENTIALS, SELECTIONS):
            for name in self.names(folder):
                self.remove(name)
        self.drop_half_written()

    def drop_half_written(self) -> None:
        """What killed processes left, which may be in clear."""
        now = time.time()
        for folder in (CREDENTIALS, SELECTIONS):
            for name in self._names(folder):
                with suppress(OSError):
                    path = Path(os.fsdecode(self.path(name)))
                    if name.endswith(HALF_WRITTEN) and self._useless(path, now):
                        path.unlink()

    def why_not(self) -> tuple[str, str]:
        """Why a record cannot be kept, and what to do; ("", "") if nothing speaks against it."""
        try:
            self._make_folders()
        except OSError as error:
            return advice(error, self.root)
        # What is wrong now comes before what was wrong when we wrote.
        problem = problem_of(self.root / "credentials") or self._failure
        return advice(problem, self.root) if problem else ("", "")

    def path(self, name: bytes) -> bytes:
        return b"%b/%b" % (self._root, name)

    def locks(self) -> Path | None:
        """The folder for locks, or None where there can be none."""
        try:
            self._make_folders()
        except OSError:
            return None
        return self.root / "locks"

    def _names(self, folder: bytes) -> list[bytes]:
        if not self._is_sound(_folder_of(folder)):
            return []
        try:
            return [folder + found for found in os.listdir(self.path(folder))]
        except OSError:
            return []

    def _is_sound(self, folder: str) -> bool:
        """Neither a link nor anybody else's: what is in it may be read, and removed."""
        return entry.is_private_folder(self._root) and entry.is_private_folder(
            os.path.join(self._root, folder.encode())
        )

    def _make_folders(self) -> None:
        """Makes the folders, or mends their mode. Raises OSError where they are not ours."""
        make_private_folder(self.root.parent)
        for folder in (self.root, *(self.root / name for name in _FOLDERS)):
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode):
                raise NotADirectoryError(f"{folder} is not a folder")
            if os.name == "posix" and found.st_uid != os.geteuid():
                raise PermissionError(f"{folder} belongs to another user")
            if os.name == "posix" and found.st_mode & 0o077:
                log.warning("%s was open to others; closed it", folder)
                folder.chmod(0o700)

    def _sweep(self, now: float) -> None:
        """Drops what is of no use any more, once a day."""
        marker = self.root / "locks" / ".swept"
        with suppress(OSError):
            if marker.exists() and 0 <= now - marker.stat().st_mtime < _SWEEP_EVERY:
                return
            if not all(map(self._is_sound, _FOLDERS)):
                return
            marker.touch(mode=0o600)
            for folder in _FOLDERS:
                for path in (self.root / folder).iterdir():
                    if path != marker and self._useless(path, now):
                        path.unlink(missing_ok=True)

    def _useless(self, path: Path, now: float) -> bool:
        found = path.lstat()
        if os.fsencode(path.name).endswith(HALF_WRITTEN):
            return now - found.st_mtime > _AT_WORK
        if path.parent.name != "credentials":
            return now - max(found.st_atime, found.st_mtime) > _KEPT_UNUSED
        for kind in self._kinds:
            fields = entry.read(os.fsencode(path), kind)
            if fields and fields[1] == os.fsencode(path.name):
                with suppress(ValueError):
                    return now > int(fields[5]) + _KEPT_SPENT
        return True


def _folder_of(name: bytes) -> str:
    return os.fsdecode(name.partition(b"/")[0])
