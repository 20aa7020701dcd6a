"""Keeps credentials and sessions alive, and answers over a socket."""

import sys


def python_for(module: str) -> list[str]:
    """The command that runs a module of ours in this interpreter.

    Neither the folder we are in nor PYTHON* variables may name another package.
    """
    return [sys.executable, "-E", "-P", "-m", module]
