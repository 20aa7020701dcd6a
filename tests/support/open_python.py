"""Runs a command where every user may run this Python: `python open_python.py FOLDER COMMAND…`.

Python may be installed in a folder that only root may enter: pyenv uses the home of the user who
runs it. This mounts its folders again, below folders that everybody may enter, and becomes the
command. It needs a mount namespace of its own, and an empty FOLDER to keep the mounts in. It runs
as a script too, so it imports nothing of ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_EVERYBODY_MAY_ENTER = 0o001


def needed_folders() -> list[Path]:
    """Return the folders of this Python and of what is installed for it."""
    found = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent}
    return sorted(found)


def closed_folders(folders: Iterable[Path]) -> list[Path]:
    """Return the outermost folders that other users may not enter, above or at `folders`."""
    found = set()
    for folder in folders:
        for above in (*reversed(folder.parents), folder):
            if not above.stat().st_mode & _EVERYBODY_MAY_ENTER:
                found.add(above)
                break
    return sorted(found)


def open_folders(folders: list[Path], stash: Path) -> None:
    """Mount `folders` again where each folder above them may be entered by everybody."""
    closed = closed_folders(folders)
    mount("-t", "tmpfs", "none", str(stash))
    stashed = {folder: stash / str(number) for number, folder in enumerate(folders)}
    for folder, place in stashed.items():
        place.mkdir()
        mount("--bind", str(folder), str(place))
    os.umask(0o022)
    for outermost in closed:
        mount("-t", "tmpfs", "-o", "mode=755", "none", str(outermost))
        for folder, place in stashed.items():
            if outermost in (folder, *folder.parents):
                folder.mkdir(parents=True, exist_ok=True)
                mount("--bind", str(place), str(folder))


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    open_folders(needed_folders(), Path(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
