"""What the picker shows and chooses; tests/system/login/test_onboarding.py has it on a terminal."""

from __future__ import annotations

import pytest

from docker_credential_ecr_py.cli.picker import Rows, _counts, _listed

CELLS = [("Dev", "111111111111", "Admin"), ("Dev", "111111111111", "Reader")]
CELLS += [("Große Prüfung", "222222222222", "Admin")]


@pytest.mark.parametrize(
    ("filter", "shown"),
    [
        ("", [0, 1, 2]),
        ("admin", [0, 2]),
        ("READ dev", [1]),
        ("GROSSE", [2]),
        ("2222", [2]),
        ("  ", [0, 1, 2]),
        ("x", []),
    ],
)
def test_each_word_of_the_filter_has_to_be_there(filter: str, shown: list[int]) -> None:
    rows = Rows(CELLS)
    rows.set_filter(filter)
    assert rows.shown == shown


def test_what_is_chosen_stays_chosen_under_another_filter() -> None:
    rows = Rows(CELLS)
    rows.set_filter("reader")
    rows.toggle()
    rows.set_filter("prüfung")
    rows.toggle_shown()
    rows.set_filter("nothing")
    rows.toggle()
    assert rows.result == [1, 2]
    rows.set_filter("prüfung")
    rows.toggle_shown()
    assert rows.result == [1]


def test_without_a_choice_it_is_the_row_at_the_cursor() -> None:
    rows = Rows(CELLS)
    assert rows.result == [0]
    rows.move(100)
    assert rows.result == [2]
    rows.move(-100)
    rows.set_filter("reader")
    assert rows.result == [1]
    rows.set_filter("nothing")
    rows.move(1)
    assert rows.result == []


@pytest.mark.parametrize("width", [56, 60, 80])
def test_rows_fit_the_screen(width: int) -> None:
    rows = Rows([*CELLS, ("名" * 25, "3" * 12, "R" * 20)])
    rows.toggle()
    lines = "".join(str(fragment[1]) for fragment in _listed(rows, width)).split("\n")
    assert len(lines) == 4
    assert lines[0].startswith(" [x] Dev")
    assert all("Admin" in lines[number] for number in (0, 2))
    assert {len(line.replace("名", "xx")) <= width for line in lines} == {True}
    assert _counts(rows) == "1 chosen of 4"
