"""Makes files that are whole, and folders that are for their owner alone."""

import os
from contextlib import suppress
from pathlib import Path


def make_private_folder(folder: Path) -> None:
    """Makes a folder and those above it, each for its owner alone. Raises OSError."""
    if not folder.is_dir():
        make_private_folder(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Makes `content` the file at `path`: a reader sees the old or the new, never half.

    Where `path` is a link, the link is replaced. Raises OSError.
    """
    beside = path.with_name(f"{path.name}.{os.urandom(8).hex()}.new")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(file, "wb") as writer:
            writer.write(content)
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
