"""Gets a registry's credential as a role that a service account's token may assume.

(AssumeRoleWithWebIdentity of STS.) The token is in memory alone: botocore's own provider would
read it from a file.
"""

import time
from dataclasses import replace
from typing import Any

import botocore.exceptions as aws_errors

from docker_credential_ecr_py.aws.ecr import decode, in_time, role_client, translate
from docker_credential_ecr_py.aws.session import first_line, unsigned_client
from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.errors import AccessDenied, EcrPyError, InvalidKeys
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import Selection

_SESSION_NAME = "ecr-credential-provider-py"


def fetch(
    registry: Registry, selection: Selection, *, role: str, token: str, subject: str
) -> Credential:
    """Return a new credential for `registry`. `subject` is the service account, NAMESPACE/NAME.

    It is spent after half of its life, because the token that could renew it in the background is
    not kept. Raises as aws.ecr.fetch.
    """
    credential = in_time(lambda: _fetch(registry, selection, role, token, subject))
    return replace(credential, spent_at=credential.renew_at)


def _fetch(
    registry: Registry, selection: Selection, role: str, token: str, subject: str
) -> Credential:
    try:
        keys = _assume(registry, role, token)
        answer = role_client(registry, selection, keys).get_authorization_token()
    except aws_errors.ClientError as error:
        refused = _refused(error, role, subject)
        raise (refused or translate(error, registry, selection)) from error
    except EcrPyError:
        raise
    except Exception as error:
        raise translate(error, registry, selection) from error
    return decode(answer.get("authorizationData"), now=time.time())


def _assume(registry: Registry, role: str, token: str) -> dict[str, Any]:
    sts = unsigned_client("sts", registry.region)
    answer = sts.assume_role_with_web_identity(
        RoleArn=role, RoleSessionName=_SESSION_NAME, WebIdentityToken=token
    )
    return dict(answer["Credentials"])


def _refused(error: aws_errors.ClientError, role: str, subject: str) -> EcrPyError | None:
    """Return the error for a token or a role that STS refused; None for any other."""
    if error.operation_name != "AssumeRoleWithWebIdentity":
        return None
    about = error.response.get("Error", {})
    code, message = str(about.get("Code", "")), first_line(str(about.get("Message", "")))
    who = f"service account {subject}" if subject else "the service account"
    if code == "AccessDenied":
        sub = f" system:serviceaccount:{subject.replace('/', ':')}" if subject else ""
        return AccessDenied(
            f"{who} may not assume {role}", hint=f"its trust policy has to allow the subject{sub}"
        )
    if code in ("InvalidIdentityToken", "ExpiredTokenException", "IDPRejectedClaim"):
        return InvalidKeys(
            f"AWS rejected the token of {who} for {role} ({code}): {message}",
            hint="the account of the role needs an OIDC provider for the issuer of this cluster",
        )
    return None
