"""Resolves the grants: which registries they mean, and which identity answers for each.

By the AWS config, the settings and the rules of selection.py, as `ecr-py explain` shows them. AWS
is not called.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.controller.grants import (
    Grant,
    Grants,
    load_grants,
    registries_of,
)
from docker_credential_ecr_py.controller.plan import Entry, Wishes
from docker_credential_ecr_py.errors import EcrPyError, GrantsError, nearest
from docker_credential_ecr_py.known_registries import known_registries
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.store import record

# What a registry takes in a secret: its host, a token of ECR's in base64, twice over.
_BYTES_PER_REGISTRY = 2600
LARGEST_SECRET = 1024 * 1024  # pkg/apis/core/types.go, MaxSecretSize


@dataclass(frozen=True)
class Resolved:
    """Grants, and each with its registries. `problems` are registries without an identity.

    `entries` has one registry for each key of a credential: by that it is fetched.
    """

    grants: Grants = field(default_factory=Grants)
    granted: tuple[tuple[Grant, tuple[Entry, ...]], ...] = ()
    wishes: Wishes = field(default_factory=Wishes)
    entries: Mapping[str, Entry] = field(default_factory=dict)
    problems: tuple[GrantsError, ...] = ()


def resolve(grants: Grants, environ: Mapping[str, str]) -> Resolved:
    """Return the grants with their registries and identities.

    Raises AwsConfigError or SettingsError if the files cannot be read.
    """
    app = App(environ, may_log_in=False)
    known = [one.registry for one in known_registries(app.settings, app.aws_config)]
    problems: list[GrantsError] = []
    granted: list[tuple[Grant, tuple[Entry, ...]]] = []
    entries: dict[str, Entry] = {}
    for grant in grants.grants:
        found: dict[str, Entry] = {}
        profiles = app.aws_config.profiles
        if grant.profile and grant.profile not in profiles:
            near = nearest(grant.profile, profiles)
            what = f"profile {grant.profile} is not in {app.aws_config.source}{near}"
            problems.append(_problem(grants, grant, "profile", what))
            granted.append((grant, ()))
            continue
        for text, registries in registries_of(grant, known).items():
            if not registries:
                what = f"{text} means no registry, since no profile of the AWS config is for one"
                problems.append(
                    _problem(grants, grant, "registries", what, hint=_name_regions(text))
                )
            for registry in registries:
                try:
                    found[registry.host] = _entry(app.with_profile(grant.profile), registry)
                except EcrPyError as error:
                    what = f"{registry.host}: {error.what}"
                    problems.append(_problem(grants, grant, "registries", what))
        if len(found) * _BYTES_PER_REGISTRY > LARGEST_SECRET:
            what = f"{len(found)} registries do not fit into a secret, which has 1 MiB at most"
            hint = "use several grants and secrets"
            problems.append(_problem(grants, grant, "registries", what, hint=hint))
        granted.append((grant, tuple(found.values())))
        entries.update((entry.key, entry) for entry in found.values())
    return Resolved(grants, tuple(granted), Wishes(granted), entries, tuple(problems))


def _entry(app: App, registry: Registry) -> Entry:
    selection = app.select(registry.host)
    key = app.broker.credential_key(registry, selection)
    return Entry(
        registry.host, key, selection.profile, selection.profile or selection.identity.kind
    )


def _name_regions(text: str) -> str:
    return "name its regions, under `regions`" if text.isdigit() else ""


def _problem(grants: Grants, grant: Grant, key: str, what: str, hint: str = "") -> GrantsError:
    place = f"{grants.source}, line {grant.lines.get(key, grant.line)}"
    return GrantsError(f"{place}: {grant.key}.{key}: {what}", hint=hint)


class Source:
    """The grants as the files have them now: read again when one of them changes.

    If one is broken then, the last good grants stay in force, and `error` says so.
    """

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        self._file = file
        self._environ = environ
        self._stamps: tuple[bytes, ...] = ()
        self.resolved = Resolved()
        self.error: EcrPyError | None = None

    def read_if_changed(self) -> bool:
        """Read the files again if one has changed. Returns whether other grants are in force."""
        watched = (
            self._file,
            paths.settings_file(self._environ),
            paths.aws_config_file(self._environ),
            paths.aws_credentials_file(self._environ),
        )
        stamps = tuple(record.stamp(os.fsencode(file)) for file in watched)
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        try:
            self.resolved = resolve(load_grants(self._file), self._environ)
        except EcrPyError as error:
            self.error = error
            if self.resolved.grants.grants:
                log.warning("%s; the grants that were read before stay in force", error)
            return False
        self.error = None
        for problem in self.resolved.problems:
            log.warning("%s", problem)
        log.info("read %d grants from %s", len(self.resolved.grants.grants), self._file)
        return True
