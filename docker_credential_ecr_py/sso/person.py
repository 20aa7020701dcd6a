"""Whether a person is there to log in, and how to reach them: a terminal, a browser."""

import os
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from docker_credential_ecr_py.errors import LoginExpired

TERMINAL = "CONOUT$" if sys.platform == "win32" else "/dev/tty"


def in_ci(environ: Mapping[str, str]) -> bool:
    return environ.get("CI", "").lower() not in ("", "0", "false")


def somebody_there(environ: Mapping[str, str]) -> bool:
    """Never in CI; else where a terminal can be opened, or where there is a desktop."""
    return not in_ci(environ) and (has_terminal() or browser_command(environ) is not None)


def has_terminal() -> bool:
    try:
        os.close(os.open(TERMINAL, os.O_RDWR | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True


def ask(question: str, seconds: float) -> str:
    """What a person types on the terminal. Raises LoginExpired after `seconds`, or at its end.

    It is shown as it is typed: a terminal that hides it would stay so if we were interrupted.
    """
    try:
        with open(TERMINAL, "r+b", buffering=0) as terminal:
            terminal.write(f"ecr-py: {question}: ".encode())
            ready, _, _ = select.select([terminal], [], [], seconds)
            answer = terminal.readline(1024).decode(errors="replace").strip() if ready else ""
    except OSError:
        answer = ""
    if not answer:
        raise LoginExpired(f"nobody answered the question for the {question}")
    return answer


def browser_command(environ: Mapping[str, str]) -> list[str] | None:
    """What opens an address (its last argument) in a browser that this person sees, or None.

    BROWSER wins. Over SSH a browser would open on the wrong screen; without a display, Python
    would take the terminal for one of text. Under WSL the browser is the one of Windows.
    """
    if environ.get("BROWSER"):
        return [sys.executable, "-m", "webbrowser"]
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return None
    if environ.get("WSL_DISTRO_NAME"):
        for program, *arguments in (
            ["wslview"],
            ["rundll32.exe", "url.dll,FileProtocolHandler"],
            ["/mnt/c/Windows/System32/rundll32.exe", "url.dll,FileProtocolHandler"],
        ):
            if found := shutil.which(program, path=environ.get("PATH")):
                return [found, *arguments]
    if sys.platform in ("darwin", "win32") or environ.get("DISPLAY") or _has_wayland(environ):
        return [sys.executable, "-m", "webbrowser"]
    return None


def open_browser(address: str, environ: Mapping[str, str]) -> bool:
    """Opens an address, and does not wait. What the browser prints goes nowhere: standard output
    is the protocol's. Whether there is a browser at all."""
    command = browser_command(environ)
    if command is None:
        return False
    nowhere = subprocess.DEVNULL
    try:
        subprocess.Popen(
            [*command, address],
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
            env=dict(environ),
            start_new_session=True,
        )
    except OSError:
        return False
    return True


def _has_wayland(environ: Mapping[str, str]) -> bool:
    display, folder = environ.get("WAYLAND_DISPLAY"), environ.get("XDG_RUNTIME_DIR", "")
    return bool(display) and (Path(folder) / str(display)).exists()
