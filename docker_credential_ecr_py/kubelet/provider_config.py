"""The kubelet's CredentialProviderConfig: ours as text, and any as the kubelet reads it.

Source: kubernetes, k8s.io/kubelet/config/v1 and pkg/credentialprovider/plugin/config.go.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from docker_credential_ecr_py.config.text_file import read_existing
from docker_credential_ecr_py.errors import KubeletConfigError, YamlMissing
from docker_credential_ecr_py.kubelet.service_account import ROLE_ANNOTATIONS
from docker_credential_ecr_py.protocol import KUBELET_PLUGIN
from docker_credential_ecr_py.registry import PUBLIC_HOSTS, SUFFIXES

AUDIENCE = "sts.amazonaws.com"
API_VERSION = "credentialprovider.kubelet.k8s.io/v1"
# Every partition, also in the forms for FIPS and dual-stack. A `*` is one part of a host.
ECR_PATTERNS = (
    *(
        f"*.dkr{separator}ecr{fips}.*.{suffix}"
        for suffix in SUFFIXES
        for separator in ["-" if suffix.startswith("on.") else "."]
        for fips in ("", "-fips")
    ),
    *PUBLIC_HOSTS,
)
# A program in the kubelet's folder. The kubelet refuses less: a slash, a space, "." and "..".
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")


@dataclass(frozen=True)
class Provider:
    """A credential provider, as the kubelet's configuration names it."""

    name: str = KUBELET_PLUGIN
    patterns: tuple[str, ...] = ECR_PATTERNS
    api_version: str = API_VERSION
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    audience: str = ""
    annotations: tuple[str, ...] = ()

    def pattern_for(self, image: str) -> str:
        """Return the first pattern that matches an image, or ""."""
        return next((each for each in self.patterns if matches(each, image)), "")


def matches(pattern: str, image: str) -> bool:
    """Return whether a pattern of `matchImages` matches an image (keyring.go, URLsMatch)."""
    host, _, path = pattern.partition("/")
    image_host, _, image_path = image.partition("/")
    name, _, port = host.partition(":")
    image_name, _, image_port = image_host.partition(":")
    parts, image_parts = name.split("."), image_name.split(".")
    return (
        port == image_port
        and len(parts) == len(image_parts)
        and image_path.startswith(path)
        and all(map(fnmatchcase, image_parts, parts))
    )


def is_name(text: str) -> bool:
    """Return whether a provider may have this name: it becomes a path, and a line of YAML."""
    return _NAME.fullmatch(text) is not None


def config_text(provider: Provider) -> str:
    """Return a CredentialProviderConfig with one provider, as YAML."""
    lines = [
        "apiVersion: kubelet.config.k8s.io/v1",
        "kind: CredentialProviderConfig",
        "providers:",
        f"  - name: {json.dumps(provider.name)}",
        f"    apiVersion: {provider.api_version}",
        # Each answer says how long it may be kept.
        "    defaultCacheDuration: 1m0s",
        "    matchImages:",
        *_items(provider.patterns, 6),
    ]
    if provider.environment:
        lines.append("    env:")
        for name, value in provider.environment.items():
            lines += [
                f"      - name: {json.dumps(name)}",
                f"        value: {json.dumps(value)}",
            ]
    if provider.audience:
        lines += [
            "    tokenAttributes:",
            f"      serviceAccountTokenAudience: {json.dumps(provider.audience)}",
            "      cacheType: ServiceAccount",
            # Static pods have none.
            "      requireServiceAccount: false",
            "      optionalServiceAccountAnnotationKeys:",
            *_items(provider.annotations or ROLE_ANNOTATIONS[:1], 8),
        ]
    return "\n".join(lines) + "\n"


def _items(texts: Iterable[str], indent: int) -> list[str]:
    return [f"{' ' * indent}- {json.dumps(text)}" for text in texts]


def rbac_text(audience: str) -> str:
    """Return what allows every node to request tokens with an audience, as YAML.

    Source: kubernetes, plugin/pkg/admission/noderestriction, validateNodeServiceAccountAudience.
    """
    name = KUBELET_PLUGIN
    return f"""\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {name}
rules:
  - apiGroups: [""]
    resources: [{json.dumps(audience)}]
    verbs: ["request-serviceaccounts-token-audience"]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {name}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {name}
subjects:
  - apiGroup: rbac.authorization.k8s.io
    kind: Group
    name: system:nodes
"""


def read_providers(path: Path) -> list[Provider]:
    """Return the providers of the kubelet's configuration: a file, or all files of a folder.

    Raises KubeletConfigError.
    """
    try:
        files = (
            sorted(file for file in path.iterdir() if file.suffix in (".json", ".yaml", ".yml"))
            if path.is_dir()
            else [path]
        )
    except OSError as error:
        raise KubeletConfigError(f"{path} cannot be read: {error.strerror}") from None
    texts = [(file, read_existing(file, KubeletConfigError)) for file in files]
    providers = [provider for file, text in texts for provider in _providers(file, text)]
    if not providers:
        raise KubeletConfigError(f"{path} has no providers")
    return providers


def _providers(file: Path, text: str) -> list[Provider]:
    document = _parsed(file, text)
    kind = document.get("kind") if isinstance(document, dict) else None
    if kind != "CredentialProviderConfig":
        raise KubeletConfigError(f"{file} is not a CredentialProviderConfig")
    try:
        return [_provider(each) for each in document.get("providers") or ()]
    except (KeyError, TypeError, AttributeError) as error:
        lacking = f": {error} is missing" if isinstance(error, KeyError) else ""
        raise KubeletConfigError(f"{file} has a provider that is not valid{lacking}") from None


def _parsed(file: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        import yaml
    except ImportError:
        raise YamlMissing(f"{file} is YAML, and the module yaml is not installed") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise KubeletConfigError(f"{file}{where} is not YAML") from None


def _provider(given: Mapping[str, Any]) -> Provider:
    """Raises KeyError, TypeError or AttributeError."""
    tokens = given.get("tokenAttributes") or {}
    keys = [
        *(tokens.get("requiredServiceAccountAnnotationKeys") or ()),
        *(tokens.get("optionalServiceAccountAnnotationKeys") or ()),
    ]
    name = _text(given["name"])
    if not is_name(name):
        raise TypeError("a name is needed")
    return Provider(
        name=name,
        patterns=_texts(given["matchImages"]),
        api_version=_text(given["apiVersion"]),
        arguments=_texts(given.get("args") or ()),
        environment={_text(one["name"]): _text(one["value"]) for one in given.get("env") or ()},
        audience=_text(tokens["serviceAccountTokenAudience"]) if tokens else "",
        annotations=_texts(keys),
    )


def _texts(given: Sequence[Any]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise TypeError("a list is needed")
    return tuple(map(_text, given))


def _text(given: Any) -> str:
    """Return a text as it is.

    Not str(): the kubelet takes no number for one, and a list of YAML's aliases may be endless.
    """
    if not isinstance(given, str):
        raise TypeError("a text is needed")
    return given
