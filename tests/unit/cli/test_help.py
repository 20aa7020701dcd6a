"""The help of every command fits the terminal, and nothing in it is cut."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from docker_credential_ecr_py.cli.main import main


def paths(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below
            yield from paths(below, (*path, name))


def help_of(path: tuple[str, ...], columns: int) -> str:
    done = CliRunner().invoke(main, [*path, "--help"], prog_name="ecr-py", terminal_width=columns)
    assert done.exit_code == 0
    return done.stdout


@pytest.mark.parametrize("columns", [60, 80])
def test_no_line_is_too_long(columns: int) -> None:
    """But for a word that is itself: a host, or a digest."""
    for path in paths(main):
        for line in help_of(path, columns).splitlines():
            longest = max(map(len, line.split()), default=0)
            assert len(line) <= columns or longest > 40, (path, line)


def test_no_summary_is_cut() -> None:
    for path in paths(main):
        commands = help_of(path, 60).partition("\nCommands:\n")[2]
        assert not re.search(r"\w\.\.\.", commands), path


def test_a_long_example_can_be_pasted() -> None:
    text = help_of(("login",), 60)
    assert (
        "  ecr-py login \\\n"
        "      --start-url https://example.awsapps.com/start \\\n"
        "      --sso-region eu-west-1\n"
        "        a portal that is not in ~/.aws/config yet\n"
    ) in text


def test_an_example_that_goes_on_is_broken_as_one_that_does_not() -> None:
    text = help_of(("policy",), 50)
    assert (
        "      create-policy \\\n"
        "      --policy-name pull \\\n"
        "      --policy-document file://pull.json\n"
    ) in text


@pytest.mark.parametrize("columns", [60, 80])
def test_no_word_and_no_command_is_broken(columns: int) -> None:
    for path in paths(main):
        lines = help_of(path, columns).splitlines()
        assert not [line for line in lines if re.search(r"[\w`]-$", line)], path
        assert not [line for line in lines if line.count("`") % 2], path
