"""The man pages that were installed with the package, and what `man` says to them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from docker_credential_ecr_py import __version__
from docker_credential_ecr_py.cli.main import main
from docker_credential_ecr_py.protocol import ACTIONS
from tests.support.programs import need

PAGES = sorted(Path(sys.prefix, "share", "man", "man1").glob("*ecr-py*.1"))
HELPER = "docker-credential-ecr-py"


def shown(page: Path | str, *options: str, columns: int = 80) -> str:
    """As a reader sees it, without bold; nothing may be said on standard error."""
    done = subprocess.run(
        [need("man"), *options, str(page)],
        env=os.environ | {"MANWIDTH": str(columns), "LC_ALL": "C.UTF-8", "MANROFFOPT": "-c"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return re.sub(".\b", "", done.stdout)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.parametrize("columns", [60, 80, 200])
def test_no_page_has_a_warning(page: Path, columns: int) -> None:
    text = shown(page, "--warnings", "-l", columns=columns)
    assert "NAME" in text
    assert "-h, --help" in text or page.stem == HELPER


def test_every_command_has_a_page() -> None:
    assert sorted([HELPER, *names(main, "ecr-py")]) == sorted(page.stem for page in PAGES)


def test_the_helpers_page_has_each_action() -> None:
    [page] = [page for page in PAGES if page.stem == HELPER]
    text = shown(page, "-l")
    assert set(re.findall(r"\b[a-z]+\b", text.partition("SYNOPSIS")[2])) >= set(ACTIONS)
    assert __version__ in text


def names(command: click.Command, path: str) -> Iterator[str]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from names(below, f"{path}-{name}")


def test_man_finds_them_by_name() -> None:
    share = str(Path(sys.prefix, "share", "man"))
    text = shown("ecr-py-token", "-M", share)
    assert "SYNOPSIS\n       ecr-py token [OPTIONS] [REGISTRY]\n" in text
    assert "ecr-py token dev --format header | curl -H @-" in text
    assert "3      The user has to log in first." in shown("ecr-py", "-M", share)
