"""What a login shows to the user."""

import os
from dataclasses import dataclass
from typing import Protocol

from docker_credential_ecr_py.printable import printable
from docker_credential_ecr_py.sso.user import TERMINAL


@dataclass(frozen=True)
class Prompt:
    """An `address` to open, a `code` to type there ("" if none), and the `seconds` left."""

    session: str
    address: str
    code: str
    seconds: float
    browser_opens: bool


class Screen(Protocol):
    """Shows a login."""

    def ask(self, prompt: Prompt) -> None:
        """Show a prompt; called once, or again if the code has changed."""

    def waiting(self, seconds: float) -> None:
        """Update the time left; called several times a second."""

    def close(self) -> None: ...


def spoken(seconds: float) -> str:
    """Return a duration in words: `90 seconds`, `5 minutes`."""
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


class PlainScreen:
    """Plain lines on standard error if that is a terminal, else on the user's terminal.

    For `get`: standard output is for the protocol, and standard error must stay empty if another
    program reads it.
    """

    def __init__(self, file: int | None = None) -> None:
        self._file = file if file is not None else _terminal()

    def ask(self, prompt: Prompt) -> None:
        how = "Opening" if prompt.browser_opens else "Open"
        self.say(f"log in to {prompt.session}. {how} {prompt.address}")
        if prompt.code:
            self.say(f"the code is {prompt.code}")
        self.say(f"waiting for {spoken(prompt.seconds)}; Ctrl-C cancels")

    def waiting(self, seconds: float) -> None: ...

    def close(self) -> None: ...

    def say(self, line: str) -> None:
        if self._file is None:
            return
        try:
            # By open, which writes UTF-8 to a console of Windows, whatever its code page.
            with open(self._file, "wb", buffering=0, closefd=False) as terminal:
                terminal.write(f"ecr-py: {printable(line)}\n".encode())
        except OSError:
            self._file = None  # the terminal has gone; the browser may still be there


def _terminal() -> int | None:
    if os.isatty(2):
        return 2
    try:
        flags = os.O_WRONLY | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)
        return os.open(TERMINAL, flags)
    except OSError:
        return None
