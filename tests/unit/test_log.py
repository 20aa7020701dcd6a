"""The log says what went wrong, and nothing that another library was given."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_credential_ecr_py.errors import Unreachable
from docker_credential_ecr_py.log import log, start_log

SECRET = "correct-horse-battery"


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Path]:
    before = log.handlers, log.level, log.propagate, logging.lastResort
    file = tmp_path / "log"
    start_log(file, {"ECR_PY_LOG": "debug"})
    yield file
    log.handlers, log.level, log.propagate, logging.lastResort = before


def fails_inside() -> None:
    try:
        raise ValueError(f"invalid literal: {SECRET}")
    except ValueError as error:
        raise Unreachable("AWS cannot be reached") from error


def test_an_exception_of_a_library_is_named_and_not_quoted(logged: Path) -> None:
    try:
        fails_inside()
    except Unreachable:
        log.debug("where from", exc_info=True)
    text = logged.read_text()
    assert SECRET not in text
    for wanted in ("builtins.ValueError", "errors.Unreachable: ecr-py: AWS cannot", "fails_inside"):
        assert wanted in text
    assert text.index("ValueError") < text.index("Unreachable")
    assert text.count("\n") == 1


def test_what_the_system_said_is_told(logged: Path) -> None:
    try:
        Path(f"/nowhere/{SECRET}").read_bytes()
    except OSError:
        log.exception("unexpected")
    assert "FileNotFoundError: No such file or directory" in logged.read_text()
    assert SECRET not in logged.read_text()


def test_an_exception_that_is_its_own_cause_is_told_once(logged: Path) -> None:
    error = Unreachable("AWS cannot be reached")
    error.__cause__ = error
    log.debug("where from", exc_info=error)
    assert logged.read_text().count("errors.Unreachable") == 1
