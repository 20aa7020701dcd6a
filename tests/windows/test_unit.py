"""tests/unit, under wine. On Windows itself pytest runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.environments import PROJECT
from tests.windows.wine import WindowsPython, windows_path

UNIT = PROJECT / "tests" / "unit"
# These live days and weeks, and look at files all the time: wine takes 1 ms for each look.
SLOW = ("controller/test_controller.py", "controller/test_week.py")
# Seconds, for a busy machine: it takes one minute of a processor. A test that hangs ends before,
# by the limit of pyproject.toml, and its stack is printed.
LIMIT = 800


@pytest.mark.skipif(sys.platform == "win32", reason="pytest runs tests/unit itself")
def test_tests_unit_pass(windows: WindowsPython, tmp_path: Path) -> None:
    code, said = run_tests(
        windows,
        *(f"--ignore={windows_path(UNIT / name)}" for name in SLOW),
        f"--basetemp={windows_path(tmp_path / 'cases')}",
        windows_path(UNIT),
    )
    counts = re.search(r"(\d+) passed, (\d+) skipped", said)
    assert code == 0, said
    assert counts, said
    # Whoever marks a test "POSIX only" to be rid of a failure will meet this line in the end.
    assert int(counts[1]) > 5 * int(counts[2]), said


def run_tests(windows: WindowsPython, *arguments: str) -> tuple[int, str]:
    """Return pytest's exit code and what it prints, with few examples for each property."""
    options = ("-p", "no:cacheprovider", "--tb=short", "-rs", "--hypothesis-profile=few")
    try:
        done = subprocess.run(
            # -B: files in __pycache__ would name the sources as Windows does.
            windows.command(windows.python, "-B", "-m", "pytest", *options, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=windows.environment,
            timeout=LIMIT,
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        said = (late.output or b"").decode(errors="replace")
        pytest.fail(f"tests/unit did not end within {LIMIT} seconds:\n{said}", pytrace=False)
    return done.returncode, done.stdout.decode(errors="replace")
