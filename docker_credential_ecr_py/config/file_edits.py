"""Writes the changes of `ecr-py configure`, and records what it takes to undo them.

A record holds both texts, since a file may be edited afterwards: then only our changes are undone.
It may hold the secrets of docker's config, so only its owner can read it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from docker_credential_ecr_py.atomic_file import (
    make_private_folder,
    read_if_there,
    rewrite,
    write_whole,
)
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.errors import EcrPyError
from docker_credential_ecr_py.folder import open_folder, other_owner
from docker_credential_ecr_py.shell import quote
from docker_credential_ecr_py.store.lock import locked

# Seconds that another `configure` may take: it calls no server.
_PATIENCE = 10

# Takes the text now, before our changes (None: no file) and after them; returns the text without.
TakeBack = Callable[[str, str | None, str], str | None]


@dataclass(frozen=True)
class Record:
    """A file as it was before our changes (None: there was none), and as we wrote it.

    `file` is its path, and `kind` the name of its Kind; both are "" in records of older versions.
    """

    original: str | None
    written: str
    file: str = ""
    kind: str = ""

    def taken_back(self, now: str, take_back: TakeBack) -> str | None:
        """Return the text without our changes: the original if it was not edited since."""
        return self.original if now == self.written else take_back(now, self.original, self.written)


@dataclass(frozen=True)
class Kind:
    """A kind of file: how a text is checked, undone, and shown without secrets."""

    name: str
    check: Callable[[str, Path], object]
    undo: TakeBack
    shown: Callable[[str], str]


@dataclass(frozen=True)
class Edit:
    """A change of a file's text. `now` is None if there is no file yet."""

    file: Path
    now: str | None
    text: str
    kind: Kind

    @property
    def changes(self) -> bool:
        return self.text != (self.now or "")

    def shown(self) -> tuple[str, str]:
        """Return both texts, to be shown to the user."""
        return self.kind.shown(self.now or ""), self.kind.shown(self.text)


def apply(edits: Iterable[Edit]) -> None:
    """Make every edit or none, and record how to undo them.

    Raises EcrPyError.
    """
    with alone(), ExitStack() as undoing:
        for edit in edits:
            file, now = edit.file, edit.now
            record = recall(file)
            original = record.taken_back(now, edit.kind.undo) if record and now is not None else now
            undoing.callback(_keep_again, file, record)
            _keep(file, Record(original, edit.text, str(file.absolute()), edit.kind.name))
            write(file, now, edit.text)
            undoing.callback(_write_again, file, edit.text, now)
        undoing.pop_all()


@contextmanager
def alone() -> Iterator[None]:
    """Hold the lock of `configure`: two at once could lose a file's original text.

    Raises EcrPyError if another process holds it for too long.
    """
    folder = _folder() if keeps_records() else None
    if folder is not None:
        with suppress(OSError):
            make_private_folder(folder)
    with locked(folder and folder / "lock", wait=_PATIENCE) as lock:
        if lock is None:
            raise EcrPyError("another `ecr-py configure` is running", hint="try again")
        yield


def keeps_records() -> bool:
    """Whether an edit can be undone. Not without a home, nor as root in another user's home."""
    folder = _folder()
    return folder is not None and other_owner(folder) is None


def write(file: Path, now: str | None, text: str | None) -> None:
    """As atomic_file.rewrite. Raises EcrPyError."""
    try:
        rewrite(
            file, None if now is None else now.encode(), None if text is None else text.encode()
        )
    except OSError as error:
        raise EcrPyError(f"{file} cannot be written: {error.strerror}") from None


def recall(file: Path) -> Record | None:
    """Return the record of a file, or None."""
    place = _place(file)
    return _record_in(place) if place else None


def recorded_files() -> list[tuple[Path, str]]:
    """Return each file that has a record, wherever it is, and the name of its Kind."""
    folder = _folder()
    records = map(_record_in, sorted(folder.glob("*.json"))) if folder else ()
    return [(Path(record.file), record.kind) for record in records if record and record.file]


def forget(file: Path) -> None:
    if place := _place(file):
        with suppress(FileNotFoundError), open_folder(place.parent) as folder:
            folder.remove(place.name)


def backup_of(file: Path) -> Path:
    """Return the path of the copy that an edit leaves beside a file."""
    return Path(f"{os.path.realpath(file)}.bak")


def copies_of(file: Path) -> list[Path]:
    """Return the copies of a file's text before our edits: the backup, and the undo record."""
    return [copy for copy in (backup_of(file), _place(file)) if copy is not None and copy.exists()]


def hint_of_copies(file: Path) -> str:
    """Return a line on copies that still hold removed passwords, with the hint; or ""."""
    copies = [str(copy) for copy in copies_of(file)]
    if not copies:
        return ""
    return (
        f"ecr-py: copies of {file} still hold the passwords, {' and '.join(copies)}: "
        f"`rm {' '.join(map(quote, copies))}` deletes them, and --undo then no longer works "
        "for this file"
    )


def _record_in(place: Path) -> Record | None:
    try:
        stored = read_if_there(place)
        return Record(**json.loads(stored)) if stored else None
    except (OSError, ValueError, TypeError):
        return None


def _keep_again(file: Path, record: Record | None) -> None:
    """Restore the record as it was before a change that failed."""
    with suppress(EcrPyError, OSError):
        _keep(file, record) if record else forget(file)


def _write_again(file: Path, now: str, text: str | None) -> None:
    with suppress(EcrPyError):
        write(file, now, text)


def _keep(file: Path, record: Record) -> None:
    place = _place(file)
    if place is None or not keeps_records():
        return
    try:
        make_private_folder(place.parent)
        write_whole(place, json.dumps(asdict(record)).encode())
    except OSError as error:
        raise EcrPyError(
            f"{place.parent}, which keeps the originals for --undo, cannot be written: "
            f"{error.strerror}"
        ) from None


def _place(file: Path) -> Path | None:
    """Return the path of a file's record; None if there is no home."""
    name = hashlib.sha256(os.fsencode(file.absolute())).hexdigest()[:32]
    folder = _folder()
    return folder and folder / f"{name}.json"


def _folder() -> Path | None:
    state = paths.state_folder()
    return state and state / "undo"
