"""Reads the text files that a user edits: settings, docker's config, the AWS config."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from docker_credential_ecr_py.atomic_file import read_if_there
from docker_credential_ecr_py.errors import EcrPyError
from docker_credential_ecr_py.shell import quote


def read_text(path: Path, error_type: type[EcrPyError]) -> str | None:
    """Return all of a UTF-8 file, or None if there is none. Raises `error_type`."""
    try:
        content = read_if_there(path)
        return None if content is None else content.decode()
    except OSError as error:
        hint = _gives_right_to_read(path) if isinstance(error, PermissionError) else ""
        raise error_type(f"{path} cannot be read: {error.strerror}", hint=hint) from None
    except UnicodeDecodeError:
        raise error_type(f"{path} is not UTF-8 text") from None


def read_existing(path: Path, error_type: type[EcrPyError]) -> str:
    """As read_text; raises `error_type` too if there is no such file."""
    text = read_text(path, error_type)
    if text is None:
        raise error_type(f"{path} does not exist")
    return text


def _gives_right_to_read(path: Path) -> str:
    """Return the hint for a file of the user's own, which an editor could not open either."""
    with suppress(OSError):
        if sys.platform != "win32" and path.stat().st_uid == os.geteuid():
            return f"run `chmod u+rw {quote(str(path))}`"
    return ""
