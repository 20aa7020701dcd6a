"""Writes files atomically, and makes folders that only their owner can enter."""

import errno
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from docker_credential_ecr_py.folder import Folder, open_folder, open_place, to_utime

# Some editors write it at the beginning of a text; most readers refuse it.
BYTE_ORDER_MARK = "\ufeff"
# Bytes that are read of a user's file: a link to /dev/zero must not fill the memory.
LARGEST_FILE = 16 * 1024 * 1024
_BACKUP_MODE = 0o600


def make_private_folder(folder: Path) -> None:
    """Make a folder and its parents if they are missing, with mode 0700. Raises OSError."""
    with open_folder(folder, make=True):
        pass


def write_whole(
    path: Path,
    content: bytes,
    *,
    mode: int = 0o600,
    durable: bool = False,
    for_owner_of_folder: bool = False,
) -> None:
    """Replace the file at `path` by `content`: a reader sees the old or the new, never a part.

    If `durable`, after a power cut too, for which the disk is waited for. If `path` is a link, the
    link is replaced. With `for_owner_of_folder`, a file that root writes in another user's folder
    belongs to that user. Raises OSError.
    """
    with open_folder(path.parent) as folder:
        owner = folder.owner_if_not_root() if for_owner_of_folder else None
        write_in(folder, path.name, content, mode=mode, owner=owner, durable=durable)


def write_in(
    folder: Folder,
    name: str,
    content: bytes,
    *,
    mode: int = 0o600,
    owner: tuple[int, int] | None = None,
    times: tuple[int, int] | None = None,
    durable: bool = False,
) -> None:
    """As write_whole, in an open folder.

    `owner` is the user and group that get the file, as far as this process may give it away;
    `times` are those of its last access and change, in nanoseconds.
    """
    beside = f"{name}.{os.urandom(8).hex()}.new"
    file = folder.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with open(file, "wb") as writer:
            writer.write(content)
            writer.flush()
            if os.name == "posix":
                # By the descriptor: the name may be that of another file by now.
                os.fchmod(file, _given_away(file, owner, mode))
            if times is not None:
                os.utime(to_utime(file, folder.path_of(beside)), ns=times)
            if durable:
                os.fsync(file)
        _replace(folder, beside, name)
    except BaseException:
        with suppress(OSError):
            folder.remove(beside)
        raise


def _replace(folder: Folder, old: str, new: str) -> None:
    if sys.platform == "win32":
        from docker_credential_ecr_py.windows import when_not_in_use

        when_not_in_use(lambda: folder.replace(old, new))
    else:
        folder.replace(old, new)


def _given_away(file: int, owner: tuple[int, int] | None, mode: int) -> int:
    """Give an open file to a user and group. Return the mode that it may have then.

    If it cannot be given to the group, its present group must not get that group's rights.
    """
    status = os.fstat(file)
    if owner is None or owner == (status.st_uid, status.st_gid):
        return mode
    for user in (owner[0], -1):
        with suppress(OSError):
            os.fchown(file, user, owner[1])
            return mode
    return mode & ~0o070 | (mode & 0o007) << 3 & mode


def without_waiting(path: str, flags: int) -> int:
    """Open a file for open(); a FIFO without a writer reads as empty."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_if_there(file: Path) -> bytes | None:
    """Return a file's content, or None if it is absent. It never waits, as for a FIFO.

    Raises OSError, also if it is neither a regular file nor a device (/dev/null, say).
    """
    try:
        with open(file, "rb", opener=without_waiting) as reader:
            return _content(reader)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _content(reader: BinaryIO) -> bytes:
    """Return all of an open file. Raises OSError."""
    mode = os.fstat(reader.fileno()).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
        raise OSError(errno.EINVAL, "it is not a regular file")
    content = reader.read(LARGEST_FILE + 1) or b""
    if len(content) > LARGEST_FILE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return content


def rewrite(file: Path, before: bytes | None, after: bytes | None) -> None:
    """Replace `before` by `after` in a user's file; None stands for no file.

    A link to it, its mode and its owner stay, and the old content is left beside it, with ".bak",
    for its owner alone. A new file is for its owner alone: the folder's owner, if root writes it.
    Raises OSError, also if the file is read-only, no longer holds `before`, or is behind a link
    that another user may have planted.
    """
    if before is None and after is None:
        return
    try:
        with open_place(file, make=before is None) as (folder, name):
            _rewrite_in(folder, name, before, after)
    except (FileNotFoundError, NotADirectoryError):
        if before is None:
            raise
        raise _changed_meanwhile() from None


def _rewrite_in(folder: Folder, name: str, before: bytes | None, after: bytes | None) -> None:
    found = _read_in(folder, name)
    if (found and found[0]) != before:
        raise _changed_meanwhile()
    mode, owner = 0o600, folder.owner_if_not_root()
    if found:
        facts = found[1]
        mode, owner = facts.st_mode & 0o777, (facts.st_uid, facts.st_gid)
    if not mode & 0o222:
        raise PermissionError(errno.EACCES, "it is read-only")
    if after is None:
        folder.remove(name)
        return
    if before is not None:
        write_in(folder, f"{name}.bak", before, mode=_BACKUP_MODE, owner=owner, durable=True)
    write_in(folder, name, after, mode=mode, owner=owner, durable=True)


def _read_in(folder: Folder, name: str) -> tuple[bytes, os.stat_result] | None:
    """Return a regular file's content and status; None if it is absent. Raises OSError."""

    def opened(name: str, flags: int) -> int:
        return folder.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    try:
        with open(name, "rb", opener=opened) as reader:
            facts = os.fstat(reader.fileno())
            if not stat.S_ISREG(facts.st_mode):  # /dev/null, say
                raise OSError(errno.EINVAL, "it is not a regular file")
            return _content(reader), facts
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):  # a link, which it was not a moment ago
            raise _changed_meanwhile() from None
        raise


def _changed_meanwhile() -> OSError:
    return OSError(errno.EBUSY, "another program changed it at the same time; try again")
