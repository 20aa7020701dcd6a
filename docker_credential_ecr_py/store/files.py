"""Credentials and selections as files that only their owner can read. entry.py has the format."""

import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.store import entry
from docker_credential_ecr_py.store.kinds import Remembered
from docker_credential_ecr_py.store.lock import Lock, locked
from docker_credential_ecr_py.whole_file import make_private_folder, write_whole

_FOLDERS = ("selections", "credentials", "locks")
# What nobody has asked for in a month is not asked for again; a spent token is of no use sooner.
_KEPT_UNUSED = 30 * 86400
_KEPT_SPENT = 86400
_SWEEP_EVERY = 86400


class FileStore:
    def __init__(self, root: Path, environ: Mapping[bytes, bytes]) -> None:
        self.root = root
        self._root = os.fsencode(root)
        self._here = entry.context(environ)

    def load(self, key: str) -> Credential | None:
        if not self._is_sound("credentials"):
            return None
        fields = entry.read(entry.credential_path(self._root, key.encode()), entry.CREDENTIAL)
        try:
            if fields is None or fields[1] != key.encode():
                return None
            issued, renew_at, spent_at, expires = map(int, fields[2:6])
            username, secret = (_string(text) for text in fields[6:8])
        except (ValueError, RecursionError):
            return None
        return Credential(username, secret, issued, renew_at, spent_at, expires)

    def save(self, key: str, credential: Credential) -> None:
        times = (credential.issued, credential.renew_at, credential.spent_at, credential.expires)
        fields = [
            entry.CREDENTIAL,
            key.encode(),
            *(b"%d" % moment for moment in times),
            json.dumps(credential.username).encode(),
            json.dumps(credential.secret).encode(),
        ]
        self._write(entry.credential_path(self._root, key.encode()), fields)
        self._sweep(time.time())

    def remember(self, selection: Remembered) -> None:
        host = selection.host.encode()
        fields = [
            entry.SELECTION,
            host,
            self._here,
            selection.key.encode(),
            json.dumps(dict(selection.details)).encode(),
        ]
        for path, stamp in selection.conditions.items():
            fields += [path, stamp]
        self._write(entry.selection_path(self._root, host, self._here), fields)

    def forget(self, host: str) -> set[str]:
        found = self._forget(lambda path, fields: path.name.startswith(f"{host}~"))
        return {key for _, key in found}

    def forget_what_came_from(self, file: bytes) -> set[tuple[str, str]]:
        return self._forget(lambda path, fields: file in fields[5::2])

    def forget_all(self) -> set[str]:
        found = {
            host
            for host, key in self._forget(lambda path, fields: True)
            if self.load(key) is not None
        }
        if self._is_sound("credentials"):
            for path in (self.root / "credentials").iterdir():
                with suppress(OSError):
                    path.unlink()
        return found

    def _forget(self, unwanted: Callable[[Path, list[bytes]], bool]) -> set[tuple[str, str]]:
        found = set()
        for path in self._selection_files():
            fields = entry.read(os.fsencode(path), entry.SELECTION) or []
            if not unwanted(path, fields):
                continue
            if fields and fields[3]:
                found.add((os.fsdecode(fields[1]), os.fsdecode(fields[3])))
            with suppress(OSError):
                path.unlink()
        return found

    def discard(self, key: str) -> None:
        if self._is_sound("credentials"):
            with suppress(OSError):
                os.unlink(entry.credential_path(self._root, key.encode()))

    def remembered(self) -> Iterator[Remembered]:
        for path in sorted(self._selection_files()):
            host = os.fsencode(path.name).partition(b"~")[0]
            fields = entry.selection_for(self._root, host, self._here)
            if fields is None or os.fsencode(path) != entry.selection_path(
                self._root, host, self._here
            ):
                continue
            conditions = dict(zip(fields[5::2], fields[6::2], strict=False))
            try:
                details = {str(name): str(text) for name, text in json.loads(fields[4]).items()}
            except (ValueError, AttributeError, RecursionError):
                continue
            yield Remembered(host.decode(), fields[3].decode(), conditions, details)

    def lock(self, key: str, *, wait: float) -> AbstractContextManager[Lock | None]:
        try:
            self._make_folders()
        except OSError:
            return nullcontext(Lock())
        return locked(self.root / "locks" / key, wait=wait)

    def _selection_files(self) -> list[Path]:
        if not self._is_sound("selections"):
            return []
        try:
            return list((self.root / "selections").iterdir())
        except OSError:
            return []

    def _write(self, path: bytes, fields: list[bytes]) -> None:
        body = b"\0".join(fields)
        try:
            self._make_folders()
            write_whole(Path(os.fsdecode(path)), entry.fingerprint(body) + b"\0" + body)
        except OSError as error:
            log.warning("not kept: %s", error)

    def _is_sound(self, folder: str) -> bool:
        """Neither a link nor anybody else's: what is in it may be read, and removed."""
        return entry.is_private_folder(self._root) and entry.is_private_folder(
            os.path.join(self._root, folder.encode())
        )

    def _make_folders(self) -> None:
        """Makes the folders, or mends their mode. Raises OSError where they are not ours."""
        make_private_folder(self.root.parent)
        for folder in (self.root, *(self.root / name for name in _FOLDERS)):
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode):
                raise NotADirectoryError(f"{folder} is not a folder")
            if os.name == "posix" and found.st_uid != os.geteuid():
                raise PermissionError(f"{folder} belongs to another user")
            if os.name == "posix" and found.st_mode & 0o077:
                log.warning("%s was open to others; closed it", folder)
                folder.chmod(0o700)

    def _sweep(self, now: float) -> None:
        """Drops what is of no use any more, once a day."""
        marker = self.root / "locks" / ".swept"
        with suppress(OSError):
            if marker.exists() and 0 <= now - marker.stat().st_mtime < _SWEEP_EVERY:
                return
            if not all(map(self._is_sound, _FOLDERS)):
                return
            marker.touch(mode=0o600)
            for folder in _FOLDERS:
                for path in (self.root / folder).iterdir():
                    if path != marker and self._useless(path, now):
                        path.unlink(missing_ok=True)

    def _useless(self, path: Path, now: float) -> bool:
        unused = now - path.lstat().st_mtime
        if path.name.endswith(".new"):
            return unused > 3600
        if path.parent.name != "credentials":
            return unused > _KEPT_UNUSED
        credential = self.load(path.name)
        return credential is None or now > credential.expires + _KEPT_SPENT


def _string(text: bytes) -> str:
    """A JSON string. Raises ValueError."""
    value = json.loads(text)
    if not isinstance(value, str):
        raise ValueError("not a string")
    return value
