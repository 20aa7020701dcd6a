"""Reads the user's config.toml and checks every key."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from docker_credential_ecr_py.atomic_file import BYTE_ORDER_MARK
from docker_credential_ecr_py.config.docker_config import OURSELVES
from docker_credential_ecr_py.config.text_file import read_text
from docker_credential_ecr_py.errors import BadServerURL, NotEcr, SettingsError, UnknownRegion
from docker_credential_ecr_py.redact import redact
from docker_credential_ecr_py.registry import (
    Registry,
    RegistryRequest,
    host_of,
    is_key_of_another,
    may_name_registries,
)

# Not the name of a helper: the logins are sealed by this package.
KEYRING = "keyring"

CHOICES = {
    "prefer": ("environment", "account"),
    "store": ("file", "keyring", "memory", "none"),
    "login": ("auto", "never"),
    "notify": ("auto", "never"),
}
_DEFAULTS = (*CHOICES, "login_timeout", "fallback")
# Seconds that the user may have to log in.
LOGIN_TIMEOUT = range(10, 3601)
REGISTRY = ("profile", "alias")
# Under [forward]: see docs/remote.md.
FORWARD = ("registries", "uids")
EVERY_REGISTRY = "*"
_LARGEST_UID = 2**32 - 2
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_GLOB = re.compile(r"[a-z0-9.*?\[\]!_-]+")


@dataclass(frozen=True)
class Settings:
    """The settings. `profiles` and `aliases` are keyed by host or glob, in the file's order.

    `fallback` is the name of another helper, as docker's config has it, KEYRING, or "".
    `login_timeout` is how long the user has to log in, in seconds. `forward` has the hosts and
    globs of the registries that the daemon answers other machines for, and `forward_uids` the users
    besides this one who may ask in containers.
    """

    prefer: str = "environment"
    store: str = "file"
    login: str = "auto"
    notify: str = "auto"
    login_timeout: int = 300
    fallback: str = ""
    profiles: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    forward: tuple[str, ...] = ()
    forward_uids: tuple[int, ...] = ()
    source: str = "config.toml"

    def registry_for(self, host: str) -> Registry:
        """Return the registry of a host, or of the alias that it is. Raises NotEcr."""
        return Registry.of_host(self.aliases.get(host, host))

    def request_for(self, server_url: str) -> RegistryRequest:
        """Return the registry that a client names.

        Raises NotEcr, also for a key of another helper that is no server URL; WrongPartition, and
        BadServerURL.
        """
        try:
            host = host_of(server_url)
            return RegistryRequest(host, self.registry_for(host))
        except BadServerURL:
            if not is_key_of_another(server_url):
                raise
            named = redact(server_url)[:80]
        except UnknownRegion:
            named = host
        raise NotEcr(f"{named} is not an Amazon ECR registry")

    def is_ecr(self, host: str) -> bool:
        """Whether a host is an ECR registry, or an alias of one."""
        try:
            self.registry_for(host)
        except NotEcr:
            return False
        return True

    def forwards(self, request: RegistryRequest) -> bool:
        """Whether the daemon may answer other machines for a registry."""
        hosts = (request.host, request.registry.host)
        return any(fnmatchcase(host, glob) for host in hosts for glob in self.forward)

    def profile_for(self, *hosts: str) -> tuple[str, str]:
        """Return the glob that fits one of the hosts best, and its profile; else ("", "").

        The host itself fits best, then the glob with the most characters besides wildcards.
        """
        fitting = [glob for glob in self.profiles if any(fnmatchcase(host, glob) for host in hosts)]
        if not fitting:
            return "", ""
        best = max(fitting, key=lambda glob: (glob in hosts, _literal_characters(glob)))
        return best, self.profiles[best]


def may_be_used(host: str, settings: Settings) -> bool:
    """Return whether a client's host can match the host or glob of an entry."""
    if any(fnmatchcase(alias, host) for alias in settings.aliases):
        return True
    if _literal_characters(host) == len(host):
        return settings.is_ecr(host)
    return may_name_registries(host)


def defaults() -> dict[str, Any]:
    """Return each key that is allowed under [defaults], with its default."""
    return {key: getattr(Settings, key) for key in _DEFAULTS}


def load_settings(path: Path) -> Settings:
    """Return the settings in a file; the defaults if it is absent. Raises SettingsError."""
    text = read_text(path, SettingsError)
    return Settings() if text is None else parse_settings(text, str(path))


def parse_settings(text: str, name: str) -> Settings:
    """Return the settings in a TOML document called `name`. Raises SettingsError."""
    try:
        document = tomllib.loads(text.removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{name} is not TOML: {error}") from None
    return _Reader(text, name).settings(document)


class _Reader:
    """Checks a document, and says in which line a mistake is."""

    def __init__(self, text: str, name: str) -> None:
        self.lines = text.splitlines()
        self.name = name

    def settings(self, document: dict[str, Any]) -> Settings:
        self._known(document, ("defaults", "registries", "forward"), "")
        defaults = self._table(document, "defaults")
        self._known(defaults, _DEFAULTS, "defaults")
        timeout = self._seconds(defaults)
        values = {
            key: self._text(defaults, key, "defaults") for key in defaults if key != "login_timeout"
        }
        for key, choices in CHOICES.items():
            if values.get(key, choices[0]) not in choices:
                raise self._wrong(
                    key, f"{values[key]!r} is not one of {_listed(choices)}", "defaults"
                )
        fallback = values.get("fallback", "").removeprefix("docker-credential-")
        if fallback == OURSELVES:
            raise self._wrong("fallback", "ecr-py cannot be its own fallback", "defaults")
        if fallback and not _HELPER_NAME.fullmatch(fallback):
            raise self._wrong(
                "fallback", f"{fallback!r} is not the name of a credential helper", "defaults"
            )
        profiles, aliases = {}, {}
        for host, table in self._table(document, "registries").items():
            glob = host.lower()
            if not _GLOB.fullmatch(glob):
                raise self._wrong(host, f"{host!r} is not a registry host or a glob of hosts")
            if glob in profiles or glob in aliases:
                raise self._wrong(host, "is given twice")
            if not isinstance(table, dict):
                raise self._wrong(
                    host, 'must be written [registries."HOST"], with profile or alias under it'
                )
            self._known(table, REGISTRY, host)
            if "profile" in table:
                profiles[glob] = self._text(table, "profile", host)
            if "alias" in table:
                aliases[glob] = self._alias(glob, self._text(table, "alias", host))
        values["fallback"] = fallback
        forward, uids = self._forward(self._table(document, "forward"))
        return Settings(
            **values,
            login_timeout=timeout,
            profiles=profiles,
            aliases=aliases,
            forward=forward,
            forward_uids=uids,
            source=self.name,
        )

    def _forward(self, table: dict[str, Any]) -> tuple[tuple[str, ...], tuple[int, ...]]:
        self._known(table, FORWARD, "forward")
        globs, uids = table.get("registries", []), table.get("uids", [])
        if not isinstance(globs, list) or not all(
            isinstance(glob, str) and _GLOB.fullmatch(glob.lower()) for glob in globs
        ):
            what = "must be a list of registry hosts or globs of hosts, in quotes"
            raise self._wrong("registries", what, "forward")
        if not isinstance(uids, list) or not all(
            type(uid) is int and 0 <= uid <= _LARGEST_UID for uid in uids
        ):
            raise self._wrong("uids", "must be a list of user IDs", "forward")
        return tuple(glob.lower() for glob in globs), tuple(uids)

    def _alias(self, host: str, target: str) -> str:
        if _literal_characters(host) != len(host):
            raise self._wrong("alias", f"{host!r} is a glob; an alias must be one host", host)
        try:
            return Registry.of_host(host_of(target)).host
        except (NotEcr, BadServerURL) as error:
            raise self._wrong("alias", error.what, host) from None

    def _table(self, parent: dict[str, Any], key: str) -> dict[str, Any]:
        table = parent.get(key, {})
        if not isinstance(table, dict):
            raise self._wrong(key, f"must be a table, written [{key}]")
        return dict(table)

    def _text(self, table: dict[str, Any], key: str, where: str) -> str:
        value = table[key]
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(key, f"under [{where}] must be a string in quotes", where)
        return str(value)

    def _seconds(self, defaults: dict[str, Any]) -> int:
        value = defaults.get("login_timeout", Settings.login_timeout)
        if type(value) is not int or value not in LOGIN_TIMEOUT:
            allowed = f"{LOGIN_TIMEOUT.start} to {LOGIN_TIMEOUT.stop - 1}"
            raise self._wrong(
                "login_timeout", f"must be a number of seconds, {allowed}", "defaults"
            )
        return value

    def _known(self, table: dict[str, Any], allowed: Iterable[str], where: str) -> None:
        for key in table:
            if key not in allowed:
                belongs = "; it belongs under [defaults]" if key in _DEFAULTS else ""
                place = f"under [{where}]" if where else "at the top"
                raise self._wrong(
                    key, f"is unknown {place}; allowed: {_listed(allowed)}{belongs}", where
                )

    def _wrong(self, key: str, what: str, table: str = "") -> SettingsError:
        line = self._line(key, table)
        at = f", line {line}" if line else ""
        return SettingsError(f"{self.name}{at}: {key}: {what}")

    def _line(self, key: str, table: str) -> int:
        """Return the line of a key under a table's heading, or of the heading; 0 if unknown."""
        named = re.compile(rf"""\s*(\[.*)?["']?{re.escape(key)}["']?\s*(=|\.|\])""")
        inside = not table
        for number, text in enumerate(self.lines, 1):
            if text.lstrip().startswith("["):
                inside = not table or table in text
            if inside and named.match(text):
                return number
        return 0


def _literal_characters(glob: str) -> int:
    return len(re.sub(r"\[[^]]*\]|[*?]", "", glob))


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)
