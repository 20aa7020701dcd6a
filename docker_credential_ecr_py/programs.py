"""Finds the programs that this package runs; never in the working folder.

Docker runs the helper in the folder of the project that is being built, and an empty or relative
entry in PATH would search that folder for the program that gets a password.
"""

import os
import sys
from collections.abc import Iterator, MutableMapping

# The `creationflags` of every subprocess that has no window of its own. On Windows, a process
# without a console, such as docker's desktop, would see one appear for each.
NO_WINDOW = 0x08000000 if sys.platform == "win32" else 0


def find_program(name: str, path: str | None = None) -> str | None:
    """Return the absolute path of a program, or None if it is not installed.

    `path` is a value of PATH, by default that of this process. Its empty and relative entries are
    skipped. `name` is a plain name or an absolute path; a relative path is not searched for.
    """
    if os.path.isabs(name):
        return name if _is_program(name) else None
    if not name or os.path.basename(name) != name:
        return None
    for folder in _absolute_folders(_default_path() if path is None else path):
        for file in _file_names(name):
            candidate = os.path.join(folder, file)
            if _is_program(candidate):
                return candidate
    return None


def found_by_shell(name: str, path: str | None = None) -> str | None:
    """Return the path that a shell would run, relative entries of PATH included.

    Only to be shown to the user: never run the result.
    """
    import shutil  # loads compressors, which the daemon does not need

    return shutil.which(name, path=path)


def path_without_relative_folders(path: str) -> str:
    """Return a value of PATH without its empty and relative entries."""
    return os.pathsep.join(_absolute_folders(path))


def drop_relative_folders(environ: MutableMapping[str, str]) -> None:
    """Remove the empty and relative entries from an environment's PATH.

    Call it on os.environ before a library may start programs by name, as botocore does for
    `credential_process`, and on the environment of each child that may do so.
    """
    if "PATH" in environ:
        environ["PATH"] = path_without_relative_folders(environ["PATH"])


def _default_path() -> str:
    return os.environ.get("PATH", os.defpath)


def _absolute_folders(path: str) -> Iterator[str]:
    return filter(os.path.isabs, path.split(os.pathsep))


def _file_names(name: str) -> list[str]:
    """Return the file names that the system tries: Windows adds the extensions of PATHEXT."""
    if sys.platform != "win32":
        return [name]
    extensions = os.environ.get("PATHEXT", ".COM;.EXE;.BAT;.CMD").split(os.pathsep)
    return [name, *(name + extension for extension in extensions)]


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
