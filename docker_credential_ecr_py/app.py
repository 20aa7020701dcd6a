"""Builds the parts that a process works with: settings, AWS config, store, sessions, broker."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from docker_credential_ecr_py.aws.ec2 import on_ec2
from docker_credential_ecr_py.broker import Broker, Choice, token_file
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.config.aws_config import AwsConfig, load_aws_config
from docker_credential_ecr_py.config.docker_config import DockerConfig, load_docker_config
from docker_credential_ecr_py.config.docker_plan import host_of_auth
from docker_credential_ecr_py.config.settings import CHOICES, Settings, load_settings
from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.environment import as_given
from docker_credential_ecr_py.errors import (
    AwsConfigError,
    DockerConfigError,
    EcrPyError,
    SettingsError,
)
from docker_credential_ecr_py.identity_call import Ask, IdentityCall
from docker_credential_ecr_py.known_registries import known_registries
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.registry import Registry, RegistryRequest
from docker_credential_ecr_py.selection import Selection, SsoSession, select
from docker_credential_ecr_py.sso.prompt import PlainScreen, Screen
from docker_credential_ecr_py.sso.sessions import Sessions
from docker_credential_ecr_py.sso.token_cache import SsoFiles
from docker_credential_ecr_py.sso.user import Browser, User
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.file_backend import FileBackend, FileStore
from docker_credential_ecr_py.store.memory_backend import MemoryStore
from docker_credential_ecr_py.store.record_store import stamps_of
from docker_credential_ecr_py.store.store import NoStore, Store
from docker_credential_ecr_py.tunnel import Tunnel

if TYPE_CHECKING:
    from docker_credential_ecr_py.other_registries import SealedLogins
    from docker_credential_ecr_py.sso.login import Login

_T = TypeVar("_T")


def fetch_from_aws(registry: Registry, selection: Selection, mfa_code: str) -> Credential:
    """As aws.ecr.fetch, which is imported only when AWS is called."""
    from docker_credential_ecr_py.aws.ecr import fetch

    return fetch(registry, selection, mfa_code)


class App:
    """The parts that a helper, a command or a worker needs, each made when it is first used.

    Each file is read once. It holds no rules of its own: selection.py chooses the identity, and the
    broker decides what is answered from the store and what is fetched. A `profile` is used instead
    of the rules. `screen` makes what a login that is needed on the way is shown on. `fetch` and
    `clock` are for tests.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        profile: str = "",
        may_log_in: bool = True,
        screen: Callable[[], Screen] = PlainScreen,
        fetch: Ask[Credential] = fetch_from_aws,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.environ = as_given() if environ is None else environ
        self._profile = profile
        self._may_log_in = may_log_in
        self._screen = screen
        self._fetch = fetch
        self._clock = clock

    def with_profile(self, profile: str) -> "App":
        """Return an App for a profile that the user named ("": the rules choose)."""
        if profile == self._profile:
            return self
        other = copy(self)
        other._profile = profile
        # Of what may have been built already, the broker alone depends on the profile.
        other.__dict__.pop("broker", None)
        return other

    @cached_property
    def settings(self) -> Settings:
        """Raises SettingsError."""
        return load_settings(paths.settings_file(self.environ))

    @property
    def aws_config(self) -> AwsConfig:
        """Raises AwsConfigError."""
        return self._aws_files.config

    @cached_property
    def store(self) -> Store:
        """The store that the settings name. It changes nothing before the first write."""
        if self.environ.get("AWS_ECR_DISABLE_CACHE"):
            return NoStore()
        root, environ = paths.cache_folder(), paths.as_bytes(self.environ)
        if why := paths.why_root_keeps_nothing():
            log.info("%s", why)
        match self.settings.store:
            case "memory":
                return MemoryStore(environ, FileBackend(root) if root else None)
            case "none" if root is not None:
                return NoStore(FileBackend(root))
            case "keyring" if root is not None:
                from docker_credential_ecr_py.store.sealed_backend import SealedStore

                return SealedStore(root, environ, self._tell_user)
            case "file" if root is not None:
                return FileStore(root, environ)
        return NoStore()

    @cached_property
    def logins(self) -> "SealedLogins":
        """The logins at other registries, for `fallback = "keyring"`."""
        from docker_credential_ecr_py.other_registries import SealedLogins
        from docker_credential_ecr_py.store.seal import Seal

        root = paths.cache_folder()
        return SealedLogins(paths.logins_folder(), Seal(root and root / "locks"))

    @cached_property
    def user(self) -> User:
        """Raises SettingsError."""
        wanted = self.environ.get("ECR_PY_LOGIN") or self.settings.login
        if wanted not in CHOICES["login"]:
            allowed = ", ".join(CHOICES["login"])
            raise SettingsError(f"ECR_PY_LOGIN: {wanted!r} is not one of {allowed}")
        return User(self.environ, may_be_asked=self._may_log_in and wanted != "never")

    @cached_property
    def tunnel(self) -> Tunnel:
        """The tunnel to another machine's daemon, whether or not there is one."""
        return Tunnel(self.environ, self._tell_user)

    @cached_property
    def broker(self) -> Broker:
        return Broker(
            environ=self.environ,
            settings=self.settings,
            store=self.store,
            choose=self._choose,
            call=self._call,
            fetch=self._fetch,
            user_is_there=lambda: self.user.is_there,
            clock=self._clock,
            named_profile=bool(self._profile),
        )

    def select(self, server_url: str) -> Selection:
        """Return the selection for a registry; AWS is not called. Raises as Broker.get."""
        return self._choose(self.settings.request_for(server_url)).selection

    def credential_key(self, server_url: str) -> str:
        """Return the key of the credential for a registry: that of its identity in its region.

        Raises as select.
        """
        registry = self.settings.request_for(server_url).registry
        return self.broker.credential_key(registry, self.select(server_url))

    def usernames(self) -> dict[str, str]:
        """Return the URL and the username of each ECR registry that a `get` can answer for.

        Of those in the profiles, the settings, docker's config and the store; AWS is not called.
        Raises SettingsError.
        """
        aws, docker = AwsConfig(), DockerConfig()
        with suppress(AwsConfigError):
            aws = self.aws_config
        with suppress(DockerConfigError):  # the client may have another config
            docker = load_docker_config(paths.docker_config_file(self.environ))
        known = [one.host for one in known_registries(self.settings, aws)]
        in_docker = [*docker.ours, *filter(None, map(host_of_auth, docker.auths))]
        return self.broker.usernames([*known, *in_docker])

    def call_as_selected(self, server_url: str, ask: Ask[_T]) -> _T:
        """Return the result of `ask`, called as the identity that answers for a registry.

        The identity has a live session by then, and `ask` may be called again; see IdentityCall.
        Raises as Broker.get, and as `ask`.
        """
        request = self.settings.request_for(server_url)
        selection = self._choose(request).selection
        try:
            return self._call(request.registry, selection, ask)
        except EcrPyError as error:
            error.add_context(registry=request.host, profile=selection.profile)
            raise

    def sessions(self, *, may_log_in: bool = True) -> Sessions:
        """Return the sessions at IAM Identity Center."""
        return Sessions(
            SsoFiles(paths.sso_cache_folder()),
            paths.session_locks(),
            login=self._default_login if may_log_in else lambda: None,
            limit=self.settings.login_timeout,
            clock=self._clock,
            waits=lambda: self._tell_user("waiting for the login that another process started"),
        )

    def login(self, screen: Screen, browser: Browser | None, *, device: bool = False) -> "Login":
        """Return a login on `screen`, by `browser` or (None) with a code for any device."""
        from docker_credential_ecr_py.sso.login import Login

        return Login(screen, browser, self.settings.login_timeout, device)

    def log_out(self, session: SsoSession) -> list[str]:
        """Remove a session's token and its credentials, then end the session at the portal.

        Returns what was removed, as text for the user. Raises UnwritableSsoCache.
        """
        token_path = os.fsencode(paths.sso_cache_folder() / session.token_file)
        forgotten = self.store.forget_by_file(token_path)
        for _, key in forgotten:
            self.store.discard(key)
        hosts = sorted({host for host, _ in forgotten})
        sessions = self.sessions(may_log_in=False)
        dropped, token = sessions.drop(session)
        removed = ["the session"] * dropped + [f"the credential for {host}" for host in hosts]
        if token is not None:
            try:
                sessions.end(session, token)
            except EcrPyError as error:
                there = ", ".join(removed)
                error.what = (
                    f"removed {there}, but could not end the session at the portal: {error.what}"
                )
                raise
        return removed

    def unseal(self) -> None:
        """Give the daemon the sealed credentials, opened. Raises KeyringUnavailable."""
        from docker_credential_ecr_py.store.sealed_backend import SealedStore

        if isinstance(self.store, SealedStore):
            self.store.take_over_leftovers()
            self.store.open_all()

    @cached_property
    def _aws_files(self) -> "_AwsFiles":
        config_file = paths.aws_config_file(self.environ)
        credentials_file = paths.aws_credentials_file(self.environ)
        # Before they are read: a change in between then makes the selection stale, not wrong.
        stamps = stamps_of(config_file, credentials_file)
        return _AwsFiles(load_aws_config(config_file, credentials_file), stamps)

    @cached_property
    def _call(self) -> IdentityCall:
        return IdentityCall(
            lambda may_log_in: self.sessions(may_log_in=may_log_in),
            self.store,
            self.user,
            self.settings.login_timeout,
        )

    def _choose(self, request: RegistryRequest, profile: str | None = None) -> Choice:
        """Select the identity, with the files that this depends on. `profile` as Choose has it."""
        conditions = stamps_of(paths.settings_file(self.environ)) | dict(self._aws_files.stamps)
        selection = select(
            request.registry,
            request.host,
            self.settings,
            self.aws_config,
            self.environ,
            on_ec2=on_ec2(self.environ),
            profile=self._profile if profile is None else profile,
        )
        for step in selection.steps:
            log.debug("%s: %s: %s%s", request.host, step.rule, step.saw, " (won)" * step.won)
        if file := token_file(selection.identity):
            conditions[os.fsencode(file)] = record.PRESENT
        return Choice(selection, conditions)

    def _default_login(self) -> "Login | None":
        """Return the login to offer, or None if the user is not there."""
        if not self.user.is_there:
            return None
        return self.login(self._screen(), self.user.browser)

    def _tell_user(self, what: object) -> None:
        """Write it to the log and, if the user is there, to the terminal; never to stdout."""
        log.info("%s", what)
        if self.user.is_there:
            PlainScreen().say(str(what).removeprefix("ecr-py: "))


@dataclass(frozen=True)
class _AwsFiles:
    """The AWS config, and the stamps of its files."""

    config: AwsConfig
    stamps: Mapping[bytes, bytes]
