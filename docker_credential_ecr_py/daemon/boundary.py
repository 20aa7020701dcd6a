"""Limits what a client of the socket may decide. docs/security.md has the table.

A client may be a container or a sandbox that the user does not fully trust. So the context that it
sends (record.context) is only compared with the daemon's own: workers run in the daemon's
environment, and a context adds at most the name of a profile that the daemon's own AWS config has.
Paths are looked at only if they are the daemon's own.
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.config.aws_config import load_aws_config
from docker_credential_ecr_py.errors import AwsConfigError
from docker_credential_ecr_py.log import log
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
_TOKEN_FILE = re.compile(rb"[0-9a-f]{40}\.json")
# Bytes. An AWS config with thousands of profiles is much smaller.
_LARGEST_CONFIG = 4 * 1024 * 1024


class Boundary:
    """Compares contexts and paths from clients with the daemon's own.

    `environ` is the daemon's own environment; `root` is its cache folder, or None.

    `own_environment` is that of a worker that acts for no client: the daemon's without access keys.
    `own_context` is the context of it.
    """

    def __init__(self, environ: Mapping[str, str], root: bytes | None) -> None:
        self._root = root
        self._base = _without_secrets(environ)
        named = {name: environ[name] for name in map(os.fsdecode, _PROFILE) if name in environ}
        self.own_environment: Mapping[str, str] = self._base | named
        self._context = record.context(paths.as_bytes(self._base))
        self.own_context = record.context(paths.as_bytes(self.own_environment))
        self._config_file = paths.aws_config_file(environ)
        self._credentials_file = paths.aws_credentials_file(environ)
        files = (paths.settings_file(environ), self._config_file, self._credentials_file)
        self._files = {os.fsencode(file.absolute()) for file in files}
        self._token_folder = os.fsencode(paths.sso_cache_folder())
        self._profiles: frozenset[str] = frozenset()
        self._config_stamps: tuple[bytes, ...] = ()

    def environment(self, context: bytes) -> dict[str, str] | None:
        """Return the environment of a worker that acts for a client with this context.

        None if the context differs from the daemon's own in more than the profile, or names a
        profile that the daemon's AWS config does not have.
        """
        environ = dict(self._base)
        for line in _profiles_in(context):
            name, _, value = line.partition(b"=")
            profile = environ[os.fsdecode(name)] = os.fsdecode(value)
            if profile and not self.has_profile(profile):
                return None
        # The worker stores the selection under its own context, which must be the client's.
        return environ if record.context(paths.as_bytes(environ)) == context else None

    def differing(self, context: bytes) -> list[str]:
        """Return the variables for which `environment` is None, to be shown to the user.

        "?" stands for a variable that is not one of record.CONTEXT.
        """
        if self.environment(context) is not None:
            return []
        lines = [line for line in _lines(context) if not self._is_known_profile(line)]
        names = {_name(line) for line in {*lines} ^ {*_lines(self._context)}}
        known = {*record.CONTEXT, *record.SECRETS}
        return sorted({os.fsdecode(name) if name in known else "?" for name in names or {b"?"}})

    def renews(self, key: str, context: bytes) -> bool:
        """Whether the daemon renews the credential `key` of a selection made in a context.

        Not if it came from `docker login`, or the context is another environment's.
        """
        came_from_aws = bool(key) and not key.startswith("login-")
        return came_from_aws and self.environment(context) is not None

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
        return name in self._known_profiles()

    def _is_known_profile(self, line: bytes) -> bool:
        profile = os.fsdecode(line.partition(b"=")[2])
        return bool(_profiles_in(line)) and (not profile or self.has_profile(profile))

    def _known_profiles(self) -> frozenset[str]:
        """Return the profiles in the daemon's own AWS config, read again if a file has changed.

        An empty set if the config cannot be read.
        """
        files = (self._config_file, self._credentials_file)
        stamps = tuple(record.stamp(os.fsencode(file)) for file in files)
        if stamps != self._config_stamps:
            self._config_stamps = stamps
            self._profiles = frozenset()
            try:
                if all(map(_can_be_read_at_once, files)):
                    self._profiles = frozenset(load_aws_config(*files).profiles)
            except AwsConfigError as error:
                log.warning("%s", error)
        return self._profiles


def _without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without access keys and profile; with the token of a container."""
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


def _can_be_read_at_once(file: Path) -> bool:
    """Whether a file is absent, or a regular file of a reasonable size."""
    try:
        status = file.stat()
    except OSError:
        return True
    return stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST_CONFIG
