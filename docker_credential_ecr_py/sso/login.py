"""The two ways to log in: a code that the browser brings back, and a code for any device."""

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from docker_credential_ecr_py.errors import EcrPyError, LoginExpired, LoginRefused
from docker_credential_ecr_py.selection import SsoSession
from docker_credential_ecr_py.sso.files import DEVICE_GRANT, Registration, SsoFiles, Token
from docker_credential_ecr_py.sso.oidc import CODE_GRANT, Oidc, UnknownRegistration
from docker_credential_ecr_py.sso.person import Browser
from docker_credential_ecr_py.sso.redirect import listening
from docker_credential_ecr_py.sso.screen import Prompt, Screen, spoken

# Seconds between two looks at the clock, for whoever shows the time that is left.
_TICK = 0.1


@dataclass(frozen=True)
class Login:
    """How this person logs in. `browser` opens an address, or is None where there is none."""

    screen: Screen
    browser: Browser | None
    limit: float
    device: bool = False

    def run(self, session: SsoSession, files: SsoFiles) -> Token:
        """A token for the session, allowed by the person. It is not kept yet.

        Raises LoginRefused, LoginExpired, Unreachable, BadAnswer, UnwritableSsoCache.
        """
        oidc = Oidc(session)
        try:
            # A portal gives refresh tokens, and redirects, to a registration with scopes alone.
            if session.scopes and self.browser is not None and not self.device:
                return self._by_browser(session, oidc, files, self.browser)
            return self._by_device(session, oidc, files)
        finally:
            self.screen.close()

    def _by_browser(
        self, session: SsoSession, oidc: Oidc, files: SsoFiles, browser: Browser
    ) -> Token:
        registration = _registration(session, oidc, files, CODE_GRANT)
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
        with listening(state) as redirect:
            address = _authorize_address(oidc.endpoint, registration, redirect.uri, state, verifier)
            self.screen.ask(Prompt(session.title, address, "", self.limit, browser_opens=True))
            browser(address)
            if not self._wait(redirect.arrived.wait):
                redirect.finish("Nobody allowed the login in time")
                raise _too_late(self.limit)
            if redirect.error:
                redirect.finish("The login was refused")
                raise LoginRefused(f"the login was refused ({redirect.error})")
            try:
                token = oidc.exchange(registration, redirect.code, verifier, redirect.uri)
            except EcrPyError as error:
                redirect.finish("The portal did not accept the login")
                if isinstance(error, UnknownRegistration):
                    _register(session, oidc, files, CODE_GRANT)
                    raise LoginRefused(error.what, mend="log in once more") from None
                raise
            redirect.finish()
            return token

    def _by_device(self, session: SsoSession, oidc: Oidc, files: SsoFiles) -> Token:
        registration = _registration(session, oidc, files, DEVICE_GRANT)
        try:
            asked = oidc.start_device_authorization(registration)
        except UnknownRegistration:
            registration = _register(session, oidc, files, DEVICE_GRANT)
            asked = oidc.start_device_authorization(registration)
        opens = self.browser is not None
        address = asked.address_with_code
        limit = min(self.limit, asked.expires_in)
        self.screen.ask(Prompt(session.title, address, asked.user_code, limit, opens))
        if self.browser is not None:
            self.browser(address)
        pause, deadline = asked.interval, time.monotonic() + limit
        while True:
            answer = oidc.poll(registration, asked.device_code)
            if isinstance(answer, Token):
                return answer
            pause += answer
            if time.monotonic() + pause > deadline:
                raise _too_late(limit)
            self._wait(_sleep, pause, deadline)

    def _wait(
        self,
        for_: Callable[[float], bool],
        seconds: float | None = None,
        deadline: float | None = None,
    ) -> bool:
        """Waits in ticks, so that the screen can count down. Whether it came."""
        end = time.monotonic() + (self.limit if seconds is None else seconds)
        while (left := end - time.monotonic()) > 0:
            self.screen.waiting((deadline or end) - time.monotonic())
            if for_(min(_TICK, left)):
                return True
        return False


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _registration(session: SsoSession, oidc: Oidc, files: SsoFiles, grant: str) -> Registration:
    found = files.registration(session, grant, time.time())
    return found or _register(session, oidc, files, grant)


def _register(session: SsoSession, oidc: Oidc, files: SsoFiles, grant: str) -> Registration:
    registration = oidc.register(grant)
    files.keep_registration(session, grant, registration)
    return registration


def _authorize_address(
    endpoint: str, registration: Registration, redirect_uri: str, state: str, verifier: str
) -> str:
    """As AWS CLI 2.22 and newer asks; the challenge is S256 of RFC 7636."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    query = {
        "response_type": "code",
        "client_id": registration.client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge_method": "S256",
        "code_challenge": challenge.rstrip(b"=").decode(),
        "scopes": " ".join(registration.scopes),
    }
    return f"{endpoint}/authorize?{urlencode(query)}"


def _too_late(limit: float) -> LoginExpired:
    return LoginExpired(f"nobody allowed the login within {spoken(limit)}")
