"""The commands that hints name, as the user's shell takes them: sh; on Windows, PowerShell."""

import re
import shlex
import sys
from pathlib import Path

_ON_WINDOWS = sys.platform == "win32"


def quote(text: str) -> str:
    if not _ON_WINDOWS:
        return shlex.quote(text)
    return text if re.fullmatch(r"[\w./:\\-]+", text) else _in_quotes(text)


def _in_quotes(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def program(path: str) -> str:
    """Return the start of a command that runs a program by its path."""
    name = quote(path)
    return name if name == path or not _ON_WINDOWS else f"& {name}"


def edit(file: Path) -> str:
    return f"{'notepad' if _ON_WINDOWS else '${EDITOR:-vi}'} {quote(str(file))}"


def export(name: str, value: str) -> str:
    """Return the command that sets a variable; `value` may be a word to replace, such as FILE."""
    if _ON_WINDOWS:
        return f"$env:{name} = {_in_quotes(value)}"
    return f"export {name}={quote(value)}"


def unset(*names: str) -> str:
    if _ON_WINDOWS:
        return f"Remove-Item {', '.join(f'Env:{name}' for name in names)}"
    return f"unset {' '.join(names)}"


def put_first_on_path(folder: Path) -> str:
    if _ON_WINDOWS:
        return f"$env:PATH = {quote(f'{folder};')} + $env:PATH"
    return f'export PATH={quote(str(folder))}:"$PATH"'


def remove_folder(folder: Path) -> str:
    return f"{'rm -r -fo' if _ON_WINDOWS else 'rm -r'} {quote(str(folder))}"


def show_rights(path: Path) -> str:
    return f"{'icacls' if _ON_WINDOWS else 'ls -ld'} {quote(str(path))}"


def show_room(folder: Path) -> str:
    return "Get-PSDrive" if _ON_WINDOWS else f"df {quote(str(folder))}"
