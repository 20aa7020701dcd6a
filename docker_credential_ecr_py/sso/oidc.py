"""The calls to SSO OIDC, by botocore. Each has a time limit.

They raise LoginRefused, LoginExpired, UnknownRegistration, and as aws.session.network_error.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import botocore.exceptions as aws_errors

from docker_credential_ecr_py.aws.session import (
    MALFORMED,
    network_error,
    note_on_region,
    unsigned_client,
)
from docker_credential_ecr_py.errors import (
    BadAnswer,
    EcrPyError,
    LoginExpired,
    LoginRefused,
    RefreshRefused,
    UnknownRegistration,
    Unreachable,
)
from docker_credential_ecr_py.selection import SsoSession
from docker_credential_ecr_py.sso.token_cache import DEVICE_GRANT, Registration, Token

# Limits for an answer: seconds between two polls, seconds that a token or a registration may live
# (a registration lives 90 days), and characters of the code that the user types.
_LONGEST_PAUSE, _LONGEST_LIFE, _LONGEST_USER_CODE = 60.0, 366 * 86400.0, 64
CODE_GRANT = "authorization_code"
REFRESH_GRANT = "refresh_token"
# Without a port: any port of the loopback will do then (RFC 8252, 7.3).
REDIRECT_URI = "http://127.0.0.1/oauth/callback"


@dataclass(frozen=True)
class DeviceAuthorization:
    """What it takes to log in on another device; `expires_in` and `interval` are in seconds."""

    device_code: str = field(repr=False)
    user_code: str
    address: str
    address_with_code: str
    expires_in: float
    interval: float


class Oidc:
    """SSO OIDC of one session's region."""

    def __init__(self, session: SsoSession) -> None:
        self._session = session
        self._client = unsigned_client("sso-oidc", session.region, session.profile)

    @property
    def endpoint(self) -> str:
        return str(self._client.meta.endpoint_url)

    def register(self, grant: str) -> Registration:
        """Register a new public client, for one grant."""
        parameters: dict[str, Any] = {
            "clientName": f"ecr-py-{self._session.name or int(time.time())}",
            "clientType": "public",
        }
        if self._session.scopes:
            parameters["scopes"] = list(self._session.scopes)
        grants = [grant, REFRESH_GRANT]
        if grant == CODE_GRANT:
            parameters |= {
                "grantTypes": grants,
                "redirectUris": [REDIRECT_URI],
                "issuerUrl": self._session.start_url,
            }
        with self._translated():
            answer = self._client.register_client(**parameters)
            return Registration(
                _text(answer["clientId"]),
                _text(answer["clientSecret"]),
                min(_seconds(answer["clientSecretExpiresAt"]), time.time() + _LONGEST_LIFE),
                self._session.scopes,
                tuple(grants),
            )

    def start_device_authorization(self, registration: Registration) -> DeviceAuthorization:
        with self._translated():
            answer = self._client.start_device_authorization(
                clientId=registration.client_id,
                clientSecret=registration.client_secret,
                startUrl=self._session.start_url,
            )
            return DeviceAuthorization(
                _text(answer["deviceCode"]),
                _text(answer["userCode"], longest=_LONGEST_USER_CODE),
                _text(answer["verificationUri"]),
                _text(answer["verificationUriComplete"]),
                _seconds(answer.get("expiresIn", 600)),
                min(_seconds(answer.get("interval", 5)), _LONGEST_PAUSE),
            )

    def poll(self, registration: Registration, device_code: str) -> Token | float:
        """Return the token, once the user has allowed it; else seconds to add to the pause."""
        try:
            return self._create_token(registration, DEVICE_GRANT, deviceCode=device_code)
        except self._client.exceptions.AuthorizationPendingException:
            return 0.0
        except self._client.exceptions.SlowDownException:
            return 5.0

    def exchange(
        self, registration: Registration, code: str, verifier: str, redirect_uri: str
    ) -> Token:
        """Return the token for the code in the browser's redirect."""
        return self._create_token(
            registration, CODE_GRANT, code=code, codeVerifier=verifier, redirectUri=redirect_uri
        )

    def refresh(self, token: Token) -> Token:
        """Return a new token for the refresh token of an old one. Raises RefreshRefused."""
        try:
            return self._create_token(
                token.registration, REFRESH_GRANT, refreshToken=token.refresh_token
            )
        except (LoginRefused, LoginExpired, UnknownRegistration) as error:
            raise RefreshRefused(error.what) from None

    def _create_token(self, registration: Registration, grant: str, **given: str) -> Token:
        with self._translated():
            answer = self._client.create_token(
                grantType=grant,
                clientId=registration.client_id,
                clientSecret=registration.client_secret,
                **given,
            )
            refresh_token = answer.get("refreshToken") or given.get("refreshToken", "")
            return Token(
                self._session.start_url,
                self._session.region,
                _text(answer["accessToken"]),
                time.time() + min(_seconds(answer["expiresIn"]), _LONGEST_LIFE),
                registration,
                _text(refresh_token) if refresh_token else "",
            )

    def _with_hint(self, error: EcrPyError) -> EcrPyError:
        """Add to Unreachable that the region may not exist. botocore's list may be out of date."""
        if isinstance(error, Unreachable):
            error.what += note_on_region(self._session.region, "sso-oidc", "sso_region")
        return error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        known = self._client.exceptions
        try:
            yield
        except (known.AuthorizationPendingException, known.SlowDownException):
            raise
        except (known.AccessDeniedException, known.UnauthorizedClientException):
            raise LoginRefused("the login was refused") from None
        except known.ExpiredTokenException:
            raise LoginExpired("the login was not approved in time") from None
        except known.InvalidClientException:
            raise UnknownRegistration(
                "the portal no longer knows the registration of ecr-py"
            ) from None
        except known.InvalidGrantException as error:
            raise LoginRefused(f"the portal refused the login ({_code(error)})") from None
        except (aws_errors.ClientError, aws_errors.BotoCoreError) as error:
            raise self._with_hint(network_error(error, self._session.start_url)) from None
        except MALFORMED:
            raise BadAnswer(f"{self.endpoint} sent a response that cannot be read") from None


def _text(value: object, *, longest: int = 64 * 1024) -> str:
    """Return a text. Raises ValueError if it is none, or is empty or too long."""
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise ValueError("not a text")
    return value


def _seconds(value: object) -> float:
    """Return a number of seconds, at least 1. Raises TypeError, and ValueError for infinity."""
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise ValueError("not a number of seconds")
    return max(seconds, 1.0)


def _code(error: aws_errors.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
