"""The token files under ~/.aws/sso/cache, shared with the AWS CLI and botocore.

Names, fields and permissions are the same, so a login by one is a login for all. A file that
cannot be read as a token counts as missing; a login replaces it.
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
from docker_credential_ecr_py.store.writable import advice, nearest_folder, problem_of

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
LARGEST_FILE = 256 * 1024
# Seconds. A registration that expires sooner is not used: a login must fit in.
REGISTRATION_MARGIN = 15 * 60
_RETRIES, _RETRY_PAUSE = 4, 0.05


@dataclass(frozen=True)
class Registration:
    """This client's registration at a portal, for 90 days. `expires` in seconds since the epoch."""

    client_id: str
    client_secret: str = field(repr=False)
    expires: float
    scopes: tuple[str, ...] = ()
    grant_types: tuple[str, ...] = ()

    def serves(self, grant: str, now: float) -> bool:
        """Whether it can be used for a grant. One without any is for devices."""
        return now < self.expires - REGISTRATION_MARGIN and grant in (
            self.grant_types or (DEVICE_GRANT,)
        )


@dataclass(frozen=True)
class Token:
    """An SSO token. `refresh_token` is "" if the portal gave none."""

    start_url: str
    region: str
    access_token: str = field(repr=False)
    expires: float
    registration: Registration
    refresh_token: str = field(default="", repr=False)

    def refreshable(self, now: float) -> bool:
        return bool(self.refresh_token) and now < self.registration.expires


class SsoFiles:
    """The tokens and registrations in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def token_path(self, session: SsoSession) -> Path:
        return self.folder / session.token_file

    def token(self, session: SsoSession) -> Token | None:
        """Return the session's token, as read_token."""
        return read_token(self.token_path(session))

    def keep_token(self, session: SsoSession, token: Token) -> None:
        """Write the session's token file. Raises UnwritableSsoCache."""
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
        """Raise UnwritableSsoCache if no token can be stored.

        To be called before a login, which would be in vain, and before a refresh: a refresh token
        may work only once, and the new token would be lost.
        """
        if error := problem_of(nearest_folder(self.folder)):
            raise _unwritable(self.token_path(session), error)

    def drop_token(self, session: SsoSession) -> bool:
        """Remove the session's token file. Return whether there was one.

        Raises UnwritableSsoCache.
        """
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
        """Return a stored registration for the grant, ours or the AWS CLI's, or None."""
        for path in (self._registration_path(session, grant), self._registration_path(session)):
            document = _read(path)
            try:
                registration = Registration(
                    client_id=_text(document["clientId"]),
                    client_secret=_text(document["clientSecret"]),
                    expires=_moment(document["expiresAt"]),
                    scopes=tuple(document.get("scopes") or ()),
                    grant_types=tuple(document.get("grantTypes") or ()),
                )
            except (KeyError, ValueError, TypeError):
                continue
            if registration.serves(grant, now):
                return registration
        return None

    def keep_registration(
        self, session: SsoSession, grant: str, registration: Registration
    ) -> None:
        """Store a registration, under another name than the AWS CLI's: the grants may differ.

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
        """Return the file of our registration for a grant; without, that of the AWS CLI.

        The name is botocore's (SSOTokenFetcher._registration_cache_key).
        """
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
        from hashlib import sha1  # loads OpenSSL, which the daemon does not need

        return self.folder / f"{sha1(name, usedforsecurity=False).hexdigest()}.json"

    def _write(self, path: Path, document: Mapping[str, Any]) -> None:
        try:
            make_private_folder(self.folder)
            # If root writes it, it still belongs to the user whose home this is.
            write_whole(path, json.dumps(document).encode(), for_owner_of_folder=True)
        except OSError as error:
            raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> UnwritableSsoCache:
    hint = f"remove {path}" if os.path.isdir(path) else advice(error, path.parent)[1]
    return UnwritableSsoCache(f"{path} cannot be written: {error.strerror}", hint=hint)


def read_token(path: Path, *, retries: int = _RETRIES) -> Token | None:
    """Return the token in a file, live or not; None if there is none that can be read.

    botocore writes in place, so a file that is incomplete is read again.
    """
    document = _read(path)
    for _ in range(retries):
        if document or not os.path.isfile(path):
            break
        time.sleep(_RETRY_PAUSE)
        document = _read(path)
    try:
        return Token(
            start_url=str(document["startUrl"]),
            region=str(document["region"]),
            access_token=_text(document["accessToken"]),
            expires=_moment(document["expiresAt"]),
            registration=Registration(
                client_id=str(document.get("clientId", "")),
                client_secret=str(document.get("clientSecret", "")),
                expires=_moment(document.get("registrationExpiresAt", "1970-01-01T00:00:00Z")),
            ),
            refresh_token=str(document.get("refreshToken", "")),
        )
    except (KeyError, ValueError, TypeError):
        return None


def _read(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, or {}. A FIFO does not make us wait."""
    try:
        with open(path, "rb", opener=without_waiting) as reader:
            document = json.loads(reader.read(LARGEST_FILE))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    return value


def _moment(written: object) -> float:
    """Parse an ISO 8601 time to seconds since the epoch; older CLIs wrote `UTC` for `Z`."""
    moment = datetime.fromisoformat(_text(written).replace("UTC", "Z"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _written(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
