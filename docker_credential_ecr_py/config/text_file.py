"""Reads the text files that a user edits: settings, docker's config, the AWS config."""

from pathlib import Path

from docker_credential_ecr_py.atomic_file import read_if_there
from docker_credential_ecr_py.errors import EcrPyError


def read_text(path: Path, error_type: type[EcrPyError]) -> str | None:
    """Return all of a UTF-8 file, or None if there is none. Raises `error_type`."""
    try:
        content = read_if_there(path)
        return None if content is None else content.decode()
    except OSError as error:
        raise error_type(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise error_type(f"{path} is not UTF-8 text") from None


def read_existing(path: Path, error_type: type[EcrPyError]) -> str:
    """As read_text; raises `error_type` too if there is no such file."""
    text = read_text(path, error_type)
    if text is None:
        raise error_type(f"{path} does not exist")
    return text
