"""The daemon's socket where the system has nothing left for it."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from docker_credential_ecr_py.daemon.server import Server
from tests.support.daemon import short_folder


class NoFileLeft(socket.socket):
    def accept(self) -> tuple[socket.socket, Any]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_who_cannot_be_let_in_keeps_nobody_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """They knock until there is a file for them, and select returns at once each time."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with (
        short_folder() as folder,
        selectors.DefaultSelector() as selector,
        NoFileLeft(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as client,
    ):
        path = str(Path(folder) / "s")
        listener.bind(path)
        Server(selector, lambda *_: b"").listen(listener)
        client.connect(path)
        for times in (1, 2):
            for key, events in selector.select():
                key.data(events)
            assert len(pauses) == times
