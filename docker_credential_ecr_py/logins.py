"""`fallback = "keyring"`: what `docker login` gives for other registries, sealed, of any length.

These are no cache: what is lost here somebody has to type again. So they lie in the user's data
folder, and a key that is gone is said, not passed over.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from docker_credential_ecr_py.errors import CredentialsNotFound, EcrPyError
from docker_credential_ecr_py.folder import open_folder, other_owner, user_name
from docker_credential_ecr_py.store.seal import Seal
from docker_credential_ecr_py.whole_file import write_in

# A FIFO that lies in the folder must not make us wait. Sealed files need no more care than that.
_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


class Unsealable(EcrPyError):
    """What is there was sealed under a key that the keyring no longer has, or was damaged."""


@dataclass(frozen=True)
class Login:
    server_url: str
    username: str
    secret: str = field(repr=False)


class Logins:
    """One file a server URL, sealed under its name. `folder` is None where there is no home."""

    def __init__(self, folder: Path | None, seal: Seal) -> None:
        self._folder = folder
        self._seal = seal

    def call(self, action: str, given: bytes) -> tuple[int, bytes]:
        """Docker's protocol, as fallback.call speaks it: exit code and standard output.

        `given` was checked before. Raises CredentialsNotFound, Unsealable, KeyringUnavailable,
        and EcrPyError where a login cannot be kept.
        """
        match action:
            case "get":
                login = self._read(self._path(given.decode()))
                if login is None:
                    raise CredentialsNotFound
                return 0, _document(
                    {
                        "ServerURL": given.decode(),
                        "Username": login.username,
                        "Secret": login.secret,
                    }
                )
            case "store":
                told = json.loads(given)
                wanted = ("ServerURL", "Username", "Secret")
                self._write(Login(*(str(told.get(name) or "") for name in wanted)))
            case "erase":
                self._remove(given.decode())
            case "list":
                return 0, _document({login.server_url: login.username for login in self._all()})
        return 0, b""

    def _all(self) -> Iterator[Login]:
        """Each login that opens."""
        paths: list[Path] = []
        if self._folder is not None:
            with suppress(OSError):
                paths = sorted(self._folder.iterdir())
        for path in paths:
            with suppress(Unsealable):
                if login := self._read(path):
                    yield login

    def _path(self, server_url: str) -> Path:
        """Docker stores with a scheme and erases without, or the other way round."""
        if self._folder is None:
            raise CredentialsNotFound
        name = server_url.removeprefix("https://").removesuffix("/")
        return self._folder / hashlib.sha256(name.encode()).hexdigest()

    def _write(self, login: Login) -> None:
        if self._folder is None:
            raise EcrPyError("there is no home folder to keep a login in")
        if (owner := other_owner(self._folder)) is not None:
            raise EcrPyError(
                f"root keeps no login in {self._folder}, a place of user {user_name(owner)}",
                mend="run `docker login` as that user",
            )
        path = self._path(login.server_url)
        text = json.dumps([login.server_url, login.username, login.secret])
        sealed = self._seal.close(path.name.encode(), text.encode())
        try:
            with open_folder(self._folder, make=True) as folder:
                folder.close_to_others()
                write_in(folder, path.name, sealed)
        except OSError as error:
            raise EcrPyError(
                f"the login for {login.server_url} cannot be kept in {self._folder}: "
                f"{error.strerror}"
            ) from None

    def _remove(self, server_url: str) -> None:
        try:
            with suppress(CredentialsNotFound):
                self._path(server_url).unlink(missing_ok=True)
        except NotADirectoryError:
            pass
        except OSError as error:
            raise EcrPyError(
                f"the login for {server_url} cannot be removed from {self._folder}: "
                f"{error.strerror}"
            ) from None

    def _read(self, path: Path) -> Login | None:
        try:
            file = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
            with open(file, "rb") as reader:
                sealed = reader.read() if stat.S_ISREG(os.fstat(file).st_mode) else None
        except OSError:
            return None
        if sealed is None:
            return None
        text = self._seal.open(path.name.encode(), sealed)
        try:
            return Login(*map(str, json.loads(text or b"")))
        except (ValueError, TypeError):
            raise Unsealable(
                f"the login in {path} does not open: its key is gone from the keyring",
                mend="run `docker login` for it again",
            ) from None


def _document(values: dict[str, str]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"
