"""Folders that are held open, so that the file that was checked is the file that is used.

Between the check of a path and its use, another user who may write to one of its folders can put a
link there. So a path is opened one component at a time, a file is made, read, replaced and removed
in a folder that is open, and links that another user may have planted are not followed.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Windows cannot open a folder: there its path is used instead.
_BY_DESCRIPTOR = {os.open, os.stat, os.mkdir, os.unlink, os.rename} <= os.supports_dir_fd
_CLOSED_BY_EXEC = getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | _CLOSED_BY_EXEC
_ONLY_A_FOLDER = getattr(os, "O_DIRECTORY", 0) | _NO_LINK
# Opens a folder that may be entered, even if it may not be listed (/home with mode 0711, say).
_TO_ENTER: int = getattr(os, "O_PATH", getattr(os, "O_SEARCH", os.O_RDONLY))
_MOST_LINKS = 40


class Folder:
    """An open folder. Names are of files in it; no method follows a link. All raise OSError."""

    def __init__(self, path: str, descriptor: int | None) -> None:
        self.path = path
        self.descriptor = descriptor

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        return os.open(self._at(name), flags | _NO_LINK, mode, dir_fd=self.descriptor)

    def stat(self, name: str) -> os.stat_result:
        return os.stat(self._at(name), dir_fd=self.descriptor, follow_symlinks=False)

    def names(self) -> list[str]:
        if self.descriptor is None:
            return os.listdir(self.path)
        with self._readable() as descriptor:
            return os.listdir(descriptor)

    def make(self, name: str) -> None:
        """Make a folder with mode 0700, if there is none; as root, for the owner of this one."""
        try:
            os.mkdir(self._at(name), 0o700, dir_fd=self.descriptor)
        except FileExistsError:
            return
        if (owner := self.owner_if_not_root()) is None:
            return
        made = self.open(name, os.O_RDONLY | _ONLY_A_FOLDER)
        try:
            # The owner may have put another folder of root's in its place, but to give away an
            # empty one does no harm.
            if os.fstat(made).st_uid == os.geteuid() and not os.listdir(made):
                os.fchown(made, *owner)
        finally:
            os.close(made)

    @contextmanager
    def enter(self, name: str) -> Iterator["Folder"]:
        """Open a folder in this one."""
        path = self.path_of(name)
        if self.descriptor is None:
            if not stat.S_ISDIR(self.stat(name).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            yield Folder(path, None)
            return
        descriptor = self.open(name, _TO_ENTER | _ONLY_A_FOLDER)
        try:
            yield Folder(path, descriptor)
        finally:
            os.close(descriptor)

    def replace(self, old: str, new: str) -> None:
        descriptor = self.descriptor
        os.replace(self._at(old), self._at(new), src_dir_fd=descriptor, dst_dir_fd=descriptor)

    def touch(self, name: str) -> None:
        """Set the times of a file, which is made if it is missing, to now."""
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
        file = self.open(name, flags)
        try:
            os.utime(to_utime(file, self.path_of(name)))
        finally:
            os.close(file)

    def remove(self, name: str) -> None:
        os.unlink(self._at(name), dir_fd=self.descriptor)

    def facts(self) -> os.stat_result:
        return os.stat(self.path if self.descriptor is None else self.descriptor)

    def is_ours(self) -> bool:
        return os.name != "posix" or self.facts().st_uid == os.geteuid()

    def is_private(self) -> bool:
        """Whether it is ours, and no other user may enter it (on Windows: write to it)."""
        if sys.platform == "win32":
            from docker_credential_ecr_py.windows import why_not_private

            return not why_not_private(self.path)
        return self.is_ours() and not self.facts().st_mode & 0o077

    def owner_if_not_root(self) -> tuple[int, int] | None:
        """Return the folder's user and group, if we are root and it is not root's."""
        if not _is_root():
            return None
        facts = self.facts()
        return None if facts.st_uid == 0 else (facts.st_uid, facts.st_gid)

    def close_to_others(self) -> None:
        """Take away every right of other users. On Windows, raise PermissionError if they have any.

        There the rights are inherited, and whoever gave them has to take them away.
        """
        if sys.platform == "win32":
            from docker_credential_ecr_py.windows import why_not_private

            if why := why_not_private(self.path):
                raise PermissionError(errno.EPERM, why)
            return
        with self._readable() as descriptor:
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o700)

    def path_of(self, name: str) -> str:
        return os.path.join(self.path, name)

    def _at(self, name: str) -> str:
        return name if self.descriptor is not None else self.path_of(name)

    @contextmanager
    def _readable(self) -> Iterator[int]:
        descriptor = os.open(".", os.O_RDONLY | _ONLY_A_FOLDER, dir_fd=self.descriptor)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def to_utime(file: int, path: str | Path) -> int | str | Path:
    """Return what os.utime takes for an open file: on Windows, only its path."""
    return file if os.utime in os.supports_fd else path


@contextmanager
def open_folder(path: str | Path, *, make: bool = False) -> Iterator[Folder]:
    """Open the folder at `path`; with `make`, make it and its parents if they are missing.

    Raises OSError, also for a link on the way that another user may have planted.
    """
    with _opened(os.fspath(path), make=make, to_file=False) as (folder, _):
        yield folder


@contextmanager
def open_place(file: str | Path, *, make: bool = False) -> Iterator[tuple[Folder, str]]:
    """Open the folder that `file` is in, as open_folder; yield it and the file's name in it.

    If `file` is a link, they are those of its target.
    """
    with _opened(os.fspath(file), make=make, to_file=True) as place:
        yield place


def close_file_to_others(path: Path) -> None:
    """Take away every right of other users to a file. Raises OSError, also if it is not ours."""
    with open_folder(path.parent) as folder:
        file = folder.open(path.name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it does not belong to you")
        os.fchmod(file, stat.S_IMODE(facts.st_mode) & 0o700)
    finally:
        os.close(file)


def close_folder_to_others(path: Path) -> None:
    """As close_file_to_others, for a folder."""
    with open_folder(path.parent) as above, above.enter(path.name) as folder:
        if not folder.is_ours():
            raise PermissionError(errno.EPERM, "it is not a folder that belongs to you")
        folder.close_to_others()


def other_owner(path: str | Path) -> int | None:
    """Return the user who controls what is at `path`, if we are root and it is another user.

    That is the owner of the outermost folder in the path that is not root's. Root's files there
    would be in that user's way, and under that user's control.
    """
    if not _is_root():
        return None
    trusted = _trusted_owners()
    place = Path(os.path.abspath(path))
    for folder in (*reversed(place.parents), place):
        try:
            owner = folder.stat().st_uid
        except OSError:
            return None
        if owner not in trusted:
            return owner
    return None


def user_name(uid: int) -> str:
    """Return the name of a user, or the number if it has none."""
    with suppress(ImportError, KeyError):
        import pwd

        return pwd.getpwuid(uid).pw_name
    return str(uid)


@contextmanager
def _opened(path: str, *, make: bool, to_file: bool) -> Iterator[tuple[Folder, str]]:
    if not _BY_DESCRIPTOR:
        real = os.path.realpath(path)
        folder, name = os.path.split(real) if to_file else (real, "")
        if make:
            os.makedirs(folder, 0o700, exist_ok=True)
        yield Folder(folder, None), name
        return
    walk = _Walk(path, make=make, to_file=to_file)
    try:
        yield walk.to_its_end()
    finally:
        walk.close()


class _Walk:
    """Walks along a path, folder by folder, and holds the one that it has reached open."""

    def __init__(self, path: str, *, make: bool, to_file: bool) -> None:
        self._make = make
        self._to_file = to_file
        self._trusted = _trusted_owners()
        self._links = 0
        self._parts: list[str] = []  # the rest of the path, the next part last
        self._folder = -1
        self._path = ""
        self._begin_at("/" if path.startswith("/") else ".")
        self._go(path)

    def to_its_end(self) -> tuple[Folder, str]:
        while self._parts:
            name = self._parts.pop()
            target = self._link(name)
            if target is not None:
                self._links += 1
                if self._links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._path)
                if target.startswith("/"):
                    self._begin_at("/")
                self._go(target)
            elif self._to_file and not self._parts:
                return Folder(self._path, self._folder), name
            else:
                self._enter(name)
        if self._to_file:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self._path)
        return Folder(self._path, self._folder), ""

    def close(self) -> None:
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _begin_at(self, path: str) -> None:
        self._hold(os.open(path, _TO_ENTER | _ONLY_A_FOLDER), path)

    def _hold(self, folder: int, path: str) -> None:
        self.close()
        self._folder, self._path = folder, path

    def _go(self, path: str) -> None:
        self._parts += [part for part in reversed(path.split("/")) if part not in ("", ".")]

    def _enter(self, name: str) -> None:
        flags, path = _TO_ENTER | _ONLY_A_FOLDER, os.path.join(self._path, name)
        try:
            folder = os.open(name, flags, dir_fd=self._folder)
        except FileNotFoundError:
            if not self._make:
                raise
            Folder(self._path, self._folder).make(name)
            folder = os.open(name, flags, dir_fd=self._folder)
        self._hold(folder, path)

    def _link(self, name: str) -> str | None:
        """Return the target of a link, or None if it is not a link.

        Raises PermissionError for a link that another user may have planted: one that belongs to
        another user or, for root, is in another user's folder, who can move a link of root's there.
        """
        try:
            owner, target = _read_link(self._folder, name)
        except FileNotFoundError:
            return None
        owners = {owner, os.fstat(self._folder).st_uid} if _is_root() else {owner}
        if target is not None and not owners <= self._trusted:
            path = os.path.join(self._path, name)
            why = f"{path} is a link that another user may have created"
            raise PermissionError(errno.EPERM, why, path)
        return target


def _read_link(folder: int, name: str) -> tuple[int, str | None]:
    """Return the owner of a file, and its target if it is a link. Raises OSError."""
    if not hasattr(os, "O_PATH"):
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        is_link = stat.S_ISLNK(facts.st_mode)
        return facts.st_uid, os.readlink(name, dir_fd=folder) if is_link else None
    # Opened first, so that the link that is checked is the link that is read.
    descriptor = os.open(name, os.O_PATH | _NO_LINK, dir_fd=folder)
    try:
        facts = os.fstat(descriptor)
        is_link = stat.S_ISLNK(facts.st_mode)
        return facts.st_uid, os.readlink("", dir_fd=descriptor) if is_link else None
    finally:
        os.close(descriptor)


def _is_root() -> bool:
    return os.name == "posix" and os.geteuid() == 0


def _trusted_owners() -> set[int]:
    """Return this user, root, and the owner of `/`: in a user namespace, root may be another ID."""
    return {os.geteuid(), os.stat("/").st_uid, 0} if os.name == "posix" else set()
