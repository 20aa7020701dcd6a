"""Completion of arguments and options, for click's parameter `shell_complete`.

suggestions.py is imported when Tab is pressed. What fails then goes to the log, because the user is
in the middle of typing.
"""

import os
import re
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

import click

from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.log import log, start_log
from docker_credential_ecr_py.printable import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

# What click's scripts set when they ask for suggestions.
VARIABLE = "_ECR_PY_COMPLETE"
# A name that would need quotes is not suggested: shells put it into the line as it is.
_PLAIN = re.compile(r"[\w@%+=:,./-]+")


def suggest(kind: str) -> "Complete":
    """Return a callback that completes an argument with the function `kind` of suggestions.py."""

    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        try:
            suggestions = import_module("docker_credential_ecr_py.cli.suggestions")
            found: dict[str, str] = getattr(suggestions, kind)(context, incomplete)
        except Exception as error:
            log.info("nothing to complete %r with: %s", incomplete, error)
            return []
        return [
            CompletionItem(value, help=printable(words) or None)
            for value, words in found.items()
            if value.startswith(incomplete) and _PLAIN.fullmatch(value)
        ]

    return complete


PROFILES, REGIONS, REGISTRIES = suggest("profiles"), suggest("regions"), suggest("registries")
REPOSITORIES, SESSIONS = suggest("repositories"), suggest("sessions")
SETTINGS, VALUES = suggest("settings"), suggest("values")


def start_completing() -> None:
    """Discard standard error from now on, and start the log."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    start_log(paths.log_file(), os.environ)
