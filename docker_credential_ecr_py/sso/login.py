"""The two ways to log in: by a redirect in the browser, and by a code for any device."""

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from urllib.parse import urlencode

from docker_credential_ecr_py.aws.session import first_line
from docker_credential_ecr_py.errors import (
    BadAnswer,
    EcrPyError,
    LoginExpired,
    LoginRefused,
    UnknownRegistration,
)
from docker_credential_ecr_py.selection import SsoSession
from docker_credential_ecr_py.sso.oidc import (
    CODE_GRANT,
    DeviceAuthorization,
    Oidc,
)
from docker_credential_ecr_py.sso.prompt import Prompt, Screen, spoken
from docker_credential_ecr_py.sso.redirect import listening
from docker_credential_ecr_py.sso.token_cache import DEVICE_GRANT, Registration, SsoFiles, Token
from docker_credential_ecr_py.sso.user import Browser
from docker_credential_ecr_py.sso.web_address import may_be_opened

# Seconds between two updates of the time left on the screen.
_TICK = 0.1


@dataclass(frozen=True)
class Login:
    """A login at IAM Identity Center, on `screen`.

    `browser` opens an address, or is None if there is no browser here. The user has `limit`
    seconds. With `device`, the user types a code even if there is a browser.
    """

    screen: Screen
    browser: Browser | None
    limit: float
    device: bool = False

    def run(self, session: SsoSession, files: SsoFiles) -> Token:
        """Return a token for the session, once the user has allowed it. It is not stored yet.

        Raises LoginRefused, LoginExpired, Unreachable, BadAnswer, UnwritableSsoCache.
        """
        oidc = Oidc(session)
        try:
            # A portal gives redirects and refresh tokens only to a registration with scopes.
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
            _check_address(address, oidc.endpoint)
            self.screen.ask(Prompt(session.title, address, "", self.limit, browser_opens=True))
            with browser(address):
                arrived = self._wait(redirect.arrived.wait)
            if not arrived:
                redirect.finish("The login was not approved in time")
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
                    raise EcrPyError(error.what, hint="log in once more") from None
                raise
            redirect.finish()
            return token

    def _by_device(self, session: SsoSession, oidc: Oidc, files: SsoFiles) -> Token:
        registration = _registration(session, oidc, files, DEVICE_GRANT)
        try:
            device = oidc.start_device_authorization(registration)
        except UnknownRegistration:
            registration = _register(session, oidc, files, DEVICE_GRANT)
            device = oidc.start_device_authorization(registration)
        opens = self.browser is not None
        address = device.address_with_code
        _check_address(address, oidc.endpoint)
        limit = min(self.limit, device.expires_in)
        self.screen.ask(Prompt(session.title, address, device.user_code, limit, opens))
        with nullcontext() if self.browser is None else self.browser(address):
            return self._poll(oidc, registration, device, limit)

    def _poll(
        self, oidc: Oidc, registration: Registration, device: DeviceAuthorization, limit: float
    ) -> Token:
        """Poll until the user has allowed the login; return its token. Raises LoginExpired."""
        pause, deadline = device.interval, time.monotonic() + limit
        while True:
            answer = oidc.poll(registration, device.device_code)
            if isinstance(answer, Token):
                return answer
            pause += answer
            if time.monotonic() + pause > deadline:
                raise _too_late(limit)
            self._wait(_sleep, pause, deadline)

    def _wait(
        self,
        wait_for: Callable[[float], bool],
        seconds: float | None = None,
        deadline: float | None = None,
    ) -> bool:
        """Wait in ticks, so that the screen can count down. Return False after `seconds`."""
        end = time.monotonic() + (self.limit if seconds is None else seconds)
        while (left := end - time.monotonic()) > 0:
            self.screen.waiting((deadline or end) - time.monotonic())
            if wait_for(min(_TICK, left)):
                return True
        return False


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _registration(session: SsoSession, oidc: Oidc, files: SsoFiles, grant: str) -> Registration:
    registration = files.registration(session, grant, time.time())
    return registration or _register(session, oidc, files, grant)


def _register(session: SsoSession, oidc: Oidc, files: SsoFiles, grant: str) -> Registration:
    registration = oidc.register(grant)
    files.keep_registration(session, grant, registration)
    return registration


def _authorize_address(
    endpoint: str, registration: Registration, redirect_uri: str, state: str, verifier: str
) -> str:
    """Return the URL as AWS CLI 2.22 and newer build it; the challenge is S256 of RFC 7636."""
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


def _check_address(address: str, endpoint: str) -> None:
    """Raise BadAnswer if a browser must not open an address: it is not shown either."""
    if not may_be_opened(address, endpoint):
        shown = first_line(repr(address).partition("?")[0])
        raise BadAnswer(f"the portal names {shown} to log in at, which is not an https:// URL")


def _too_late(limit: float) -> LoginExpired:
    return LoginExpired(f"the login was not approved within {spoken(limit)}")
