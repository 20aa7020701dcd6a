"""Whether the user is there to be asked, and how: a terminal, a browser."""

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

from docker_credential_ecr_py.deadline import call_with_deadline
from docker_credential_ecr_py.errors import LoginExpired, LoginRefused
from docker_credential_ecr_py.printable import printable
from docker_credential_ecr_py.programs import NO_WINDOW, drop_relative_folders, find_program
from docker_credential_ecr_py.sso.web_address import is_web_address

# Opens an address; it stays valid as long as the context lasts.
Browser = Callable[[str], AbstractContextManager[None]]

# Isolated: a pull runs in a project's folder, which may have a webbrowser.py.
_PYTHONS = [sys.executable, "-I", "-m", "webbrowser"]
TERMINAL = "CONOUT$" if sys.platform == "win32" else "/dev/tty"


class User:
    """The user at this machine, who may or may not be there, and may or may not be asked."""

    def __init__(self, environ: Mapping[str, str], *, may_be_asked: bool) -> None:
        self._environ = environ
        # Never in CI.
        self.may_be_asked = may_be_asked and not _in_ci(environ)

    @property
    def is_there(self) -> bool:
        """Whether there is a terminal or a browser to ask the user."""
        return self.may_be_asked and (_has_terminal() or self.browser is not None)

    @property
    def browser(self) -> Browser | None:
        """Opens an address in a browser that the user sees; None if there is none."""
        command = browser_command(self._environ)
        return partial(_open_browser, command, self._environ) if command else None

    def mfa_code(self, serial: str, seconds: float) -> str:
        """Return the MFA code that the user types; "" if there is no terminal.

        It is shown as it is typed: a terminal that hides it would stay so if this process were
        interrupted. Raises LoginExpired after `seconds`, and LoginRefused if it is not a code.
        """
        if not (self.may_be_asked and _has_terminal()):
            return ""
        answer = b""
        with suppress(OSError):
            answer = _typed(f"ecr-py: MFA code of {printable(serial)}: ", seconds).strip()
        if not answer:
            raise LoginExpired("no MFA code was entered")
        if len(answer) != 6 or not answer.isdigit():
            raise LoginRefused("an MFA code has six digits")
        return answer.decode()


def _typed(prompt: str, seconds: float) -> bytes:
    """Return the line that the user types at the terminal; b"" after `seconds`. Raises OSError."""
    if sys.platform == "win32":  # where select is for sockets alone
        with open(TERMINAL, "wb", buffering=0) as screen:
            screen.write(prompt.encode())
        keyboard = open("CONIN$", "rb", buffering=0)  # noqa: SIM115 -- the thread goes on reading
        return call_with_deadline(seconds, partial(keyboard.readline, 1024), TimeoutError())
    with open(TERMINAL, "r+b", buffering=0) as terminal:
        terminal.write(prompt.encode())
        if select.select([terminal], [], [], seconds)[0]:
            return terminal.readline(1024)
    return b""


def _in_ci(environ: Mapping[str, str]) -> bool:
    return environ.get("CI", "").lower() not in ("", "0", "false")


def _has_terminal() -> bool:
    try:
        os.close(os.open(TERMINAL, os.O_RDWR | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True


def browser_command(environ: Mapping[str, str]) -> list[str] | None:
    """Return the command that opens an address (its last argument) in a browser, or None.

    BROWSER wins. Over SSH a browser would open on the wrong screen; without a display, Python
    would start a text browser in the terminal. Under WSL the browser is the one of Windows.
    """
    if environ.get("BROWSER"):
        return list(_PYTHONS)
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return None
    if environ.get("WSL_DISTRO_NAME"):
        for program, *arguments in (
            ["wslview"],
            ["rundll32.exe", "url.dll,FileProtocolHandler"],
            ["/mnt/c/Windows/System32/rundll32.exe", "url.dll,FileProtocolHandler"],
        ):
            if path := find_program(program, environ.get("PATH")):
                return [path, *arguments]
    if sys.platform in ("darwin", "win32") or environ.get("DISPLAY") or _has_wayland(environ):
        return list(_PYTHONS)
    return None


@contextmanager
def _open_browser(command: list[str], environ: Mapping[str, str], address: str) -> Iterator[None]:
    """Open an address by a link that no other user can follow; do not wait for the browser.

    The browser's output is discarded: standard output is the protocol's. If it does not start, the
    address is still on the screen. It does not run in the working folder, nor does Python's
    webbrowser search for programs there. It gets no AWS_* variable, since some hold keys.
    """
    if not is_web_address(address):
        raise ValueError("not the address of a web page")
    from docker_credential_ecr_py.sso.private_link import private_link  # loads an HTTP server

    nowhere = subprocess.DEVNULL
    seen = {name: value for name, value in environ.items() if not name.startswith("AWS_")}
    drop_relative_folders(seen)
    with private_link(address, environ) as link:
        with suppress(OSError):
            subprocess.Popen(
                [*command, link],
                stdin=nowhere,
                stdout=nowhere,
                stderr=nowhere,
                env=seen,
                cwd="/",
                start_new_session=True,
                creationflags=NO_WINDOW,
            )
        yield


def _has_wayland(environ: Mapping[str, str]) -> bool:
    display, folder = environ.get("WAYLAND_DISPLAY"), environ.get("XDG_RUNTIME_DIR", "")
    return bool(display) and (Path(folder) / str(display)).exists()
