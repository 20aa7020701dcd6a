"""A pseudo-terminal, and a shell that it controls: what a user sees and types."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

if sys.platform != "win32":  # modules whose tests run there import this one too
    import fcntl
    import pty
    import termios

# Outlives the script: when a session's leader ends, the kernel resets the terminal, and what the
# script did to it can no longer be seen.
_LEADER = 'trap : INT; eval "$1"; echo $? >"$2.new"; mv "$2.new" "$2"; read -r _'


class Terminal:
    """Runs a shell script on a terminal of its own, as the context lasts. `shown` is all it said.

    The script's processes are its foreground: Ctrl-C reaches them all.
    """

    def __init__(self, script: str, environment: Mapping[str, str], folder: Path) -> None:
        self._script, self._environment, self._folder = script, environment, folder
        self._said = bytearray()

    def __enter__(self) -> Self:
        self._status = tempfile.TemporaryDirectory(prefix="terminal-")
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, 80))
        self.before = self.state
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _LEADER, "sh", self._script, self._status_file],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=self._environment,
            cwd=self._folder,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._shell.kill()
        self._shell.wait()
        self._reader.join(5)  # with the shell the terminal goes, and the reader sees its end
        os.close(self._ours)
        self._status.cleanup()

    @property
    def shown(self) -> str:
        return bytes(self._said).decode(errors="replace").replace("\r\n", "\n")

    @property
    def state(self) -> list[Any]:
        """Echo, line mode and all else that a program may leave behind."""
        return termios.tcgetattr(self._ours)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def wait_for(self, pattern: str, *, seconds: float = 20) -> re.Match[str]:
        """What the terminal shows and `pattern` fits."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.shown)):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.shown[-2000:]!r}"
            time.sleep(0.01)
        return found

    def wait(self, *, seconds: float = 40) -> int:
        """The exit code of the script, once it has ended."""
        deadline = time.monotonic() + seconds
        while not self._status_file.exists():
            assert time.monotonic() < deadline, f"still running: {self.shown[-2000:]!r}"
            time.sleep(0.01)
        self._drain()
        return int(self._status_file.read_text())

    @property
    def _status_file(self) -> Path:
        return Path(self._status.name, "status")

    def _drain(self) -> None:
        """Lets the reader catch up with what the script wrote last."""
        size = -1
        while size != len(self._said):
            size = len(self._said)
            time.sleep(0.02)

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._ours, 65536)
            except OSError:
                return
            if not chunk:
                return
            self._said += chunk
