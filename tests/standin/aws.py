"""One server standing in for all of AWS that a credential helper talks to.

The SSO portal and SSO OIDC (see `sso`), STS, ECR, ECR Public, the container-credentials endpoint
and the EC2 instance metadata share one port; a request's path and headers say whose it is.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Self
from xml.sax.saxutils import escape

from tests.standin import control
from tests.standin.principals import AwsError, Principal, SessionKey, Signature, assumed_role, iso
from tests.standin.server import Handler, Reply, Request, Server
from tests.standin.sso import IdentityCenter

STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
CONTAINER_PATH = "/container-credentials"
ROLE_PATH = "/latest/meta-data/iam/security-credentials/"


@dataclass(frozen=True)
class Issued:
    """What an ECR password opens: `expires` in seconds since 1970, `region` of the registries."""

    principal_arn: str
    account: str
    region: str
    expires: float
    public: bool


@dataclass(frozen=True)
class Call:
    """A request that arrived, whatever became of it; `time` in seconds since 1970."""

    operation: str
    access_key: str | None
    region: str | None
    account: str | None
    time: float


@dataclass
class Fault:
    """Something that goes wrong at `operation` ("*" for any), `times` more times or for ever."""

    operation: str
    kind: str
    times: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)


FAULTS = ("delay", "hang", "error", "garbage", "close", "answer")


@dataclass(frozen=True)
class Operation:
    """An AWS operation; `shape` names the way in which its errors are written."""

    name: str
    shape: str
    run: Callable[[Request], Reply]


class Aws(IdentityCenter):
    """AWS, on `url`, while the context lasts.

    Set state by its attributes and methods, see what was asked in `calls`. All is thread-safe.
    The clock may be replaced, for tests in which time must pass.
    """

    token_lifetime = 12 * 3600.0
    latency = 0.0  # seconds, added to every call
    container_role: str | None = None  # the ARN of the role that a container runs as
    instance_role: str | None = None  # the ARN of the role that an instance runs as
    instance_region = "eu-west-1"

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self.assumable: set[str] = set()
        self.mfa_serials: dict[str, str] = {}
        self.mfa_codes: set[str] = set()  # that are good now, each once
        self.web_identity_tokens: set[str] = set()
        self.denied: set[str] = set()
        self.issued: dict[str, Issued] = {}
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.container_token = secrets.token_urlsafe(20)
        self._metadata_tokens: set[str] = set()
        self.server = _AwsServer(self)
        self._routes = self._table()

    def __enter__(self) -> Self:
        self.server.__enter__()
        self.url = self.server.url
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.__exit__(*exception)

    def environment(self) -> dict[str, str]:
        """What points botocore, and other SDKs that know these variables, at this server."""
        services = ("ECR", "ECR_PUBLIC", "STS", "SSO", "SSO_OIDC")
        return {f"AWS_ENDPOINT_URL_{service}": self.url for service in services}

    def container_environment(self) -> dict[str, str]:
        """What a container with a role has in its environment, beside `environment()`."""
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.url + CONTAINER_PATH,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": self.container_token,
        }

    def instance_environment(self) -> dict[str, str]:
        """What makes SDKs take this server for the instance metadata."""
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url}

    # What a test says, beside what IdentityCenter offers.

    def allow_role(self, role_arn: str, mfa_serial: str | None = None) -> None:
        """Let anyone with a known key, or a known web identity, assume this role.

        With the serial of an MFA device, only with one of `mfa_codes` too.
        """
        self.assumable.add(role_arn)
        if mfa_serial is not None:
            self.mfa_serials[role_arn] = mfa_serial

    def deny_ecr(self, arn_pattern: str) -> None:
        """Refuse authorization tokens to the principals whose ARN fits this glob."""
        self.denied.add(arn_pattern)

    def fault(self, operation: str, kind: str, *, times: int | None = None, **detail: Any) -> None:
        """Let something go wrong at `operation` ("*" for any), `times` times or until cleared.

        `kind` is one of: delay (seconds=), hang, error (status=, code=, message=), garbage
        (json= true for half a document instead of HTML), close, answer (document=).
        """
        if kind not in FAULTS:
            raise ValueError(f"no such fault: {kind}")
        self.faults.append(Fault(operation, kind, times, detail))

    def clear_faults(self) -> None:
        self.faults.clear()

    def count(self, operation: str | None = None) -> int:
        """How many calls of `operation`, or of all, have arrived."""
        return sum(operation in (None, call.operation) for call in list(self.calls))

    def reset_calls(self) -> None:
        self.calls.clear()

    # How a request is answered.

    def operation(self, request: Request) -> Operation:
        """Which operation a request means."""
        if target := request.headers.get("X-Amz-Target"):
            name = target
        elif request.method == "POST" and request.path == "/":
            name = "sts " + request.form().get("Action", "")
        elif request.method == "GET" and request.path.startswith(ROLE_PATH):
            name = "GET " + ROLE_PATH
        else:
            name = f"{request.method} {request.path.rstrip('/') or '/'}"
        return self._routes.get(name) or Operation(name, "json", _unknown)

    def note(self, operation: Operation, request: Request) -> None:
        """Keep the call."""
        signature = _signature(request)
        principal = self.find(signature) if signature else None
        self.calls.append(
            Call(
                operation.name,
                signature.access_key if signature else None,
                signature.region if signature else _region_of(request.headers.get("Host", "")),
                principal.account if principal else request.query.get("account_id"),
                self.clock(),
            )
        )

    def next_faults(self, operation: str) -> list[Fault]:
        """The faults that this call meets; each has then been used once."""
        with self.lock:
            met = [f for f in self.faults if f.operation in ("*", operation) and f.times != 0]
            for fault in met:
                if fault.times is not None:
                    fault.times -= 1
            return met

    def answer(self, operation: Operation, request: Request) -> Reply:
        """Run the operation; an error comes back in the operation's own shape."""
        try:
            return operation.run(request)
        except AwsError as error:
            return SHAPES[operation.shape](error)

    def _table(self) -> dict[str, Operation]:
        ecr = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
        public = "SpencerFrontendService.GetAuthorizationToken"
        sts = {
            action: Operation(action, "query", run)
            for action, run in {
                "AssumeRole": self.assume_role,
                "AssumeRoleWithWebIdentity": self.assume_role_with_web_identity,
                "GetCallerIdentity": self.get_caller_identity,
            }.items()
        }
        return {
            ecr: Operation("GetAuthorizationToken", "json", self.get_authorization_token),
            public: Operation("GetPublicAuthorizationToken", "json", self.get_public_token),
            **{f"sts {action}": operation for action, operation in sts.items()},
            "GET /federation/credentials": Operation(
                "GetRoleCredentials", "portal", self.get_role_credentials
            ),
            "GET /assignment/accounts": Operation("ListAccounts", "portal", self.list_accounts),
            "GET /assignment/roles": Operation(
                "ListAccountRoles", "portal", self.list_account_roles
            ),
            "POST /logout": Operation("Logout", "portal", self.logout),
            "POST /client/register": Operation("RegisterClient", "oidc", self.register_client),
            "POST /device_authorization": Operation(
                "StartDeviceAuthorization", "oidc", self.start_device_authorization
            ),
            "POST /token": Operation("CreateToken", "oidc", self.create_token),
            "GET /authorize": Operation("Authorize", "oidc", self.authorize),
            "POST /authorize": Operation("Authorize", "oidc", self.authorize),
            "GET /device": Operation("Device", "oidc", self.device),
            "POST /device": Operation("Device", "oidc", self.device),
            f"GET {CONTAINER_PATH}": Operation(
                "ContainerCredentials", "json", self.container_credentials
            ),
            "PUT /latest/api/token": Operation(
                "InstanceMetadataToken", "json", self.metadata_token
            ),
            f"GET {ROLE_PATH}": Operation("InstanceMetadataRole", "json", self.metadata_role),
            "GET /latest/meta-data/placement/availability-zone": Operation(
                "InstanceMetadataRegion", "json", self.metadata_zone
            ),
        }

    # ECR.

    def get_authorization_token(self, request: Request) -> Reply:
        signature, principal = self._caller(request, "ecr:GetAuthorizationToken")
        token, expires = self._issue(principal, signature.region, public=False)
        suffix = "amazonaws.com.cn" if signature.region.startswith("cn-") else "amazonaws.com"
        data = [
            {
                "authorizationToken": token,
                "expiresAt": round(expires, 3),
                "proxyEndpoint": f"https://{account}.dkr.ecr.{signature.region}.{suffix}",
            }
            for account in request.json().get("registryIds") or [principal.account]
        ]
        return Reply.json({"authorizationData": data}, headers=AMZ_JSON)

    def get_public_token(self, request: Request) -> Reply:
        signature, principal = self._caller(request, "ecr-public:GetAuthorizationToken")
        if signature.region != "us-east-1":
            message = "GetAuthorizationToken command is only supported in us-east-1."
            raise AwsError(400, "UnsupportedCommandException", message)
        token, expires = self._issue(principal, signature.region, public=True)
        data = {"authorizationToken": token, "expiresAt": round(expires, 3)}
        return Reply.json({"authorizationData": data}, headers=AMZ_JSON)

    def _caller(self, request: Request, action: str) -> tuple[Signature, Principal]:
        signature = _signature(request)
        if signature is None:
            message = "Missing Authentication Token"
            raise AwsError(400, "MissingAuthenticationTokenException", message)
        principal = self.find(signature)
        if principal is None:
            message = "The security token included in the request is invalid."
            raise AwsError(400, "UnrecognizedClientException", message)
        if principal.expires <= self.clock():
            message = "The security token included in the request is expired"
            raise AwsError(400, "ExpiredTokenException", message)
        if any(fnmatchcase(principal.arn, pattern) for pattern in self.denied):
            message = (
                f"User: {principal.arn} is not authorized to perform: {action} on resource: * "
                f"because no identity-based policy allows the {action} action"
            )
            raise AwsError(400, "AccessDeniedException", message)
        return signature, principal

    def _issue(self, principal: Principal, region: str, *, public: bool) -> tuple[str, float]:
        """A new authorization token, and the end of its life."""
        expires = self.clock() + self.token_lifetime
        document = {
            "payload": base64.b64encode(secrets.token_bytes(600 + secrets.randbelow(800))).decode(),
            "datakey": base64.b64encode(secrets.token_bytes(184)).decode(),
            "version": "2",
            "type": "DATA_KEY",
            "expiration": int(expires),
        }
        password = base64.b64encode(json.dumps(document, separators=(",", ":")).encode()).decode()
        self.issued[password] = Issued(principal.arn, principal.account, region, expires, public)
        return base64.b64encode(f"AWS:{password}".encode()).decode(), expires

    # STS.

    def get_caller_identity(self, request: Request) -> Reply:
        principal = self._sts_caller(request)
        result = {
            "Arn": principal.arn,
            "UserId": "AIDA" + base64.b32encode(principal.arn.encode()).decode()[-17:].strip("="),
            "Account": principal.account,
        }
        return _query_reply("GetCallerIdentity", result)

    def assume_role(self, request: Request) -> Reply:
        principal, asked = self._sts_caller(request), request.form()
        if asked.get("RoleArn") not in self.assumable:
            message = (
                f"User: {principal.arn} is not authorized to perform: sts:AssumeRole "
                f"on resource: {asked.get('RoleArn')}"
            )
            raise AwsError(403, "AccessDenied", message)
        if serial := self.mfa_serials.get(asked["RoleArn"]):
            code = asked.get("TokenCode", "")
            if asked.get("SerialNumber") != serial or code not in self.mfa_codes:
                message = "MultiFactorAuthentication failed with invalid MFA one time pass code."
                raise AwsError(403, "AccessDenied", message)
            self.mfa_codes.discard(code)
        return _query_reply("AssumeRole", self._assume(asked))

    def assume_role_with_web_identity(self, request: Request) -> Reply:
        asked = request.form()
        if asked.get("WebIdentityToken") not in self.web_identity_tokens:
            message = "The web identity token provided could not be validated"
            raise AwsError(400, "InvalidIdentityToken", message)
        if asked.get("RoleArn") not in self.assumable:
            message = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
            raise AwsError(403, "AccessDenied", message)
        return _query_reply("AssumeRoleWithWebIdentity", self._assume(asked))

    def _sts_caller(self, request: Request) -> Principal:
        signature = _signature(request)
        if signature is None:
            raise AwsError(403, "MissingAuthenticationToken", "Request is missing Authentication")
        principal = self.find(signature)
        if principal is None:
            message = "The security token included in the request is invalid."
            raise AwsError(403, "InvalidClientTokenId", message)
        if principal.expires <= self.clock():
            message = "The security token included in the request is expired"
            raise AwsError(403, "ExpiredToken", message)
        return principal

    def _assume(self, asked: dict[str, str]) -> dict[str, Any]:
        arn = assumed_role(asked["RoleArn"], asked["RoleSessionName"])
        key = self.session_key(arn, float(asked.get("DurationSeconds") or 3600))
        return {
            "Credentials": {
                "AccessKeyId": key.access_key_id,
                "SecretAccessKey": key.secret_access_key,
                "SessionToken": key.session_token,
                "Expiration": key.expires_iso,
            },
            "AssumedRoleUser": {"AssumedRoleId": f"AROA:{asked['RoleSessionName']}", "Arn": arn},
        }

    # Containers and instances.

    def container_credentials(self, request: Request) -> Reply:
        if self.container_role is None:
            raise AwsError(404, "NotFound", "No role")
        if request.headers.get("Authorization") != self.container_token:
            raise AwsError(401, "Unauthorized", "Wrong authorization token")
        key = self.session_key(assumed_role(self.container_role, "container"), 6 * 3600)
        return Reply.json({"RoleArn": self.container_role, **_metadata_credentials(key)})

    def metadata_token(self, request: Request) -> Reply:
        lifetime = request.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        if lifetime is None:
            raise AwsError(400, "BadRequest", "No lifetime")
        token = secrets.token_urlsafe(42)
        self._metadata_tokens.add(token)
        headers = {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": lifetime, "Content-Type": "text/plain"}
        return Reply(200, token.encode(), headers)

    def metadata_role(self, request: Request) -> Reply:
        self._check_metadata_token(request)
        if self.instance_role is None:
            raise AwsError(404, "NotFound", "No role")
        name = self.instance_role.rpartition("/")[2]
        asked = request.path.removeprefix(ROLE_PATH)
        if not asked:
            return Reply(200, name.encode(), {"Content-Type": "text/plain"})
        if asked != name:
            raise AwsError(404, "NotFound", "No such role")
        key = self.session_key(assumed_role(self.instance_role, "i-0123456789abcdef0"), 6 * 3600)
        document = {
            "Code": "Success",
            "LastUpdated": iso(self.clock()),
            "Type": "AWS-HMAC",
            **_metadata_credentials(key),
        }
        return Reply.json(document, headers={"Content-Type": "text/plain"})

    def metadata_zone(self, request: Request) -> Reply:
        self._check_metadata_token(request)
        zone = f"{self.instance_region}a"
        return Reply(200, zone.encode(), {"Content-Type": "text/plain"})

    def _check_metadata_token(self, request: Request) -> None:
        if request.headers.get("X-aws-ec2-metadata-token") not in self._metadata_tokens:
            raise AwsError(401, "Unauthorized", "IMDSv2 wants a token")


class _AwsHandler(Handler):
    """Reads a request, lets the faults have their way with it, and answers it."""

    def answer(self) -> None:
        aws: Aws = self.server.owner.aws  # type: ignore[attr-defined]
        request = self.read_request()
        if request.path.startswith(control.PREFIX):
            self.reply(control.answer(aws, request))
            return
        operation = aws.operation(request)
        aws.note(operation, request)
        self._wait(aws, aws.latency)
        for fault in aws.next_faults(operation.name):
            match fault.kind:
                case "delay":
                    self._wait(aws, fault.detail["seconds"])
                case "hang":
                    self._wait(aws, None)
                    self.reset()
                case "close":
                    self.reset()
                case _:
                    self.reply(_broken(fault, operation))
                    return
        self.reply(aws.answer(operation, request))

    def _wait(self, aws: Aws, seconds: float | None) -> None:
        if seconds != 0.0:
            aws.server.stopped.wait(seconds)


class _AwsServer(Server):
    handler = _AwsHandler

    def __init__(self, aws: Aws) -> None:
        super().__init__()
        self.aws = aws


def _broken(fault: Fault, operation: Operation) -> Reply:
    """What a fault answers instead of the operation."""
    detail = fault.detail
    if fault.kind == "answer":
        return Reply.json(detail["document"], headers=AMZ_JSON)
    if fault.kind == "error":
        code = detail.get("code", "InternalFailure")
        error = AwsError(detail.get("status", 500), code, detail.get("message", code))
        return SHAPES[operation.shape](error)
    if detail.get("json"):
        return Reply(200, b'{"authorizationData": [{"authoriz', AMZ_JSON)
    return Reply.html("<html><body><h1>Sign in to the guest network</h1></body></html>")


def _unknown(request: Request) -> Reply:
    raise AwsError(404, "UnknownOperationException", f"Unknown operation: {request.path}")


def _signature(request: Request) -> Signature | None:
    headers = request.headers
    return Signature.parse(headers.get("Authorization", ""), headers.get("X-Amz-Security-Token"))


def _region_of(host: str) -> str | None:
    """The region that a real host of AWS names: `portal.sso.eu-west-1.amazonaws.com`."""
    found = re.search(r"\.([a-z]+(?:-[a-z]+)+-\d)\.", host)
    return found[1] if found else None


def _metadata_credentials(key: SessionKey) -> dict[str, str]:
    return {
        "AccessKeyId": key.access_key_id,
        "SecretAccessKey": key.secret_access_key,
        "Token": key.session_token,
        "Expiration": key.expires_iso,
    }


# How each protocol writes a result, and an error.

AMZ_JSON = {"Content-Type": "application/x-amz-json-1.1"}


def _query_reply(action: str, result: dict[str, Any]) -> Reply:
    body = (
        f'<{action}Response xmlns="{STS_NAMESPACE}"><{action}Result>{_xml(result)}'
        f"</{action}Result><ResponseMetadata><RequestId>{_request_id()}</RequestId>"
        f"</ResponseMetadata></{action}Response>"
    )
    return Reply(200, body.encode(), {"Content-Type": "text/xml"})


def _xml(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"<{name}>{_xml(inner)}</{name}>" for name, inner in value.items())
    return escape(str(value))


def _request_id() -> str:
    return "-".join(secrets.token_hex(n) for n in (4, 2, 2, 2, 6))


def _query_error(error: AwsError) -> Reply:
    body = (
        f'<ErrorResponse xmlns="{STS_NAMESPACE}"><Error><Type>Sender</Type>'
        f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
        f"<RequestId>{_request_id()}</RequestId></ErrorResponse>"
    )
    return Reply(error.status, body.encode(), {"Content-Type": "text/xml"})


def _json_error(error: AwsError) -> Reply:
    body = {"__type": error.code, "message": error.message}
    return Reply.json(body, error.status, AMZ_JSON)


def _portal_error(error: AwsError) -> Reply:
    kind = f"com.amazonaws.switchboard.portal#{error.code}"
    body = {"message": error.message, "__type": kind}
    return Reply.json(body, error.status, {"x-amzn-ErrorType": error.code})


def _oidc_error(error: AwsError) -> Reply:
    words = re.findall("[A-Z][a-z]+", error.code.removesuffix("Exception"))
    body = {"error": "_".join(words).lower(), "error_description": error.message}
    return Reply.json(body, error.status, {"x-amzn-ErrorType": error.code})


SHAPES: dict[str, Callable[[AwsError], Reply]] = {
    "json": _json_error,
    "portal": _portal_error,
    "oidc": _oidc_error,
    "query": _query_error,
}
