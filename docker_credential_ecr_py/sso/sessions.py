"""Keeps a session alive: refreshes it, or has the user log in; once for all processes.

The first process that needs it takes the session's lock in our cache folder. The others wait for
the lock and share the result, so one login serves every terminal, `get` and the daemon.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from docker_credential_ecr_py.atomic_file import make_private_folder
from docker_credential_ecr_py.errors import (
    EcrPyError,
    LoginNeeded,
    LoginRefused,
    RefreshRefused,
    login_needed,
    login_refused,
)
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.selection import SsoSession
from docker_credential_ecr_py.sso.token_cache import SsoFiles, Token
from docker_credential_ecr_py.store.lock import Lock, locked

if TYPE_CHECKING:
    from docker_credential_ecr_py.sso.login import Login

# Seconds. botocore refreshes by itself in the last 15 minutes of a token, without a lock, so we do
# it earlier. A token that ends within a minute is too old for a call.
REFRESH_BEFORE_END = 16 * 60
_SPENT_BEFORE_END = 60
_MARGIN = 60
# A refresh takes less: a process that waits longer waits for a login.
_PATIENCE = 1
# Seconds for which a login that was refused or given up is not offered again: docker asks more
# than once for a pull, and each would open a window.
_REFUSED_FOR = 60


class Sessions:
    """The SSO sessions of this user, each behind a lock that all the user's processes share.

    Whether a session is needed is decided elsewhere (identity_call.py, daemon/scheduler.py), how a
    login works in login.py, and the format of token files in token_cache.py. `login` returns the
    login to offer, or None if the user is not there. `limit` is how long the user has for it, in
    seconds. `waits` is called once if another process is logging in.
    """

    def __init__(
        self,
        files: SsoFiles,
        lock_folder: Path | None,
        *,
        login: Callable[[], "Login | None"],
        limit: float,
        clock: Callable[[], float] = time.time,
        waits: Callable[[], None] = lambda: None,
    ) -> None:
        self.files = files
        self._lock_folder = lock_folder
        self._login = login
        self._limit = limit
        self._clock = clock
        self._waits = waits

    def ensure(self, session: SsoSession, *, rejected: str = "") -> Token:
        """Return a live token: the one in its file, a refreshed one, or one from a login.

        `rejected` is an access token that the portal did not accept, although it has not expired.
        Raises LoginNeeded if a login is needed and the user is not there, LoginRefused if the user
        refused one within the last minute; else as Login.run.
        """
        token = self.files.token(session)
        if token is not None and self._good(token, rejected):
            return token
        with self._lock(session) as lock:
            if lock is None:
                raise login_needed(session.login_name)
            token = self.files.token(session)
            if token is not None and self._good(token, rejected):
                return token
            failure = lock.previous_failure()
            if failure and not (isinstance(failure, LoginNeeded) and self._login()):
                raise failure
            refusal = _refusal(lock)
            try:
                token = self._renew(session, token, rejected, lock, refusal)
            except LoginRefused as error:
                raise login_refused(session.login_name, error.what) from None
            except EcrPyError as error:
                if refusal is None:
                    lock.record_failure(error)
                raise
            lock.record_failure(None)
            return token

    def refresh(self, session: SsoSession) -> None:
        """Refresh a token that ends soon.

        Raises LoginNeeded if only a login helps; Unreachable, Throttled or BadAnswer if a later
        try may help.
        """
        from docker_credential_ecr_py.sso.oidc import Oidc

        with self._lock(session) as lock:
            token = self.files.token(session)
            if lock is None or token is None or self._good(token, rejected=""):
                return
            if not token.refreshable(self._clock()):
                raise login_needed(session.login_name)
            self.files.check_writable(session)
            try:
                refreshed = Oidc(session).refresh(token)
            except RefreshRefused:
                raise login_needed(session.login_name) from None
            self.files.keep_token(session, refreshed)
            log.info("%s: session refreshed", session.start_url)

    def alive(self, session: SsoSession) -> Token | None:
        """Return the token in the session's file, or None if it is missing or has ended."""
        token = self.files.token(session)
        return token if token is not None and self._alive(token) else None

    def log_in(self, session: SsoSession, login: "Login", *, force: bool = False) -> Token:
        """Log in, unless there is a live token; with `force`, unless another login just made one.

        The user asks for it, so an earlier refusal is forgotten. Raises as Login.run.
        """
        before = self.files.token(session)
        with self._lock(session) as lock:
            if lock is None:
                raise login_needed(session.login_name)
            alive = self.alive(session)
            if alive is not None and not (force and alive == before):
                return alive
            lock.record_failure(None)
            return self._by_login(session, login, lock)

    def drop(self, session: SsoSession) -> tuple[bool, Token | None]:
        """Remove the token file; return whether there was one, and its token if it was readable.

        Raises UnwritableSsoCache.
        """
        with self._lock(session):
            token = self.files.token(session)
            return self.files.drop_token(session), token

    def end(self, session: SsoSession, token: Token) -> None:
        """End a session at the portal, by the token that drop returned. Raises Unreachable."""
        from docker_credential_ecr_py.sso.oidc import Oidc
        from docker_credential_ecr_py.sso.portal import end_session

        if not self._alive(token) and token.refreshable(self._clock()):
            # The portal takes only an access token, and the session lives longer than that.
            with suppress(EcrPyError):
                token = Oidc(session).refresh(token)
        if self._alive(token):
            end_session(session, token.access_token)

    def _renew(
        self,
        session: SsoSession,
        token: Token | None,
        rejected: str,
        lock: Lock,
        refusal: LoginRefused | None,
    ) -> Token:
        if token is not None and token.refreshable(self._clock()):
            refreshed = self._refresh(session, token, rejected)
            if refreshed is not None:
                return refreshed
        login = self._login()
        if login is None:
            raise login_needed(session.login_name)
        if refusal is not None:
            raise refusal
        log.info("%s: the user is asked to log in", session.start_url)
        return self._by_login(session, login, lock)

    def _by_login(self, session: SsoSession, login: "Login", lock: Lock) -> Token:
        self.files.check_writable(session)
        try:
            token = login.run(session, self.files)
        except LoginRefused as error:
            lock.record_failure(login_refused(session.login_name, error.what))
            raise
        except KeyboardInterrupt:
            lock.record_failure(login_refused(session.login_name, "the login was cancelled"))
            raise
        self.files.keep_token(session, token)
        return token

    def _refresh(self, session: SsoSession, token: Token, rejected: str) -> Token | None:
        """Return the refreshed token, or the old one if it is alive; None if only a login helps."""
        from docker_credential_ecr_py.sso.oidc import Oidc

        alive = token.access_token != rejected and self._alive(token)
        try:
            self.files.check_writable(session)
            refreshed = Oidc(session).refresh(token)
            self.files.keep_token(session, refreshed)
        except RefreshRefused as error:
            log.info("%s: %s", session.start_url, error.what)
            return token if alive else None
        except EcrPyError:
            if alive:
                return token
            raise
        log.info("%s: session refreshed", session.start_url)
        return refreshed

    def _good(self, token: Token, rejected: str) -> bool:
        if token.access_token == rejected or not self._alive(token):
            return False
        due = token.expires - self._clock() < REFRESH_BEFORE_END
        return not (due and token.refreshable(self._clock()))

    def _alive(self, token: Token) -> bool:
        return self._clock() < token.expires - _SPENT_BEFORE_END

    @contextmanager
    def _lock(self, session: SsoSession) -> Iterator[Lock | None]:
        if self._lock_folder is None:
            yield Lock()
            return
        with suppress(OSError):
            make_private_folder(self._lock_folder)
        name = f"sso-{session.token_file.removesuffix('.json')}"
        path = self._lock_folder / name
        began = self._clock()
        with locked(path, wait=_PATIENCE) as lock:
            if lock is not None:
                yield lock
                return
        self._waits()
        with locked(path, wait=self._limit + _MARGIN) as lock:
            if lock is not None:
                lock.waited_since = began
            yield lock


def _refusal(lock: Lock) -> LoginRefused | None:
    """Return the refusal that the lock file holds, unless it is too old to count."""
    failure = lock.recent_failure(_REFUSED_FOR)
    return failure if isinstance(failure, LoginRefused) else None
