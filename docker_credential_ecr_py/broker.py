"""credential_for(registry): the one order of things. Store, select, lock, fetch, keep.

Every front asks here; nothing here knows who asks or how the answer is shown.
"""

import hashlib
import json
import os
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from docker_credential_ecr_py.aws.ec2 import on_ec2
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.config.aws_config import load_aws_config
from docker_credential_ecr_py.config.settings import CHOICES, Settings, load_settings
from docker_credential_ecr_py.credential import USERNAME, Credential
from docker_credential_ecr_py.environment import as_given
from docker_credential_ecr_py.errors import (
    AccessDenied,
    BadInput,
    CredentialsNotFound,
    EcrPyError,
    InvalidKeys,
    LoginNeeded,
    MfaCodeNeeded,
    NotEcr,
    NotKept,
    SettingsError,
    Unreachable,
    WrongPartition,
)
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.redact import redact
from docker_credential_ecr_py.registry import Registry, host_of
from docker_credential_ecr_py.selection import Selection, SsoSession, select
from docker_credential_ecr_py.sso.sessions import LoginMethod, Sessions
from docker_credential_ecr_py.sso.token_cache import SsoFiles
from docker_credential_ecr_py.sso.user import Browser, User
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.file_backend import FileBackend, FileStore
from docker_credential_ecr_py.store.lock import Lock
from docker_credential_ecr_py.store.memory_backend import MemoryStore
from docker_credential_ecr_py.store.store import NoStore, Store, StoredSelection

if TYPE_CHECKING:
    from docker_credential_ecr_py.other_registries import SealedLogins
    from docker_credential_ecr_py.sso.prompt import Screen

# Seconds. Whoever waits for a fetch gives it a little more than all that it may take: two tries
# and, between them, a login.
_LONGEST_FETCH = 70
# How long helpers renew nothing in the background that could not be kept, though all looked well.
_PAUSE_IF_NOT_KEPT = 1800
# The variables by which a selection hangs on a file.
_FILES = (
    "HOME",
    "ECR_PY_CONFIG",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
_WANT_OF_A_PERSON = (LoginNeeded, MfaCodeNeeded)
# AWS answered, and said no: what it handed out before is not answered instead.
_REFUSALS = (AccessDenied, InvalidKeys)
# Seconds in which AWS is not asked again after a failure, while a token is valid still.
_RETRY_PAUSE = 60

_T = TypeVar("_T")
# Asks AWS something for a registry as an identity, with the code of an MFA device or "".
Ask = Callable[[Registry, Selection, str], _T]
Fetch = Ask[Credential]


def fetch_from_aws(registry: Registry, selection: Selection, mfa_code: str) -> Credential:
    """As ecr.fetch, which is not imported before AWS has to be asked."""
    from docker_credential_ecr_py.aws.ecr import fetch

    return fetch(registry, selection, mfa_code)


@dataclass(frozen=True)
class RegistryRequest:
    """A registry as the client named it (`host`), and the one that it means."""

    host: str
    registry: Registry


class Broker:
    """With a `profile`, that one answers whatever the rules say."""

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        profile: str = "",
        fetch: Fetch = fetch_from_aws,
        clock: Callable[[], float] = time.time,
        may_log_in: bool = True,
    ) -> None:
        self._environ = as_given() if environ is None else environ
        self._ask = fetch
        self._clock = clock
        self._may_log_in = may_log_in
        self._profile = profile

    @cached_property
    def settings(self) -> Settings:
        """Raises SettingsError."""
        return load_settings(self._settings_file)

    @cached_property
    def store(self) -> Store:
        """What the settings name. It changes nothing before it is written to."""
        if self._environ.get("AWS_ECR_DISABLE_CACHE"):
            return NoStore()
        root, environ = paths.cache_folder(), paths.as_bytes(self._environ)
        if why := paths.why_root_keeps_nothing():
            log.info("%s", why)
        match self.settings.store:
            case "memory":
                return MemoryStore(environ, FileBackend(root) if root else None)
            case "none" if root is not None:
                return NoStore(FileBackend(root))
            case "keyring" if root is not None:
                from docker_credential_ecr_py.store.sealed_backend import SealedStore

                return SealedStore(root, environ, self._say)
            case "file" if root is not None:
                return FileStore(root, environ)
        return NoStore()

    @cached_property
    def logins(self) -> "SealedLogins":
        """What `fallback = "keyring"` keeps."""
        from docker_credential_ecr_py.other_registries import SealedLogins
        from docker_credential_ecr_py.store.seal import Seal

        root = paths.cache_folder()
        return SealedLogins(paths.logins_folder(), Seal(root and root / "locks"))

    @cached_property
    def user(self) -> User:
        wanted = self._environ.get("ECR_PY_LOGIN") or self.settings.login
        if wanted not in CHOICES["login"]:
            allowed = ", ".join(CHOICES["login"])
            raise SettingsError(f"ECR_PY_LOGIN: {wanted!r} is not one of {allowed}")
        return User(self._environ, may_be_asked=self._may_log_in and wanted != "never")

    def credential_for(self, server_url: str) -> Credential:
        """The credential that opens a registry, from the store or from AWS.

        Raises NotEcr for a host of somebody else's, WrongPartition for one that AWS does not have,
        CredentialsNotFound for ECR Public without AWS credentials; else, as any EcrPyError, what
        is wrong and what mends it.
        """
        try:
            asked = self._asked(server_url)
        except WrongPartition:
            raise
        except NotEcr:
            self._save_not_found(host_of(server_url))
            raise
        if not self._profile and (kept := self._kept_by_login(asked)):
            return kept
        try:
            return self._credential_for(asked)
        except EcrPyError as error:
            error.about(registry=asked.host)
            if asked.registry.public:
                # Public images need no credentials: whoever has none must still be able to pull.
                log.info("%s", error)
                raise CredentialsNotFound from error
            raise

    def renew(self, server_url: str, *, ahead: float = 0) -> None:
        """Fetches a credential that is ageing, unless another process is at it already.

        Or one that ages within `ahead` seconds. Raises as credential_for, and NotKept if nothing
        can be kept: then AWS is not asked, for what it says would be lost, time and again.
        """
        asked = self._asked(server_url)
        selection, conditions = self._select(asked)
        key = self._key(asked.registry, selection)
        with self.store.lock(key, wait=0) as lock:
            kept = self.store.load(key)
            now = self._clock()
            if lock is None:
                return
            if kept is None or not kept.usable(now) or kept.ageing(now + ahead):
                what, advice = self.store.write_problem()
                if what:
                    raise NotKept(what, hint=advice, registry=asked.host)
                fetched = self._fetch(asked, selection, key, lock, keeps=True)
                if self.store.load(key) != fetched:
                    lock.pause(_PAUSE_IF_NOT_KEPT)
                    raise self._not_kept("a credential was fetched, but", asked)
        selections = self._remember(
            asked,
            key,
            conditions,
            profile=selection.profile,
            rule=selection.rule,
            used=False,
        )
        if selections is not None and not self.store.has_selection(selections):
            raise self._not_kept("the choice of a profile", asked)

    def _not_kept(self, what: str, asked: RegistryRequest) -> NotKept:
        why, advice = self.store.write_problem()
        text = f"{what} could not be kept" + (f": {why}" if why else "")
        return NotKept(text, hint=advice, registry=asked.host)

    def unseal(self) -> None:
        """Gives the daemon what the keyring sealed. Raises KeyringUnavailable."""
        from docker_credential_ecr_py.store.sealed_backend import SealedStore

        if isinstance(self.store, SealedStore):
            self.store.take_over_leftovers()
            self.store.open_all()

    def keep(self, server_url: str, username: str, secret: str) -> None:
        """What `docker login` gave: kept until the expiry that the password carries inside.

        Raises NotEcr, and BadInput for a username that ECR does not know.
        """
        asked = self._asked(server_url)
        if username != USERNAME:
            raise BadInput(
                f"ECR knows the user {USERNAME} alone, not {username!r}",
                hint=f"run `docker login --username {USERNAME} --password-stdin {asked.host}`",
                registry=asked.host,
            )
        self.store.forget(asked.host)
        self.store.discard(_key_of_login(asked.host))
        expires = expiry_inside(secret)
        now = self._clock()
        if expires is None or expires <= now:
            log.info("%s: the password of docker login carries no expiry; not kept", asked.host)
            return
        key = _key_of_login(asked.host)
        self.store.save(key, Credential.from_login(username, secret, now=now, expires=expires))
        self._remember_login(asked, key)

    def forget(self, server_url: str) -> bool:
        """Drops what is cached for a registry; False where nothing was.

        Raises NotEcr, and EcrPyError where it stays.
        """
        asked = self._asked(server_url)
        keys = self.store.forget(asked.host) | {_key_of_login(asked.host)}
        with suppress(EcrPyError):
            keys.add(self._key(asked.registry, self._select(asked)[0]))
        kept = {key: found for key in keys if (found := self.store.load(key))}
        for key in keys:
            self.store.discard(key)
        if any(self.store.load(key) == found for key, found in kept.items()):
            raise EcrPyError("what is cached cannot be removed", registry=asked.host)
        return bool(kept)

    def answerable(self) -> dict[str, str]:
        """Each registry that can be answered for now without asking anyone: URL to username."""
        cached = self.cached()
        return {f"https://{chosen.host}": credential.username for chosen, credential in cached}

    def cached(self) -> Iterator[tuple[StoredSelection, Credential]]:
        """Selections that hold here, each with its credential, where that still is good."""
        for selection in self.store.selections():
            if selection.key and (credential := self._load_usable(selection.key)):
                yield selection, credential

    def select(self, server_url: str) -> Selection:
        """Whose credentials answer for a registry; nobody is asked. Raises as credential_for."""
        return self._select(self._asked(server_url))[0]

    def ask_as_selected(self, server_url: str, ask: Ask[_T]) -> _T:
        """What `ask` returns, asked as the identity that answers for a registry.

        Its session is alive then; `ask` may be called again, where that turns out not to be so or
        an MFA code is needed. Raises as credential_for, and what `ask` raises.
        """
        asked = self._asked(server_url)
        selection = self._select(asked)[0]
        try:
            return self._ask_aws(asked.registry, selection, ask)
        except EcrPyError as error:
            error.about(registry=asked.host, profile=selection.profile)
            raise

    def kept(self, server_url: str, selection: Selection) -> Credential | None:
        """What would be answered for a registry without asking anyone. Raises NotEcr."""
        asked = self._asked(server_url)
        if by_login := self._load_usable(_key_of_login(asked.host)):
            return by_login
        if not self._session_is_there(selection):
            return None
        return self._load_usable(self._key(asked.registry, selection))

    def sessions(self, *, may_log_in: bool = True) -> Sessions:
        """The sessions at IAM Identity Center.

        Public images need no credentials, so they are no reason to log in.
        """
        return Sessions(
            SsoFiles(paths.sso_cache_folder()),
            paths.session_locks(),
            login=self._login if may_log_in else lambda: None,
            limit=self.settings.login_timeout,
            clock=self._clock,
            waits=self._say_that_others_log_in,
        )

    def log_out(self, session: SsoSession) -> list[str]:
        """Drops a session's token and what came from it, here and then at the portal.

        Returns what was removed, for people. Raises UnwritableSsoCache.
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
                    f"removed {there} here, but not the session at the portal: {error.what}"
                )
                raise
        return removed

    def _asked(self, server_url: str) -> RegistryRequest:
        """Raises NotEcr, and BadServerURL."""
        host = host_of(server_url)
        return RegistryRequest(host, self.settings.registry_for(host))

    def _credential_for(self, asked: RegistryRequest) -> Credential:
        selection, conditions = self._select(asked)
        key = self._key(asked.registry, selection)
        ruled: Selection | None = selection
        if self._profile:
            ruled, conditions = self._selected_by_rules(asked, key)
        try:
            credential = self._shared(asked, selection, key, keeps=ruled is not None)
        except EcrPyError as error:
            error.about(registry=asked.host, profile=selection.profile)
            raise
        if ruled is not None:
            self._remember(asked, key, conditions, profile=ruled.profile, rule=ruled.rule)
        return credential

    def _selected_by_rules(
        self, asked: RegistryRequest, key: str
    ) -> tuple[Selection | None, dict[bytes, bytes]]:
        """What the rules select, if it leads to the credential of the profile that was named.

        Nothing else would: `logout` and `cache` find what is kept by its selections.
        """
        with suppress(EcrPyError):
            selection, conditions = self._select(asked, profile="")
            if self._key(asked.registry, selection) == key:
                return selection, conditions
        return None, {}

    def _select(
        self, asked: RegistryRequest, profile: str | None = None
    ) -> tuple[Selection, dict[bytes, bytes]]:
        """The selection, and the stamps of the files that it was made from (taken before)."""
        config_file = paths.aws_config_file(self._environ)
        credentials_file = paths.aws_credentials_file(self._environ)
        conditions = _stamps(self._settings_file, config_file, credentials_file)
        selection = select(
            asked.registry,
            asked.host,
            self.settings,
            load_aws_config(config_file, credentials_file),
            self._environ,
            on_ec2=on_ec2(self._environ),
            profile=self._profile if profile is None else profile,
        )
        for step in selection.steps:
            log.debug("%s: %s: %s%s", asked.host, step.rule, step.saw, " (won)" * step.won)
        if sso := selection.identity.sso:
            conditions[os.fsencode(paths.sso_cache_folder() / sso.token_file)] = record.PRESENT
        return selection, conditions

    def _shared(
        self, asked: RegistryRequest, selection: Selection, key: str, *, keeps: bool
    ) -> Credential:
        """The identity's credential for the region: the store's, or one fetch for all who wait.

        If AWS fails, a token that is in the last minutes of its life will do: registries take it.
        """
        try:
            return self._newest(asked, selection, key, keeps=keeps)
        except _REFUSALS:
            raise
        except EcrPyError as error:
            kept = self._still_valid(key, selection)
            if kept is None:
                raise
            error.about(registry=asked.host, profile=selection.profile)
            left = kept.expires - self._clock()
            log.warning("%s; answered with a token that is good for %d seconds more", error, left)
            return kept

    def _newest(
        self, asked: RegistryRequest, selection: Selection, key: str, *, keeps: bool
    ) -> Credential:
        if kept := self._usable(key, selection):
            return kept
        wait = _LONGEST_FETCH + self.settings.login_timeout
        with self.store.lock(key, wait=wait) as lock:
            if lock is None:
                raise Unreachable("another process has been asking AWS for too long")
            if kept := self._usable(key, selection):
                return kept
            if lock.recent_failure(_RETRY_PAUSE) and (kept := self._still_valid(key, selection)):
                return kept
            failure = lock.previous_failure()
            # Whoever failed for want of a person may have had none; we may have one.
            if failure and not (isinstance(failure, _WANT_OF_A_PERSON) and self.user.is_there):
                raise failure
            return self._fetch(asked, selection, key, lock, keeps=keeps)

    def _usable(self, key: str, selection: Selection) -> Credential | None:
        if not self._session_is_there(selection):
            self.store.discard(key)
            return None
        return self._load_usable(key)

    def _load_usable(self, key: str) -> Credential | None:
        kept = self.store.load(key)
        return kept if kept is not None and kept.usable(self._clock()) else None

    def _still_valid(self, key: str, selection: Selection) -> Credential | None:
        """What is kept, if a registry still takes it although it is time for a new one."""
        if not self._session_is_there(selection):
            return None
        kept = self.store.load(key)
        return kept if kept is not None and kept.valid(self._clock()) else None

    def _session_is_there(self, selection: Selection) -> bool:
        """Whoever logged out expects what came from the session to be gone with it."""
        sso = selection.identity.sso
        return sso is None or os.path.exists(paths.sso_cache_folder() / sso.token_file)

    def _fetch(
        self, asked: RegistryRequest, selection: Selection, key: str, lock: Lock, *, keeps: bool
    ) -> Credential:
        try:
            credential = self._ask_aws(asked.registry, selection, self._ask)
        except EcrPyError as error:
            error.about(registry=asked.host, profile=selection.profile)
            lock.record_failure(error)
            raise
        lock.record_failure(None)
        if keeps:
            self.store.save(key, credential)
        won = selection.steps[-1]
        log.info("%s: fetched by rule %s: %s", asked.host, won.rule, won.saw)
        return credential

    def _ask_aws(self, registry: Registry, selection: Selection, ask: Ask[_T]) -> _T:
        try:
            return self._ask_with_session(registry, selection, ask)
        except EcrPyError as error:
            self._show_aside(error)
            raise

    def _ask_with_session(self, registry: Registry, selection: Selection, ask: Ask[_T]) -> _T:
        """Asks by a session that is alive: refreshed or begun anew where it has ended."""
        session = selection.identity.sso
        if session is None:
            return self._ask_with_mfa(registry, selection, ask)
        sessions = self.sessions(may_log_in=not registry.public)
        token = sessions.ensure(session)
        try:
            return self._ask_with_mfa(registry, selection, ask)
        except LoginNeeded:
            # The portal ended the session before the token did.
            sessions.ensure(session, rejected=token.access_token)
            return self._ask_with_mfa(registry, selection, ask)

    def _ask_with_mfa(self, registry: Registry, selection: Selection, ask: Ask[_T]) -> _T:
        try:
            return ask(registry, selection, "")
        except MfaCodeNeeded:
            if registry.public:
                raise
        # A code is good once: whoever else needs the role waits for what this one brings.
        seconds = self.settings.login_timeout
        identity = selection.identity
        who = _digest(f"{identity.name} {identity.hidden}".strip())
        lock = self.store.lock(f"mfa-{who}", wait=2 * seconds)
        with lock as held:
            if held is not None and held.waited_since is not None:
                with suppress(MfaCodeNeeded):
                    return ask(registry, selection, "")
            code = self.user.mfa_code(identity.mfa_serial, seconds)
            return ask(registry, selection, code)

    def login_method(
        self, screen: "Screen", browser: Browser | None, *, device: bool = False
    ) -> LoginMethod:
        """`screen` shows it, `browser` opens it (None: a code for any device); see Login."""
        from docker_credential_ecr_py.sso.login import Login
        from docker_credential_ecr_py.sso.shared import SharedLogin

        login = Login(screen, browser, self.settings.login_timeout, device)
        return SharedLogin(login, self._environ)

    def _login(self) -> LoginMethod | None:
        """The way to log in where a person is there to do it, else None."""
        if not self.user.is_there:
            return None
        from docker_credential_ecr_py.sso.prompt import PlainScreen

        return self.login_method(PlainScreen(), self.user.browser)

    def _say_that_others_log_in(self) -> None:
        self._say("waiting for the login that another process has asked for")

    def _say(self, what: object) -> None:
        """Tells the person, where one is there, and the log; never standard output."""
        from docker_credential_ecr_py.sso.prompt import PlainScreen

        log.info("%s", what)
        if self.user.is_there:
            PlainScreen().say(str(what).removeprefix("ecr-py: "))

    def _show_aside(self, error: EcrPyError) -> None:
        """Shows a person at the terminal what may be neither in the answer nor in the log."""
        from docker_credential_ecr_py.sso.prompt import PlainScreen

        if error.aside and self.user.is_there:
            PlainScreen().say(error.aside)

    def _key(self, registry: Registry, selection: Selection) -> str:
        """Names an identity's credential: it opens all its registries in the region."""
        place = "public" if registry.public else registry.region
        endpoints = sorted(
            f"{name}={value}"
            for name, value in self._environ.items()
            if name.startswith("AWS_ENDPOINT_URL")
        )
        identity = selection.identity
        who = [identity.kind, identity.name] + [identity.hidden] * bool(identity.hidden)
        parts = [*who, place, registry.partition, *endpoints]
        return _digest(json.dumps(parts))

    def _remember(
        self,
        asked: RegistryRequest,
        key: str,
        conditions: Mapping[bytes, bytes],
        *,
        profile: str,
        rule: str,
        used: bool = True,
    ) -> StoredSelection | None:
        """What is now remembered, if it can be."""
        if any(_depends_on_folder(self._environ.get(name, "")) for name in _FILES):
            return None  # in another folder it would be somebody else's
        details = {
            "account": asked.registry.account,
            "region": asked.registry.region,
            "profile": profile,
            "rule": rule,
        }
        return self._keep_selection(
            StoredSelection(asked.host, key, conditions, details), used=used
        )

    def _save_not_found(self, host: str) -> None:
        """So that `credsStore` costs other registries no more than a hit."""
        if not self.settings.fallback:
            self._keep_selection(StoredSelection(host, "", _stamps(self._settings_file), {}))

    def _keep_selection(
        self, selection: StoredSelection, *, used: bool = True
    ) -> StoredSelection | None:
        """Remembers it, unless the variables that it depends on may hold a secret.

        They are written to disk in clear, whatever the store is. None if it may not be kept.
        """
        names = map(os.fsdecode, record.CONTEXT)
        values = [self._environ[name] for name in names if name in self._environ]
        if any(redact(value) != value for value in values):
            return None
        self.store.save_selection(selection, used=used)
        return selection

    def _kept_by_login(self, asked: RegistryRequest) -> Credential | None:
        key = _key_of_login(asked.host)
        kept = self._load_usable(key)
        if kept is not None:
            self._remember_login(asked, key)
        return kept

    def _remember_login(self, asked: RegistryRequest, key: str) -> None:
        # Another store is to be asked anew.
        self._remember(asked, key, _stamps(self._settings_file), profile="", rule="login")

    @property
    def _settings_file(self) -> Path:
        return paths.settings_file(self._environ)


def expiry_inside(password: str) -> int | None:
    """Seconds since the epoch at which an ECR password says that it ends, or None."""
    try:
        inside = json.loads(b64decode(password, validate=True))
        return int(inside["expiration"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _key_of_login(host: str) -> str:
    return f"login-{_digest(host)}"


def _depends_on_folder(path: str) -> bool:
    return bool(path) and not path.startswith("~/") and not os.path.isabs(path)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


def _stamps(*files: Path) -> dict[bytes, bytes]:
    found = {os.fsencode(file.absolute()) for file in files}
    return {path: record.stamp(path) for path in sorted(found)}
