"""The calls to SSO OIDC and the portal, by botocore. Each has a time limit.

Raises LoginRefused, LoginExpired, and what ecr.translate raises for the network.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import botocore.exceptions as aws_errors

from docker_credential_ecr_py.aws.session import MALFORMED, network_error, unsigned_client
from docker_credential_ecr_py.errors import (
    BadAnswer,
    EcrPyError,
    LoginExpired,
    LoginRefused,
    RefreshRefused,
    UnknownRegistration,
    Unreachable,
    nearest,
)
from docker_credential_ecr_py.selection import SsoSession
from docker_credential_ecr_py.sso.portal import regions
from docker_credential_ecr_py.sso.token_cache import DEVICE_GRANT, Registration, Token

# What an answer may ask of us: seconds between two polls, seconds that a token or a registration is
# good for (a registration is for 90 days), and characters of the code that a person types.
_LONGEST_PAUSE, _LONGEST_LIFE, _LONGEST_USER_CODE = 60.0, 366 * 86400.0, 64
CODE_GRANT = "authorization_code"
REFRESH_GRANT = "refresh_token"
# Without a port: any port of the loopback will do then (RFC 8252, 7.3).
REDIRECT_URI = "http://127.0.0.1/oauth/callback"


@dataclass(frozen=True)
class DeviceAuthorization:
    """What a person needs to allow a login elsewhere; `expires_in` and `interval` in seconds."""

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
        self._client = unsigned_client("sso-oidc", session.region)

    @property
    def endpoint(self) -> str:
        return str(self._client.meta.endpoint_url)

    def register(self, grant: str) -> Registration:
        """A new public client, for one grant."""
        asked: dict[str, Any] = {
            "clientName": f"ecr-py-{self._session.name or int(time.time())}",
            "clientType": "public",
        }
        if self._session.scopes:
            asked["scopes"] = list(self._session.scopes)
        grants = [grant, REFRESH_GRANT]
        if grant == CODE_GRANT:
            asked |= {
                "grantTypes": grants,
                "redirectUris": [REDIRECT_URI],
                "issuerUrl": self._session.start_url,
            }
        with self._translated():
            answer = self._client.register_client(**asked)
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
        """The token, once the person has allowed it; until then, seconds to add to the pause."""
        try:
            return self._create_token(registration, DEVICE_GRANT, deviceCode=device_code)
        except self._client.exceptions.AuthorizationPendingException:
            return 0.0
        except self._client.exceptions.SlowDownException:
            return 5.0

    def exchange(
        self, registration: Registration, code: str, verifier: str, redirect_uri: str
    ) -> Token:
        """The token for the code that the browser brought."""
        return self._create_token(
            registration, CODE_GRANT, code=code, codeVerifier=verifier, redirectUri=redirect_uri
        )

    def refresh(self, token: Token) -> Token:
        """A new token for the refresh token of an old one. Raises RefreshRefused."""
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
        """Where nobody answers, the region may be none. The list that we have may be old."""
        region = self._session.region
        if isinstance(error, Unreachable) and region not in (known := regions()):
            error.what += f"; sso_region = {region} may be none{nearest(region, known)}"
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
    """Raises ValueError for what is not a text, or is empty or too long."""
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise ValueError("not a text")
    return value


def _seconds(value: object) -> float:
    """A number of seconds, one at least. Raises TypeError and ValueError, also for infinity."""
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise ValueError("not a number of seconds")
    return max(seconds, 1.0)


def _code(error: aws_errors.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
