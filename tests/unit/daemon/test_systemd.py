"""What systemd is told, and when."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_credential_ecr_py.daemon import systemd
from tests.support.daemon import short_folder


@pytest.fixture
def heard() -> Iterator[socket.socket]:
    """The manager's end."""
    with short_folder() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(str(folder / "notify"))
        wire.setblocking(False)
        yield wire


def environ(heard: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": heard.getsockname(), **more}


def test_the_watchdog_is_fed_once_in_its_time_however_often_that_is_tried(
    heard: socket.socket,
) -> None:
    watchdog = systemd.Watchdog(environ(heard, WATCHDOG_USEC="600000000"))
    left = [watchdog.feed() for _ in range(100)]
    assert heard.recv(100) == b"WATCHDOG=1"
    with pytest.raises(BlockingIOError):
        heard.recv(100)
    # Half of the time that the manager waits, but for rounding.
    assert all(seconds is not None and 0 < seconds < 300.001 for seconds in left)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
def test_a_watchdog_that_waits_for_nothing_of_ours_is_not_fed(
    heard: socket.socket, told: dict[str, str]
) -> None:
    assert systemd.Watchdog(environ(heard, **told)).feed() is None
    with pytest.raises(BlockingIOError):
        heard.recv(100)


def test_the_watchdog_of_this_process_is_fed(heard: socket.socket) -> None:
    told = environ(heard, WATCHDOG_USEC="1000", WATCHDOG_PID=str(os.getpid()))
    assert systemd.Watchdog(told).feed() is not None
    assert heard.recv(100) == b"WATCHDOG=1"


def test_a_manager_that_does_not_listen_is_no_reason_to_end(
    heard: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_PATIENCE", 0.001)
    for _ in range(100):  # more than its queue holds
        systemd.notify(environ(heard), "READY=1")
    systemd.notify({"NOTIFY_SOCKET": "/nowhere/notify"}, "READY=1")
    systemd.notify({}, "READY=1")


def test_outside_of_the_service_the_browser_is_started_as_ever(tmp_path: Path) -> None:
    run = tmp_path / "systemd-run"
    run.write_text("#!/bin/sh\n")
    run.chmod(0o755)
    assert systemd.browser_outside({"PATH": str(tmp_path)}) == ""


def test_inside_of_it_the_manager_starts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "systemd-run"
    run.write_text("#!/bin/sh\n")
    run.chmod(0o755)
    cgroup = tmp_path / "cgroup"
    cgroup.write_text("0::/user.slice/user@1000.service/app.slice/ecr-py.service\n")
    monkeypatch.setattr(systemd, "_CGROUP", cgroup)
    command = systemd.browser_outside({"PATH": str(tmp_path)})
    assert command.startswith(f"{run} --user ")
    assert command.endswith(" -m webbrowser %s")
    # webbrowser splits the list of browsers at colons.
    assert ":" not in command
    assert systemd.browser_outside({"PATH": "/nowhere"}) == ""
    monkeypatch.chdir(tmp_path)
    for path in ("", ".", ":/nowhere"):
        assert systemd.browser_outside({"PATH": path}) == ""
