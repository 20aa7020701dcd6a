"""The log file: one printable line an event, without secrets. An error in it is ignored.

A hit does not log.
"""

import errno
import json
import logging
import os
import stat
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from docker_credential_ecr_py.errors import EcrPyError
from docker_credential_ecr_py.folder import open_folder
from docker_credential_ecr_py.printable import one_line
from docker_credential_ecr_py.redact import redact

LARGEST = 1024 * 1024
_TEXT, _TIME = "%(asctime)s %(process)d %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"
_SYSTEM = ("builtins", "socket", "ssl")
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

log = logging.getLogger("ecr-py")


class _OneRedactedLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return one_line(redact(super().format(record)))

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's name
        """Return a chain of exceptions, the first one first, each with its traceback.

        With their text only if it is ours or the operating system's: others may quote a secret,
        from the address of a proxy, say, or the output of a credential_process.
        """
        parts: list[str] = []
        error, seen = ei[1], set[int]()
        while error is not None and id(error) not in seen:  # `raise error from error` is a circle
            seen.add(id(error))
            lines = traceback.format_tb(error.__traceback__)
            parts.insert(0, "".join(["Traceback: ", *lines, _name_of(error)]))
            hidden = error.__suppress_context__
            error = error.__cause__ or (None if hidden else error.__context__)
        return " then ".join(parts)


def _name_of(error: BaseException) -> str:
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    if isinstance(error, EcrPyError):
        return f"{kind}: {error}"
    if isinstance(error, OSError) and type(error).__module__ in _SYSTEM and error.strerror:
        return f"{kind}: {error.strerror}"
    return kind


class _RedactedJson(_OneRedactedLine):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {
                "time": self.formatTime(record, self.datefmt),
                "level": record.levelname.lower(),
                "message": super().format(record),
            },
            ensure_ascii=False,
        )


class _LogFile(logging.StreamHandler[TextIO]):
    """Writes to `path`, and opens it again if another process has renamed it: see _opened."""

    def __init__(self, path: Path) -> None:
        super().__init__(_opened(path))
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            if not self._is_in_place():
                before = self.setStream(_opened(self._path))
                if before is not None:
                    before.close()
        super().emit(record)

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self.stream.fileno()))
        except FileNotFoundError:
            return False


def start_log(path: Path | None, environ: Mapping[str, str]) -> None:
    """Append to `path` from now on. If that is not possible, there is no log, and no error.

    ECR_PY_LOG=debug logs more. A file over 1 MiB is renamed first, to `path` with ".1".
    """
    log.propagate = False
    logging.lastResort = None  # warnings of libraries are not for the user
    log.setLevel(
        logging.DEBUG if environ.get("ECR_PY_LOG", "").lower() == "debug" else logging.INFO
    )
    log.handlers = [_handler(path)]


def stop_log() -> None:
    """Close the log, so that it can be removed."""
    for handler in log.handlers:
        handler.close()
    log.handlers = [logging.NullHandler()]


def log_to(stream: TextIO, environ: Mapping[str, str], *, as_json: bool = False) -> None:
    """Write to a stream from now on, for a program whose standard error someone collects."""
    start_log(None, environ)
    handler = logging.StreamHandler(stream)
    text = _RedactedJson("%(message)s", _TIME) if as_json else _OneRedactedLine(_TEXT, _TIME)
    handler.setFormatter(text)
    handler.handleError = lambda record: None  # type: ignore[method-assign]
    log.handlers = [handler]


def _handler(path: Path | None) -> logging.Handler:
    if path is None:
        return logging.NullHandler()
    try:
        handler = _LogFile(path)
    except OSError:
        return logging.NullHandler()
    handler.setFormatter(_OneRedactedLine(_TEXT, _TIME))
    handler.handleError = lambda record: None  # type: ignore[method-assign]
    return handler


def _opened(path: Path) -> TextIO:
    """Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
    with open_folder(path.parent, make=True) as folder:
        # Not to be renamed on Windows: another process has it open.
        with suppress(FileNotFoundError, PermissionError):
            if folder.stat(path.name).st_size > LARGEST:
                folder.replace(path.name, f"{path.name}.1")
        file = folder.open(path.name, flags)
    try:
        _check_ours(file, path)
        return os.fdopen(file, "a", encoding="utf-8", errors="replace")
    except BaseException:
        os.close(file)
        raise


def _check_ours(file: int, path: Path) -> None:
    """Close a log to other users. Raises OSError if it is another user's, or not a regular file."""
    if sys.platform == "win32":
        return
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"{path} does not belong to this user")
    os.fchmod(file, 0o600)
