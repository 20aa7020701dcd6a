"""The kubelet's protocol for image credential providers, if the cache alone has no answer.

A CredentialProviderRequest on standard input, a CredentialProviderResponse on standard output. On
a failure standard output stays empty, and the kubelet logs the one line on standard error.
Source: kubernetes, pkg/credentialprovider/plugin/plugin.go, KEP-2133 and KEP-4412.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from docker_credential_ecr_py import __version__
from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.deadline import call_with_deadline
from docker_credential_ecr_py.environment import prepared_for_libraries
from docker_credential_ecr_py.errors import (
    LOG_IN_FIRST,
    BadInput,
    BadServerURL,
    CredentialsNotFound,
    NoProfile,
    NotEcr,
    Unreachable,
    Usage,
    WrongPartition,
)
from docker_credential_ecr_py.kubelet import messages
from docker_credential_ecr_py.kubelet.service_account import ServiceAccount, role_of
from docker_credential_ecr_py.protocol import (
    KUBELET_PLUGIN,
    KUBELET_REQUEST,
    STDERR,
    STDOUT,
    encoded,
    logged,
    write,
)
from docker_credential_ecr_py.registry import Registry, host_of
from docker_credential_ecr_py.selection import Selection

REQUEST = KUBELET_REQUEST.decode()
HELP = f"""Usage: {KUBELET_PLUGIN} < REQUEST

The kubelet's image credential provider for Amazon ECR. The kubelet calls it; by hand:

  ecr-py kubelet config        the configuration of the kubelet
  ecr-py kubelet check IMAGE   what the kubelet gets for an image, and why
"""
# Seconds. The kubelet kills a plugin after a minute, and then nobody sees why it hung.
_LIMIT = 50
# Seconds for which the kubelet remembers that a registry has no credentials.
_NONE_KEPT = 600


@dataclass(frozen=True)
class Request:
    """What the kubelet asks. `version` is v1, v1beta1 or v1alpha1.

    `token` and `annotations` are those of the pod's service account, if the kubelet's
    configuration has tokenAttributes; else they are empty.
    """

    version: str
    image: str
    token: str = field(default="", repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: bytes) -> "Request":
        """Parse standard input. Unknown fields are a newer kubelet's. Raises BadInput."""
        if len(given) > messages.LARGEST_REQUEST:
            raise BadInput(f"more than {messages.LARGEST_REQUEST} bytes on standard input")
        if not given.strip():
            raise BadInput(f"standard input is empty: the kubelet sends a {REQUEST}")
        try:
            document = json.loads(given)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise BadInput("standard input is not a JSON object")
        kind, api_version = document.get("kind"), document.get("apiVersion")
        group, _, version = str(api_version).partition("/")
        if kind is None:
            raise BadInput(f"standard input has no kind: the kubelet sends a {REQUEST}")
        if kind != REQUEST:
            raise BadInput(f"standard input is of kind {str(kind)[:80]!a}, not a {REQUEST}")
        if group.encode() != messages.GROUP or version.encode() not in messages.VERSIONS:
            known = ", ".join(map(bytes.decode, messages.VERSIONS))
            raise BadInput(
                f"the apiVersion of the request is {str(api_version)[:80]!a}: "
                f"{messages.GROUP.decode()} has {known}"
            )
        annotations = document.get("serviceAccountAnnotations") or {}
        if not isinstance(annotations, dict):
            raise BadInput("serviceAccountAnnotations in the request is not an object")
        return cls(
            version,
            _text(document, "image"),
            _text(document, "serviceAccountToken"),
            {name: _text(annotations, name) for name in annotations},
        )

    @property
    def registry_host(self) -> str:
        """The registry in the name of the image, as the kubelet wrote it, with a port if any.

        Raises BadInput.
        """
        host = self.image.partition("/")[0]
        try:
            host_of(host)
        except BadServerURL:
            raise BadInput(f"not the name of an image: {self.image[:80]!a}") from None
        return host

    @property
    def role(self) -> str:
        """The role that the pod's service account pulls with; "" if it is this node's identity.

        Raises BadInput.
        """
        return role_of(self.annotations, os.environ) if self.token else ""


def _text(document: Mapping[str, Any], name: str) -> str:
    """Return a field that is a string; "" if it is absent. Raises BadInput."""
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise BadInput(f"{name[:80]!a} in the request is not a string")
    return value or ""


@prepared_for_libraries()
def main(arguments: list[str], given: bytes | None) -> int:
    """Answer the request that this process was started for. Return its exit code.

    `given` is the standard input, or None if that is a terminal.
    """

    def serve() -> int:
        return 0 if write(STDOUT, _call(arguments, given)) else 1

    def fail(line: str) -> int:
        write(STDERR, encoded(line))
        return 1

    return logged(serve, fail)


def _call(arguments: list[str], given: bytes | None) -> bytes:
    match arguments:
        case ["version" | "--version" | "-v"]:
            return f"{KUBELET_PLUGIN} {__version__}\n".encode()
        case ["help" | "--help" | "-h"]:
            return HELP.encode()
    if arguments not in messages.ARGUMENTS:
        raise Usage(f"{KUBELET_PLUGIN} takes no arguments: {' '.join(arguments)[:80]!a}")
    if given is None:
        raise Usage(
            f"the kubelet calls {KUBELET_PLUGIN}; by hand, run `ecr-py kubelet check IMAGE`"
        )
    request = Request.parse(given)
    too_late = Unreachable(f"AWS gave no answer within {_LIMIT} seconds")
    return call_with_deadline(_LIMIT, lambda: answer(request), too_late)


def answer(request: Request) -> bytes:
    """Return the response to a request. Raises EcrPyError."""
    host, version = request.registry_host, request.version.encode()
    try:
        credential = _credential(request, host)
    except WrongPartition:
        raise
    except (NotEcr, CredentialsNotFound):
        return messages.response_without_credentials(version, _NONE_KEPT)
    kept = messages.seconds_kept(credential.renew_at, credential.expires, time.time())
    username, password = json.dumps(credential.username), json.dumps(credential.secret)
    return messages.response(version, host.encode(), username.encode(), password.encode(), kept)


def _credential(request: Request, host: str) -> Credential:
    """Return the credential for a registry: of the service account's role, else of this node."""
    role = request.role
    if not role:
        return _credential_of_node(host)
    account = ServiceAccount.of(request.token)

    def fetch(registry: Registry, selection: Selection, mfa_code: str) -> Credential:
        from docker_credential_ecr_py.aws import web_identity  # if AWS is called

        return web_identity.fetch(
            registry, selection, role=role, token=request.token, subject=account.name
        )

    app = App(may_log_in=False, fetch=fetch)
    registry = app.settings.request_for(host).registry
    return app.broker.get_as(host, account.selection(role, registry, app.environ))


def _credential_of_node(host: str) -> Credential:
    try:
        return App(may_log_in=False).broker.get(host)
    except NoProfile as error:
        if error.hint == LOG_IN_FIRST:  # nobody logs in on a node
            error.hint = "give the node a role, or an AWS config that names one"
        raise
