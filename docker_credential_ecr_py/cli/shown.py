"""How ecr-py speaks: errors in one line, near-misses named."""

import difflib
from collections.abc import Callable, Iterable
from functools import wraps
from typing import ParamSpec, TypeVar

import click

from docker_credential_ecr_py.errors import EcrPyError

_P = ParamSpec("_P")
_T = TypeVar("_T")


def failing_in_one_line(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """A command whose EcrPyErrors are one line on standard error, and exit 1."""

    @wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return command(*args, **kwargs)
        except EcrPyError as error:
            click.echo(str(error), err=True)
            raise SystemExit(1) from None

    return run


def nearest(name: str, names: Iterable[str]) -> str:
    """`; nearest: a, b`, or nothing where none is near."""
    near = difflib.get_close_matches(name, list(names), 3)
    return f"; nearest: {', '.join(near)}" if near else ""
