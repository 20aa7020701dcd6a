"""Tells this machine from others, and its network from the one before."""

import os
import socket
from contextlib import suppress
from pathlib import Path

from docker_credential_ecr_py.atomic_file import read_if_there
from docker_credential_ecr_py.store import record

_RESOLVER = b"/etc/resolv.conf"
_DEFAULT_V4, _DEFAULT_V6 = b"00000000", b"0" * 32 + b" 00"
_FIELDS_V6 = 10


def machine_salt() -> bytes:
    """Return bytes that are always the same here, but differ by machine and user.

    The name counts too, since copied machines may share a machine ID.
    """
    parts = [socket.gethostname().encode(errors="replace")]
    with suppress(OSError):
        parts.append(read_if_there(Path("/etc/machine-id")) or b"")
    if hasattr(os, "getuid"):
        parts.append(b"%d" % os.getuid())
    return b"\n".join(parts)


def network_stamp(processes: Path = Path("/proc")) -> bytes:
    """Return bytes that usually change when a network, a VPN or Wi-Fi comes or goes.

    They are made of the default routes (on Linux) and of the stamp of resolv.conf.
    """
    parts = [record.stamp(_RESOLVER)]
    with suppress(OSError):
        for line in (processes / "net" / "route").read_bytes().splitlines():
            interface, destination, gateway, *_ = [*line.split(), b"", b"", b""]
            if destination == _DEFAULT_V4:
                parts.append(b"%b %b" % (interface, gateway))
    with suppress(OSError):
        for line in (processes / "net" / "ipv6_route").read_bytes().splitlines():
            fields = line.split()
            if line.startswith(_DEFAULT_V6) and len(fields) == _FIELDS_V6:
                # Metric, counters and flags of a route change by themselves.
                parts.append(b"%b %b" % (fields[-1], fields[4]))
    return b"\n".join(sorted(parts))
