"""What a client of the socket may decide. docs/security.md has the table.

The socket may be in the hands of a container or a sandbox that its user trusts less than
themselves. So the environment that a client says it has (its context, as record.context has it) is
compared with the daemon's own and goes no further: workers run in the daemon's environment, and a
context adds at most the name of a profile that the daemon's own AWS config has. Paths are looked
at only if they are the daemon's own, and a login is only for a session of that AWS config.
"""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.config.aws_config import AwsConfig, load_aws_config
from docker_credential_ecr_py.config.settings import LOGIN_TIMEOUT
from docker_credential_ecr_py.errors import AwsConfigError
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.selection import SsoSession, sso_sessions
from docker_credential_ecr_py.store import record

_PROFILE = (b"AWS_PROFILE", b"AWS_DEFAULT_PROFILE")
_CONTAINER_TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105
_CONTAINER_ADDRESS = (
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_NOT_FOR_WORKERS = {
    *map(os.fsdecode, (*_PROFILE, *record.SECRETS)),
    "AWS_ACCESS_KEY_ID",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
}
# The part of a context that decides where a login leads to and where its token is kept.
_DECIDES_LOGIN = (
    b"HOME",
    b"AWS_CONFIG_FILE",
    b"AWS_SHARED_CREDENTIALS_FILE",
    b"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    b"AWS_ENDPOINT_URL",
    b"AWS_ENDPOINT_URL_SSO",
    b"AWS_ENDPOINT_URL_SSO_OIDC",
)
_TOKEN_FILE = re.compile(rb"[0-9a-f]{40}\.json")
# Much more than an AWS config of thousands of profiles has.
_LARGEST_CONFIG = 4 * 1024 * 1024


@dataclass(frozen=True)
class LoginOrder:
    """A login that a client asks for: a session of the daemon's own AWS config.

    `limit` is how many seconds the person has.
    """

    session: SsoSession
    device: bool
    browser: bool
    limit: float


class Boundary:
    """`environ` is the daemon's own environment; `root` is its cache folder, or None.

    `own_environment` is that of a worker that acts for no client: the daemon's without access keys.
    """

    def __init__(self, environ: Mapping[str, str], root: bytes | None) -> None:
        self._root = root
        self._base = _without_secrets(environ)
        named = {name: environ[name] for name in map(os.fsdecode, _PROFILE) if name in environ}
        self.own_environment: Mapping[str, str] = self._base | named
        self._context = record.context(paths.as_bytes(self._base))
        self._config_file = paths.aws_config_file(environ)
        self._credentials_file = paths.aws_credentials_file(environ)
        files = (paths.settings_file(environ), self._config_file, self._credentials_file)
        self._files = {os.fsencode(file.absolute()) for file in files}
        self._token_folder = os.fsencode(paths.sso_cache_folder())
        self._config = AwsConfig()
        self._config_stamps: tuple[bytes, ...] = ()

    def environment(self, context: bytes) -> dict[str, str] | None:
        """The environment of a worker that acts for a client with this context.

        None if the context differs from the daemon's own in more than the profile, or names a
        profile that the daemon's AWS config does not have.
        """
        environ = dict(self._base)
        for line in _profiles_in(context):
            name, _, value = line.partition(b"=")
            profile = environ[os.fsdecode(name)] = os.fsdecode(value)
            if profile and not self.has_profile(profile):
                return None
        # The worker keeps what it fetches under its own context: it has to be the same.
        return environ if record.context(paths.as_bytes(environ)) == context else None

    def differing(self, context: bytes) -> list[str]:
        """The variables of a context for which `environment` is None, for people.

        Names of those that decide who asks; "?" stands for any other.
        """
        if self.environment(context) is not None:
            return []
        lines = [line for line in _lines(context) if not self._is_known_profile(line)]
        names = {_name(line) for line in {*lines} ^ {*_lines(self._context)}}
        known = {*record.CONTEXT, *record.SECRETS}
        return sorted({os.fsdecode(name) if name in known else "?" for name in names or {b"?"}})

    def renews(self, key: str, context: bytes) -> bool:
        """Whether the daemon renews the credential `key` of a selection made in a context.

        Not what `docker login` gave, nor for another environment than its own.
        """
        asked_aws = bool(key) and not key.startswith("login-")
        return asked_aws and self.environment(context) is not None

    def owns(self, path: bytes) -> bool:
        """Whether a path from a record is one that the daemon itself would look at."""
        folder, _, name = path.rpartition(b"/")
        if folder == self._token_folder:
            return bool(_TOKEN_FILE.fullmatch(name))
        if self._root is not None and folder == self._root + b"/credentials":
            return bool(name) and record.is_key(name)
        return path in self._files

    def has_profile(self, name: str) -> bool:
        """Whether the daemon's own AWS config has a profile of this name."""
        return name in self._aws().profiles

    def login(self, context: bytes, told: Any) -> LoginOrder | None:
        """The login that a client asks for, checked; None if it is not the daemon's to do.

        `told` is what SharedLogin sends. Raises KeyError, TypeError and ValueError if it is not
        of that shape.
        """
        wanted = tuple(told["session"][key] for key in ("name", "start_url", "region"))
        device, browser, limit = told["device"], told["browser"], told["limit"]
        if not (isinstance(device, bool) and isinstance(browser, bool)):
            raise TypeError("device and browser are true or false")
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            raise TypeError("limit is a number")
        if not LOGIN_TIMEOUT[0] <= limit <= LOGIN_TIMEOUT[-1]:  # not NaN either
            raise ValueError("limit is out of bounds")
        if _deciding_login(context) != _deciding_login(self._context):
            return None
        for session in sso_sessions(self._aws()):
            if (session.name, session.start_url, session.region) == wanted:
                return LoginOrder(session, device, browser, float(limit))
        return None

    def _is_known_profile(self, line: bytes) -> bool:
        profile = os.fsdecode(line.partition(b"=")[2])
        return bool(_profiles_in(line)) and (not profile or self.has_profile(profile))

    def _aws(self) -> AwsConfig:
        """The daemon's own AWS config, read again if a file has changed; empty if unreadable."""
        files = (self._config_file, self._credentials_file)
        stamps = tuple(record.stamp(os.fsencode(file)) for file in files)
        if stamps != self._config_stamps:
            self._config_stamps = stamps
            self._config = AwsConfig()
            try:
                if all(map(_can_be_read_at_once, files)):
                    self._config = _names_only(load_aws_config(*files))
            except AwsConfigError as error:
                log.warning("%s", error)
        return self._config


def _without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """For workers: no access keys, and no profile. Container credentials need their token."""
    unwanted = set(_NOT_FOR_WORKERS)
    if not any(environ.get(name) for name in _CONTAINER_ADDRESS):
        unwanted.add(_CONTAINER_TOKEN)
    return {name: value for name, value in environ.items() if name not in unwanted}


def _lines(context: bytes) -> list[bytes]:
    return context.split(b"\n") if context else []


def _name(line: bytes) -> bytes:
    return line.partition(b"=")[0]


def _profiles_in(context: bytes) -> list[bytes]:
    return [line for line in _lines(context) if b"=" in line and _name(line) in _PROFILE]


def _deciding_login(context: bytes) -> list[bytes]:
    return [line for line in _lines(context) if _name(line) in _DECIDES_LOGIN]


def _can_be_read_at_once(file: Path) -> bool:
    """Absent, or a regular file that is no larger than a config may be."""
    try:
        found = file.stat()
    except OSError:
        return True
    return stat.S_ISREG(found.st_mode) and found.st_size <= _LARGEST_CONFIG


def _names_only(aws: AwsConfig) -> AwsConfig:
    """Without what the profiles say, save their SSO sessions: the daemon is to stay small."""
    wanted = ("sso_session", "sso_start_url", "sso_region")
    profiles = {
        name: {key: values[key] for key in wanted if key in values}
        for name, values in aws.profiles.items()
    }
    return AwsConfig(profiles, aws.sso_sessions)
