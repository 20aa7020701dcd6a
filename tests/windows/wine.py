"""Runs programs for Windows under wine. build_python.py builds the Python."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.environments import PROJECT
from tests.support.surroundings import machine_path

# Ignored by git. A fresh clone builds it anew, within a minute.
FOLDER = PROJECT / ".ci" / "windows"
PREFIX = FOLDER / "prefix"


@dataclass
class WinePython:
    """A wine prefix, and the Python for Windows in `folder`, with our package in it."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "python.exe"

    @property
    def scripts(self) -> Path:
        return self.folder / "Scripts"

    @property
    def environment(self) -> dict[str, str]:
        """What a program for Windows has to see, besides the variables of its user."""
        return {
            "PATH": machine_path(),
            "WINEPREFIX": str(PREFIX),
            "WINEDEBUG": "-all",
            "LC_ALL": "C.UTF-8",  # in which file names are encoded
            "WINEPATH": windows_path(self.scripts),
        }

    def run(
        self, *command: str | Path, timeout: float = 300, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program for Windows, which must succeed."""
        done = subprocess.run(
            ["wine", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=self.environment | environment,
            timeout=timeout,
            cwd="/",
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done

    @contextmanager
    def holding_open(self, file: Path, environment: Mapping[str, str]) -> Iterator[None]:
        """Let a program have a file open, as a virus scanner may: it can be read meanwhile."""
        script = "import sys; held = open(sys.argv[1], 'rb'); print(flush=True); sys.stdin.read()"
        holder = subprocess.Popen(
            ["wine", self.python, "-IS", "-c", script, windows_path(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert holder.stdin
        assert holder.stdout
        with holder.stdin, holder.stdout:
            assert holder.stdout.readline()
            yield
        holder.wait(60)

    def start_server(self) -> None:
        """Start what all programs of the prefix share, or its services would inherit our pipes.

        It ends ten minutes after the last program. The variables that wine sets for a user are
        removed, so that a test can have its own LOCALAPPDATA and USERPROFILE.
        """
        # Without the installers of Mono and Gecko, which would ask.
        quiet = self.environment | {"WINEDLLOVERRIDES": "mscoree,mshtml="}
        is_new = not PREFIX.exists()
        PREFIX.mkdir(exist_ok=True)
        _quietly("wineserver", "-p600", environment=quiet)
        if is_new:
            _quietly("wine", "wineboot", environment=quiet)
            _quietly("wine", "winecfg", "-v", "win10", environment=quiet)
        # Not wineboot again: it would set them anew, while other tests run.
        _quietly("wine", "reg", "delete", r"HKCU\Volatile Environment", "/f", environment=quiet)

    def stop_server(self) -> None:
        _quietly("wineserver", "-k", environment=self.environment)


def windows_path(path: Path) -> str:
    """Return how a program under wine names a file of this machine."""
    return "Z:" + str(path).replace("/", "\\")


def _quietly(*command: str, environment: Mapping[str, str]) -> None:
    nowhere = subprocess.DEVNULL
    subprocess.run(
        command,
        stdin=nowhere,
        stdout=nowhere,
        stderr=nowhere,
        env=environment,
        timeout=120,
        umask=0o077,  # the server makes the files: they are its user's alone, as in a profile
        check=False,
    )
