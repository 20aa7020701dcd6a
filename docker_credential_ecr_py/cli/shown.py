"""How ecr-py speaks: an error is one line."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click

from docker_credential_ecr_py.errors import EcrPyError

INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it

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
        except (KeyboardInterrupt, click.Abort):
            click.echo("ecr-py: given up", err=True)
            raise SystemExit(INTERRUPTED) from None

    return run
