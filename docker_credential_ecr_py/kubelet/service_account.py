"""The service account that the kubelet sends a token of, and the AWS identity that this makes.

The token is never stored, and its signature is not checked here: AWS does. What it says is used
to tell service accounts apart, so that each has its own credential. Source: KEP-4412.
"""

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from docker_credential_ecr_py.errors import BadInput
from docker_credential_ecr_py.identity_call import key_of
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import Identity, Selection, Step, endpoint_variants

# The annotations that name a service account's role; the first one that is there. The first is
# that of AWS's plugin, for pulls alone; the second is for what the pod does at run time, too.
ROLE_ANNOTATIONS = ("eks.amazonaws.com/ecr-role-arn", "eks.amazonaws.com/role-arn")
# The role of service accounts without an annotation, as AWS's plugin has it.
ROLE_VARIABLE = "AWS_ECR_ROLE_ARN"
# docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html: a path and a name of 64 characters.
_ROLE = re.compile(
    r"arn:aws[a-z-]{0,20}:iam::[0-9]{12}:role/(?:[!-~]{1,510}/)?[\w+=,.@-]{1,64}", re.ASCII
)


def role_of(annotations: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """Return the role of a service account, or "". Raises BadInput if it is not a role's ARN."""
    for name in ROLE_ANNOTATIONS:
        if role := annotations.get(name, "").strip():
            return _checked(role, f"the annotation {name}")
    return _checked(environ.get(ROLE_VARIABLE, "").strip(), ROLE_VARIABLE)


def _checked(role: str, where: str) -> str:
    if role and not _ROLE.fullmatch(role):
        raise BadInput(f"{where} is not the ARN of a role: {role[:200]!a}")
    return role


@dataclass(frozen=True)
class ServiceAccount:
    """Whom a token is for. `name` is NAMESPACE/NAME, or "" for a token that does not say.

    `key` differs for each service account and audience of each cluster; for each token, if it
    does not say.
    """

    name: str
    key: str

    @classmethod
    def of(cls, token: str) -> "ServiceAccount":
        """Return the service account of a token: a JWT of the API server's."""
        claims = _claims(token)
        bound = _object(claims.get("kubernetes.io"))
        account = _object(bound.get("serviceaccount"))
        who = [bound.get("namespace"), account.get("name"), account.get("uid"), claims.get("iss")]
        if not all(isinstance(part, str) and part for part in who):
            return cls("", key_of(token))
        return cls(f"{who[0]}/{who[1]}", key_of(json.dumps([*who, claims.get("aud")])))

    @property
    def title(self) -> str:
        return f"service account {self.name}" if self.name else "a service account"

    def selection(self, role: str, registry: Registry, environ: Mapping[str, str]) -> Selection:
        """Return the selection of `role`, as this service account, for a registry."""
        identity = Identity("service-account", f"{role} by {self.name}", hidden=self.key)
        step = Step("service account", f"{self.title} has the role {role}", won=True)
        return Selection(identity, "", (step,), variants=endpoint_variants(registry, environ, {}))


def _claims(token: str) -> Mapping[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        return _object(json.loads(urlsafe_b64decode(parts[1] + "==")))
    except (ValueError, RecursionError):
        return {}


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
