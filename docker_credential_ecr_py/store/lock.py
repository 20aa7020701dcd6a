"""A lock that one process of this machine holds at a time, and that the kernel frees if it dies.

The file also holds why its last holder failed, so that the processes that waited share that error
instead of failing one after the other.
"""

import errno
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker_credential_ecr_py.errors import EcrPyError, error_from_dict
from docker_credential_ecr_py.folder import to_utime
from docker_credential_ecr_py.store import record

if sys.platform == "win32":
    import msvcrt

    # A byte far behind the note: what is locked cannot be read by another process.
    _LOCKED = 2**30

    def _try_lock(file: int) -> bool:
        os.lseek(file, _LOCKED, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:  # its number is not the same in every C library
            return False
        return True

    def _unlock(file: int) -> None:
        """At once: what a closed file had locked, Windows frees when it comes to it."""
        os.lseek(file, _LOCKED, os.SEEK_SET)
        with suppress(OSError):  # it was not locked
            msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: int) -> None:
        """Closing the file is enough."""


_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1
_LARGEST_NOTE = 8192


@dataclass
class Lock:
    """A lock that is held. `file` is None if nothing could be locked.

    `waited_since` is when this process began to wait for it, None if it did not wait.
    """

    file: int | None = None
    waited_since: float | None = None
    path: Path = Path()

    def previous_failure(self) -> EcrPyError | None:
        """Return why the holder that we waited for failed; None if it did not, or we did not."""
        if self.waited_since is None:
            return None
        at, error = self._note()
        return error if self.waited_since <= at <= time.time() else None

    def recent_failure(self, seconds: float) -> EcrPyError | None:
        """Return why the last holder failed, if that was at most so many seconds ago.

        None for a note from the future: the clock was set back.
        """
        at, error = self._note()
        return error if 0 <= time.time() - at <= seconds else None

    def _note(self) -> tuple[float, EcrPyError | None]:
        """Return when and why the last holder failed; 0 and None if it did not."""
        if self.file is None:
            return 0.0, None
        try:
            os.lseek(self.file, 0, os.SEEK_SET)
            note = json.loads(os.read(self.file, _LARGEST_NOTE))
            return float(note["at"]), error_from_dict(note["error"])
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError):
            return 0.0, None

    def record_failure(self, error: EcrPyError | None) -> None:
        """Write why this holder failed (None: it did not), for the processes that wait."""
        note = {} if error is None else {"at": time.time(), "error": error.to_dict()}
        self.write_note(note)

    def write_note(self, note: Mapping[str, Any]) -> None:
        """Replace the content of the file, if it can be written, by a JSON object."""
        if self.file is None:
            return
        with suppress(OSError):
            os.ftruncate(self.file, 0)
            os.lseek(self.file, 0, os.SEEK_SET)
            os.write(self.file, json.dumps(note).encode() if note else b"")

    def pause(self, seconds: float) -> None:
        """Keep helpers from renewals for so many seconds: what is fetched cannot be stored."""
        if self.file is not None:
            until = time.time() + seconds
            with suppress(OSError):
                os.utime(to_utime(self.file, self.path), (until, until))


@contextmanager
def locked(
    path: Path | None, *, wait: float, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Lock | None]:
    """Hold the lock file at `path`; None if another process holds it for `wait` seconds.

    If the file cannot be made or locked (a disk that is full or read-only, a file system without
    locks, another user's file), or `path` is None, yield a Lock that holds nothing.
    """
    if path is None:
        yield Lock()
        return
    try:
        file = open_lock(path)
    except OSError:
        yield Lock()
        return
    try:
        yield _take(file, path, wait, sleep)
    finally:
        _unlock(file)
        os.close(file)


def open_lock(path: Path) -> int:
    """Open a lock file, which is made if it is missing. Raises OSError.

    Raises it for another user's file, too: that user could hold it for ever, and could write the
    text of an error that we report.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | record.SAFELY, 0o600)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, f"{path} is not a regular file")
        if os.name == "posix" and status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, f"{path} belongs to another user")
        if os.name == "posix" and status.st_mode & 0o077:
            os.fchmod(file, 0o600)
    except BaseException:
        os.close(file)
        raise
    return file


def _take(file: int, path: Path, wait: float, sleep: Callable[[float], None]) -> Lock | None:
    began = time.time()
    deadline, pause = time.monotonic() + wait, _FIRST_PAUSE
    waited = False
    try:
        while not _try_lock(file):
            if time.monotonic() >= deadline:
                return None
            waited = True
            sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        os.utime(to_utime(file, path))
    except OSError:  # a file system without locks, as Lustre's and NFS's may be
        return Lock()
    return Lock(file, began if waited else None, path)
