"""Makes files that are whole, and folders that are for their owner alone."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

# What some editors begin a text with, and most readers refuse.
BYTE_ORDER_MARK = "\ufeff"


def make_private_folder(folder: Path) -> None:
    """Makes a folder and those above it, each for its owner alone. Raises OSError."""
    if not folder.is_dir():
        make_private_folder(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)


def write_whole(
    path: Path, content: bytes, *, mode: int = 0o600, outlasts_power: bool = False
) -> None:
    """Makes `content` the file at `path`: a reader sees the old or the new, never half.

    After a power cut too, where it `outlasts_power`, which takes the disk its time. Where `path`
    is a link, the link is replaced. Raises OSError.
    """
    beside = path.with_name(f"{path.name}.{os.urandom(8).hex()}.new")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(file, "wb") as writer:
            writer.write(content)
            if outlasts_power:
                writer.flush()
                os.fsync(file)
        beside.chmod(mode)  # whatever the umask took away
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def without_waiting(path: str, flags: int) -> int:
    """For open(): a FIFO that nobody writes to has an end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_if_there(file: Path) -> bytes | None:
    """A file's content, or None where there is none. A FIFO does not make us wait.

    Raises OSError.
    """
    try:
        with open(file, "rb", opener=without_waiting) as reader:
            return reader.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def rewrite(file: Path, before: bytes | None, after: bytes | None) -> None:
    """Makes `after` of a user's file that holds `before`; None stands for no file.

    A link to it, its mode and its owner stay, and what is replaced is left beside it, with
    ".bak". A new file is for its owner alone. Raises OSError, also where the file is read-only or
    no longer holds `before`.
    """
    target = Path(os.path.realpath(file))
    if read_if_there(target) != before:
        raise OSError(errno.EBUSY, "something else has just changed it; try again")
    found = None if before is None else target.stat()
    if found and not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")  # /dev/null, say
    mode = found.st_mode & 0o777 if found else 0o600
    if not mode & 0o222:
        raise PermissionError(errno.EACCES, "it is read-only")
    make_private_folder(target.parent)
    if after is None:
        target.unlink(missing_ok=True)
        return
    backup = target.with_name(f"{target.name}.bak")
    for path, content in ((backup, before), (target, after)):
        if content is None:
            continue
        write_whole(path, content, mode=mode, outlasts_power=True)
        if found and os.name == "posix":
            with suppress(OSError):
                os.chown(path, found.st_uid, found.st_gid)  # sudo must not take it away
