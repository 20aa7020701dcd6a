"""Lets the user pick some of many rows on the terminal, by a filter that they type.

prompt_toolkit is loaded only when rows are shown: it takes a tenth of a second.
"""

import os
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from docker_credential_ecr_py.cli.streams import unfiltered

if TYPE_CHECKING:
    from prompt_toolkit.application import Application
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

_KEYS = "Type to filter. Tab chooses a row,\nCtrl-A all that are shown. Enter ends, Ctrl-C cancels."
# Below that, a plain list serves better.
_LEAST_COLUMNS, _LEAST_LINES = 56, 12
_PAGE = 10


def can_pick() -> bool:
    """Return whether the terminal, which is standard error, can show a picker."""
    if os.environ.get("TERM", "dumb") == "dumb" and os.name == "posix":
        return False
    try:
        columns, lines = os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        return False
    return columns >= _LEAST_COLUMNS and lines >= _LEAST_LINES


def pick(title: str, rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the numbers of the rows that the user picks, at least one; each row has cells.

    Raises KeyboardInterrupt, and EOFError if the terminal goes.
    """
    return _application(title, Rows(rows)).run()


class Rows:
    """The rows, which of them the filter shows, and which are chosen.

    A row is shown if it contains each word of the filter; upper and lower case are the same.
    """

    def __init__(self, cells: Sequence[Sequence[str]]) -> None:
        self.cells = cells
        self.filter = ""
        self.chosen: set[int] = set()
        self.cursor = 0  # in `shown`

    @cached_property
    def shown(self) -> list[int]:
        words = self.filter.casefold().split()
        return [
            number for number, text in enumerate(self._texts) if all(word in text for word in words)
        ]

    @cached_property
    def _texts(self) -> list[str]:
        return [" ".join(cells).casefold() for cells in self.cells]

    def set_filter(self, text: str) -> None:
        self.filter, self.cursor = text, 0
        self.__dict__.pop("shown", None)

    def move(self, by: int) -> None:
        self.cursor = max(0, min(len(self.shown) - 1, self.cursor + by))

    def toggle(self) -> None:
        """Choose the row at the cursor, or drop it if it is chosen; go to the next."""
        if self.shown:
            self.chosen ^= {self.shown[self.cursor]}
            self.move(1)

    def toggle_shown(self) -> None:
        """Choose all that are shown, or drop them if all of them are chosen."""
        shown = set(self.shown)
        self.chosen = self.chosen - shown if shown <= self.chosen else self.chosen | shown

    @property
    def result(self) -> list[int]:
        """The chosen rows, or else the one at the cursor."""
        return sorted(self.chosen) or self.shown[self.cursor : self.cursor + 1]


def _application(title: str, rows: Rows) -> "Application[list[int]]":
    from prompt_toolkit.application import Application
    from prompt_toolkit.data_structures import Point
    from prompt_toolkit.layout import FormattedTextControl, HSplit, Layout, Window
    from prompt_toolkit.output import create_output

    output = create_output(stdout=unfiltered(sys.stderr))

    def listed() -> "StyleAndTextTuples":
        return _listed(rows, output.get_size().columns)

    listing = FormattedTextControl(
        listed, show_cursor=False, get_cursor_position=lambda: Point(0, rows.cursor)
    )
    typing = FormattedTextControl(
        lambda: f"Filter: {rows.filter}",
        focusable=True,
        get_cursor_position=lambda: Point(len(f"Filter: {rows.filter}"), 0),
    )
    layout = HSplit(
        [
            Window(FormattedTextControl([("bold", title)]), height=1),
            Window(typing, height=1),
            Window(listing),
            Window(FormattedTextControl(lambda: _counts(rows)), height=1),
            Window(FormattedTextControl(_KEYS), height=2),
        ]
    )
    return Application(
        Layout(layout, focused_element=typing),
        key_bindings=_keys(rows),
        output=output,
        erase_when_done=True,
    )


def _listed(rows: Rows, width: int) -> "StyleAndTextTuples":
    """Return the rows as lines; the widest column is cut if they are too long."""
    from prompt_toolkit.utils import get_cwidth

    widths = [max(map(get_cwidth, column)) for column in zip(*rows.cells, strict=True)]
    widest = widths.index(max(widths))
    widths[widest] = max(1, widths[widest] - max(0, sum(widths) + 2 * len(widths) + 5 - width))
    if not rows.shown:
        return [("", "    nothing contains that")]
    lines: StyleAndTextTuples = []
    for place, number in enumerate(rows.shown):
        cells = (_fitted(text, size) for text, size in zip(rows.cells[number], widths, strict=True))
        mark = "x" if number in rows.chosen else " "
        end = "" if place == len(rows.shown) - 1 else "\n"
        style = "reverse" if place == rows.cursor else ""
        lines.append((style, f" [{mark}] {'  '.join(cells)}"))
        lines.append(("", end))
    return lines


def _fitted(text: str, width: int) -> str:
    """Return the text in so many columns, cut or filled up."""
    from prompt_toolkit.utils import get_cwidth

    while get_cwidth(text) > width:
        text = text[:-2] + "~"
    return text + " " * (width - get_cwidth(text))


def _counts(rows: Rows) -> str:
    shown = "" if len(rows.shown) == len(rows.cells) else f", {len(rows.shown):,} shown"
    chosen = f"{len(rows.chosen):,}" if rows.chosen else "none"
    return f"{chosen} chosen of {len(rows.cells):,}{shown}"


def _keys(rows: Rows) -> "KeyBindings":
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.keys import Keys

    bindings = KeyBindings()
    for key, by in {
        "up": -1,
        "c-p": -1,
        "down": 1,
        "c-n": 1,
        "pageup": -_PAGE,
        "pagedown": _PAGE,
        "home": -len(rows.cells),
        "end": len(rows.cells),
    }.items():
        bindings.add(key)(lambda event, by=by: rows.move(by))
    bindings.add("tab")(lambda event: rows.toggle())
    bindings.add("c-a")(lambda event: rows.toggle_shown())
    bindings.add("c-u")(lambda event: rows.set_filter(""))
    bindings.add("backspace")(lambda event: rows.set_filter(rows.filter[:-1]))

    @bindings.add("enter")
    def end(event: "KeyPressEvent") -> None:
        if rows.result:
            event.app.exit(result=rows.result)

    @bindings.add("c-c")
    @bindings.add("c-d")
    def cancel(event: "KeyPressEvent") -> None:
        event.app.exit(exception=KeyboardInterrupt)

    @bindings.add(Keys.Any)
    @bindings.add(Keys.BracketedPaste)
    def typed(event: "KeyPressEvent") -> None:
        rows.set_filter(rows.filter + "".join(filter(str.isprintable, event.data)))

    return bindings
