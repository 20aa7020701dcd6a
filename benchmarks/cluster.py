"""The controller's figures on a real API server: memory, delays, calls, a rotation."""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support.control_plane import ControlPlane
from tests.support.controller import GRANTS, ControllerProcess, wait_for_start
from tests.support.home import STAGE, Home
from tests.support.processes import wait_until

NAMESPACES, ACCOUNTS_EACH, FEW = 2000, 3, 20
# Namespaces that are created one by one, to see how long their secret takes.
_TIMED = 200
_PATIENCE = 300.0


@dataclass(frozen=True)
class Figures:
    """Times in seconds, memory in bytes; `calls` are those for tokens."""

    resident: int
    delays: list[float]
    calls: int
    calls_of_few: int
    rotation: float

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
        list(pool.map(plane.add_namespace, _names(NAMESPACES)))
        list(pool.map(lambda name: _add_accounts(plane, name), _names(NAMESPACES)))
        _wait_for_secrets(controller, NAMESPACES)
        more = calls()
        controller.stop()
        controller.start()
        wait_for_start(controller)
        _wait_for_secrets(controller, NAMESPACES)
        delays = [_delay(plane, f"shop-timed-{number}") for number in range(_TIMED)]
        resident = controller.resident()
        return Figures(resident, delays, few + more, few, _rotation(controller))


def _rotation(controller: ControllerProcess) -> float:
    """Return the seconds in which every secret is written once, because the grants change."""

    def written() -> float:
        return controller.metric("writes_total", '{result="ok"}') or 0.0

    before = written()
    controller.grants.write_text(controller.grants_text.replace(f', "{STAGE}"', ""))
    wait_until(lambda: written() > before, seconds=60)
    began = time.monotonic()
    everything = before + NAMESPACES + _TIMED
    wait_until(lambda: written() >= everything, seconds=_PATIENCE)
    return time.monotonic() - began


def _names(number: int) -> list[str]:
    return [f"shop-{one}" for one in range(number)]


def _add_accounts(plane: ControlPlane, namespace: str) -> None:
    for number in range(ACCOUNTS_EACH):
        meta = {"name": f"account-{number}", "namespace": namespace}
        plane.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})


def _wait_for_secrets(controller: ControllerProcess, number: int) -> None:
    current = '{state="current"}'
    wait_until(lambda: controller.metric("secrets", current) == number, seconds=_PATIENCE)


def _delay(plane: ControlPlane, namespace: str) -> float:
    """Create a namespace; return the seconds until its secret is there."""
    plane.add_namespace(namespace)
    began = time.monotonic()
    while plane.secret(namespace, "ecr-pull") is None:
        time.sleep(0.001)
    return time.monotonic() - began
