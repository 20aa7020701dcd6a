"""Whether a folder can take a record; if not, why, and what to do about it."""

import errno
import os
import sys
from pathlib import Path
from shlex import quote

# A record of ours has about four kilobytes.
_ROOM = 8 * 1024
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
# What the system says if it has no files without a name here.
_NO_NAMELESS_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)


def problem_of(folder: Path) -> OSError | None:
    """Why nothing can be written to a folder that is there, or None. Leaves no trace in it.

    A write is the only proof: it also meets quotas, and what file systems hold back. Linux writes
    to a file without a name; elsewhere it is what the file system says of itself.
    """
    flags = getattr(os, "O_TMPFILE", 0)
    if flags:
        try:
            file = os.open(folder, flags | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                left = _ROOM
                while left:
                    left -= os.write(file, bytes(left))
            finally:
                os.close(file)
        except OSError as error:
            if error.errno not in _NO_NAMELESS_FILES:
                return error
        else:
            return None
    return _by_its_own_words(folder)


def advice(error: OSError, folder: Path) -> tuple[str, str]:
    """In words: what is wrong with a folder that could not be written, and what to do."""
    if error.errno in _FULL:
        return f"the disk of {folder} is full", "free some space on it"
    if error.errno == errno.EROFS:
        return (
            f"{folder} is on a file system that is mounted read-only",
            "mount it read-write, or set XDG_CACHE_HOME to another folder",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{folder} is read-only", f"run `chmod 700 {quote(str(folder))}`"
    return f"{folder} cannot be written: {error.strerror}", ""


def _by_its_own_words(folder: Path) -> OSError | None:
    if sys.platform == "win32":
        return None
    try:
        found = os.statvfs(folder)
    except OSError as error:
        return error
    free = found.f_bfree if os.geteuid() == 0 else found.f_bavail
    if found.f_flag & os.ST_RDONLY:
        number = errno.EROFS
    elif not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EACCES
    elif free * found.f_frsize < _ROOM or (found.f_files and not found.f_favail):
        number = errno.ENOSPC
    else:
        return None
    return OSError(number, os.strerror(number))
