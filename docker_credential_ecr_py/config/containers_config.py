"""Reads and edits registries.conf, which names the credential helpers of podman, buildah, skopeo.

They read one main file and then folders of drop-ins; the last file that has the key counts. A main
file of the user's hides those of the system, and with them the short names of images: if there is
none, a drop-in is written instead. Source: containers/image, pkg/sysregistriesv2.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker_credential_ecr_py.atomic_file import BYTE_ORDER_MARK
from docker_credential_ecr_py.config import settings_edit
from docker_credential_ecr_py.config.docker_config import OURSELVES
from docker_credential_ecr_py.config.text_file import read_text
from docker_credential_ecr_py.errors import ContainersConfigError

# The programs that read it.
CONTAINERS = ("podman", "buildah", "skopeo")
_KEY = ("credential-helpers",)
# Not a helper: the files of `podman login`, which are asked if no file has the key.
_AUTH_FILES = "containers-auth.json"
_SYSTEM = Path("/etc/containers")


@dataclass(frozen=True)
class ContainersConfig:
    """The credential helpers in the order in which they are asked, and the file that sets them.

    If no file of the user's does, `file` is the one to add.
    """

    helpers: tuple[str, ...]
    file: Path

    @property
    def uses_us(self) -> bool:
        return OURSELVES in self.helpers


def load_containers_config(environ: Mapping[str, str]) -> ContainersConfig:
    """Read the files of the user and the system. Raises ContainersConfigError."""
    own, drop_in = _own_files()
    named = environ.get("CONTAINERS_REGISTRIES_CONF") or environ.get("REGISTRIES_CONFIG_PATH")
    if named:
        files = [Path(named), *_drop_ins(_SYSTEM)]
    elif os.path.exists(own):  # Path.exists raises if the folder may not be entered
        files = [own]
    else:
        files = [_SYSTEM / "registries.conf", *_drop_ins(_SYSTEM)]
    helpers: tuple[str, ...] = (_AUTH_FILES,)
    place: Path | None = None
    for file in (*files, *_drop_ins(own.parent)):
        found = helpers_in(read_text(file, ContainersConfigError) or "", file)
        if found is not None:
            helpers, place = found, file
    if place is None or own.parent not in place.parents:
        place = own if files == [own] and not _is_version_1(own) else drop_in
    return ContainersConfig(helpers, place)


def editable_files() -> list[Path]:
    """Return each file that configure may have edited."""
    own, drop_in = _own_files()
    return list(dict.fromkeys([own, drop_in, *_drop_ins(own.parent)]))


def helpers_in(text: str, file: Path) -> tuple[str, ...] | None:
    """Return the credential helpers that a file sets, or None. Raises ContainersConfigError."""
    helpers = _document(text, file).get(*_KEY)
    if helpers is None:
        return None
    if not isinstance(helpers, list) or not all(isinstance(name, str) for name in helpers):
        raise ContainersConfigError(f"{file}: {_KEY[0]} must be a list of names")
    return tuple(helpers)


def with_us(text: str, helpers: tuple[str, ...], replace: str = "") -> str:
    """Return the text of a file that sets `helpers` and this one, which takes `replace`'s place."""
    names = [OURSELVES if name == replace else name for name in helpers]
    return settings_edit.with_value(text, _KEY, list(dict.fromkeys([*names, OURSELVES])))


def without_us(text: str, before: str | None, after: str) -> str | None:
    """Return `text` without the change from `before` to `after`; later changes stay.

    None if there was no file before and nothing is left for one.
    """
    was, made, now = (settings_edit.value_at(each or "", _KEY) for each in (before, after, text))
    if now == made:
        without = settings_edit.without_value(text, _KEY)
        text = without if was is None else settings_edit.with_value(text, _KEY, was)
    elif isinstance(now, list) and OURSELVES not in (was or ()):
        kept = [name for name in now if name != OURSELVES]
        text = settings_edit.with_value(text, _KEY, kept)
    return None if before is None and not text.strip(f"{BYTE_ORDER_MARK} \t\r\n") else text


def stripped(text: str, file: Path) -> str | None:
    """Return the text of a file that does not name this helper; None if that is blank.

    Raises ContainersConfigError.
    """
    helpers = helpers_in(text, file) or ()
    if OURSELVES not in helpers:
        return text
    kept = [name for name in helpers if name != OURSELVES]
    if kept in ([], [_AUTH_FILES]):  # what counts without the key
        text = settings_edit.without_value(text, _KEY)
    else:
        text = settings_edit.with_value(text, _KEY, kept)
    return text if text.strip(f"{BYTE_ORDER_MARK} \t\r\n") else None


def _own_files() -> tuple[Path, Path]:
    """Return the user's main file, and our drop-in. XDG_CONFIG_HOME does not move them."""
    folder = Path(os.path.expanduser("~/.config/containers"))
    return folder / "registries.conf", folder / "registries.conf.d" / "ecr-py.conf"


def _drop_ins(folder: Path) -> list[Path]:
    try:
        return sorted((folder / "registries.conf.d").glob("*.conf"))
    except OSError:
        return []


def _is_version_1(file: Path) -> bool:
    """Return whether a file has the old format, which must not be mixed with this key."""
    text = read_text(file, ContainersConfigError) or ""
    return isinstance(_document(text, file).get("registries"), dict)


def _document(text: str, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text.removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError) as error:
        raise ContainersConfigError(f"{file} is not TOML: {error}") from None
