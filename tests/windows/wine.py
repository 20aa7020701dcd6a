"""Runs programs for Windows: under wine, or as they are if the tests run on Windows.

For wine, build_python.py builds the Python; on Windows it is the one that runs the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.environments import PROJECT
from tests.support.surroundings import KEPT_ON_WINDOWS, machine_path

# Ignored by git. A fresh clone builds it anew, within a minute.
FOLDER = PROJECT / ".ci" / "windows"
PREFIX = FOLDER / "prefix"
NETWORK_DRIVE = PREFIX / "dosdevices" / "n:"


class WindowsPython:
    """The Python for Windows that runs the tests, with our package in it."""

    python = Path(sys.executable)
    scripts = Path(sysconfig.get_path("scripts"))

    @property
    def environment(self) -> dict[str, str]:
        """What a program for Windows has to see, besides the variables of its user."""
        kept = {name: os.environ[name] for name in KEPT_ON_WINDOWS if name in os.environ}
        return {**kept, "PATH": os.pathsep.join((str(self.scripts), os.environ["PATH"]))}

    def command(self, *command: str | Path) -> list[str | Path]:
        """Return what starts a program for Windows."""
        return list(command)

    def run(
        self, *command: str | Path, timeout: float = 300, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program for Windows, which must succeed."""
        done = subprocess.run(
            self.command(*command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=self.environment | environment,
            timeout=timeout,
            cwd=os.sep,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done

    def on_a_share(self, folder: Path) -> str:
        """Return a name of a folder by which, for Windows, it is on another machine's disk."""
        drive, _, rest = str(folder).partition(":")
        return rf"\\localhost\{drive}${rest}"

    @contextmanager
    def holding_open(self, file: Path, environment: Mapping[str, str]) -> Iterator[None]:
        """Let a program have a file open, as a virus scanner may: it can be read meanwhile."""
        script = "import sys; held = open(sys.argv[1], 'rb'); print(flush=True); sys.stdin.read()"
        holder = subprocess.Popen(
            self.command(self.python, "-IS", "-c", script, windows_path(file)),
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


class WinePython(WindowsPython):
    """A wine prefix, and the Python for Windows in `folder`, with our package in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.python, self.scripts = folder, folder / "python.exe", folder / "Scripts"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": machine_path(),
            "WINEPREFIX": str(PREFIX),
            "WINEDEBUG": "-all",
            "LC_ALL": "C.UTF-8",  # in which file names are encoded
            "WINEPATH": windows_path(self.scripts),
        }

    def command(self, *command: str | Path) -> list[str | Path]:
        return ["wine", *command]

    def on_a_share(self, folder: Path) -> str:
        # Drive N: is that folder alone: wine would call a file on two drives by either's name.
        # There is such a drive at any time: start_server stops all programs if there is none.
        new = PREFIX / "drive"
        new.unlink(missing_ok=True)
        new.symlink_to(folder)
        new.replace(NETWORK_DRIVE)
        return "N:\\"

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
        if not NETWORK_DRIVE.is_symlink():
            NETWORK_DRIVE.symlink_to("/nowhere")
            drives = r"HKLM\Software\Wine\Drives"
            _quietly(*f"wine reg add {drives} /v N: /d network /f".split(), environment=quiet)
            self.stop_server()  # it reads that when it starts
            _quietly("wineserver", "-p600", environment=quiet)
        # Not wineboot again: it would set them anew, while other tests run.
        _quietly("wine", "reg", "delete", r"HKCU\Volatile Environment", "/f", environment=quiet)

    def stop_server(self) -> None:
        _quietly("wineserver", "-k", environment=self.environment)


def windows_path(path: Path) -> str:
    """Return how a program for Windows names a file of this machine."""
    if sys.platform == "win32":
        return str(path)
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
