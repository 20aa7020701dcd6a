"""A real Secret Service: GNOME's keyring on a D-Bus session of its own, unlocked by a password."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
import secretstorage
from jeepney.io.blocking import (  # type: ignore[import-untyped]
    DBusConnection,
    open_dbus_connection,
)

from tests.standin.aws import Aws
from tests.support.home import Home, new_home
from tests.support.programs import need
from tests.support.stores import set_store
from tests.support.user import eventually

SERVICE, NAME = "ecr-py", "sealing key"
ATTRIBUTES = {"service": SERVICE, "username": NAME}
PASSWORD = b"correct horse battery staple"

# Nothing is started by being asked for: neither another keyring nor somebody to unlock it.
_BUS = """\
<busconfig>
  <type>session</type>
  <listen>{address}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
# Has the name of the Secret Service, reads what it is asked, and never answers.
_DUMB = """\
import sys
from jeepney import DBusAddress, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection
bus = open_dbus_connection(sys.argv[1])
bus.send_and_get_reply(message_bus.RequestName("org.freedesktop.secrets"))
print("here", flush=True)
while True:
    bus.receive()
"""


class Bus:
    """A D-Bus session, as the context lasts; `address` is where."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bus-"))
        self.address = f"unix:path={self._folder / 'socket'}"

    def __enter__(self) -> Self:
        config = self._folder / "config"
        config.write_text(_BUS.format(address=self.address))
        self._process = subprocess.Popen(
            [need("dbus-daemon"), "--nofork", f"--config-file={config}", "--print-address"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout
        assert self._process.stdout.readline(), "dbus-daemon did not start"
        return self

    def __exit__(self, *exception: object) -> None:
        end(self._process)
        shutil.rmtree(self._folder)

    def has_secret_service(self) -> bool:
        with self.connected() as connection:
            return secretstorage.check_service_availability(connection)

    @contextlib.contextmanager
    def connected(self) -> Iterator[DBusConnection]:
        with contextlib.closing(open_dbus_connection(self.address)) as connection:
            yield connection


class Keyring:
    """The person's keyring, unlocked as the context begins; its files are in their home."""

    def __init__(self, home: Home, bus: Bus) -> None:
        self._home, self._bus = home, bus

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts it and unlocks it, as a login does."""
        self._process = subprocess.Popen(
            [
                need("gnome-keyring-daemon"),
                "--foreground",
                "--unlock",
                "--components=secrets",
                f"--control-directory={self._home.path / 'runtime' / 'keyring'}",
            ],
            env=self._home.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin
        self._process.stdin.write(PASSWORD)
        self._process.stdin.close()
        eventually(self._bus.has_secret_service)
        assert not self.is_locked

    def stop(self) -> None:
        end(self._process)

    def lock(self) -> None:
        with self._bus.connected() as connection:
            secretstorage.get_default_collection(connection).lock()
        assert self.is_locked

    @property
    def is_locked(self) -> bool:
        with self._bus.connected() as connection:
            return bool(secretstorage.get_default_collection(connection).is_locked())

    @property
    def keys(self) -> list[bytes]:
        """What is kept as our key."""
        with self._items() as items:
            return [item.get_secret() for item in items]

    @property
    def everything(self) -> list[bytes]:
        """All that is kept, whosever it is."""
        with self._bus.connected() as connection:
            items = secretstorage.get_default_collection(connection).get_all_items()
            return [item.get_secret() for item in items]

    @property
    def next_keys(self) -> list[bytes]:
        """What is kept as the key of a change that has not ended."""
        attributes = {**ATTRIBUTES, "username": "next sealing key"}
        with self._bus.connected() as connection:
            collection = secretstorage.get_default_collection(connection)
            return [item.get_secret() for item in collection.search_items(attributes)]

    def delete_key(self) -> None:
        with self._items() as items:
            for item in items:
                item.delete()

    def change_key(self, secret: bytes) -> None:
        """Puts something else in the place of our key."""
        with self._bus.connected() as connection:
            collection = secretstorage.get_default_collection(connection)
            collection.create_item("a key", ATTRIBUTES, secret, replace=True)
        assert self.keys == [secret]

    @contextlib.contextmanager
    def _items(self) -> Iterator[list[secretstorage.Item]]:
        with self._bus.connected() as connection:
            collection = secretstorage.get_default_collection(connection)
            yield list(collection.search_items(ATTRIBUTES))


@contextlib.contextmanager
def dumb_service(bus: Bus) -> Iterator[None]:
    """Something in the Secret Service's place that takes every question and answers none."""
    process = subprocess.Popen(
        [sys.executable, "-c", _DUMB, bus.address], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "here\n"
        yield
    finally:
        end(process)


def end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """Nothing that we start outlives us."""
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


# Fixtures, for the folders that import them.


@pytest.fixture
def home(aws: Aws) -> Iterator[Home]:
    """Where paths are short enough for a socket; no bus, so no keyring."""
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    home = new_home(folder / "h", aws)
    set_store(home, "keyring")
    yield home
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bus(home: Home) -> Iterator[Bus]:
    with Bus() as running:
        home.environment["DBUS_SESSION_BUS_ADDRESS"] = running.address
        yield running


@pytest.fixture
def keyring(home: Home, bus: Bus) -> Iterator[Keyring]:
    with Keyring(home, bus) as running:
        yield running
