"""README's pictures: what a terminal shows, as SVG."""

from __future__ import annotations

import io
import re
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.text import Text

from tests.acceptance.readme import PROJECT

FOLDER = PROJECT / "docs" / "pictures"
PULL, STATUS, DOCTOR = (FOLDER / f"{name}.svg" for name in ("pull", "status", "doctor"))
# rich's own loads a font from the web, which a page does not allow a picture to do. The window has
# a background of its own, so it can be read on a light and on a dark page.
_FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix, .{unique_id}-title {{
  font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; white-space: pre;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


# All pictures have letters of one size, and the widest fits a page.
_SCALE = 0.61
_LETTER = 12.2  # the width that rich gives one


def draw(file: Path, shown: str, columns: int) -> None:
    """Draw what a terminal of so many columns shows; `shown` has its escape sequences."""
    console = Console(
        width=columns, record=True, file=io.StringIO(), force_terminal=True, legacy_windows=False
    )
    console.print(Text.from_ansi(shown), "\n", soft_wrap=True)  # else the last line's feet are cut
    drawn = console.export_svg(title="", code_format=_FORMAT, unique_id=file.stem)
    width, height = (
        _SCALE * float(size) for size in re.findall(r'"0 0 ([\d.]+) ([\d.]+)"', drawn)[0]
    )
    drawn = drawn.replace("<svg ", f'<svg width="{width:.0f}" height="{height:.0f}" ', 1)
    file.parent.mkdir(exist_ok=True)
    file.write_text(re.sub(r"[ \t]+$|^\s*\n", "", drawn, flags=re.MULTILINE))


def text_of(file: Path) -> str:
    """Return the text of a picture, a line for each line of the terminal."""
    rows: dict[float, str] = {}
    for element in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}text"):
        column, y = round(float(element.attrib["x"]) / _LETTER), float(element.attrib["y"])
        rows[y] = rows.get(y, "").ljust(column) + (element.text or "")
    lines = (rows[y].replace("\N{NO-BREAK SPACE}", " ").rstrip() for y in sorted(rows))
    return "\n".join(lines).strip("\n")
