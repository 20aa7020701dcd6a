"""The controller's figures on a real API server: memory, delays, calls, a rotation."""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.control_plane import ControlPlane
from tests.support.controller import GRANTS, ControllerProcess, wait_for_start
from tests.support.home import STAGE, Home
from tests.support.processes import wait_until

NAMESPACES, ACCOUNTS_EACH, FEW = 2000, 3, 20
# The last ones are created one by one, to see how long their secret takes.
_TIMED = 200
# Secrets that a loop without a controller writes, for comparison.
_BARE = 500
_PATIENCE = 300.0
# Seconds between two looks at the metrics: each costs the controller some milliseconds.
_SELDOM = 0.2


@dataclass(frozen=True)
class Figures:
    """Times in seconds, memory in bytes; `calls` are those for tokens.

    `bare` is the time of one write by a loop that does nothing else.
    """

    resident: int
    delays: list[float]
    calls: int
    calls_of_few: int
    rotation: float
    bare: float

    def delay(self, share: float) -> float:
        return sorted(self.delays)[int(share * (len(self.delays) - 1))]


def measure(home: Home, calls: Callable[[], int]) -> Figures:
    """Return the figures; `calls` counts the calls for tokens since it was last called."""
    grants = f"{GRANTS}    serviceAccounts: [not-there]\n"
    with (
        tempfile.TemporaryDirectory(prefix="cluster-") as folder,
        ControlPlane(Path(folder) / "plane") as plane,
        ThreadPoolExecutor(8) as pool,
        ControllerProcess(home, plane.kubeconfig, grants, ("--pace", "0")) as controller,
    ):
        wait_for_start(controller)
        list(pool.map(plane.add_namespace, _names(FEW)))
        _wait_for_secrets(controller, FEW)
        few = calls()
        first, timed = _names(NAMESPACES)[:-_TIMED], _names(NAMESPACES)[-_TIMED:]
        list(pool.map(plane.add_namespace, first))
        list(pool.map(lambda name: _add_accounts(plane, name), first))
        _wait_for_secrets(controller, len(first))
        more = calls()
        controller.stop()
        controller.start()
        wait_for_start(controller)
        _wait_for_secrets(controller, len(first))
        delays = [_delay(plane, name) for name in timed]
        list(pool.map(lambda name: _add_accounts(plane, name), timed))
        resident = controller.resident()
        rotation = _rotation(controller)
        bare = _bare_write(plane, plane.secret(first[0], "ecr-pull"))
        return Figures(resident, delays, few + more, few, rotation, bare)


def _rotation(controller: ControllerProcess) -> float:
    """Return the seconds in which every secret is written once, because the grants change."""

    def written() -> float:
        return controller.metric("writes_total", '{result="ok"}') or 0.0

    before = written()
    controller.grants.write_text(controller.grants_text.replace(f', "{STAGE}"', ""))
    wait_until(lambda: written() > before, seconds=60)
    began = time.monotonic()
    everything = before + NAMESPACES
    wait_until(lambda: written() >= everything, seconds=_PATIENCE, every=_SELDOM)
    return time.monotonic() - began


def _bare_write(plane: ControlPlane, secret: dict[str, Any] | None) -> float:
    """Return the seconds that a write takes which is only sent and waited for."""
    assert secret is not None
    manifest = {key: secret[key] for key in ("apiVersion", "kind", "type", "data")}
    began = time.monotonic()
    for number in range(_BARE):
        plane.apply({**manifest, "metadata": {"name": f"bare-{number}", "namespace": "default"}})
    return (time.monotonic() - began) / _BARE


def _names(number: int) -> list[str]:
    return [f"shop-{one}" for one in range(number)]


def _add_accounts(plane: ControlPlane, namespace: str) -> None:
    for number in range(ACCOUNTS_EACH):
        meta = {"name": f"account-{number}", "namespace": namespace}
        plane.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})


def _wait_for_secrets(controller: ControllerProcess, number: int) -> None:
    current = '{state="current"}'
    wait_until(
        lambda: controller.metric("secrets", current) == number, seconds=_PATIENCE, every=_SELDOM
    )


def _delay(plane: ControlPlane, namespace: str) -> float:
    """Create a namespace; return the seconds until its secret is there."""
    plane.add_namespace(namespace)
    began = time.monotonic()
    while plane.secret(namespace, "ecr-pull") is None:
        time.sleep(0.001)
    return time.monotonic() - began
