"""A cluster, AWS and a clock in memory, with the real controller between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from docker_credential_ecr_py.controller.controller import Controller
from docker_credential_ecr_py.controller.credentials import Credentials, Result
from docker_credential_ecr_py.controller.metrics import Metrics
from docker_credential_ecr_py.controller.plan import Entry
from docker_credential_ecr_py.controller.resolve import Source
from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.errors import EcrPyError, Unreachable
from docker_credential_ecr_py.registry import Registry
from tests.support.fake_cluster import FakeCluster

HOUR = 3600
LIFE = 12 * HOUR
_ROLE = "[profile {name}]\nrole_arn = arn:aws:iam::{account}:role/pull\nregion = {region}\n"


def profile(name: str, account: str, region: str = "eu-west-1") -> str:
    text = _ROLE.format(name=name, account=account, region=region)
    return f"{text}credential_source = Environment\n"


def issued_at(password: str) -> int:
    """The moment at which a world's AWS has made a password."""
    return int(password.split()[2])


@dataclass
class World:
    """Time passes only when the controller waits, or by `sleep`.

    `down` makes AWS unreachable; `refused` are the accounts that it refuses. `calls` counts those
    for a token, by account and region. A password is the account, the region and the moment.
    """

    folder: Path
    down: bool = False
    refused: set[str] = field(default_factory=set)
    now: float = 1_800_000_000.0
    elapsed: float = 0.0
    leads: bool = True
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    pace: float = 20.0
    padding: int = 0

    def __post_init__(self) -> None:
        self.cluster = FakeCluster()
        self.metrics = Metrics(lambda: self.now)
        self.environ = {
            "HOME": str(self.folder),
            "AWS_CONFIG_FILE": str(self.folder / "aws"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "keys"),
            "ECR_PY_CONFIG": str(self.folder / "config.toml"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.start()

    def start(self) -> None:
        """Start the controller, anew if there was one."""
        self.source = Source(self.folder / "grants.yaml", self.environ)
        self.credentials = Credentials(
            lambda: self.controller.came(),
            lambda: self.now,
            fetch=self._fetch,
            start=lambda call: call(),
        )
        self.controller = Controller(
            self.cluster,
            self.source,
            self.credentials,
            lambda: self.leads,
            self.metrics,
            pace=self.pace,
            clock=lambda: self.now,
            monotonic=lambda: self.elapsed,
        )
        self.cluster.changed = self.controller.wake

    def aws_config(self, text: str) -> None:
        (self.folder / "aws").write_text(text)

    def grants(self, text: str) -> None:
        (self.folder / "grants.yaml").write_text(text)

    def sleep(self, seconds: float) -> None:
        """Let the controller run for so many seconds."""
        until = self.elapsed + seconds
        while self.elapsed < until:
            wait = min(self.controller.turn(), until - self.elapsed)
            self.elapsed += wait
            self.now += wait

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"ecr_py_controller_{name}", labels)

    def is_current(self, namespace: str, name: str = "ecr-pull") -> bool:
        """Whether every token in a secret is valid now."""
        moments = map(issued_at, self.cluster.passwords(namespace, name).values())
        return all(moment <= self.now < moment + LIFE for moment in moments)

    def _fetch(self, entries: list[Entry]) -> Iterator[tuple[str, Result]]:
        for entry in entries:
            registry = Registry.of_host(entry.host)
            yield entry.key, self._token(registry)

    def _token(self, registry: Registry) -> Result:
        self.calls[registry.account, registry.region] += 1
        if self.down:
            return Unreachable("AWS cannot be reached")
        if registry.account in self.refused:
            return EcrPyError("AWS refuses")
        secret = f"{registry.account} {registry.region} {int(self.now)}{' ' * self.padding}"
        return Credential.from_aws("AWS", secret, now=self.now, expires=self.now + LIFE)
