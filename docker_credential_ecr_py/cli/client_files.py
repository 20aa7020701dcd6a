"""The files that `configure` edits, and what they are without our changes.

`configure --undo` takes back what configure wrote; `uninstall` removes every entry of ours.
"""

import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from docker_credential_ecr_py.config import (
    aws_edit,
    containers_config,
    docker_edit,
    file_edits,
    paths,
    settings_edit,
)
from docker_credential_ecr_py.config.aws_config import parse_sections
from docker_credential_ecr_py.config.docker_config import (
    OURSELVES,
    implied_store,
    parse_docker_config,
)
from docker_credential_ecr_py.config.file_edits import Kind, Record
from docker_credential_ecr_py.config.settings import KEYRING, load_settings, parse_settings
from docker_credential_ecr_py.config.text_file import read_text
from docker_credential_ecr_py.errors import DockerConfigError, SettingsError
from docker_credential_ecr_py.redact import redact

DOCKER, PODMAN = "docker", "podman"
CLIENTS: Mapping[str, Callable[[Mapping[str, str]], Path]] = {
    DOCKER: paths.docker_config_file,
    PODMAN: paths.podman_auth_file,  # and buildah and skopeo
    "singularity": paths.singularity_config_file,
    "apptainer": paths.apptainer_config_file,
}

DOCKER_CONFIG = Kind("docker", docker_edit.check, docker_edit.undone, docker_edit.masked)
REGISTRIES_CONF = Kind(
    "containers", containers_config.helpers_in, containers_config.without_us, str
)
SETTINGS = Kind(
    "settings", lambda text, file: parse_settings(text, str(file)), settings_edit.undone, str
)
AWS_CONFIG = Kind("aws", parse_sections, aws_edit.undone, redact)
_KINDS = {kind.name: kind for kind in (DOCKER_CONFIG, REGISTRIES_CONF, SETTINGS, AWS_CONFIG)}


@dataclass(frozen=True)
class Restored:
    """A file's text now, and without our changes; None stands for no file."""

    file: Path
    kind: Kind
    now: str | None
    after: str | None
    record: Record | None

    @property
    def is_original(self) -> bool:
        """Whether the file is then as it was before the first change."""
        return self.record is not None and self.after == self.record.original

    @property
    def outcome(self) -> str:
        """Return what `write` has done, in words."""
        if self.now is None:
            return f"{self.file} no longer exists, so there is nothing to undo"
        if self.after is None:
            return f"removed {self.file}, which configure had created"
        if self.is_original:
            return f"{self.file} is restored"
        return f"{self.file} was edited since: removed what configure had added, and kept the rest"

    @property
    def plan(self) -> str:
        """Return what `write` will remove, in words."""
        if self.after is None:
            return f"{self.file}, which configure created"
        if self.is_original:
            return f"what configure wrote in {self.file}"
        return f"the entries for ecr-py in {self.file}"

    def shown(self) -> tuple[str, str]:
        """Return both texts, to be shown to the user."""
        return self.kind.shown(self.now or ""), self.kind.shown(self.after or "")

    def write(self) -> None:
        """Write the file, and forget what it takes to undo the changes. Raises EcrPyError."""
        if self.after != self.now:
            file_edits.write(self.file, self.now, self.after)
        file_edits.forget(self.file)


@dataclass(frozen=True)
class ClientFile:
    """A file that configure may have edited; `label` is whose it is, for the user."""

    label: str
    file: Path
    kind: Kind

    @cached_property
    def record(self) -> Record | None:
        return file_edits.recall(self.file)

    def undone(self, fallback: str) -> Restored:
        """Return the file without what configure wrote. Raises EcrPyError if it cannot be read.

        `fallback` is the helper that we asked about other registries, or "".
        """
        record, now = self.record, read_text(self.file, DockerConfigError)
        after = now
        if record and now is not None:
            if now != record.written:
                self.kind.check(now, self.file)
            after = record.taken_back(now, self.kind.undo)
            if self.kind == DOCKER_CONFIG and after != record.original:
                after = _with_store(now, after, self.file, fallback)
        return Restored(self.file, self.kind, now, after, record)

    def without_us(self, fallback: str) -> Restored:
        """As undone, and without the entries that somebody else wrote for us."""
        found = self.undone(fallback)
        now, after = found.now, found.after
        if after is None or now is None:
            return found
        if self.kind == DOCKER_CONFIG:
            self.kind.check(after, self.file)
            after = docker_edit.stripped(after, fallback)
        elif self.kind == REGISTRIES_CONF:
            after = containers_config.stripped(after, self.file)
        return Restored(self.file, self.kind, now, after, found.record)


def of_clients(clients: Collection[str] = tuple(CLIENTS)) -> list[ClientFile]:
    """Return the files that configure edits for some clients, docker's first."""
    found = [ClientFile(client, CLIENTS[client](os.environ), DOCKER_CONFIG) for client in clients]
    if PODMAN in clients:
        edited = containers_config.editable_files()
        found += [ClientFile(PODMAN, file, REGISTRIES_CONF) for file in edited]
    if DOCKER in clients:
        found.append(ClientFile("settings", paths.settings_file(os.environ), SETTINGS))
        found.append(ClientFile("AWS config", paths.aws_config_file(os.environ), AWS_CONFIG))
    return found


def everywhere() -> list[ClientFile]:
    """Return the files of all clients, and each other file that configure has edited.

    Such a file is where a variable pointed at that time: DOCKER_CONFIG, for one.
    """
    found = of_clients()
    known = {os.path.abspath(one.file) for one in found}
    return found + [
        ClientFile(kind, file, _KINDS[kind])
        for file, kind in file_edits.recorded_files()
        if kind in _KINDS and str(file) not in known
    ]


def fallback() -> str:
    """Return the helper that we ask about other registries; "" if it is none, or our own files."""
    with suppress(SettingsError):
        name = load_settings(paths.settings_file(os.environ)).fallback
        return "" if name == KEYRING else name
    return ""


def _with_store(now: str, after: str | None, file: Path, fallback: str) -> str | None:
    """Return the text `after` with the fallback as credsStore, if docker would not find it.

    If we were the credsStore, the logins that docker has made meanwhile are there.
    """
    config = parse_docker_config(after or "", file)
    if not fallback or config.store or parse_docker_config(now, file).store != OURSELVES:
        return after
    if implied_store(config) == fallback:
        return after
    return docker_edit.edited(after or "", helpers={}, store=fallback)
