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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from docker_credential_ecr_py.errors import EcrPyError, error_from_dict

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1


@dataclass
class Lock:
    """A lock that is held. `file` is None if nothing could be locked.

    `waited_since` is when this process began to wait for it, None if it did not wait.
    """

    file: int | None = None
    waited_since: float | None = None

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
            note = json.loads(os.pread(self.file, 8192, 0))
            return float(note["at"]), error_from_dict(note["error"])
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError):
            return 0.0, None

    def record_failure(self, error: EcrPyError | None) -> None:
        """Write why this holder failed (None: it did not), for the processes that wait."""
        if self.file is None:
            return
        with suppress(OSError):
            os.ftruncate(self.file, 0)
            if error is not None:
                note = {"at": time.time(), "error": error.to_dict()}
                os.pwrite(self.file, json.dumps(note).encode(), 0)

    def pause(self, seconds: float) -> None:
        """Keep helpers from renewals for so many seconds: what is fetched cannot be stored."""
        if self.file is not None:
            until = time.time() + seconds
            with suppress(OSError):
                os.utime(self.file, (until, until))


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
        yield _take(file, wait, sleep)
    finally:
        os.close(file)


def open_lock(path: Path) -> int:
    """Open a lock file, which is made if it is missing. Raises OSError.

    Raises it for another user's file, too: that user could hold it for ever, and could write the
    text of an error that we report.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    file = os.open(path, flags, 0o600)
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


def _take(file: int, wait: float, sleep: Callable[[float], None]) -> Lock | None:
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
        os.utime(file)
    except OSError:  # a file system without locks, as Lustre's and NFS's may be
        return Lock()
    return Lock(file, began if waited else None)
