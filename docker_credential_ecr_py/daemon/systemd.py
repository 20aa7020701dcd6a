"""The protocol between systemd and a service: passed sockets, notifications and the watchdog.

Source: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3). It is some variables and a datagram,
so it needs no library.
"""

import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote

from docker_credential_ecr_py.programs import find_program

SERVICE = "ecr-py.service"
_FIRST_PASSED = 3
# Seconds that systemd may take to take a datagram.
_PATIENCE = 1.0
_CGROUP = Path("/proc/self/cgroup")


def passed_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that systemd opened for this process."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=_FIRST_PASSED + number) for number in range(count)]


def notify(environ: Mapping[str, str], state: str) -> None:
    """Tell systemd, if it runs us: READY=1, STOPPING=1, WATCHDOG=1."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.settimeout(_PATIENCE)  # its queue may be full
        wire.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


class Watchdog:
    """Tells systemd that the daemon is alive, twice in each WatchdogSec, or systemd ends it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._interval = _interval(environ)
        self._next = 0.0

    def feed(self) -> float | None:
        """Notify systemd if it is time to. Return the seconds until the next; None: never."""
        if self._interval is None:
            return None
        now = time.monotonic()
        if now >= self._next:
            notify(self._environ, "WATCHDOG=1")
            self._next = now + self._interval
        return self._next - now


def browser_outside(environ: Mapping[str, str]) -> str:
    """Return a value of BROWSER by which the user manager opens a page; "" outside the service.

    A browser that is started in the service is under its restrictions, which keep a browser's own
    sandbox from working, and it is killed when the service ends. A browser that the manager starts
    also gets the user's display.
    """
    try:
        is_inside = f"/{SERVICE}\n" in _CGROUP.read_text()
    except OSError:
        is_inside = False
    if not is_inside:
        return ""
    run = find_program("systemd-run", environ.get("PATH"))
    if run is None:
        return ""
    manager = [run, "--user", "--collect", "--quiet"]
    # The browser lives on when the program that started it has ended.
    manager.append("--property=KillMode=process")
    # The usual description holds the command with the address, and the journal would have it.
    manager.append("--description=Opens a page to log in")
    command = " ".join(map(quote, [*manager, "--", sys.executable, "-I", "-m", "webbrowser"]))
    # webbrowser would split the command at it.
    return "" if os.pathsep in command else f"{command} %s"


def _interval(environ: Mapping[str, str]) -> float | None:
    """Return the seconds between two signs of life, or None if systemd waits for none."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        limit = int(environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return limit / 2_000_000 if limit > 0 else None
