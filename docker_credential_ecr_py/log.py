"""The log file: one printable line an event, every secret cut out, never in anybody's way.

A cached hit never comes here.
"""

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from docker_credential_ecr_py.printable import one_line
from docker_credential_ecr_py.redact import redact
from docker_credential_ecr_py.whole_file import make_private_folder

LARGEST = 1024 * 1024

log = logging.getLogger("ecr-py")


class _OneRedactedLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return one_line(redact(super().format(record)))


class _LogFile(logging.StreamHandler[TextIO]):
    """Follows `path`: others rename it when it has grown, and the daemon writes for weeks."""

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
    """Appends to `path` from now on. Where that cannot be, there is no log, and no complaint.

    ECR_PY_LOG=debug says more; a file over 1 MiB becomes `path` with ".1" first.
    """
    log.propagate = False
    logging.lastResort = None  # what libraries warn of is no answer to a person
    log.setLevel(
        logging.DEBUG if environ.get("ECR_PY_LOG", "").lower() == "debug" else logging.INFO
    )
    log.handlers = [_handler(path)]


def _handler(path: Path | None) -> logging.Handler:
    if path is None:
        return logging.NullHandler()
    try:
        handler = _LogFile(path)
    except OSError:
        return logging.NullHandler()
    handler.setFormatter(
        _OneRedactedLine("%(asctime)s %(process)d %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    )
    handler.handleError = lambda record: None  # type: ignore[method-assign]
    return handler


def _opened(path: Path) -> TextIO:
    """Raises OSError."""
    make_private_folder(path.parent)
    if path.exists() and path.stat().st_size > LARGEST:
        os.replace(path, f"{path}.1")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    file = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o600)
    if sys.platform != "win32":
        os.fchmod(file, 0o600)
    return os.fdopen(file, "a", encoding="utf-8", errors="replace")
