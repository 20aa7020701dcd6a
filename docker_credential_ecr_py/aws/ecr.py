"""Gets a registry's credential from AWS (GetAuthorizationToken), as the selected identity.

Errors of botocore are translated into those of errors.py.
"""

import base64
import binascii
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from json import JSONDecodeError
from pathlib import Path
from typing import Any, TypeVar

import botocore.exceptions as aws_errors
from botocore.config import Config
from botocore.utils import JSONFileCache

from docker_credential_ecr_py.atomic_file import read_if_there
from docker_credential_ecr_py.aws.session import (
    AnonymousSession,
    Session,
    answer_error,
    endpoint_of,
    first_line,
    network_error,
    note_on_region,
)
from docker_credential_ecr_py.credential import USERNAME, Credential
from docker_credential_ecr_py.deadline import call_with_deadline
from docker_credential_ecr_py.errors import (
    AccessDenied,
    AwsConfigError,
    BadAnswer,
    ClockSkew,
    EcrPyError,
    InvalidKeys,
    MfaCodeNeeded,
    NoProfile,
    Unreachable,
    aws_login_needed,
    login_needed,
)
from docker_credential_ecr_py.folder import other_owner
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import DUAL_STACK, FIPS, Selection
from docker_credential_ecr_py.shell import quote

# Seconds for all calls of a fetch together.
OVERALL = 30
_T = TypeVar("_T")

_CONTAINER_AND_INSTANCE = ("container-role", "ec2-credentials-file", "boto-config", "iam-role")
# The one provider of botocore's chain for an identity of this kind that comes from no profile.
_ONLY_PROVIDER = {
    "keys": "env",
    "web-identity": "assume-role-with-web-identity",
    "container": "container-role",
    "instance": "iam-role",
}
_SESSION_ENDED = (
    aws_errors.UnauthorizedSSOTokenError,
    aws_errors.SSOTokenLoadError,
    aws_errors.TokenRetrievalError,
)
# By name: an older botocore does not have them.
_LOGIN_ENDED = ("LoginTokenLoadError", "LoginRefreshRequired", "LoginError")
_LARGEST_SKEW = 300
_LACKING_KEY = re.compile("Missing required key in response: '(AccessKeyId|SecretAccessKey)'")


def fetch(registry: Registry, selection: Selection, mfa_code: str = "") -> Credential:
    """Return a new credential for `registry`. It takes at most OVERALL seconds.

    Raises MfaCodeNeeded if a role needs `mfa_code` and none was given; LoginNeeded, AccessDenied,
    InvalidKeys, ClockSkew, Throttled, Unreachable, BadAnswer, NoProfile or AwsConfigError.
    """
    return in_time(lambda: _fetch(registry, selection, mfa_code))


def in_time(calls: Callable[[], _T]) -> _T:
    """Return or raise what `calls` does; raise Unreachable after OVERALL seconds."""
    too_late = Unreachable(f"AWS gave no answer within {OVERALL} seconds")
    return call_with_deadline(OVERALL, calls, too_late)


def client_for(registry: Registry, selection: Selection, mfa_code: str = "") -> Any:
    """Return a botocore client of the registry's ECR that already has its credentials.

    Any, because botocore makes the client's methods at run time. Raises what botocore raises, and
    as `fetch` if a code is needed.
    """
    session = _session(registry, selection)
    clock = _AwsClock()
    session.register("after-call", clock.read)
    if selection.identity.mfa_serial:
        _share_roles_with_aws_cli(session, selection, mfa_code)
    credentials = session.get_credentials()
    if credentials is None:
        raise aws_errors.NoCredentialsError
    # Now, not with the first call: the caller of this function can log in and try again.
    try:
        credentials.get_frozen_credentials()
    except RuntimeError as error:
        # botocore has no type for credentials that have expired when it gets them.
        if "expired" not in str(error):
            raise
        raise _expired_at_once(clock.ahead, selection) from error
    return _client(session, registry, selection)


def role_client(registry: Registry, selection: Selection, keys: Mapping[str, str]) -> Any:
    """As client_for, with the keys of a role: `Credentials` in an answer of STS."""
    session = AnonymousSession()
    session.set_credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    return _client(session, registry, selection)


def _client(session: Session, registry: Registry, selection: Selection) -> Any:
    config = _endpoint_config(registry, selection)
    return session.create_client(_service(registry), region_name=registry.region, config=config)


def ecr_endpoint(registry: Registry, selection: Selection) -> str:
    """Return the URL at which a registry's tokens are asked for. Raises AwsConfigError."""
    config = _endpoint_config(registry, selection)
    return endpoint_of(_service(registry), registry.region, selection.profile, config)


def _service(registry: Registry) -> str:
    return "ecr-public" if registry.public else "ecr"


class _AwsClock:
    """AWS's clock by its last answer: `ahead` of ours by so many seconds, 0 if unknown."""

    ahead = 0.0

    def read(self, **event: Any) -> None:
        """Note the time of an answer. botocore calls this after each call."""
        self.ahead = _skew(event["parsed"])


def _expired_at_once(ahead: float, selection: Selection) -> EcrPyError:
    """Return the error for credentials that had expired when they were issued."""
    if abs(ahead) > _LARGEST_SKEW:
        return _clock_skew(ahead, "the credentials that it issued have already expired here")
    return ClockSkew(
        f"the credentials of this {selection.identity.kind} had already expired, by the clock "
        "of this machine, when they were issued",
        hint="check the clock of this machine",
    )


def _clock_skew(ahead: float, why: str) -> ClockSkew:
    late = "behind" if ahead > 0 else "ahead of"
    by = f"{_lasting(abs(ahead))} {late} AWS's" if abs(ahead) >= 60 else "not the same as AWS's"
    return ClockSkew(f"the clock of this machine is {by} ({why})", hint="set the clock")


def _lasting(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"


def _fetch(registry: Registry, selection: Selection, mfa_code: str) -> Credential:
    try:
        answer = client_for(registry, selection, mfa_code).get_authorization_token()
    except EcrPyError:
        raise
    except Exception as error:
        raise translate(error, registry, selection) from error
    return decode(answer.get("authorizationData"), now=time.time())


def decode(data: Any, *, now: float) -> Credential:
    """Return the credential in `authorizationData`: ECR's list of one, or ECR Public's object.

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
        raise BadAnswer("ECR's response has no authorization token")
    try:
        username, colon, password = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise BadAnswer("the authorization token from ECR is not base64") from None
    if not colon or not password or not password.isprintable():
        raise BadAnswer("the authorization token from ECR has no password")
    if username != USERNAME:
        raise BadAnswer(f"the authorization token from ECR is not for user {USERNAME}")
    if not isinstance(expires, datetime):
        raise BadAnswer("the authorization token from ECR has no expiry")
    try:
        end = expires.timestamp()
    except (OSError, OverflowError, ValueError):  # a time of no zone, at either end of the calendar
        raise BadAnswer("the authorization token from ECR has no valid expiry") from None
    if end <= now:
        raise BadAnswer(
            f"the authorization token from ECR expired at {expires:%Y-%m-%dT%H:%M:%SZ}",
            hint="check the clock of this machine",
        )
    return Credential.from_aws(username, password, now=now, expires=end)


def _session(registry: Registry, selection: Selection) -> Session:
    if selection.identity.aws_login is not None:
        # Not above: it loads cryptography, which other profiles do not need.
        from docker_credential_ecr_py.aws.aws_login import prepare_botocore

        prepare_botocore()
    session = Session(profile=selection.profile or None)
    session.use_tolerant_config_readers(selection.profile or "default")
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


def _endpoint_config(registry: Registry, selection: Selection) -> Config:
    # botocore refuses these together with an endpoint that the user has set.
    variants = () if endpoint_override(registry, os.environ) else selection.variants
    return Config(use_fips_endpoint=FIPS in variants, use_dualstack_endpoint=DUAL_STACK in variants)


def endpoint_override(registry: Registry, environ: Mapping[str, str]) -> str:
    """Return the endpoint that the environment sets instead of ECR's, or ""."""
    service = "ECR_PUBLIC" if registry.public else "ECR"
    return environ.get(f"AWS_ENDPOINT_URL_{service}") or environ.get("AWS_ENDPOINT_URL") or ""


class _RoleCache(JSONFileCache):
    """The AWS CLI's cache of roles. A damaged file counts as missing, so that it is replaced.

    Root stores nothing in another user's home.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self._folder = Path(folder)

    def __getitem__(self, key: str) -> Any:
        try:
            return json.loads(read_if_there(self._folder / f"{key}.json") or b"")
        except (OSError, ValueError):
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: Any) -> None:
        if other_owner(self._folder) is None:
            super().__setitem__(key, value)

    def __contains__(self, key: str) -> bool:
        try:
            return "Credentials" in self[key]
        except (KeyError, TypeError):
            return False


def _share_roles_with_aws_cli(session: Session, selection: Selection, mfa_code: str) -> None:
    """Cache a role that needs an MFA code where the AWS CLI does, so that one code serves both."""

    def prompt(question: str) -> str:
        if not mfa_code:
            raise MfaCodeNeeded(
                f"MFA device {selection.identity.mfa_serial} requires a code, and the user cannot "
                "be asked for it here",
                hint=f"run `aws sts get-caller-identity --profile {quote(selection.profile)}`",
            )
        return mfa_code

    # Any: the cache is the provider's public attribute, as the AWS CLI sets it. The prompter is
    # private, but botocore's own hangs if there is no terminal.
    provider: Any = session.get_component("credential_provider").get_provider("assume-role")
    provider.cache = _RoleCache(os.path.expanduser("~/.aws/cli/cache"))
    provider._prompter = prompt


def translate(error: Exception, registry: Registry, selection: Selection) -> EcrPyError:
    """Return the error of errors.py for an exception of botocore's."""
    if isinstance(error, aws_errors.ClientError):
        return _translate_answer(error, registry, selection)
    session = selection.identity.sso
    if session is not None and isinstance(error, _SESSION_ENDED):
        return login_needed(session.login_name)
    login = selection.identity.aws_login
    if login is not None and type(error).__name__ in _LOGIN_ENDED:
        return aws_login_needed(login.profile)
    text = str(error)
    match error:
        case aws_errors.BotoCoreError() if type(error).__name__ == "LoginInsufficientPermissions":
            # Its text names the permission.
            return AccessDenied(first_line(text))
        case aws_errors.MetadataRetrievalError(
            __context__=aws_errors.HTTPClientError() | aws_errors.ConnectionError() as cause
        ):
            return network_error(cause, "the metadata of the container or instance")
        case aws_errors.MetadataRetrievalError():
            return Unreachable(
                f"cannot get the container or instance credentials: {first_line(text)}"
            )
        case aws_errors.CredentialRetrievalError(kwargs={"provider": "custom-process"}):
            return _process_error(error)
        case aws_errors.CredentialRetrievalError():
            return NoProfile(f"no credentials: {first_line(text)}")
        case (
            JSONDecodeError()
            | UnicodeDecodeError()
            | AttributeError()
            | FileNotFoundError()
            | PermissionError()
        ) if _is_process(selection):
            return _process_error(error)
        case aws_errors.NoCredentialsError() | aws_errors.PartialCredentialsError():
            return NoProfile("no AWS credentials", hint=_refused_keys(selection)[1])
        case (
            aws_errors.ProfileNotFound()
            | aws_errors.ConfigParseError()
            | aws_errors.InvalidConfigError()
            | aws_errors.UnknownCredentialError()
            | aws_errors.InfiniteLoopConfigError()
            | aws_errors.ConfigNotFound()
        ):
            return AwsConfigError(f"botocore rejects the AWS config: {first_line(text)}")
    found = network_error(error)
    if isinstance(found, Unreachable):
        found.what += note_on_region(registry.region, _service(registry))
    return found


def _is_process(selection: Selection) -> bool:
    identity = selection.identity
    return identity.kind == "process" or " by process " in identity.name


def _process_error(error: Exception) -> EcrPyError:
    """Return the error for a credential_process that gave no credentials.

    Its output may hold a secret, so it goes to the user's terminal and nowhere else.
    """
    said = str(getattr(error, "kwargs", {}).get("error_msg", ""))
    run_it = "run the command of credential_process by hand to see why"
    match error:
        case OSError():
            why, hint = (
                f"cannot run: {error.strerror}",
                "check credential_process in the AWS config",
            )
        case ValueError() | AttributeError():
            why, hint = "did not print a JSON object", run_it
        case _ if lacking := _LACKING_KEY.fullmatch(said):
            return NoProfile(f"the output of the credential_process has no {lacking[1]}")
        case _:
            why, hint = "failed", run_it
    words = "".join(sign if sign.isprintable() else " " for sign in said)
    aside = f"the credential_process said: {first_line(words)}" if words.strip() else ""
    return NoProfile(f"the credential_process {why}", hint=hint, aside=aside)


def _translate_answer(
    error: aws_errors.ClientError, registry: Registry, selection: Selection
) -> EcrPyError:
    answer: Mapping[str, Any] = error.response
    about = answer.get("Error", {})
    code, message = str(about.get("Code", "")), str(about.get("Message", ""))
    operation = error.operation_name
    skew = _skew(answer)
    if abs(skew) > _LARGEST_SKEW or code in ("RequestExpired", "RequestTimeTooSkewed"):
        return _clock_skew(skew, code)
    if operation == "GetRoleCredentials" and code in (
        "ForbiddenException",
        "ResourceNotFoundException",
    ):
        account, role = selection.identity.name.split(" ")[-2:]
        return AccessDenied(
            f"role {role} of account {account} is not assigned to you in IAM Identity Center",
            hint="ask your administrator for it, or correct sso_role_name in the profile",
        )
    if code == "UnauthorizedException" and selection.identity.sso:
        return login_needed(selection.identity.sso.login_name)
    if code == "AccessDenied" and "MultiFactorAuthentication" in message:
        return AccessDenied(
            "AWS did not accept the MFA code", hint="wait for the next one, and try again"
        )
    if code in ("AccessDenied", "AccessDeniedException"):
        service = "sts" if operation.startswith("AssumeRole") else _service(registry)
        action = f"{service}:{operation}"
        on = re.search(r" on resource: (arn:[^\s,]+)", message)
        action += f" on {on[1]}" if on else ""
        # The part after "because" says which policy refused.
        reason = message.partition(" because ")[2]
        return AccessDenied(
            f"{_principal(message)} may not {action}{reason and f': {first_line(reason)}'}",
            hint="" if reason else "ask the administrator of the account for that permission",
        )
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
        what, hint = _refused_keys(selection)
        return InvalidKeys(f"AWS rejected {what} as invalid or expired ({code})", hint=hint)
    return answer_error(error)


def _refused_keys(selection: Selection) -> tuple[str, str]:
    """Return what AWS refused, and the hint."""
    identity = selection.identity
    if selection.profile:
        hint = "get new ones from the program that wrote them"
        if identity.renewed_by:
            hint = f"run `{identity.renewed_by}`"
        return "the keys of the profile", hint
    match identity.kind:
        case "web-identity":
            return "the web identity token", "check the file that AWS_WEB_IDENTITY_TOKEN_FILE names"
        case "keys":
            return "the access key in AWS_ACCESS_KEY_ID", "set it to a valid one, or unset it"
        case kind:
            return f"the credentials of this {kind}", ""


def _principal(message: str) -> str:
    arn = re.search(r"arn:aws[\w-]*:(?:iam|sts)::[0-9]*:[^\s,;]+", message)
    return arn[0] if arn else "this identity"


def _skew(answer: Mapping[str, Any]) -> float:
    """Return the seconds that AWS's clock is ahead of ours, by the Date of an answer; else 0."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0.0
