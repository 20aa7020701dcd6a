"""What tells machines and networks from each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from docker_credential_ecr_py.daemon import machine
from tests.support.programs import need, own_mounts

SHOW = "from docker_credential_ecr_py.daemon import machine; print(machine.{what}().hex())"
ROUTE = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
wlan0	00000000	0101A8C0	0003	{refcnt}	{use}	600	00000000	0	0	0
wlan0	0001A8C0	00000000	0001	0	0	600	00FFFFFF	0	0	0
"""
ROUTE6 = (
    "{zeros} 00 {zeros} 00 fe80000000000000000000000000000{gateway} 00000400 {refcnt} {use} "
    "00000003    wlan0\n"
    "fe800000000000000000000000000000 40 {zeros} 00 {zeros} 00000100 00000001 00000000 "
    "00000001    wlan0\n"
)


def network(folder: Path, route: str, route6: str = "") -> bytes:
    (folder / "net").mkdir(exist_ok=True)
    (folder / "net" / "route").write_text(route)
    (folder / "net" / "ipv6_route").write_text(route6)
    return machine.network_stamp(folder)


def route6(gateway: int, refcnt: str = "00000001", use: str = "00000000") -> str:
    return ROUTE6.format(zeros="0" * 32, gateway=gateway, refcnt=refcnt, use=use)


def test_the_counters_of_routes_are_no_other_network(tmp_path: Path) -> None:
    before = network(tmp_path, ROUTE.format(refcnt=0, use=0), route6(1))
    later = network(tmp_path, ROUTE.format(refcnt=3, use=99), route6(1, "00000005", "00000009"))
    assert before == later


def test_a_default_route_that_comes_goes_or_changes_is_another_network(tmp_path: Path) -> None:
    header = ROUTE.splitlines()[0] + "\n"
    seen = [
        network(tmp_path, header),
        network(tmp_path, ROUTE.format(refcnt=0, use=0)),
        network(tmp_path, ROUTE.format(refcnt=0, use=0).replace("0101A8C0", "FE01A8C0")),
        network(tmp_path, ROUTE.format(refcnt=0, use=0).replace("wlan0", "tun0")),
        network(tmp_path, header, route6(1)),
        network(tmp_path, header, route6(2)),
    ]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("text", ["", "\n", "x", "a b\n\n", "00000000", "0" * 32 + " 00"])
def test_a_table_of_another_form_does_no_harm(tmp_path: Path, text: str) -> None:
    assert network(tmp_path, text, text)


def test_where_there_is_no_such_table_the_resolvers_are_looked_at(tmp_path: Path) -> None:
    assert machine.network_stamp(tmp_path) == machine.network_stamp(tmp_path / "none")


def test_the_salt_is_the_same_at_each_start() -> None:
    shown = [
        subprocess.run(
            [sys.executable, "-c", SHOW.format(what="machine_salt")],
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for _ in range(2)
    ]
    assert shown[0] == shown[1] == machine.machine_salt().hex().encode() + b"\n"


def test_the_salt_of_a_copied_machine_differs_by_its_name(tmp_path: Path) -> None:
    alone = [*own_mounts(tmp_path), "--uts"]
    script = f'hostname other; "{sys.executable}" -c "{SHOW.format(what="machine_salt")}"'
    done = subprocess.run([*alone, "sh", "-c", script], capture_output=True, check=True, timeout=60)
    assert done.stdout.strip() != machine.machine_salt().hex().encode()


def test_a_real_default_route_is_seen(tmp_path: Path) -> None:
    """In a network namespace of its own, by a route that is added and removed."""
    ip = need("ip")
    script = (
        f'show() {{ "{sys.executable}" -c "{SHOW.format(what="network_stamp")}"; }}; '
        f"{ip} link set lo up; show; {ip} route add default dev lo; show; show; "
        f"{ip} route del default; show"
    )
    done = subprocess.run(
        [*own_mounts(tmp_path), "--net", "sh", "-ec", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    none, added, again, removed = done.stdout.split()
    assert none == removed
    assert added == again != none
