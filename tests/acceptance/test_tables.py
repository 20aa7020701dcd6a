"""The tables of four documents name tests and commands that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.acceptance.readme import PROJECT
from tests.acceptance.test_documents import ALL

DOCUMENTS = [
    PROJECT / "docs" / f"{name}.md" for name in ("ci", "clients", "security", "reliability")
]
# The columns that name what proves a row.
TEST, COMMAND = "test", "printed by"
_CELL = re.compile(r"(?<!\\)\|")
_CODE = re.compile(r"`([^`]+)`")
_MODULE = re.compile(r"python -m ([\w.]+)((?: [\w-]+)*)")


@dataclass(frozen=True)
class Table:
    """A table of a document: the names of its columns, and the cells of each row."""

    columns: list[str]
    rows: list[list[str]]


def tables(text: str) -> Iterator[Table]:
    """Yield the tables of a document in Markdown."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        lines = [[cell.strip() for cell in _CELL.split(line)[1:-1]] for line in block.splitlines()]
        yield Table(lines[0], lines[2:])


def proofs(column: str) -> list[tuple[str, str]]:
    """Return the document and the cell of each row that has a column of this name."""
    return [
        (document.name, row[table.columns.index(column)])
        for document in DOCUMENTS
        for table in tables(document.read_text())
        if column in table.columns
        for row in table.rows
    ]


@cache
def functions_in(file: Path) -> frozenset[str]:
    """Return the names of the functions at the top of a Python file."""
    tree = ast.parse(file.read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def is_test(name: str) -> bool:
    """Tell whether a test has this ID, such as `tests/unit/test_lock.py::test_one_at_a_time`."""
    path, separator, function = name.partition("::")
    file = PROJECT / path
    return bool(separator) and file.is_file() and function in functions_in(file)


def is_command(command: str) -> bool:
    """Tell whether `python -m benchmarks.NAME [ROW]…`, or a command of ecr-py, exists."""
    if not (found := _MODULE.fullmatch(command)):
        words = command.split()
        return any(words == ["ecr-py", *name.split()] for name in ALL)
    module, arguments = found.groups()
    file = PROJECT.joinpath(*module.split(".")).with_suffix(".py")
    # The words are rows of the table that the module prints; each is a function there.
    rows = {word for word in arguments.split() if not word.isdigit()}
    return file.is_file() and rows <= functions_in(file)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_row_is_complete(document: Path) -> None:
    for table in tables(document.read_text()):
        for row in table.rows:
            assert len(row) == len(table.columns), row
            if {TEST, COMMAND} & set(table.columns):
                assert all(row), row


@pytest.mark.parametrize(("document", "cell"), proofs(TEST))
def test_each_test_exists(document: str, cell: str) -> None:
    """What no test covers says so."""
    names = _CODE.findall(cell)
    assert names or cell == "none", cell
    assert [name for name in names if not is_test(name)] == []


@pytest.mark.parametrize(("document", "cell"), proofs(COMMAND))
def test_each_command_exists(document: str, cell: str) -> None:
    names = _CODE.findall(cell)
    assert names, cell
    assert [name for name in names if not is_command(name)] == []


def test_each_document_has_such_a_table() -> None:
    for column in (TEST, COMMAND):
        assert len(proofs(column)) > 10, column
    assert {document for document, _ in proofs(TEST)} == {file.name for file in DOCUMENTS}


@pytest.mark.parametrize(
    "name",
    [
        "tests/unit/test_lock.py",
        "tests/unit/test_lock.py::test_that_does_not_exist",
        "tests/unit/test_that_does_not_exist.py::test_one_at_a_time",
    ],
)
def test_what_is_no_test_is_found_out(name: str) -> None:
    assert not is_test(name)


@pytest.mark.parametrize(
    "command",
    [
        "python -m benchmarks.nothing",
        "python -m benchmarks.helpers no_such_row",
        "ecr-py no-such-command",
        "make nothing",
    ],
)
def test_what_is_no_command_is_found_out(command: str) -> None:
    assert not is_command(command)
