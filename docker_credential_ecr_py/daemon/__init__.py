"""Keeps credentials and sessions alive, and answers over a socket."""

import sys


def python_for(module: str) -> list[str]:
    """Return the command that runs a module of this package in this interpreter.

    Neither the working folder nor PYTHON* variables can lead to another package.
    """
    return [sys.executable, "-E", "-P", "-m", module]
