"""A Python whose clock a test moves: this machine's time, and the seconds that a file holds.

This file runs in it, too, as a program: FILE INTERPRETER and what Python's own arguments would be.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from pathlib import Path

_now = time.time


class MovedClock:
    """A clock, `interpreter` with the same time, and so have the processes that it starts.

    Only `time.time` is moved, by which expiries are judged. `folder` is for its files.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ahead"
        self.interpreter = folder / "python"
        self.move(0)
        command = f"{sys.executable} -E -P {__file__} {self._file} {self.interpreter}"
        self.interpreter.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        self.interpreter.chmod(0o755)

    def __call__(self) -> float:
        return _now() + _read(self._file)

    def move(self, seconds: float) -> None:
        """Move it on by so many seconds."""
        ahead = seconds + (_read(self._file) if self._file.exists() else 0)
        new = self._file.with_suffix(".new")
        new.write_text(str(ahead))
        os.replace(new, self._file)


def _read(file: Path) -> float:
    return float(file.read_text())


def _run(file: Path, interpreter: str, arguments: list[str]) -> None:
    time.time = lambda: _now() + _read(file)
    sys.executable = interpreter
    while arguments[0] in ("-E", "-P"):
        arguments = arguments[1:]
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    _run(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
