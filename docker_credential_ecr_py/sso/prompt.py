"""What a person is shown while they log in."""

import os
from dataclasses import dataclass
from typing import Protocol

from docker_credential_ecr_py.printable import printable
from docker_credential_ecr_py.sso.user import TERMINAL


@dataclass(frozen=True)
class Prompt:
    """What to do, where. `code` is "" where the browser does it all; `seconds` is what is left."""

    session: str
    address: str
    code: str
    seconds: float
    browser_opens: bool


class Screen(Protocol):
    def ask(self, prompt: Prompt) -> None:
        """Shows it; called once, or again where the code has changed."""

    def waiting(self, seconds: float) -> None:
        """Called now and then; `seconds` are left."""

    def close(self) -> None: ...


def spoken(seconds: float) -> str:
    """`90 seconds`, `5 minutes`."""
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


class PlainScreen:
    """Plain lines on the person's terminal, or on standard error where that is one.

    For `get`: standard output belongs to the protocol, and standard error stays empty where
    another program reads it. Nothing moves, so nothing can be left behind half drawn.
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
            os.write(self._file, f"ecr-py: {printable(line)}\n".encode())
        except OSError:
            self._file = None  # the terminal has gone; the browser may still do


def _terminal() -> int | None:
    if os.isatty(2):
        return 2
    try:
        flags = os.O_WRONLY | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)
        return os.open(TERMINAL, flags)
    except OSError:
        return None
