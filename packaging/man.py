"""Man pages of ecr-py, made from its commands whenever a wheel is built: share/man/man1.

A page for each command, as git has them, and the helper's own, which is a file beside this one.
By hand: `python packaging/man.py FOLDER`.
"""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
HELPER = Path(__file__).with_name("docker-credential-ecr-py.1")
EXIT_STATUS = (
    ("0", "Done."),
    ("1", "Failed. One line on standard error says what is wrong, and which command fixes it."),
    ("2", "The command line cannot be understood."),
    ("3", "The user has to log in first."),
)


def write_pages(folder: Path, version: str) -> list[Path]:
    """Writes a file for each command, and for the helper; returns them."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(ROOT))
    try:
        from docker_credential_ecr_py.cli.main import main
    finally:
        sys.path.pop(0)
    written = []
    for context in contexts(click.Context(main, info_name="ecr-py", **main.context_settings)):
        file = folder / f"{name_of(context)}.1"
        file.write_text(page(context, version), encoding="utf-8")
        written.append(file)
    helper = folder / HELPER.name
    helper.write_text(HELPER.read_text().replace("@VERSION@", version), encoding="utf-8")
    return [*written, helper]


def contexts(context: click.Context) -> Iterator[click.Context]:
    """The context of a command, and those of all commands below it."""
    yield context
    for name, command in subcommands(context).items():
        yield from contexts(click.Context(command, info_name=name, parent=context))


def subcommands(context: click.Context) -> dict[str, click.Command]:
    group = context.command
    if not isinstance(group, click.Group):
        return {}
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in found.items() if command and not command.hidden}


def name_of(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def page(context: click.Context, version: str) -> str:
    """One man page, as roff with the man macros."""
    command = context.command
    name = name_of(context)
    summary = command.get_short_help_str(limit=500).rstrip(".")
    prose, examples = paragraphs(command.help or "")
    below = {
        f"{name}-{inner}(1)": one.get_short_help_str(limit=500)
        for inner, one in subcommands(context).items()
    }
    options = [
        record
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context))
    ]
    lines = [
        f'.TH {name.upper()} 1 "" "ecr\\-py {version}" "User Commands"',
        *(".nh", ".ad l"),  # no word is divided, and no line filled up with blanks
        *(".SH NAME", f"{escaped(name)} \\- {escaped(summary)}"),
        *(".SH SYNOPSIS", f".B {escaped(context.command_path)}"),
        escaped(" ".join(command.collect_usage_pieces(context))),
        *(".SH DESCRIPTION", *joined(".PP", [escaped(text) for text in prose])),
    ]
    if examples:
        lines += [".SH EXAMPLES", *joined(".PP", [preformatted(text) for text in examples])]
    if below:
        lines += [".SH COMMANDS", *definitions(below.items())]
    lines += [".SH OPTIONS", *definitions(options)]
    if context.parent is None:
        lines += [".SH EXIT STATUS", *definitions(EXIT_STATUS)]
    else:
        lines += [".SH SEE ALSO", escaped(f"{name_of(context.parent)}(1)")]
    return "\n".join(lines) + "\n"


def paragraphs(help: str) -> tuple[list[str], list[str]]:
    """The paragraphs of a command's help that are prose, and those that stand as they are."""
    every = inspect.cleandoc(help).split("\n\n")
    prose = [" ".join(text.split()) for text in every if not text.startswith("\b")]
    return prose, [text.removeprefix("\b\n") for text in every if text.startswith("\b")]


def preformatted(text: str) -> str:
    return f".nf\n{escaped(text)}\n.fi"


def definitions(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """A long term may be broken behind a bar."""
    terms = [(escaped(term).replace("|", "|\\:"), escaped(text)) for term, text in pairs]
    return [line for term, text in terms for line in (".TP", f"\\fB{term}\\fR", text)]


def joined(between: str, parts: list[str]) -> list[str]:
    return [line for part in parts for line in (between, part)][1:]


def escaped(text: str) -> str:
    """Text that roff sets as it is: every line of it, and every hyphen one that can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    return re.sub(r"^(?=[.])", r"\\&", text, flags=re.MULTILINE)


if __name__ == "__main__":
    from importlib.metadata import version

    write_pages(Path(sys.argv[1]), version("docker-credential-ecr-py"))
