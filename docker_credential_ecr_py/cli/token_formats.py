"""A credential as other programs take it: functions from values to text, which ask nobody."""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping

from docker_credential_ecr_py.cli.humanize import utc
from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.errors import BadInput
from docker_credential_ecr_py.registry import Registry

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SECRET_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_NAMESPACE = re.compile(_LABEL)


def password(credential: Credential, registry: Registry) -> str:
    return credential.secret


def basic(credential: Credential, registry: Registry) -> str:
    return credential.basic


def header(credential: Credential, registry: Registry) -> str:
    return f"Authorization: Basic {credential.basic}"


def as_json(credential: Credential, registry: Registry) -> str:
    document = {
        "username": credential.username,
        "password": credential.secret,
        "registry": registry.host,
        "expiresAt": utc(credential.expires),
    }
    return json.dumps(document, indent=2)


def docker_config(credential: Credential, registry: Registry) -> str:
    """Return a config.json with the password in it, for use without a helper."""
    return json.dumps({"auths": {registry.host: {"auth": credential.basic}}}, indent=2)


def netrc(credential: Credential, registry: Registry) -> str:
    """Return a netrc entry, one word pair a line, because curl limits the length of lines."""
    return (
        f"machine {registry.host}\nlogin {credential.username}\npassword {_word(credential.secret)}"
    )


def powershell(credential: Credential, registry: Registry) -> str:
    """Return a PowerShell object with the properties that Get-ECRLoginCommand has."""
    properties = {
        "Username": credential.username,
        "Password": credential.secret,
        "ProxyEndpoint": f"https://{registry.host}",
        "ExpiresAt": utc(credential.expires),
    }
    listed = "; ".join(f"{name} = {_powershell(value)}" for name, value in properties.items())
    return f"[pscustomobject]@{{ {listed} }}"


def check_kubernetes_names(name: str, namespace: str) -> None:
    """Raise BadInput for names that Kubernetes would reject."""
    if name and not _SECRET_NAME.fullmatch(name):
        raise BadInput(
            f"a Secret cannot be called {name[:80]!r}: lower-case letters, digits, - and ."
        )
    if namespace and not _NAMESPACE.fullmatch(namespace):
        raise BadInput(
            f"a namespace cannot be called {namespace[:80]!r}: lower-case letters, digits and -"
        )


def kubernetes_secret(
    credential: Credential, registry: Registry, *, name: str, namespace: str
) -> str:
    """Return a Secret for imagePullSecrets, like `kubectl create secret docker-registry`.

    The default name is that of the registry; without a namespace, kubectl chooses one.
    """
    name = name or f"ecr-{registry.account or 'public'}-{registry.region}"
    auths = {
        registry.host: {
            "username": credential.username,
            "password": credential.secret,
            "auth": credential.basic,
        }
    }
    config = b64encode(json.dumps({"auths": auths}, separators=(",", ":")).encode()).decode()
    # In quotes, because YAML takes a name such as 1e3 or on for something else.
    place = f'\n  namespace: "{namespace}"' if namespace else ""
    return (
        "apiVersion: v1\n"
        "kind: Secret\n"
        "type: kubernetes.io/dockerconfigjson\n"
        "metadata:\n"
        f'  name: "{name}"{place}\n'
        "data:\n"
        f"  .dockerconfigjson: {config}"
    )


def environment(
    credential: Credential, registry: Registry, *, tool: str, profile: str
) -> dict[str, str]:
    """Return the environment variables from which one of TOOLS reads its credentials.

    Singularity and Apptainer read user and password. sregistry calls AWS itself, with the same
    profile; its older releases read the token in AWS_TOKEN. Raises BadInput for ECR Public, which
    sregistry does not support.
    """
    if tool != "sregistry":
        return {
            f"{tool.upper()}_DOCKER_USERNAME": credential.username,
            f"{tool.upper()}_DOCKER_PASSWORD": credential.secret,
        }
    if registry.public:
        raise BadInput("sregistry supports only private registries, not ECR Public")
    return {
        "SREGISTRY_CLIENT": "aws",
        "SREGISTRY_AWS_ID": registry.account,
        "SREGISTRY_AWS_ZONE": registry.region,
        **({"AWS_PROFILE": profile} if profile else {}),
        "AWS_DEFAULT_REGION": registry.region,
        "AWS_TOKEN": credential.basic,
    }


def lines(variables: Mapping[str, str], *, export: bool) -> str:
    """Return NAME=VALUE lines for `docker run --env-file`; with `export`, for a shell."""
    if export:
        return "\n".join(f"export {name}={_quoted(value)}" for name, value in variables.items())
    return "\n".join(f"{name}={value}" for name, value in variables.items())


SIMPLE: Mapping[str, Callable[[Credential, Registry], str]] = {
    "password": password,
    "basic": basic,
    "header": header,
    "json": as_json,
    "docker-config": docker_config,
    "netrc": netrc,
    "powershell": powershell,
}
TOOLS = ("singularity", "apptainer", "sregistry")


def _quoted(value: str) -> str:
    """Quote for bash, zsh and fish: fish has escapes in single quotes, so those are outside."""
    return "'" + re.sub(r"(['\\])", r"'\\\1'", value) + "'"


def _powershell(value: str) -> str:
    """Quote for PowerShell, which takes typographic quotes for ' too."""
    return "'" + re.sub("(['\u2018-\u201b])", r"\1\1", value) + "'"


def _word(value: str) -> str:
    """Quote a word for curl, unless it is plain, as ECR's passwords are."""
    if re.fullmatch(r"[\w+/=.-]+", value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
