"""Checks whether a record can be written to a folder; if not, says why, and what to do."""

import errno
import os
import sys
from pathlib import Path

from docker_credential_ecr_py.folder import user_name
from docker_credential_ecr_py.shell import quote

# Bytes. A record has about half as many.
_ROOM = 8 * 1024
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_HAS_FLEETING_FILES = sys.platform == "win32" or hasattr(os, "O_TMPFILE")
# The errors of a file system that has no files without a name.
_NO_NAMELESS_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)


def problem_of(folder: Path) -> OSError | None:
    """Return why nothing can be written to an existing folder, or None. Leaves no trace in it.

    Only a write proves it: it also meets quotas and reserved blocks. On Linux it goes to a file
    without a name, on Windows to one that goes when it is closed; elsewhere the file system's own
    figures have to do.
    """
    if _HAS_FLEETING_FILES:
        try:
            file = _fleeting_file(folder)
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
    return _reported_problem(folder)


def nearest_folder(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(one for one in (folder, *folder.absolute().parents) if os.path.isdir(one))


def _fleeting_file(folder: Path) -> int:
    """Open a new file that is gone when it is closed. Raises OSError."""
    if sys.platform == "win32":
        flags = os.O_CREAT | os.O_EXCL | os.O_TEMPORARY | os.O_WRONLY
        return os.open(folder / f"{os.urandom(8).hex()}.new", flags)
    return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)


def advice(error: OSError, folder: Path) -> tuple[str, str]:
    """Return what is wrong with a folder that could not be written, and the hint."""
    if error.errno in _FULL:
        return f"the disk of {folder} is full", "free some space on it"
    if error.errno == errno.EROFS:
        return (
            f"{folder} is on a file system that is mounted read-only",
            "mount it read-write, or set XDG_CACHE_HOME to another folder",
        )
    if error.errno in (errno.EACCES, errno.EPERM) and sys.platform != "win32":
        there = nearest_folder(folder)
        owner = there.stat().st_uid
        if owner != os.geteuid():  # chmod would fail, or, typed as root, shut others out
            return f"{there} belongs to {user_name(owner)}, and you may not write to it", ""
        return f"{there} is read-only", f"run `chmod u+rwx {quote(str(there))}`"
    return f"{folder} cannot be written: {error.strerror}", ""


def _reported_problem(folder: Path) -> OSError | None:
    """Return the problem that the file system's own figures show, or None."""
    if sys.platform == "win32":
        return None
    try:
        figures = os.statvfs(folder)
    except OSError as error:
        return error
    free = figures.f_bfree if os.geteuid() == 0 else figures.f_bavail
    if figures.f_flag & os.ST_RDONLY:
        number = errno.EROFS
    elif not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EACCES
    elif free * figures.f_frsize < _ROOM or (figures.f_files and not figures.f_favail):
        number = errno.ENOSPC
    else:
        return None
    return OSError(number, os.strerror(number))
