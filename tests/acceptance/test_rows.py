"""Every row of docs/instead-of.md has a test that runs it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tests.acceptance.readme import rows, tested

HERE = Path(__file__).parent


def test_each_row_is_run_by_one_test() -> None:
    for file in sorted(HERE.glob("test_rows_*.py")):
        import_module(f"{__package__}.{file.stem}")
    untested = [
        row.old for row in rows() if sum(row.old.startswith(beginning) for beginning in tested) != 1
    ]
    assert untested == []
    assert len(list(rows())) == len(tested) > 30
