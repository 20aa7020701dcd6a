"""What README and docs/ tell people to type is there to be typed, and nothing is left out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from docker_credential_ecr_py.cli.main import main
from tests.acceptance.readme import PROJECT, README, consoles, section
from tests.support.repositories import aws, builder, moto
from tests.support.user import User

__all__ = ["aws", "builder", "moto"]

DOCUMENTS = sorted([README, *(PROJECT / "docs").glob("*.md")])
COMMANDS = PROJECT / "docs" / "commands.md"
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Each command that can be run, by what is typed."""
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command
            if isinstance(command, click.Group):
                yield from commands(command, (*path, name))
            else:
                yield " ".join((*path, name)), command


ALL = dict(commands(main))


def options(command: click.Command) -> set[str]:
    return {
        option
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if option.startswith("--")
    }


def typed(text: str) -> Iterator[str]:
    """Everything of ours that a document has as code."""
    for line in consoles(text):
        yield from re.findall(r"(?<!-)ecr-py [^|&;]+", line)
    for code in re.findall(r"`([^`\n]+)`", text):
        yield from re.findall(r"^\W*(?:\w+=)?\W*(ecr-py [a-z][^|&;]*)", code.replace("\\|", "|"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_each_command_and_option_exists(document: Path) -> None:
    for line in typed(document.read_text()):
        words = line.split()[1:]
        known = [name for name in ALL if words[: name.count(" ") + 1] == name.split()]
        groups = {name.split()[0] for name in ALL}
        if not known:
            assert words[0] in groups | {"COMMAND"}, line  # a group, as `ecr-py policy`
            continue
        assert set(_OPTION.findall(line)) <= options(ALL[known[0]]) | {"--help"}, line


@pytest.mark.parametrize("name", ALL)
def test_the_reference_has_each_command_and_option(name: str) -> None:
    heading = next(
        line.removeprefix("## ")
        for line in COMMANDS.read_text().splitlines()
        if re.match(rf"## ecr-py (\w+, )*{name.split()[0]}\b", line)
    )
    described = section(COMMANDS.read_text(), heading)
    assert re.search(rf"\b{name.split()[-1]}\b", heading + described)
    assert options(ALL[name]) - {"--help"} <= set(_OPTION.findall(described))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_no_link_leads_nowhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target


# What has no effect on anything else is run as it stands; the rest is in the other files here.
HARMLESS = re.compile(r"ecr-py (status|explain|cache ls|config show|config path|policy|version)\b")


def harmless() -> list[str]:
    found = {line.strip() for document in DOCUMENTS for line in consoles(document.read_text())}
    return sorted(line for line in found if HARMLESS.match(line) and "--check" not in line)


@pytest.mark.parametrize("line", harmless())
def test_it_runs(builder: User, line: str) -> None:
    """All before the first pipe."""
    assert builder.invoke(*shlex.split(line.partition(" | ")[0])[1:]).code == 0


@pytest.mark.parametrize("name", ALL)
def test_the_examples_of_help_exist(name: str) -> None:
    shown = "\n".join(f"`{line.strip()}`" for line in (ALL[name].help or "").splitlines())
    for line in typed(shown):
        words = line.split()[1:]
        [known] = [name for name in ALL if words[: name.count(" ") + 1] == name.split()]
        assert set(_OPTION.findall(line)) <= options(ALL[known]), line
