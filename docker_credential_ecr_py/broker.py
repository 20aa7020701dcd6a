"""The order of a `get`: the store, the choice of an identity, and one fetch for many processes.

However many processes need a registry's credential at once, one of them calls AWS, under the lock
of the identity, and the others take what it stored.
"""

import json
import os
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.config.settings import Settings
from docker_credential_ecr_py.credential import USERNAME, Credential
from docker_credential_ecr_py.errors import (
    AccessDenied,
    BadInput,
    BadServerURL,
    CredentialsNotFound,
    EcrPyError,
    InvalidKeys,
    LoginNeeded,
    MfaCodeNeeded,
    NotEcr,
    NotKept,
    Unreachable,
    WrongPartition,
)
from docker_credential_ecr_py.identity_call import Ask, IdentityCall, key_of
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.redact import redact
from docker_credential_ecr_py.registry import Registry, RegistryRequest, host_of
from docker_credential_ecr_py.selection import Identity, Selection
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.lock import Lock
from docker_credential_ecr_py.store.record_store import stamps_of
from docker_credential_ecr_py.store.store import Store, StoredSelection

# Seconds. Processes that wait for a fetch wait a little longer than it may take: two tries and,
# between them, a login.
_LONGEST_FETCH = 70
# Seconds in which helpers renew nothing in the background, after a credential could not be stored
# although the store had reported no problem.
_PAUSE_IF_NOT_KEPT = 1800
# Seconds in which AWS is not called again after a failure, while a token is still valid.
_RETRY_PAUSE = 60
# The variables that name files which a selection depends on.
_FILES = (
    "HOME",
    "ECR_PY_CONFIG",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
_USER_NEEDED = (LoginNeeded, MfaCodeNeeded)
# AWS answered and refused: no token that it issued before is answered instead.
_REFUSALS = (AccessDenied, InvalidKeys)


@dataclass(frozen=True)
class Choice:
    """A selection, and the paths and stamps of the files that it depends on."""

    selection: Selection
    conditions: Mapping[bytes, bytes]


class Choose(Protocol):
    def __call__(self, request: RegistryRequest, profile: str | None = None) -> Choice:
        """Return the choice. A `profile` is used instead of the rules, "" is not."""


class Broker:
    """Answers with a credential from the store, or fetches one for every process that waits.

    It does not know its caller or how the answer is shown (protocol.py, cli/, daemon/), by which
    rules an identity is chosen (selection.py), or how AWS is called as one (identity_call.py).
    App.broker builds it. With `named_profile`, `choose` returns the profile that the user named,
    and not what the rules select.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        settings: Settings,
        store: Store,
        choose: Choose,
        call: IdentityCall,
        fetch: Ask[Credential],
        user_is_there: Callable[[], bool],
        clock: Callable[[], float] = time.time,
        named_profile: bool = False,
    ) -> None:
        self._environ = environ
        self._settings = settings
        self._store = store
        self._choose = choose
        self._call = call
        self._fetch = fetch
        self._user_is_there = user_is_there
        self._clock = clock
        self._named_profile = named_profile

    def get(self, server_url: str) -> Credential:
        """Return the credential for a registry, from the store or from AWS.

        Raises NotEcr for a host that is not ECR's, WrongPartition for one that AWS does not have,
        CredentialsNotFound for ECR Public without AWS credentials; else an EcrPyError with the
        command that fixes it.
        """
        try:
            request = self._settings.request_for(server_url)
        except WrongPartition:
            raise
        except NotEcr:
            with suppress(BadServerURL):
                self._store_not_found(host_of(server_url))
            raise
        if not self._named_profile and (credential := self._of_docker_login(request)):
            return credential
        with _not_found_if_public(request):
            return self._of_identity(request)

    def get_as(self, server_url: str, selection: Selection) -> Credential:
        """As get, as the identity that the caller has selected.

        No other `get` is answered with this credential: the selection is not stored.
        """
        request = self._settings.request_for(server_url)
        key = self.credential_key(request.registry, selection)
        with _not_found_if_public(request):
            return self._usable_or_valid(request, selection, key, should_store=True)

    def renew(self, server_url: str, *, ahead: float = 0) -> None:
        """Fetch a credential that is ageing, or ages within `ahead` seconds.

        Does nothing if another process is doing so. Raises as get, and NotKept if nothing can be
        stored: AWS is not called then, because its answer would be lost.
        """
        request = self._settings.request_for(server_url)
        choice = self._choose(request)
        key = self.credential_key(request.registry, choice.selection)
        with self._store.lock(key, wait=0) as lock:
            if lock is None:
                return
            stored = self._store.load(key)
            now = self._clock()
            if stored is None or not stored.usable(now) or stored.ageing(now + ahead):
                problem, hint = self._store.write_problem()
                if problem:
                    raise NotKept(problem, hint=hint, registry=request.host)
                fetched = self._fetch_and_store(request, choice.selection, key, lock)
                if self._store.load(key) != fetched:
                    lock.pause(_PAUSE_IF_NOT_KEPT)
                    raise self._not_kept("the fetched credential", request)
        selection = self._store_selection(request, key, choice, used=False)
        if selection is not None and not self._store.has_selection(selection):
            raise self._not_kept("the selected profile", request)

    def store_login(self, server_url: str, username: str, secret: str) -> None:
        """Store the credential of a `docker login`, until the expiry inside its password.

        Raises NotEcr, and BadInput if the username is not ECR's.
        """
        request = self._settings.request_for(server_url)
        if username != USERNAME:
            raise BadInput(
                f"ECR accepts only the user {USERNAME}, not {username!r}",
                hint=f"run `docker login --username {USERNAME} --password-stdin {request.host}`",
                registry=request.host,
            )
        key = _login_key(request.host)
        self._store.forget(request.host)
        self._store.discard(key)
        expires = expiry_inside(secret)
        now = self._clock()
        if expires is None or expires <= now:
            log.info("%s: the password of docker login has no expiry; not kept", request.host)
            return
        self._store.save(key, Credential.from_login(username, secret, now=now, expires=expires))
        self._store_login_selection(request, key)

    def forget(self, server_url: str) -> bool:
        """Remove what is stored for a registry. Returns False if there was nothing.

        Raises NotEcr, and EcrPyError if it cannot be removed.
        """
        request = self._settings.request_for(server_url)
        keys = self._store.forget(request.host) | {_login_key(request.host)}
        with suppress(EcrPyError):
            keys.add(self.credential_key(request.registry, self._choose(request).selection))
        stored = {key: credential for key in keys if (credential := self._store.load(key))}
        for key in keys:
            self._store.discard(key)
        if any(self._store.load(key) == credential for key, credential in stored.items()):
            raise EcrPyError("the cached credential cannot be removed", registry=request.host)
        return bool(stored)

    def usernames(self, hosts: Iterable[str]) -> dict[str, str]:
        """Return the URL of each registry that a `get` can answer for, and the username.

        Of `hosts`, and of the registries in the store; AWS is not called. One of whose session has
        ended is named too: its `get` logs in.
        """
        stored = {one.host: one.key for one in self._store.selections() if one.key}
        return {
            f"https://{host}": USERNAME
            for host in dict.fromkeys([*hosts, *stored])
            if self._has_identity(host) or (host in stored and self._load_usable(stored[host]))
        }

    def stored_credentials(self) -> Iterator[tuple[StoredSelection, Credential]]:
        """Yield the selections of this environment that have a usable credential, with it."""
        for selection in self._store.selections():
            if selection.key and (credential := self._load_usable(selection.key)):
                yield selection, credential

    def stored_credential(self, server_url: str, selection: Selection) -> Credential | None:
        """Return the credential that a `get` would answer from the store. Raises NotEcr."""
        request = self._settings.request_for(server_url)
        if credential := self._load_usable(_login_key(request.host)):
            return credential
        if not _session_is_there(selection):
            return None
        return self._load_usable(self.credential_key(request.registry, selection))

    def credential_key(self, registry: Registry, selection: Selection) -> str:
        """Return the key of an identity's credential for its registries in a region."""
        place = "public" if registry.public else registry.region
        endpoints = sorted(
            f"{name}={value}"
            for name, value in self._environ.items()
            if name.startswith("AWS_ENDPOINT_URL")
        )
        identity = selection.identity
        who = [identity.kind, identity.name] + [identity.hidden] * bool(identity.hidden)
        where = [place, registry.partition, *selection.variants, *endpoints]
        return key_of(json.dumps([*who, *where]))

    # A credential by `docker login`

    def _of_docker_login(self, request: RegistryRequest) -> Credential | None:
        key = _login_key(request.host)
        credential = self._load_usable(key)
        if credential is not None:
            self._store_login_selection(request, key)
        return credential

    # A credential by an identity

    def _of_identity(self, request: RegistryRequest) -> Credential:
        choice = self._choose(request)
        key = self.credential_key(request.registry, choice.selection)
        # A named profile's credential is stored only if the rules lead to the same one: `logout`
        # and `cache` find credentials by their selections.
        to_store = self._by_rules(request, key) if self._named_profile else choice
        credential = self._usable_or_valid(
            request, choice.selection, key, should_store=to_store is not None
        )
        if to_store is not None:
            self._store_selection(request, key, to_store)
        return credential

    def _has_identity(self, host: str) -> bool:
        """Return whether the rules lead to an identity for a host."""
        try:
            self._choose(self._settings.request_for(host))
        except EcrPyError:
            return False
        return True

    def _by_rules(self, request: RegistryRequest, key: str) -> Choice | None:
        """Return the choice by the rules, if it leads to the credential with this key."""
        with suppress(EcrPyError):
            choice = self._choose(request, profile="")
            if self.credential_key(request.registry, choice.selection) == key:
                return choice
        return None

    def _usable_or_valid(
        self, request: RegistryRequest, selection: Selection, key: str, *, should_store: bool
    ) -> Credential:
        """Return the identity's credential for the region, stored or fetched.

        If AWS fails, a token in its last minutes is answered: registries still take it.
        """
        try:
            return self._stored_or_fetched(request, selection, key, should_store=should_store)
        except EcrPyError as error:
            error.add_context(registry=request.host, profile=selection.profile)
            valid = None if isinstance(error, _REFUSALS) else self._load_valid(key, selection)
            if valid is None:
                raise
            left = valid.expires - self._clock()
            log.warning("%s; answered with a token that expires in %d seconds", error, left)
            return valid

    def _stored_or_fetched(
        self, request: RegistryRequest, selection: Selection, key: str, *, should_store: bool
    ) -> Credential:
        if credential := self._load_for_session(key, selection):
            return credential
        wait = _LONGEST_FETCH + self._settings.login_timeout
        with self._store.lock(key, wait=wait) as lock:
            if lock is None:
                raise Unreachable("timed out waiting for another process that is calling AWS")
            if credential := self._load_for_session(key, selection):
                return credential
            if lock.recent_failure(_RETRY_PAUSE) and (
                credential := self._load_valid(key, selection)
            ):
                return credential
            failure = lock.previous_failure()
            # The other process may have failed for lack of a user, who may be there for this one.
            if failure and not (isinstance(failure, _USER_NEEDED) and self._user_is_there()):
                raise failure
            return self._fetch_and_store(request, selection, key, lock, should_store=should_store)

    def _fetch_and_store(
        self,
        request: RegistryRequest,
        selection: Selection,
        key: str,
        lock: Lock,
        *,
        should_store: bool = True,
    ) -> Credential:
        try:
            credential = self._call(request.registry, selection, self._fetch)
        except EcrPyError as error:
            error.add_context(registry=request.host, profile=selection.profile)
            lock.record_failure(error)
            raise
        lock.record_failure(None)
        if should_store:
            self._store.save(key, credential)
        won = selection.steps[-1]
        log.info("%s: fetched by rule %s: %s", request.host, won.rule, won.saw)
        return credential

    def _load_for_session(self, key: str, selection: Selection) -> Credential | None:
        """As _load_usable. After a logout, remove the credential that came from the session."""
        if not _session_is_there(selection):
            self._store.discard(key)
            return None
        return self._load_usable(key)

    def _load_usable(self, key: str) -> Credential | None:
        credential = self._store.load(key)
        return credential if credential and credential.usable(self._clock()) else None

    def _load_valid(self, key: str, selection: Selection) -> Credential | None:
        """Return the stored credential if a registry still takes it, even if it is spent."""
        if not _session_is_there(selection):
            return None
        credential = self._store.load(key)
        return credential if credential and credential.valid(self._clock()) else None

    # Selections, by which the next `get` is a hit

    def _store_selection(
        self, request: RegistryRequest, key: str, choice: Choice, *, used: bool = True
    ) -> StoredSelection | None:
        profile, rule = choice.selection.profile, choice.selection.rule
        return self._store_details(request, key, choice.conditions, profile, rule, used=used)

    def _store_login_selection(self, request: RegistryRequest, key: str) -> None:
        # If the settings change, the credential may be in another store.
        self._store_details(request, key, self._settings_stamp(), "", "login")

    def _store_details(
        self,
        request: RegistryRequest,
        key: str,
        conditions: Mapping[bytes, bytes],
        profile: str,
        rule: str,
        *,
        used: bool = True,
    ) -> StoredSelection | None:
        if any(_depends_on_folder(self._environ.get(name, "")) for name in _FILES):
            return None  # a relative path names another file in another folder
        registry = request.registry
        details = {
            "account": registry.account,
            "region": registry.region,
            "profile": profile,
            "rule": rule,
        }
        selection = StoredSelection(request.host, key, conditions, details)
        return self._store_if_safe(selection, used=used)

    def _store_not_found(self, host: str) -> None:
        """Make the next `get` for a host that is not ECR's a hit: `credsStore` sends them all."""
        if not self._settings.fallback:
            self._store_if_safe(StoredSelection(host, "", self._settings_stamp(), {}))

    def _store_if_safe(
        self, selection: StoredSelection, *, used: bool = True
    ) -> StoredSelection | None:
        """Store a selection unless a variable of its context may hold a secret.

        The context is written to disk in clear, whatever the store is. Returns None if not stored.
        """
        names = map(os.fsdecode, record.CONTEXT)
        values = [self._environ[name] for name in names if name in self._environ]
        if any(redact(value) != value for value in values):
            return None
        self._store.save_selection(selection, used=used)
        return selection

    def _settings_stamp(self) -> dict[bytes, bytes]:
        return stamps_of(paths.settings_file(self._environ))

    def _not_kept(self, what: str, request: RegistryRequest) -> NotKept:
        problem, hint = self._store.write_problem()
        text = f"{what} could not be kept" + (f": {problem}" if problem else "")
        return NotKept(text, hint=hint, registry=request.host)


@contextmanager
def _not_found_if_public(request: RegistryRequest) -> Iterator[None]:
    """Name the registry in an error. Public images can be pulled without credentials."""
    try:
        yield
    except EcrPyError as error:
        error.add_context(registry=request.host)
        if request.registry.public:
            log.info("%s", error)
            raise CredentialsNotFound from error
        raise


def expiry_inside(password: str) -> int | None:
    """Return the expiry inside an ECR password, in seconds since the epoch, or None."""
    try:
        inside = json.loads(b64decode(password, validate=True))
        return int(inside["expiration"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def token_file(identity: Identity) -> Path | None:
    """Return the token file of the session that an identity comes from; None if from none.

    A logout removes it, and ends the credentials of the session.
    """
    if identity.sso is not None:
        return paths.sso_cache_folder() / identity.sso.token_file
    if identity.aws_login is not None:
        return paths.login_cache_folder() / identity.aws_login.token_file
    return None


def _session_is_there(selection: Selection) -> bool:
    file = token_file(selection.identity)
    return file is None or os.path.exists(file)


def _login_key(host: str) -> str:
    return f"login-{key_of(host)}"


def _depends_on_folder(path: str) -> bool:
    return bool(path) and not path.startswith("~/") and not os.path.isabs(path)
