"""GetAuthorizationToken: asks AWS for a registry's credential, as the identity that was selected.

The only way to the network on a `get`. Whatever botocore raises leaves here as one of our errors.
"""

import base64
import binascii
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import botocore.configloader
import botocore.exceptions as aws_errors
from botocore.config import Config
from botocore.session import Session

from docker_credential_ecr_py.aws_config import read_sections
from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.errors import (
    AccessDenied,
    AwsConfigError,
    BadAnswer,
    ClockSkew,
    EcrPyError,
    InvalidKeys,
    LoginNeeded,
    NoProfile,
    Throttled,
    Unreachable,
)
from docker_credential_ecr_py.registry import PUBLIC_REGION, Registry
from docker_credential_ecr_py.selection import Selection

USERNAME = "AWS"
# Seconds. One call may take CONNECT + READ, three times over; all together never more than OVERALL.
CONNECT, READ, OVERALL = 4, 8, 30
_LIMITS = Config(
    connect_timeout=CONNECT,
    read_timeout=READ,
    retries={"mode": "standard", "total_max_attempts": 4},
)

_CONTAINER_AND_INSTANCE = ("container-role", "ec2-credentials-file", "boto-config", "iam-role")
# The one provider of botocore's chain that is this identity, where it comes from no profile.
_ONLY_PROVIDER = {
    "keys": "env",
    "web-identity": "assume-role-with-web-identity",
    "container": "container-role",
    "instance": "iam-role",
}
_LARGEST_SKEW = 300
_T = TypeVar("_T")


def fetch(registry: Registry, selection: Selection) -> Credential:
    """A credential for `registry`, fresh from AWS. Takes OVERALL seconds at the most.

    Raises LoginNeeded, AccessDenied, InvalidKeys, ClockSkew, Throttled, Unreachable, BadAnswer,
    NoProfile or AwsConfigError.
    """
    return _within(OVERALL, lambda: _fetch(registry, selection))


def _fetch(registry: Registry, selection: Selection) -> Credential:
    try:
        session = _session(registry, selection)
        service = "ecr-public" if registry.public else "ecr"
        region = PUBLIC_REGION if registry.public else registry.region
        # Any: botocore makes the client's methods as it runs.
        client: Any = session.create_client(service, region_name=region, config=_endpoint(registry))
        answer = client.get_authorization_token()
    except EcrPyError:
        raise
    except Exception as error:
        raise translate(error, registry, selection) from error
    return decode(answer.get("authorizationData"), now=time.time())


def decode(data: Any, *, now: float) -> Credential:
    """The credential in `authorizationData`: ECR's list of one, or ECR Public's object.

    `authorizationToken` is base64 of AWS:PASSWORD, `expiresAt` a datetime. Raises BadAnswer.
    """
    if isinstance(data, list) and data:
        data = data[0]
    token, expires = (
        (data.get("authorizationToken"), data.get("expiresAt"))
        if isinstance(data, dict)
        else (None, None)
    )
    if not isinstance(token, str) or not token:
        raise BadAnswer("the answer of ECR holds no authorization token")
    try:
        username, colon, password = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise BadAnswer("the authorization token that ECR answered is not base64") from None
    if not colon or not password or not password.isprintable():
        raise BadAnswer("the authorization token that ECR answered holds no password")
    if username != USERNAME:
        raise BadAnswer(f"the authorization token that ECR answered is not for user {USERNAME}")
    if not isinstance(expires, datetime):
        raise BadAnswer("the authorization token that ECR answered says no expiry")
    if expires.timestamp() <= now:
        raise BadAnswer(
            f"the authorization token that ECR answered expired at {expires:%Y-%m-%dT%H:%M:%SZ}",
            mend="see whether the clock of this machine is right",
        )
    return Credential.from_aws(username, password, now=now, expires=expires.timestamp())


class _ForgivingSession(Session):
    """Reads a config that botocore refuses (a repeated section, a byte-order mark) as we do."""

    @property
    def full_config(self) -> dict[str, Any]:
        try:
            return super().full_config
        except aws_errors.ConfigParseError:
            sections = read_sections(os.path.expanduser(self.get_config_variable("config_file")))
            return botocore.configloader.build_profile_map(sections)


def _session(registry: Registry, selection: Selection) -> Session:
    session = _ForgivingSession(profile=selection.profile or None)
    session.set_default_client_config(_LIMITS)
    if not session.get_config_variable("region"):
        session.set_config_variable("region", registry.region)
    chain = session.get_component("credential_provider")
    only = _ONLY_PROVIDER.get(selection.identity.kind)
    for provider in [provider.METHOD for provider in chain.providers]:
        if selection.profile:
            unwanted = provider in _CONTAINER_AND_INSTANCE and provider != only
        else:
            unwanted = provider != only
        if unwanted:
            chain.remove(provider)
    return session


def _endpoint(registry: Registry) -> Config:
    # botocore refuses these beside an endpoint of the user's own.
    if endpoint_override(registry, os.environ):
        return Config()
    return Config(
        use_fips_endpoint=registry.fips or None,
        use_dualstack_endpoint=(registry.dual_stack and not registry.public) or None,
    )


def endpoint_override(registry: Registry, environ: Mapping[str, str]) -> str:
    """The endpoint that the environment puts in the place of ECR's, or ""."""
    service = "ECR_PUBLIC" if registry.public else "ECR"
    return environ.get(f"AWS_ENDPOINT_URL_{service}") or environ.get("AWS_ENDPOINT_URL") or ""


def _within(seconds: float, work: Callable[[], _T]) -> _T:
    """What `work` returns or raises; Unreachable after `seconds`.

    A thread that may be left behind, because neither a name lookup nor a credential_process of
    the user's can be stopped otherwise.
    """
    done: list[_T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise Unreachable(f"AWS gave no answer within {seconds:g} seconds")
    return done[0]


def translate(error: Exception, registry: Registry, selection: Selection) -> EcrPyError:
    """What botocore raised, as an error for a person."""
    if isinstance(error, aws_errors.ClientError):
        return _translate_answer(error, registry, selection)
    identity = selection.identity
    text = str(error)
    match error:
        case (
            aws_errors.UnauthorizedSSOTokenError()
            | aws_errors.SSOTokenLoadError()
            | aws_errors.TokenRetrievalError()
        ) if identity.sso is not None:
            return _login_needed(selection)
        case aws_errors.ProxyConnectionError():
            return Unreachable(f"the proxy refused the way to AWS: {_tail(text)}")
        case aws_errors.SSLError():
            return Unreachable(
                f"the TLS certificate of AWS is not trusted here: {_tail(text)}",
                mend="set AWS_CA_BUNDLE to the certificates of your proxy",
            )
        case aws_errors.ConnectTimeoutError() | aws_errors.ReadTimeoutError():
            return Unreachable(f"AWS gave no answer in time: {_tail(text)}")
        case aws_errors.HTTPClientError() | aws_errors.ConnectionError():
            return Unreachable(f"AWS cannot be reached: {_tail(text)}")
        case aws_errors.MetadataRetrievalError():
            return Unreachable(
                f"the container or instance credentials cannot be had: {_tail(text)}"
            )
        case aws_errors.CredentialRetrievalError():
            return NoProfile(f"no credentials: {_tail(text)}")
        case aws_errors.NoCredentialsError() | aws_errors.PartialCredentialsError():
            return NoProfile("the profile has no AWS credentials", mend=_mend_keys(selection))
        case (
            aws_errors.ProfileNotFound()
            | aws_errors.ConfigParseError()
            | aws_errors.InvalidConfigError()
            | aws_errors.UnknownCredentialError()
            | aws_errors.InfiniteLoopConfigError()
            | aws_errors.ConfigNotFound()
        ):
            return AwsConfigError(f"botocore refuses the AWS config: {_tail(text)}")
        case aws_errors.BotoCoreError():
            return BadAnswer(f"{type(error).__name__}: {_tail(text)}")
    return BadAnswer(f"AWS gave an answer that cannot be read ({type(error).__name__})")


def _translate_answer(
    error: aws_errors.ClientError, registry: Registry, selection: Selection
) -> EcrPyError:
    answer: Mapping[str, Any] = error.response
    about = answer.get("Error", {})
    code, message = str(about.get("Code", "")), str(about.get("Message", ""))
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    operation = error.operation_name
    skew = _skew(answer)
    if abs(skew) > _LARGEST_SKEW or code in ("RequestExpired", "RequestTimeTooSkewed"):
        late = "behind" if skew > 0 else "ahead of"
        by = f"{abs(skew) / 60:.0f} minutes {late} AWS's" if skew else "not the same as AWS's"
        return ClockSkew(f"the clock of this machine is {by} ({code})", mend="set the clock")
    if operation == "GetRoleCredentials" and code in (
        "ForbiddenException",
        "ResourceNotFoundException",
    ):
        return AccessDenied(
            f"the role of profile {selection.profile} is not assigned to you at IAM Identity "
            f"Center (sso_account_id and sso_role_name: {selection.identity.name})",
            mend="ask for it, or correct the profile",
        )
    if code == "UnauthorizedException" and selection.identity.sso:
        return _login_needed(selection)
    if code in ("AccessDenied", "AccessDeniedException"):
        action = "sts:AssumeRole" if operation == "AssumeRole" else f"ecr:{operation}"
        action = "ecr-public:GetAuthorizationToken" if registry.public else action
        return AccessDenied(f"{_principal(message)} may not {action}: {_tail(message)}")
    if code in (
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "InvalidIdentityToken",
    ):
        return InvalidKeys(
            f"AWS does not accept the access key, or no longer ({code})", mend=_mend_keys(selection)
        )
    if status == 429 or "Throttl" in code or code in ("TooManyRequestsException", "SlowDown"):
        return Throttled("AWS asks to call less often", mend="try again in a minute")
    if isinstance(status, int) and status >= 500:
        return Unreachable(
            f"AWS answered {operation} with {status} {_tail(message)}", mend="try again in a minute"
        )
    return BadAnswer(f"AWS answered {operation} with {code}: {_tail(message)}")


def _login_needed(selection: Selection) -> LoginNeeded:
    sso = selection.identity.sso
    profile = sso.profile if sso else selection.profile
    return LoginNeeded(
        "the SSO session has ended or never began", mend=f"run `aws sso login --profile {profile}`"
    )


def _mend_keys(selection: Selection) -> str:
    profile = f" --profile {selection.profile}" if selection.profile else ""
    return f"run `aws configure{profile}`"


def _principal(message: str) -> str:
    arn = re.search(r"arn:aws[\w-]*:(?:iam|sts)::[0-9]*:[^\s,;]+", message)
    return arn[0] if arn else "this identity"


def _skew(answer: Mapping[str, Any]) -> float:
    """Seconds that AWS's clock is ahead of ours, by the Date of its answer; 0 if it told none."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0.0


def _tail(text: str) -> str:
    """Enough of somebody else's words to go on, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:299] + "…"
