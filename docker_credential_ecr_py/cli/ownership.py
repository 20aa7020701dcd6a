"""Finds files that belong to the wrong user, and says which command gives them back.

A command that root ran with another user's HOME leaves files which that user cannot read, or which
we do not trust.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.folder import other_owner, user_name

_MOST_NAMED = 5


@dataclass(frozen=True)
class Misowned:
    """A path that should belong to user `owner`, with everything in it.

    `harms` unless all it keeps us from is to make a folder that we may never need.
    """

    path: Path
    owner: int
    harms: bool = True

    def concerns(self, folder: Path) -> bool:
        """Whether it is the folder, or above it, or in it."""
        return folder.is_relative_to(self.path) or self.path.is_relative_to(folder)


def misowned(environ: Mapping[str, str]) -> list[Misowned]:
    """Each outermost path of ours, and of the files we read, that belongs to the wrong user."""
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
    """What gives all of them to the user that they should belong to. `wrong` is not empty."""
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
    """We; if we are root, the user whose home or folder it is in."""
    owner = other_owner(place)
    return os.geteuid() if owner is None else owner


def _wrong_at(place: Path, owner: int) -> list[Misowned]:
    """What stands between `owner` and the use of `place`."""
    try:
        if place.lstat().st_uid == owner:
            return [Misowned(path, owner) for path in _wrong_in(place, owner)]
        is_missing = False
    except FileNotFoundError:
        is_missing = True
    except OSError:
        is_missing = False  # it cannot be seen
    way = [path for path in _way_to(place) if _owner_of(path) is not None]
    wrong = [path for path in way if _owner_of(path) != owner]
    if not wrong or (is_missing and _can_make_folder_in(way[-1], owner)):
        return []
    return [Misowned(wrong[0], owner, harms=not is_missing)]


def _wrong_in(place: Path, owner: int) -> list[Path]:
    """What is in it and belongs to another user; if that is much, the place itself."""
    wrong = {path for path in _all_in(place) if _owner_of(path) not in (owner, None)}
    outermost = sorted(path for path in wrong if not wrong & set(path.parents))
    return outermost if len(outermost) <= _MOST_NAMED else [place]


def _can_make_folder_in(folder: Path, owner: int) -> bool:
    if _owner_of(folder) == owner:
        return True
    return owner == os.geteuid() and os.access(folder, os.W_OK | os.X_OK)


def _way_to(place: Path) -> list[Path]:
    """The folders below the home on the way to `place`, and it; it alone if it is elsewhere."""
    home = paths.home()
    if not place.is_relative_to(home):
        return [place]
    return [path for path in (*reversed(place.parents), place) if home in path.parents]


def _all_in(place: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(place):
        for name in sorted((*folders, *files)):
            yield Path(folder, name)


def _owner_of(path: Path) -> int | None:
    """The owner of what lies there, be it a link; None if it cannot be seen."""
    try:
        return path.lstat().st_uid
    except OSError:
        return None


def _readable_by(file: Path, owner: int) -> bool:
    """True also for a file that is not there, or that cannot be looked at."""
    try:
        found = file.stat()
    except OSError:
        return True
    return owner in (0, found.st_uid) or bool(found.st_mode & 0o004) or _we_can_read(file, owner)


def _we_can_read(file: Path, owner: int) -> bool:
    return owner == os.geteuid() and os.access(file, os.R_OK)


def _chowns_name(uid: int) -> str:
    """A user and its group, as chown takes them."""
    name = user_name(uid)
    if name != str(uid):
        return f"{name}:"
    with suppress(OSError):
        return f"{uid}:{paths.home().stat().st_gid}"
    return str(uid)
