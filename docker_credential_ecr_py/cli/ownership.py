"""Finds files that belong to the wrong user, and says which command gives them back.

A command that root ran with another user's HOME leaves files which that user cannot read, or which
we do not trust.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.folder import other_owner, user_name
from docker_credential_ecr_py.shell import quote

_MOST_NAMED = 5


@dataclass(frozen=True)
class Misowned:
    """A path that should belong to user `owner`, with everything in it.

    `harms` is false if it only prevents creating a folder that we may never need.
    """

    path: Path
    owner: int
    harms: bool = True

    def concerns(self, folder: Path) -> bool:
        """Return whether it is the folder, above it, or in it."""
        return folder.is_relative_to(self.path) or self.path.is_relative_to(folder)


def misowned(environ: Mapping[str, str]) -> list[Misowned]:
    """Return the outermost paths, of ours and of files we read, that belong to the wrong user."""
    if os.name != "posix":
        return []
    found: dict[Path, Misowned] = {}
    for place in paths.own_places(environ):
        for one in _wrong_at(place, _right_owner(place)):
            found.setdefault(one.path, one)
    for file in _users_files(environ):
        if not _readable_by(file, _right_owner(file)):
            found.setdefault(file, Misowned(file, _right_owner(file)))
    return [one for path, one in found.items() if not found.keys() & set(path.parents)]


def chown_command(wrong: list[Misowned]) -> str:
    """Return the hint that gives these paths to the right user. `wrong` is not empty."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    named = " ".join(quote(str(one.path)) for one in wrong)
    return f"run `{sudo}chown -R {_chowns_name(wrong[0].owner)} {named}`"


def _users_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    return (
        paths.docker_config_file(environ),
        paths.settings_file(environ),
        paths.aws_config_file(environ),
        paths.aws_credentials_file(environ),
    )


def _right_owner(place: Path) -> int:
    """Return our user ID; if we are root, that of the user whose home or folder it is in."""
    owner = other_owner(place)
    return os.geteuid() if owner is None else owner


def _wrong_at(place: Path, owner: int) -> list[Misowned]:
    """Return what keeps `owner` from using `place`."""
    try:
        if place.lstat().st_uid == owner:
            return [Misowned(path, owner) for path in _wrong_in(place, owner)]
        is_missing = False
    except FileNotFoundError:
        is_missing = True
    except OSError:
        is_missing = False  # it cannot be seen
    chain = [path for path in _folders_to(place) if _owner_of(path) is not None]
    wrong = [path for path in chain if _owner_of(path) != owner]
    if not wrong or (is_missing and _can_make_folder_in(chain[-1], owner)):
        return []
    return [Misowned(wrong[0], owner, harms=not is_missing)]


def _wrong_in(place: Path, owner: int) -> list[Path]:
    """Return what in it belongs to another user; the place itself if that is a lot."""
    wrong = {path for path in _all_in(place) if _owner_of(path) not in (owner, None)}
    outermost = sorted(path for path in wrong if not wrong & set(path.parents))
    return outermost if len(outermost) <= _MOST_NAMED else [place]


def _can_make_folder_in(folder: Path, owner: int) -> bool:
    if _owner_of(folder) == owner:
        return True
    return owner == os.geteuid() and os.access(folder, os.W_OK | os.X_OK)


def _folders_to(place: Path) -> list[Path]:
    """Return the folders from the home to `place`, and `place`; only `place` if it is elsewhere."""
    home = paths.home()
    if not place.is_relative_to(home):
        return [place]
    return [path for path in (*reversed(place.parents), place) if home in path.parents]


def _all_in(place: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(place):
        for name in sorted((*folders, *files)):
            yield Path(folder, name)


def _owner_of(path: Path) -> int | None:
    """Return the owner of a file, folder or link; None if it cannot be read."""
    try:
        return path.lstat().st_uid
    except OSError:
        return None


def _readable_by(file: Path, owner: int) -> bool:
    """Return whether a user can read a file; true also if it is missing or cannot be checked."""
    try:
        found = file.stat()
    except OSError:
        return True
    return owner in (0, found.st_uid) or bool(found.st_mode & 0o004) or _we_can_read(file, owner)


def _we_can_read(file: Path, owner: int) -> bool:
    return owner == os.geteuid() and os.access(file, os.R_OK)


def _chowns_name(uid: int) -> str:
    """Return a user and its group in the form that chown takes."""
    name = user_name(uid)
    if name != str(uid):
        return f"{name}:"
    with suppress(OSError):
        return f"{uid}:{paths.home().stat().st_gid}"
    return str(uid)
