"""The files under ~/.aws/sso/cache that we share with the AWS CLI and botocore.

Same names, same fields, same permissions: a login of theirs is one of ours, and the reverse.
What cannot be read as a token is none; a login replaces it.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from docker_credential_ecr_py.atomic_file import make_private_folder, without_waiting, write_whole
from docker_credential_ecr_py.errors import UnwritableSsoCache
from docker_credential_ecr_py.folder import open_folder
from docker_credential_ecr_py.selection import SsoSession
from docker_credential_ecr_py.store.writable import advice, problem_of

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
LARGEST_FILE = 256 * 1024
# An expiry this near is as good as past: the work that the token is for must fit in.
REGISTRATION_MARGIN = 15 * 60
_RETRIES, _RETRY_PAUSE = 4, 0.05


@dataclass(frozen=True)
class Registration:
    """Who we are to a portal. `expires` in seconds since the epoch; registrations live 90 days."""

    client_id: str
    client_secret: str = field(repr=False)
    expires: float
    scopes: tuple[str, ...] = ()
    grant_types: tuple[str, ...] = ()

    def serves(self, grant: str, now: float) -> bool:
        """Whether it can be used for a grant. One that names none was made for devices."""
        return now < self.expires - REGISTRATION_MARGIN and grant in (
            self.grant_types or (DEVICE_GRANT,)
        )


@dataclass(frozen=True)
class Token:
    """What a login brought. `refresh_token` is "" where the portal gave none."""

    start_url: str
    region: str
    access_token: str = field(repr=False)
    expires: float
    registration: Registration
    refresh_token: str = field(default="", repr=False)

    def refreshable(self, now: float) -> bool:
        return bool(self.refresh_token) and now < self.registration.expires


class SsoFiles:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def token_path(self, session: SsoSession) -> Path:
        return self.folder / session.token_file

    def token(self, session: SsoSession) -> Token | None:
        """The session's token, as read_token has it."""
        return read_token(self.token_path(session))

    def keep_token(self, session: SsoSession, token: Token) -> None:
        """Raises UnwritableSsoCache."""
        document = {
            "startUrl": token.start_url,
            "region": token.region,
            "accessToken": token.access_token,
            "expiresAt": _written(token.expires),
            "clientId": token.registration.client_id,
            "clientSecret": token.registration.client_secret,
            "registrationExpiresAt": _written(token.registration.expires),
        }
        if token.refresh_token:
            document["refreshToken"] = token.refresh_token
        self._write(self.token_path(session), document)

    def check_writable(self, session: SsoSession) -> None:
        """A refresh token may be good for one time: what comes of it must be kept.

        Raises UnwritableSsoCache.
        """
        if error := problem_of(self.folder):
            raise _unwritable(self.token_path(session), error)

    def drop_token(self, session: SsoSession) -> bool:
        """Whether there was one. Raises UnwritableSsoCache."""
        path = self.token_path(session)
        try:
            with open_folder(self.folder) as folder:
                folder.remove(path.name)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unwritable(path, error) from None
        return True

    def registration(self, session: SsoSession, grant: str, now: float) -> Registration | None:
        """A registration of ours, or of the AWS CLI, that serves for the grant."""
        for path in (self._registration_path(session, grant), self._registration_path(session)):
            found = _read(path)
            try:
                registration = Registration(
                    client_id=_text(found["clientId"]),
                    client_secret=_text(found["clientSecret"]),
                    expires=_moment(found["expiresAt"]),
                    scopes=tuple(found.get("scopes") or ()),
                    grant_types=tuple(found.get("grantTypes") or ()),
                )
            except (KeyError, ValueError, TypeError):
                continue
            if registration.serves(grant, now):
                return registration
        return None

    def keep_registration(
        self, session: SsoSession, grant: str, registration: Registration
    ) -> None:
        """Kept under a name of ours: the AWS CLI's may be for a grant that ours is not for.

        Raises UnwritableSsoCache.
        """
        document: dict[str, Any] = {
            "clientId": registration.client_id,
            "clientSecret": registration.client_secret,
            "expiresAt": _written(registration.expires),
            "grantTypes": registration.grant_types,
        }
        if registration.scopes:
            document["scopes"] = registration.scopes
        self._write(self._registration_path(session, grant), document)

    def _registration_path(self, session: SsoSession, grant: str = "") -> Path:
        """Without a grant, the AWS CLI's own (SSOTokenFetcher._registration_cache_key)."""
        parts: dict[str, Any] = {
            "tool": "botocore",
            "startUrl": session.start_url,
            "region": session.region,
            "scopes": list(session.scopes) or None,
            "session_name": session.name or None,
        }
        if grant:
            parts |= {"tool": "ecr-py", "grant": grant}
        name = json.dumps(parts, sort_keys=True).encode()
        from hashlib import sha1  # brings OpenSSL, for which the daemon has no use

        return self.folder / f"{sha1(name, usedforsecurity=False).hexdigest()}.json"

    def _write(self, path: Path, document: Mapping[str, Any]) -> None:
        try:
            make_private_folder(self.folder)
            # Written by root, it is still the token of the user whose home this is.
            write_whole(path, json.dumps(document).encode(), for_owner_of_folder=True)
        except OSError as error:
            raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> UnwritableSsoCache:
    hint = f"remove {path}" if os.path.isdir(path) else advice(error, path.parent)[1]
    return UnwritableSsoCache(f"{path} cannot be written: {error.strerror}", hint=hint)


def read_token(path: Path, *, retries: int = _RETRIES) -> Token | None:
    """The token in a file, live or not; None where there is none that can be read.

    botocore writes in place: what is not whole yet is looked at again.
    """
    found = _read(path)
    for _ in range(retries):
        if found or not os.path.isfile(path):
            break
        time.sleep(_RETRY_PAUSE)
        found = _read(path)
    try:
        return Token(
            start_url=str(found["startUrl"]),
            region=str(found["region"]),
            access_token=_text(found["accessToken"]),
            expires=_moment(found["expiresAt"]),
            registration=Registration(
                client_id=str(found.get("clientId", "")),
                client_secret=str(found.get("clientSecret", "")),
                expires=_moment(found.get("registrationExpiresAt", "1970-01-01T00:00:00Z")),
            ),
            refresh_token=str(found.get("refreshToken", "")),
        )
    except (KeyError, ValueError, TypeError):
        return None


def _read(path: Path) -> dict[str, Any]:
    """A JSON object in a file, or an empty one. A FIFO does not make us wait."""
    try:
        with open(path, "rb", opener=without_waiting) as reader:
            found = json.loads(reader.read(LARGEST_FILE))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    return value


def _moment(written: object) -> float:
    """Seconds since the epoch of an ISO 8601 time; older CLIs wrote `UTC` for `Z`."""
    moment = datetime.fromisoformat(_text(written).replace("UTC", "Z"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _written(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
