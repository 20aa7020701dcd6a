"""Reads docker's config.json, and podman's auth.json: which helper serves which registry.

docker_edit.py edits them. Source: docker/cli, cli/config/configfile/file.go.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker_credential_ecr_py.atomic_file import BYTE_ORDER_MARK
from docker_credential_ecr_py.config.text_file import read_text
from docker_credential_ecr_py.errors import DockerConfigError
from docker_credential_ecr_py.programs import find_program

# The name of this helper in docker's config.
OURSELVES = "ecr-py"


@dataclass(frozen=True)
class DockerConfig:
    """`helpers` names a helper for each host, `store` the one for all others ("" for none).

    `auths` are the server URLs that have an entry of their own in the file; `with_password` those
    whose entry holds one, in clear.
    """

    helpers: Mapping[str, str] = field(default_factory=dict)
    store: str = ""
    auths: tuple[str, ...] = ()
    with_password: tuple[str, ...] = ()
    source: str = "~/.docker/config.json"

    @property
    def ours(self) -> list[str]:
        """The hosts whose helper is this one, by name."""
        return [host for host, helper in self.helpers.items() if helper == OURSELVES]


def load_docker_config(path: Path) -> DockerConfig:
    """Read the file; an absent one counts as empty. Raises DockerConfigError."""
    return parse_docker_config(read_text(path, DockerConfigError) or "", path)


def parse_docker_config(text: str, path: Path) -> DockerConfig:
    """Parse the text of the file at `path`. Raises DockerConfigError."""
    document = parse_document(text, path)
    helpers, auths = (_table(document, key, path) for key in ("credHelpers", "auths"))
    store = "" if document.get("credsStore") is None else document["credsStore"]
    if not isinstance(store, str):
        raise DockerConfigError(f"{path}: credsStore takes the name of a helper")
    for host, helper in helpers.items():
        if not isinstance(helper, str):
            raise DockerConfigError(f"{path}: credHelpers: {host} takes the name of a helper")
    passwords = [
        url
        for url, values in auths.items()
        if isinstance(values, dict) and any(values.get(key) for key in ("auth", "identitytoken"))
    ]
    return DockerConfig(helpers, store, tuple(auths), tuple(passwords), str(path))


def implied_store(config: DockerConfig) -> str:
    """Return the store that docker uses if its config names none; "" if there is none.

    Source: docker/cli, cli/config/credentials/default_store_*.go.
    """
    if config.helpers or config.store or config.auths:
        return ""
    linux = "pass" if find_program("pass") else "secretservice"
    store = {"darwin": "osxkeychain", "win32": "wincred"}.get(sys.platform, linux)
    return store if find_program(f"docker-credential-{store}") else ""


def parse_document(text: str, path: Path) -> dict[str, Any]:
    """Return the JSON object in a text; {} for a blank text. Raises DockerConfigError."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    if not text.strip():
        return {}
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise DockerConfigError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise DockerConfigError(f"{path} is nested too deeply") from None
    except ValueError as error:
        raise DockerConfigError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise DockerConfigError(f"{path} is not a JSON object")
    return document


def _table(document: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = document.get(key) or {}
    if not isinstance(value, dict):
        raise DockerConfigError(f"{path}: {key} must be an object of hosts, not {value!r:.40}")
    return value
