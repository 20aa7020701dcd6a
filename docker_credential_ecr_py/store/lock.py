"""A lock that one process of this machine holds at a time, and that the kernel frees if it dies.

The file also carries why the last holder failed, so that those who waited share its answer
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
    """What its holder may do with it. `file` is None where nothing could be locked."""

    file: int | None = None
    waited_since: float | None = None

    def previous_failure(self) -> EcrPyError | None:
        """Why the holder that we waited for failed; None if it did not, or there was none."""
        if self.waited_since is None:
            return None
        at, error = self._note()
        return error if self.waited_since <= at <= time.time() else None

    def recent_failure(self, seconds: float) -> EcrPyError | None:
        """Why the last holder failed, if that was at most so many seconds ago.

        None for a note of the future: the clock was set back.
        """
        at, error = self._note()
        return error if 0 <= time.time() - at <= seconds else None

    def _note(self) -> tuple[float, EcrPyError | None]:
        """When the last holder failed, and why; 0 and None if it did not."""
        if self.file is None:
            return 0.0, None
        try:
            note = json.loads(os.pread(self.file, 8192, 0))
            return float(note["at"]), error_from_dict(note["error"])
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError):
            return 0.0, None

    def record_failure(self, error: EcrPyError | None) -> None:
        """Tells those who wait why this holder failed, or that it did not."""
        if self.file is None:
            return
        with suppress(OSError):
            os.ftruncate(self.file, 0)
            if error is not None:
                note = {"at": time.time(), "error": error.to_dict()}
                os.pwrite(self.file, json.dumps(note).encode(), 0)

    def pause(self, seconds: float) -> None:
        """Has helpers start no renewal for so long: what they fetched could not be kept."""
        if self.file is not None:
            until = time.time() + seconds
            with suppress(OSError):
                os.utime(self.file, (until, until))


@contextmanager
def locked(
    path: Path | None, *, wait: float, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Lock | None]:
    """Holds the lock file at `path`, waiting up to `wait` seconds; None if it is still another's.

    Where the file cannot be made or locked (a disk that is full or read-only, a file system without
    locks, another user's file), or there is no path for it, the caller goes on with a Lock that
    holds nothing.
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

    Raises it for another user's file, too: that user could hold it for ever, and would write what
    we tell as the reason of a failure.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    file = os.open(path, flags, 0o600)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, f"{path} is not a regular file")
        if os.name == "posix" and found.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, f"{path} belongs to another user")
        if os.name == "posix" and found.st_mode & 0o077:
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
