"""IAM Identity Center: who may log in, the SSO portal, and SSO OIDC with its two ways to log in.

Paths, fields and error codes are those of botocore's models `sso` and `sso-oidc`; the browser's
part (`/authorize`, `/device`) is as AWS CLI v2 uses it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.standin.principals import AwsError, Principals, iso
from tests.standin.server import Reply, Request

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
REGISTRATION_LIFETIME = 90 * 86400
GRANT_LIFETIME = 600
DEVICE_PORTAL = "https://device.sso.eu-west-1.amazonaws.com"


@dataclass(frozen=True)
class Registration:
    """An OIDC client; `grant_types` is empty where it named none, and then any is open to it."""

    client_id: str
    secret: str
    scopes: tuple[str, ...]
    grant_types: tuple[str, ...]
    redirect_uris: tuple[str, ...]
    start_url: str
    expires: float


@dataclass(frozen=True)
class Token:
    """An access or refresh token: of which portal, until when, and for which OIDC client."""

    start_url: str
    expires: float
    client_id: str


@dataclass
class DeviceGrant:
    """A login under way at another device; `allowed` is None while the user has not decided."""

    client_id: str
    user_code: str
    start_url: str
    expires: float
    allowed: bool | None = None
    polled: float = -math.inf


@dataclass(frozen=True)
class CodeGrant:
    """An authorization code, good for one exchange."""

    client_id: str
    redirect_uri: str
    challenge: str
    expires: float


class IdentityCenter(Principals):
    """The state of IAM Identity Center, and its operations on requests."""

    user = "dev@example.com"
    auto_approve = False  # as if the user clicked Allow at once, without being asked
    access_token_lifetime = 3600.0
    session_lifetime = 8 * 3600.0
    role_lifetime = 3600.0
    device_interval = 1.0  # seconds between polls; who polls twice as fast is told to slow down
    page_size = 100

    url: str

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self.assigned: dict[str, list[str]] = {}
        self.account_names: dict[str, str] = {}
        self.registrations: dict[str, Registration] = {}
        self.access_tokens: dict[str, Token] = {}
        self.refresh_tokens: dict[str, Token] = {}
        self._devices: dict[str, DeviceGrant] = {}
        self._codes: dict[str, CodeGrant] = {}

    # What a test says.

    def assign(self, account: str, role: str) -> None:
        """Let the SSO user take `role` in `account`."""
        roles = self.assigned.setdefault(account, [])
        if role not in roles:
            roles.append(role)

    def write_sso_token(
        self,
        home: Path,
        start_url: str,
        *,
        session: str | None = None,
        region: str = "eu-west-1",
        lifetime: float = 8 * 3600.0,
        refresh: bool = False,
    ) -> Path:
        """Log in without a browser: write the token file as AWS CLI does, and return its path.

        The access token ends after `lifetime` seconds (which may be negative); with `refresh` it
        can be renewed for as long as the session lasts.
        """
        client = self._register(scopes=["sso:account:access"] if refresh else [])
        issued = self._tokens(client, start_url, lifetime)
        document = {
            "startUrl": start_url,
            "region": region,
            "accessToken": issued["accessToken"],
            "expiresAt": iso(self.clock() + lifetime),
            "clientId": client.client_id,
            "clientSecret": client.secret,
            "registrationExpiresAt": iso(client.expires),
        }
        if refresh:
            document["refreshToken"] = issued["refreshToken"]
        name = hashlib.sha1((session or start_url).encode()).hexdigest()
        file = home / ".aws" / "sso" / "cache" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(document, out)
        return file

    def end_session(self, start_url: str | None = None, *, refresh_tokens: bool = True) -> None:
        """The portal forgets its sessions: those of `start_url`, or all.

        With `refresh_tokens` false only the access tokens end, and a refresh brings a new one.
        """
        with self.lock:
            for tokens in (self.access_tokens, self.refresh_tokens if refresh_tokens else {}):
                for value in [v for v, t in tokens.items() if start_url in (None, t.start_url)]:
                    del tokens[value]

    def approve(self, user_code: str) -> None:
        """The user clicks Allow on the device page."""
        self._decide(user_code, True)

    def deny(self, user_code: str) -> None:
        """The user clicks Deny on the device page."""
        self._decide(user_code, False)

    def _decide(self, user_code: str, allowed: bool) -> None:
        with self.lock:
            for grant in self._devices.values():
                if grant.user_code == user_code.strip().upper():
                    grant.allowed = allowed
                    return
        raise LookupError(f"no device login with the code {user_code!r}")

    # The portal.

    def get_role_credentials(self, request: Request) -> Reply:
        self._logged_in(request)
        account, role = request.query.get("account_id", ""), request.query.get("role_name", "")
        if role not in self.assigned.get(account, ()):
            raise AwsError(403, "ForbiddenException", "No access")
        suffix = hashlib.sha256(f"{account}/{role}".encode()).hexdigest()[:16]
        name = f"AWSReservedSSO_{role}_{suffix}"
        key = self.session_key(
            f"arn:aws:sts::{account}:assumed-role/{name}/{self.user}", self.role_lifetime
        )
        credentials = {
            "accessKeyId": key.access_key_id,
            "secretAccessKey": key.secret_access_key,
            "sessionToken": key.session_token,
            "expiration": int(key.expires * 1000),
        }
        return Reply.json({"roleCredentials": credentials})

    def list_accounts(self, request: Request) -> Reply:
        self._logged_in(request)
        accounts = [
            {
                "accountId": a,
                "accountName": self.account_names.get(a, f"account-{a}"),
                "emailAddress": f"{a}@example.com",
            }
            for a in self.assigned
        ]
        return self._page(request, "accountList", accounts)

    def list_account_roles(self, request: Request) -> Reply:
        self._logged_in(request)
        account = request.query.get("account_id", "")
        if account not in self.assigned:
            raise AwsError(403, "ForbiddenException", "No access")
        roles = [{"roleName": role, "accountId": account} for role in self.assigned[account]]
        return self._page(request, "roleList", roles)

    def logout(self, request: Request) -> Reply:
        self._logged_in(request)
        del self.access_tokens[request.headers["x-amz-sso_bearer_token"]]
        return Reply()

    def _logged_in(self, request: Request) -> None:
        token = self.access_tokens.get(request.headers.get("x-amz-sso_bearer_token", ""))
        if token is None or token.expires <= self.clock():
            raise AwsError(401, "UnauthorizedException", "Session token not found or invalid")

    def _page(self, request: Request, name: str, entries: Sequence[object]) -> Reply:
        start = int(request.query.get("next_token") or 0)
        end = start + min(self.page_size, int(request.query.get("max_result") or self.page_size))
        more = str(end) if end < len(entries) else None
        return Reply.json({name: entries[start:end], "nextToken": more})

    # OIDC.

    def register_client(self, request: Request) -> Reply:
        asked = request.json()
        if not asked.get("clientName") or asked.get("clientType") != "public":
            raise AwsError(400, "InvalidClientMetadataException", "Invalid client metadata")
        for uri in asked.get("redirectUris") or ():
            if urlsplit(uri).scheme != "http" or urlsplit(uri).netloc not in LOOPBACK:
                raise AwsError(400, "InvalidRedirectUriException", "Invalid redirect URI")
        client = self._register(
            scopes=asked.get("scopes") or (),
            grant_types=asked.get("grantTypes") or (),
            redirect_uris=asked.get("redirectUris") or (),
            start_url=asked.get("issuerUrl") or "",
        )
        document = {
            "clientId": client.client_id,
            "clientSecret": client.secret,
            "clientIdIssuedAt": int(self.clock()),
            "clientSecretExpiresAt": int(client.expires),
        }
        return Reply.json(document)

    def start_device_authorization(self, request: Request) -> Reply:
        asked = request.json()
        client = self._client(asked, DEVICE_CODE)
        start_url = asked.get("startUrl")
        if not start_url:
            raise AwsError(400, "InvalidRequestException", "startUrl is missing")
        letters = "BCDFGHJKLMNPQRSTVWXZ"
        code = "".join(secrets.choice(letters) for _ in range(8))
        grant = DeviceGrant(
            client.client_id, f"{code[:4]}-{code[4:]}", start_url, self.clock() + GRANT_LIFETIME
        )
        device_code = secrets.token_urlsafe(40)
        direct = request.headers.get("Host", "").startswith("127.0.0.1")
        page = f"{self.url if direct else DEVICE_PORTAL}/device"
        with self.lock:
            self._devices[device_code] = grant
        document = {
            "deviceCode": device_code,
            "userCode": grant.user_code,
            "verificationUri": page,
            "verificationUriComplete": f"{page}?user_code={grant.user_code}",
            "expiresIn": GRANT_LIFETIME,
            "interval": max(1, round(self.device_interval)),
        }
        return Reply.json(document)

    def create_token(self, request: Request) -> Reply:
        asked = request.json()
        exchange = {
            DEVICE_CODE: self._exchange_device_code,
            "authorization_code": self._exchange_code,
            "refresh_token": self._exchange_refresh_token,
        }.get(asked.get("grantType", ""))
        if exchange is None:
            raise AwsError(400, "UnsupportedGrantTypeException", "Unknown grant type")
        client = self._client(asked, asked["grantType"])
        with self.lock:
            return Reply.json(exchange(client, asked))

    def _exchange_device_code(self, client: Registration, asked: dict[str, Any]) -> dict[str, Any]:
        code = asked.get("deviceCode", "")
        grant, now = self._devices.get(code), self.clock()
        if grant is None or grant.client_id != client.client_id:
            raise AwsError(400, "InvalidGrantException", "Invalid device code provided")
        if grant.expires <= now:
            raise AwsError(400, "ExpiredTokenException", "The device code has expired")
        allowed = True if self.auto_approve else grant.allowed
        if allowed is None:
            hasty, grant.polled = now - grant.polled < self.device_interval / 2, now
            if hasty:
                raise AwsError(400, "SlowDownException", "Polling too fast")
            raise AwsError(400, "AuthorizationPendingException", "Not decided yet")
        del self._devices[code]
        if not allowed:
            raise AwsError(400, "AccessDeniedException", "The user denied the request")
        return self._tokens(client, grant.start_url)

    def _exchange_code(self, client: Registration, asked: dict[str, Any]) -> dict[str, Any]:
        grant = self._codes.pop(asked.get("code", ""), None)
        verifier = str(asked.get("codeVerifier", "")).encode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier).digest()).rstrip(b"=")
        if (
            grant is None
            or grant.expires <= self.clock()
            or grant.client_id != client.client_id
            or grant.redirect_uri != asked.get("redirectUri")
            or grant.challenge != challenge.decode()
        ):
            raise AwsError(400, "InvalidGrantException", "Invalid authorization code provided")
        return self._tokens(client, client.start_url)

    def _exchange_refresh_token(
        self, client: Registration, asked: dict[str, Any]
    ) -> dict[str, Any]:
        value = asked.get("refreshToken", "")
        token = self.refresh_tokens.get(value)
        if token is None or token.client_id != client.client_id or token.expires <= self.clock():
            raise AwsError(400, "InvalidGrantException", "Invalid refresh token provided")
        del self.refresh_tokens[value]
        return self._tokens(client, token.start_url, session_ends=token.expires)

    def _register(
        self,
        scopes: Sequence[str] = (),
        grant_types: Sequence[str] = (),
        redirect_uris: Sequence[str] = (),
        start_url: str = "",
    ) -> Registration:
        client = Registration(
            client_id=secrets.token_urlsafe(16),
            secret=secrets.token_urlsafe(200),
            scopes=tuple(scopes),
            grant_types=tuple(grant_types),
            redirect_uris=tuple(redirect_uris),
            start_url=start_url,
            expires=self.clock() + REGISTRATION_LIFETIME,
        )
        self.registrations[client.client_id] = client
        return client

    def _client(self, asked: dict[str, Any], grant_type: str) -> Registration:
        client = self.registrations.get(asked.get("clientId", ""))
        if (
            client is None
            or client.secret != asked.get("clientSecret")
            or client.expires <= self.clock()
        ):
            raise AwsError(401, "InvalidClientException", "Invalid client provided")
        if client.grant_types and grant_type not in client.grant_types:
            raise AwsError(400, "UnauthorizedClientException", "Client may not use this grant")
        return client

    def _tokens(
        self,
        client: Registration,
        start_url: str,
        lifetime: float | None = None,
        session_ends: float | None = None,
    ) -> dict[str, Any]:
        """An access token; for a client with scopes a short one, and a refresh token."""
        session_ends = session_ends or self.clock() + self.session_lifetime
        if lifetime is None:
            lifetime = self.access_token_lifetime if client.scopes else self.session_lifetime
        access = "aoa" + secrets.token_urlsafe(180)
        self.access_tokens[access] = Token(start_url, self.clock() + lifetime, client.client_id)
        issued = {"accessToken": access, "tokenType": "Bearer", "expiresIn": int(lifetime)}
        if client.scopes:
            refresh = "aor" + secrets.token_urlsafe(180)
            self.refresh_tokens[refresh] = Token(start_url, session_ends, client.client_id)
            issued["refreshToken"] = refresh
        return issued

    # The browser.

    def authorize(self, request: Request) -> Reply:
        """The page of an authorization-code login, and where its buttons lead."""
        asked = request.query
        client = self.registrations.get(asked.get("client_id", ""))
        redirect = asked.get("redirect_uri", "")
        if client is None or not _is_registered(redirect, client.redirect_uris):
            return Reply.html("<p>Unknown client or redirect URI</p>", 400)
        if (
            asked.get("response_type") != "code"
            or asked.get("code_challenge_method") != "S256"
            or not asked.get("code_challenge")
            or "authorization_code" not in client.grant_types
        ):
            return _redirect(redirect, asked, error="invalid_request")
        decision = "allow" if self.auto_approve else request.form().get("decision")
        if decision is None:
            return _question("docker-credential-ecr-py wants to log in", f"?{urlencode(asked)}")
        if decision != "allow":
            return _redirect(redirect, asked, error="access_denied")
        code = secrets.token_urlsafe(60)
        with self.lock:
            self._codes[code] = CodeGrant(
                client.client_id, redirect, asked["code_challenge"], self.clock() + GRANT_LIFETIME
            )
        return _redirect(redirect, asked, code=code)

    def device(self, request: Request) -> Reply:
        """The page of a device login."""
        decision, code = request.form().get("decision"), request.query.get("user_code", "")
        if decision is None:
            return _question(f"Is your code {code}?", f"?{urlencode({'user_code': code})}")
        try:
            self._decide(code, decision == "allow")
        except LookupError:
            return Reply.html("<p>Unknown code</p>", 400)
        return Reply.html("<p>Done. You may close this page.</p>")


LOOPBACK = ("127.0.0.1", "[::1]", "localhost")


def _is_registered(uri: str, registered: Sequence[str]) -> bool:
    """Whether `uri` was registered; on loopback any port will do (RFC 8252, section 7.3)."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.hostname or "").geturl() in registered


def _redirect(uri: str, asked: Any, **answer: str) -> Reply:
    if "state" in asked:
        answer["state"] = asked["state"]
    query = urlencode([*parse_qsl(urlsplit(uri).query), *answer.items()])
    return Reply(302, b"", {"Location": urlsplit(uri)._replace(query=query).geturl()})


def _question(text: str, action: str) -> Reply:
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Allow access?</title>
<h1>{html.escape(text)}</h1>
<form method="post" action="{html.escape(action)}">
<button id="allow" name="decision" value="allow">Allow</button>
<button id="deny" name="decision" value="deny">Deny</button>
</form></html>"""
    return Reply.html(page)
