"""The screen of `ecr-py login`: a code that can be read across a desk, a QR code, the time left."""

import math
import time
from dataclasses import replace
from io import StringIO

import segno
from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.style import Style
from rich.table import Table
from rich.text import Text

from docker_credential_ecr_py.printable import printable
from docker_credential_ecr_py.sso.prompt import Prompt

# What else stands on the screen: the title, what to do, the address, the time left, the prompt.
_OTHER_ROWS = 5
# Seconds.
_REDRAW = 0.25


class RichScreen:
    """Show once what to do, and below it a line with the time that is left.

    Only that line is redrawn, so that the address can be selected with the mouse.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._plain = console.options.ascii_only
        # The fonts of an older console of Windows do not have the dots.
        dots = not (self._plain or console.legacy_windows)
        self._spinner = Spinner("dots" if dots else "line")
        self._live = Live(
            self._spinner,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._drawn = 0.0

    def ask(self, prompt: Prompt) -> None:
        prompt = replace(
            prompt,
            session=printable(prompt.session),
            address=printable(prompt.address),
            code=printable(prompt.code),
        )
        show = self._console.print
        show(Text(f"Log in to {prompt.session}", style="bold"))
        if prompt.browser_opens:
            show("Your browser opens this page; if it does not, open it yourself:")
        else:
            show("Open this page, on any device:")
        # Not folded here: text that the terminal itself wraps can be copied as one line. As a link,
        # it can be clicked although it is wrapped; a dumb terminal gets the text alone.
        show(Text(prompt.address, Style(link=prompt.address)), soft_wrap=True)
        if prompt.code:
            show(self._code(prompt) if prompt.browser_opens else self._code_and_qr(prompt))
        self._live.start()

    def waiting(self, seconds: float) -> None:
        now = time.monotonic()
        if now - self._drawn < _REDRAW:
            return
        self._drawn = now
        minutes, rest = divmod(max(0, math.ceil(seconds)), 60)
        self._spinner.update(text=f"Waiting, {minutes}:{rest:02} left. Ctrl-C cancels.")
        self._live.update(self._spinner, refresh=True)

    def close(self) -> None:
        self._live.stop()

    def _code(self, prompt: Prompt) -> Panel:
        """Return the code, spaced out if the terminal is wide enough."""
        spaced = " ".join(prompt.code)
        text = spaced if len(spaced) + 8 <= self._console.width else prompt.code
        return Panel(Text(text, style="bold"), padding=(1, 3), expand=False)

    def _code_and_qr(self, prompt: Prompt) -> RenderableType:
        """Return the code, with the QR code beside it if both fit on the screen."""
        code, qr = self._code(prompt), _qr(prompt.address)
        rows = qr.splitlines()
        wide = self._console.measure(code).maximum + 2 + len(rows[0]) <= self._console.width
        high = len(rows) + _OTHER_ROWS + len(prompt.address) // self._console.width
        if self._plain or not wide or high > self._console.height:
            return code
        grid = Table.grid(padding=(0, 2))
        grid.add_row(code, Text(qr, style="white on black", no_wrap=True))
        return grid


def _qr(address: str) -> str:
    """Return the QR code as text, two modules to a character: a light module is a block."""
    drawn = StringIO()
    segno.make(address, error="l").terminal(drawn, border=2, compact=True)
    return drawn.getvalue().rstrip("\n")
