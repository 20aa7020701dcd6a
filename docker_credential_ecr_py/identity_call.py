"""Calls AWS as an identity: with a live session, and with an MFA code if AWS wants one."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from docker_credential_ecr_py.errors import EcrPyError, LoginNeeded, MfaCodeNeeded
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import Selection
from docker_credential_ecr_py.sso.prompt import PlainScreen
from docker_credential_ecr_py.sso.sessions import Sessions
from docker_credential_ecr_py.sso.user import User
from docker_credential_ecr_py.store.store import Store

_T = TypeVar("_T")
# A call to AWS for a registry as an identity, with the code of an MFA device or "".
Ask = Callable[[Registry, Selection, str], _T]


class IdentityCall:
    """Calls AWS, and first makes sure of what the call needs: a live session, an MFA code.

    It does not choose the identity (see selection.py) and stores no answer (see broker.py).
    `sessions` makes the sessions; its argument says whether the user may be asked to log in.
    `limit` is how long the user has to type an MFA code, in seconds.
    """

    def __init__(
        self, sessions: Callable[[bool], Sessions], store: Store, user: User, limit: float
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._user = user
        self._limit = limit

    def __call__(self, registry: Registry, selection: Selection, ask: Ask[_T]) -> _T:
        """Return the result of `ask`, which is called again if the session or a code was missing.

        Raises as `ask`, and as Sessions.ensure.
        """
        try:
            return self._with_session(registry, selection, ask)
        except EcrPyError as error:
            # For the user's terminal alone: not for the answer, nor for the log.
            if error.aside and self._user.is_there:
                PlainScreen().say(error.aside)
            raise

    def _with_session(self, registry: Registry, selection: Selection, ask: Ask[_T]) -> _T:
        session = selection.identity.sso
        if session is None:
            return self._with_mfa_code(registry, selection, ask)
        # Public images need no credentials, so they are no reason to log in.
        sessions = self._sessions(not registry.public)
        token = sessions.ensure(session)
        try:
            return self._with_mfa_code(registry, selection, ask)
        except LoginNeeded:
            # The portal ended the session before the token did.
            sessions.ensure(session, rejected=token.access_token)
            return self._with_mfa_code(registry, selection, ask)

    def _with_mfa_code(self, registry: Registry, selection: Selection, ask: Ask[_T]) -> _T:
        try:
            return ask(registry, selection, "")
        except MfaCodeNeeded:
            if registry.public:
                raise
        # A code works once: other processes that need the role wait for this one's credentials.
        identity = selection.identity
        name = key_of(f"{identity.name} {identity.hidden}".strip())
        with self._store.lock(f"mfa-{name}", wait=2 * self._limit) as lock:
            if lock is not None and lock.waited_since is not None:
                with suppress(MfaCodeNeeded):
                    return ask(registry, selection, "")
            code = self._user.mfa_code(identity.mfa_serial, self._limit)
            return ask(registry, selection, code)


def key_of(text: str) -> str:
    """Return a name for a record or a lock that differs for each text, and does not show it.

    It is not in store/, because the daemon loads that, and hashlib would bring OpenSSL.
    """
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]
