"""What tells this machine from others, and the network that it is in from the one before."""

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
    """Return bytes that are the same at each start here, and others for another machine or user.

    Machines that were copied share a machine ID, and often differ by name.
    """
    parts = [socket.gethostname().encode(errors="replace")]
    with suppress(OSError):
        parts.append(read_if_there(Path("/etc/machine-id")) or b"")
    if hasattr(os, "getuid"):
        parts.append(b"%d" % os.getuid())
    return b"\n".join(parts)


def network_stamp(processes: Path = Path("/proc")) -> bytes:
    """Return what changes when a network, a VPN or Wi-Fi comes or goes, as far as a look can tell.

    On Linux the default routes; everywhere the file that names the resolvers.
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
