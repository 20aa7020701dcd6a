"""The screen of `ecr-py login`: a code that can be read across a desk, a QR code, the time left."""

import math
import sys
from collections.abc import Mapping

import segno
from rich.align import Align
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.text import Text

from docker_credential_ecr_py.sso.screen import PlainScreen, Prompt, Screen

# A QR code of a verification address is about 41 modules, and its quiet zone, across.
_WIDE_ENOUGH_BESIDE_TEXT = 72


def screen_for(environ: Mapping[str, str]) -> Screen:
    """The moving one on a terminal; plain lines elsewhere, and where NO_COLOR asks for calm."""
    if sys.stderr.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb":
        return RichScreen(Console(stderr=True))
    return PlainScreen(2)


class RichScreen:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._shown: RenderableType = ""
        self._spinner = Spinner("dots")

    def ask(self, prompt: Prompt) -> None:
        self._shown = self._prompt(prompt)
        self._live = Live(
            self._view(prompt.seconds),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def waiting(self, seconds: float) -> None:
        if self._live is not None:
            self._live.update(self._view(seconds), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _view(self, seconds: float) -> RenderableType:
        minutes, rest = divmod(max(0, math.ceil(seconds)), 60)
        self._spinner.update(text=f"Waiting, {minutes}:{rest:02} left. Ctrl-C gives up.")
        return Group(self._shown, self._spinner)

    def _prompt(self, prompt: Prompt) -> RenderableType:
        width = self._console.width
        parts: list[RenderableType] = [Text(f"Log in to {prompt.session}", style="bold"), Text()]
        if prompt.browser_opens:
            parts.append(Text("Your browser opens this page; if it does not, open it yourself:"))
        else:
            parts.append(Text("Open this page, on any device:"))
        # One line, however narrow: a terminal that wraps it by itself lets it be copied whole.
        parts.append(Text(prompt.address, style=f"link {prompt.address}", overflow="fold"))
        if prompt.code:
            parts += [Text(), self._code(prompt.code)]
            if not prompt.browser_opens and width >= _WIDE_ENOUGH_BESIDE_TEXT:
                parts += [Text(), Text(_qr(prompt.address))]
        parts.append(Text())
        return Group(*parts)

    def _code(self, code: str) -> RenderableType:
        """The code, spaced out, in a frame as wide as the terminal allows."""
        spaced = " ".join(code)
        text = spaced if len(spaced) + 8 <= self._console.width else code
        panel = Panel(Text(text, style="bold", justify="center"), padding=(1, 3), expand=False)
        return Align.left(panel)


def _qr(address: str) -> str:
    """Two modules to a character, dark on light as readers expect it."""
    rows = list(segno.make(address, error="l").matrix_iter(border=2))
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))  # type: ignore[arg-type]
    blocks = {(1, 1): " ", (1, 0): "▄", (0, 1): "▀", (0, 0): "█"}
    return "\n".join(
        "".join(blocks[bool(top), bool(bottom)] for top, bottom in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    )
