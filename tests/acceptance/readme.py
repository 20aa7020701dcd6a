"""README and the tables of docs/instead-of.md: what a user typed before, and what instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
README = PROJECT / "README.md"
INSTEAD_OF = PROJECT / "docs" / "instead-of.md"
_CELL = re.compile(r"(?<!\\)\|")
_CODE = re.compile(r"`([^`]+)`")
# The beginnings of the rows that a test was written for.
tested: list[str] = []


@dataclass(frozen=True)
class Row:
    """`old` and `new` are the cells; their code is what is typed."""

    old: str
    new: str

    @property
    def before(self) -> list[str]:
        return _CODE.findall(self.old)

    @property
    def typed(self) -> list[str]:
        return _CODE.findall(self.new)

    @property
    def command(self) -> str:
        """The one command of the row."""
        [command] = self.typed
        return command


def section(text: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    _, _, rest = f"\n{text}".partition(f"\n## {heading}\n")
    assert rest, heading
    return rest.partition("\n## ")[0]


def rows() -> Iterator[Row]:
    for line in INSTEAD_OF.read_text().splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in _CELL.split(line)]
        if len(cells) == 4 and cells[1] not in ("instead of", "---"):
            yield Row(cells[1], cells[2])


def instead_of(*beginnings: str) -> pytest.MarkDecorator:
    """The test is of the rows that begin so, and takes each as `row`."""
    tested.extend(beginnings)
    return pytest.mark.parametrize("row", beginnings, indirect=True)


def row_of(beginning: str) -> Row:
    [found] = [row for row in rows() if row.old.startswith(beginning)]
    return found


def consoles(text: str) -> Iterator[str]:
    """The commands after the prompts of a document's ```console blocks."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        yield from re.findall(r"^\$ (.*)$", block, re.MULTILINE)
