"""Credentials for registries other than ECR: from another helper, or from our own sealed files.

The setting `fallback` names the other helper, or is "keyring" for the sealed files. Those are not
a cache: a login that is lost has to be typed again. So they are in the user's data folder, and a
login whose key is lost is an error.
"""

import hashlib
import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from docker_credential_ecr_py.atomic_file import write_in
from docker_credential_ecr_py.errors import (
    CredentialsNotFound,
    EcrPyError,
    FallbackFailed,
    Unsealable,
)
from docker_credential_ecr_py.folder import open_folder, other_owner, user_name
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.programs import NO_WINDOW, drop_relative_folders, find_program

if TYPE_CHECKING:
    from docker_credential_ecr_py.store.seal import Seal

# Seconds for the other helper. Long, because its keyring may have to be unlocked first.
_LIMIT = 120
# The digest of a server URL.
_NAME = re.compile(r"[0-9a-f]{64}")
# A FIFO in the folder must not make us wait. Sealed files need no other check.
_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


def find_helper(helper: str) -> str:
    """Return the path of `docker-credential-HELPER`. Raises FallbackFailed if PATH has none."""
    name = f"docker-credential-{helper}"
    program = find_program(name)
    if program is None:
        raise FallbackFailed(f"the fallback helper {name} is not on the PATH")
    return program


def call_helper(helper: str, action: str, given: bytes) -> tuple[int, bytes]:
    """Run `docker-credential-HELPER ACTION` on `given`; return its exit code and standard output.

    It inherits standard error. Raises FallbackFailed.
    """
    program, name = find_helper(helper), f"docker-credential-{helper}"
    environ = dict(os.environ)
    drop_relative_folders(environ)  # it may run other programs: `pass`, gpg
    try:
        done = subprocess.run(
            [program, action],
            input=given,
            stdout=subprocess.PIPE,
            env=environ,
            timeout=_LIMIT,
            creationflags=NO_WINDOW,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FallbackFailed(f"the fallback helper {name} gave no answer in {_LIMIT} s") from None
    except OSError as error:
        raise FallbackFailed(f"the fallback helper {name} cannot run: {error.strerror}") from None
    return done.returncode, done.stdout


def parse_list(code: int, listed: bytes) -> dict[str, str]:
    """Return an answer to `list`, as URL to username; {} if `code` is not 0.

    Raises FallbackFailed.
    """
    if code:
        log.warning("the fallback helper failed to list: exit code %d", code)
        return {}
    try:
        usernames = json.loads(listed or b"{}") or {}
        return {str(url): str(username) for url, username in usernames.items()}
    except (ValueError, AttributeError):
        raise FallbackFailed("the fallback helper did not answer list with a JSON object") from None


def to_json(values: Mapping[str, str]) -> bytes:
    """Return a JSON document as docker's protocol has it: one line."""
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


@dataclass(frozen=True)
class Login:
    """A user's login at a registry."""

    server_url: str
    username: str
    secret: str = field(repr=False)


class SealedLogins:
    """The logins of `fallback = "keyring"`: a sealed file for each server URL, in `folder`.

    `folder` is None if there is no home.
    """

    def __init__(self, folder: Path | None, seal: "Seal") -> None:
        self._folder = folder
        self._seal = seal

    def call(self, action: str, given: bytes) -> tuple[int, bytes]:
        """Do an action of docker's protocol; return the exit code and standard output.

        `given` was checked before. Raises CredentialsNotFound, Unsealable, KeyringUnavailable,
        and EcrPyError if a login cannot be stored.
        """
        match action:
            case "get":
                login = self._read(self._path(given.decode()))
                if login is None:
                    raise CredentialsNotFound
                return 0, to_json(
                    {
                        "ServerURL": given.decode(),
                        "Username": login.username,
                        "Secret": login.secret,
                    }
                )
            case "store":
                document = json.loads(given)
                names = ("ServerURL", "Username", "Secret")
                self._write(Login(*(str(document.get(name) or "") for name in names)))
            case "erase":
                self._remove(given.decode())
            case "list":
                return 0, to_json({login.server_url: login.username for login in self._all()})
        return 0, b""

    def count(self) -> int:
        """Return how many logins there are, whether or not they open."""
        return len(self._paths())

    def server_urls(self) -> list[str]:
        """Return the server URLs of the logins that open. Raises KeyringUnavailable."""
        return [login.server_url for login in self._all()]

    def reseal(self) -> int:
        """Seal each login again, under the present key; return how many could not be opened.

        Raises KeyringUnavailable, and EcrPyError if one cannot be written; that one stays.
        """
        lost = 0
        for path in self._paths():
            sealed = _content_of(path)
            text = None if sealed is None else self._seal.open(path.name.encode(), sealed)
            if text is None:
                lost += 1
            else:
                self._put(path, self._seal.close(path.name.encode(), text), "a login")
        return lost

    def forget_all(self) -> None:
        """Remove every login. Raises EcrPyError if one cannot be removed."""
        for path in self._paths():
            try:
                _unlink(path)
            except OSError as error:
                raise EcrPyError(f"{path} cannot be removed: {error.strerror}") from None

    def check_may_keep(self) -> None:
        """Raise EcrPyError if there is no folder for logins, or it is another user's."""
        if self._folder is None:
            raise EcrPyError("no home folder to keep a login in")
        if (owner := other_owner(self._folder)) is not None:
            raise EcrPyError(
                f"root keeps no login in {self._folder}, which belongs to user {user_name(owner)}",
                hint="run `docker login` as that user",
            )

    def _paths(self) -> list[Path]:
        """Return the paths of the logins; other files in the folder are not ours."""
        if self._folder is None:
            return []
        with suppress(OSError):
            return sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.name))
        return []

    def _all(self) -> Iterator[Login]:
        """Yield each login that opens."""
        for path in self._paths():
            with suppress(Unsealable):
                if login := self._read(path):
                    yield login

    def _path(self, server_url: str) -> Path:
        """Return the path of a login; the same with and without a scheme, as docker mixes both."""
        if self._folder is None:
            raise CredentialsNotFound
        name = server_url.removeprefix("https://").removesuffix("/")
        return self._folder / hashlib.sha256(name.encode()).hexdigest()

    def _write(self, login: Login) -> None:
        self.check_may_keep()
        path = self._path(login.server_url)
        text = json.dumps([login.server_url, login.username, login.secret])
        with self._seal.while_key_stays():
            sealed = self._seal.close(path.name.encode(), text.encode())
            self._put(path, sealed, f"the login for {login.server_url}")

    def _put(self, path: Path, sealed: bytes, what: str) -> None:
        try:
            with open_folder(path.parent, make=True) as folder:
                folder.close_to_others()
                write_in(folder, path.name, sealed)
        except OSError as error:
            raise EcrPyError(f"{what} cannot be kept in {path.parent}: {error.strerror}") from None

    def _remove(self, server_url: str) -> None:
        try:
            with suppress(CredentialsNotFound):
                _unlink(self._path(server_url))
        except NotADirectoryError:
            pass
        except OSError as error:
            raise EcrPyError(
                f"the login for {server_url} cannot be removed from {self._folder}: "
                f"{error.strerror}"
            ) from None

    def _read(self, path: Path) -> Login | None:
        sealed = _content_of(path)
        if sealed is None:
            return None
        text = self._seal.open(path.name.encode(), sealed)
        if text is None and (again := _content_of(path)) not in (None, sealed):
            text = self._seal.open(path.name.encode(), again)  # the key was changed in between
        try:
            return Login(*map(str, json.loads(text or b"")))
        except (ValueError, TypeError):
            raise Unsealable(
                f"the login in {path} cannot be decrypted: its key is no longer in the keyring",
                hint="run `docker login` for it again",
            ) from None


def _unlink(path: Path) -> None:
    """Remove a file if it is there. Raises OSError."""
    with suppress(FileNotFoundError), open_folder(path.parent) as folder:
        folder.remove(path.name)


def _content_of(path: Path) -> bytes | None:
    """Return the content of a regular file, or None."""
    try:
        file = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
        with open(file, "rb") as reader:
            return reader.read() if stat.S_ISREG(os.fstat(file).st_mode) else None
    except OSError:
        return None
