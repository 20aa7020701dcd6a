"""How ecr-py speaks: an error is one line, data is a sober table or JSON."""

import difflib
import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial, wraps
from textwrap import fill, wrap
from typing import TYPE_CHECKING, Any, ParamSpec, TextIO, TypeVar

import click
from click.core import ParameterSource

from docker_credential_ecr_py.cli.streams import unfiltered
from docker_credential_ecr_py.errors import EcrPyError, LoginNeeded, MfaCodeNeeded, nearest
from docker_credential_ecr_py.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

# Exit codes: 0 done, 1 failed, 2 usage (click's own), 3 the user has to log in first.
FAILED, USAGE, LOGIN_NEEDED = 1, 2, 3
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it
# Errors of a stream that can take no more output, for example because the disk is full.
_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
# The width if the output is not a terminal: tables are not folded.
_WIDE = 500
# A column of so many characters stays whole while wider ones are folded. Where all columns are
# narrow, the names of profiles are folded.
_NARROW = 16
_FOLDED = ("PROFILE",)
# From so many rows on, a table is printed without rich if it fits.
_MANY_ROWS = 200

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _HelpFormatter(click.HelpFormatter):
    """Help whose examples fit the terminal. No word and no `command` in it is broken."""

    def write_text(self, text: str) -> None:
        width = self.width - self.current_indent
        super().write_text("\n\n".join(_fitted(part, width) for part in text.split("\n\n")))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        super().write_dl([(term, _bound(text)) for term, text in rows], col_max, col_spacing)

    def write(self, string: str) -> None:
        super().write(_unbound(string))


# Stand for a blank and a hyphen at which no line may be broken.
_BLANK, _HYPHEN = "\0", "\1"


def _bound(text: str) -> str:
    """Return a text that is not broken within a `command` or at a hyphen."""
    commands = re.sub(r"`[^`]+`", lambda command: command[0].replace(" ", _BLANK), text)
    return commands.replace("-", _HYPHEN)


def _unbound(text: str) -> str:
    return text.replace(_BLANK, " ").replace(_HYPHEN, "-")


def _fitted(paragraph: str, width: int) -> str:
    """Return a paragraph of help; lines of examples that are too long are broken."""
    if not paragraph.startswith("\b"):
        return _bound(paragraph)
    lines = paragraph.split("\n")
    return "\n".join(
        part
        for above, line in zip(["", *lines], lines, strict=False)
        for part in ([line] if len(line) <= width else _broken(line, width, above))
    )


def _broken(line: str, width: int, above: str) -> Iterator[str]:
    """Yield an example that is too long as several lines: the command, then what it does."""
    command, _, words = line.partition("  ") if line[0] != " " else ("", "", line)
    indent = ""
    if above.endswith("\\"):
        command, words, indent = line.strip(), "", " " * 4
    if command:
        # An option stays with its value.
        bound = re.sub(r"(--[a-z-]+) (?=[^-|])", rf"\1{_BLANK}", command)
        lines = wrap(bound, width - len(indent) - 2, break_long_words=False, break_on_hyphens=False)
        yield indent + " \\\n    ".join(lines)
    if words:
        yield fill(words.strip(), width, initial_indent=" " * 6, subsequent_indent=" " * 6)


class _Context(click.Context):
    formatter_class = _HelpFormatter


class Command(click.Command):
    """Refuses, with exit 2, an optional argument or option that is given and empty.

    Most often a variable is not set, and leaving the argument out would mean something else.
    """

    context_class = _Context

    def get_short_help_str(self, limit: int = 0) -> str:
        """Return the whole sentence: a list of commands folds it."""
        return super().get_short_help_str(_WIDE)

    def invoke(self, ctx: click.Context) -> Any:
        _check_given(ctx)
        return super().invoke(ctx)


command = partial(click.command, cls=Command)


class Group(click.Group):
    """Commands under a name. For a name that does not exist, the error names the nearest."""

    command_class = Command
    context_class = _Context

    def get_short_help_str(self, limit: int = 0) -> str:
        """As Command's."""
        return super().get_short_help_str(_WIDE)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = nearest(args[0], self.list_commands(ctx))
            raise click.UsageError(f"no such command: {args[0]}{near}", ctx) from error


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def report_errors(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """End a command with one line on standard error: for an EcrPyError, Ctrl-C, a full disk."""

    @wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return command(*args, **kwargs)
        except EcrPyError as error:
            click.echo(str(error), err=True)
            needs_login = isinstance(error, LoginNeeded | MfaCodeNeeded)
            raise SystemExit(LOGIN_NEEDED if needs_login else FAILED) from None
        except (KeyboardInterrupt, click.Abort):
            click.echo("ecr-py: cancelled", err=True)
            raise SystemExit(INTERRUPTED) from None
        except OSError as error:
            if _reader_has_gone(error):
                _discard_output()
                raise SystemExit(FAILED) from None
            if error.errno not in _NOT_WRITTEN or error.filename is not None:
                raise
            _discard_output()
            with suppress(OSError):  # it may be standard error itself
                click.echo(f"ecr-py: the output cannot be written: {error.strerror}", err=True)
            raise SystemExit(FAILED) from None

    return run


def _check_given(context: click.Context) -> None:
    for parameter in context.command.params:
        name = parameter.name or ""
        value = context.params.get(name)
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        values = value if isinstance(value, tuple) else (value,)
        if given and not parameter.required and "" in values:
            what = parameter.opts[0] if isinstance(parameter, click.Option) else "a name"
            click.echo(f"ecr-py: {what} is empty: is a variable unset?", err=True)
            raise SystemExit(USAGE)


def report(line: str) -> None:
    """Print what has been done.

    If the reader has gone (`| head`), the command still does the rest of its work.
    """
    try:
        click.echo(line)
    except OSError as error:
        if not _reader_has_gone(error):
            raise
        _discard_output()


def _reader_has_gone(error: OSError) -> bool:
    """Return whether an error is that nobody reads a pipe any more."""
    # The name that Windows' C library has for it.
    on_windows = error.errno == errno.EINVAL and error.filename is None
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and on_windows)


def _discard_output() -> None:
    """Discard what is left to flush, and everything printed from now on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def show_json(value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo("\n".join(map(_printable_json, text.split("\n"))))


def _printable_json(line: str) -> str:
    """Return a line of JSON with unprintable characters escaped; they occur only in strings."""
    if line.isprintable():
        return line
    return "".join(
        character if printable(character) == character else json.dumps(character)[1:-1]
        for character in line
    )


def can_ask() -> bool:
    """Return whether the user can be asked: standard input and error are a terminal."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; None is one that was closed at start (`2>&-`)."""
    return stream is not None and stream.isatty()


def show_change(file: str, before: str, after: str) -> None:
    """Print a change as a unified diff, for `--dry-run`."""
    screen = console()
    coloured = screen.color_system is not None and not screen.no_color
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in difflib.unified_diff(
        before.splitlines(), after.splitlines(), file, f"{file} (new)", lineterm=""
    ):
        # Not with rich, which replaces tabs by blanks.
        shown = printable(line, keep="\t")
        styled = click.style(shown, colours.get(line[0])) if coloured else shown
        click.echo(styled, file=unfiltered(sys.stdout))


def console(*, stderr: bool = False) -> "Console":
    """Return a rich console, with colour and folding on a terminal only.

    rich itself respects NO_COLOR and TERM. Markup is off, because names may have [brackets].
    """
    from rich.console import Console

    class Printable(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*map(_printable, objects), **options)

    stream = unfiltered(sys.stderr if stderr else sys.stdout)
    made = Printable(file=stream, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _WIDE
    return made


def _printable(shown: Any) -> Any:
    """Escape unprintable characters in a string or a rich text."""
    from rich.text import Text

    if isinstance(shown, str):
        return printable(shown, keep="\n")
    if isinstance(shown, Text) and not shown.plain.isprintable():
        shown.plain = printable(shown.plain, keep="\n")
    return shown


def show_folded(line: str, *, indent: int) -> None:
    """Print a line; on a terminal, wrap it between words and indent the rest by `indent`."""
    if is_terminal(sys.stdout):
        line = folded(line, shutil.get_terminal_size().columns, indent)
    click.echo(line)


def folded(line: str, width: int, indent: int) -> str:
    """Wrap a line between words. A `command` stays whole, so that it can be copied."""
    return _unbound(
        fill(
            _bound(line),
            width,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def show_table(
    columns: Sequence[str],
    rows: Sequence[Sequence["str | Text"]],
    *,
    stderr: bool = False,
    gap: int = 3,
) -> None:
    """Print aligned columns under a heading, without lines: like `docker ps`, and as easy to cut.

    Each row has as many cells as there are columns; `gap` is how many blanks are between two
    columns. On a terminal, rich colours the cells and folds what is too wide; but it takes a
    second for some thousands of rows.
    """
    rows = [[_printable_cell(cell) for cell in cells] for cells in rows]
    texts = [columns, *([str(cell) for cell in cells] for cells in rows)]
    widths = [max(map(_width, column)) for column in zip(*texts, strict=True)]
    screen_width = shutil.get_terminal_size().columns
    if is_terminal(sys.stderr if stderr else sys.stdout) and (
        len(rows) < _MANY_ROWS or sum(widths) + gap * (len(widths) - 1) > screen_width
    ):
        screen = console(stderr=stderr)
        made = _rich_table(columns, rows, widths, gap)
        made.header_style = "" if screen.no_color else "bold"
        screen.print(made)
        return
    for cells in texts:
        padded = (
            cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)
        )
        click.echo((" " * gap).join(padded).rstrip(), err=stderr)


def _rich_table(
    columns: Sequence[str],
    rows: Sequence[Sequence["str | Text"]],
    widths: Sequence[int],
    gap: int,
) -> "Table":
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for column, width in zip(columns, widths, strict=True):
        whole = width <= _NARROW and column not in _FOLDED
        made.add_column(column, overflow="fold", no_wrap=whole)
    for cells in rows:
        made.add_row(*cells)
    return made


def _printable_cell(cell: "str | Text") -> "str | Text":
    return printable(cell) if isinstance(cell, str) else _printable(cell)


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """Show a running count of `what` on standard error, if that is a terminal."""
    if not is_terminal(sys.stderr):
        yield lambda count: None
        return
    with console(stderr=True).status(f"{what}...") as status:
        yield lambda count: status.update(f"{what}: {count:,}")


def confirm(question: str, *, yes: bool) -> None:
    """Ask the user to confirm, unless `yes` is set; exit with 1 if the answer is no.

    Raises UsageError if there is no terminal to ask on.
    """
    if yes:
        return
    if not can_ask():
        raise click.UsageError("not a terminal, so this cannot be confirmed here: use --yes")
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)  # the question's line has not ended
        raise
    if not agreed:
        click.echo("ecr-py: nothing was removed", err=True)
        raise SystemExit(FAILED)
