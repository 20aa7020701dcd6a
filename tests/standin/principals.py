"""Access keys, and the IAM principals they stand for."""

from __future__ import annotations

import math
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


class AwsError(Exception):
    """What a service answers instead of a result; each protocol has its own shape for it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Principal:
    """Who an access key stands for. A session token and an end belong to temporary keys only."""

    arn: str
    secret: str
    session_token: str | None = None
    expires: float = math.inf

    @property
    def account(self) -> str:
        return self.arn.split(":")[4]


@dataclass(frozen=True)
class SessionKey:
    """A temporary access key, as services hand it out; `expires` in seconds since 1970."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires: float

    @property
    def expires_iso(self) -> str:
        return iso(self.expires)


@dataclass(frozen=True)
class Signature:
    """What a SigV4 `Authorization` header says of the caller; the signature is not checked."""

    access_key: str
    region: str
    session_token: str | None

    @classmethod
    def parse(cls, authorization: str, session_token: str | None) -> Signature | None:
        scope = re.search(r"Credential=([^/]+)/\d{8}/([^/]+)/[^/]+/aws4_request", authorization)
        return cls(scope[1], scope[2], session_token) if scope else None


class Principals:
    """The access keys that AWS knows."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.keys: dict[str, Principal] = {}
        self.lock = threading.RLock()

    def add_key(self, access_key_id: str, arn: str) -> str:
        """A lasting access key, as of an IAM user; returns its secret."""
        secret = secrets.token_urlsafe(30)
        self.keys[access_key_id] = Principal(arn, secret)
        return secret

    def session_key(self, arn: str, lifetime: float) -> SessionKey:
        """A new temporary access key for `arn`, good for `lifetime` seconds."""
        key = SessionKey(
            access_key_id="ASIA" + secrets.token_hex(8).upper(),
            secret_access_key=secrets.token_urlsafe(30),
            session_token=secrets.token_urlsafe(300),
            expires=self.clock() + lifetime,
        )
        self.keys[key.access_key_id] = Principal(
            arn, key.secret_access_key, key.session_token, key.expires
        )
        return key

    def find(self, signature: Signature) -> Principal | None:
        """Who signed; None where the key, or the session token that goes with it, is unknown."""
        principal = self.keys.get(signature.access_key)
        if principal is None or principal.session_token != signature.session_token:
            return None
        return principal


def assumed_role(role_arn: str, session: str) -> str:
    """The ARN of a session of the role `role_arn`."""
    partition, account = role_arn.split(":")[1], role_arn.split(":")[4]
    return f"arn:{partition}:sts::{account}:assumed-role/{role_arn.rpartition('/')[2]}/{session}"


def iso(seconds: float) -> str:
    """Seconds since 1970 as AWS writes a time: `2025-01-31T12:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
