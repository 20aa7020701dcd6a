"""Writes a file as a whole, or not at all: beside it, then renamed into place."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Makes `content` the file at `path`: a reader sees the old or the new, never half.

    Where `path` is a link, the link is replaced. Raises OSError.
    """
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(file, "wb") as writer:
            writer.write(content)
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
