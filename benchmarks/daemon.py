"""The daemon's rows of `python -m benchmarks.helpers`: a resident process, and who asks it."""

import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Wrong
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.store import daemon_client, record
from tests.support.home import HELPER

ECR_PY = str(HELPER.with_name("ecr-py"))
# Seconds.
_PATIENCE = 15


@dataclass
class Resident:
    """A running daemon, and the environment of those who ask it."""

    pid: int
    environment: dict[str, str]

    @property
    def path(self) -> bytes:
        return os.fsencode(self.environment["XDG_RUNTIME_DIR"]) + b"/ecr-py/daemon.sock"

    def memory(self) -> float:
        """Resident, in MiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise Wrong("the daemon has no memory")

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It answers nothing, and its socket takes what comes."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def processor(self) -> float:
        """Seconds of processor time so far, its workers' that have ended included."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def resident(
    home: Path, environment: Mapping[str, str], store: str, more: str = ""
) -> Iterator[Resident]:
    """The installed daemon for a home whose settings name a store; `more` are other settings."""
    settings = home / ".config" / "ecr-py" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'[defaults]\nstore = "{store}"\n{more}')
    with tempfile.TemporaryDirectory() as runtime:  # short: a socket's path holds 107 bytes
        asking = {**environment, "XDG_RUNTIME_DIR": runtime}
        process = subprocess.Popen([ECR_PY, "daemon", "run"], env=asking)
        try:
            found = Resident(process.pid, asking)
            deadline = time.monotonic() + _PATIENCE
            while daemon_client.ask(found.path, b"status") is None:
                if time.monotonic() > deadline:
                    raise Wrong("the daemon does not start")
                time.sleep(0.05)
            yield found
        finally:
            process.terminate()
            process.wait()


@dataclass
class Crowd:
    """What many who ask at once got: seconds of each answer, and how many were none or wrong."""

    took: list[float] = field(default_factory=list)
    lost: int = 0
    wrong: int = 0


def crowd(daemon: Resident, host: str, clients: int, requests: int) -> Crowd:
    """`clients` ask for a host all the time, each request over a connection of its own.

    One thread and one selector: threads would wait for each other, and not for the daemon.
    """
    here = record.context(paths.as_bytes(daemon.environment))
    expected = daemon_client.ask(daemon.path, b"get %b %b" % (host.encode(), here.hex().encode()))
    request = b"%b get %b %b\n" % (daemon_client.PROTOCOL, host.encode(), here.hex().encode())
    found = Crowd()
    selector = selectors.DefaultSelector()

    def ask() -> None:
        wire = socket.socket(socket.AF_UNIX)
        began = time.perf_counter()
        wire.connect(daemon.path)
        wire.sendall(request)
        selector.register(wire, selectors.EVENT_READ, (began, bytearray()))

    for _ in range(clients):
        ask()
    while selector.get_map():
        for key, _ in selector.select(timeout=10):
            wire, (began, answer) = key.fileobj, key.data
            assert isinstance(wire, socket.socket)
            chunk = wire.recv(65536)
            answer += chunk
            if chunk:
                continue
            selector.unregister(wire)
            wire.close()
            found.took.append(time.perf_counter() - began)
            found.lost += not answer
            found.wrong += bool(answer) and answer != expected
            if len(found.took) + len(selector.get_map()) < requests:
                ask()
    return found


@contextmanager
def secret_service(home: Path) -> Iterator[dict[str, str]]:
    """A real, unlocked keyring in a D-Bus session of its own; its variables."""
    for program in ("gnome-keyring-daemon", "dbus-daemon"):
        if shutil.which(program) is None:
            raise FileNotFoundError(program)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    bus = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--print-address"],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert bus.stdout is not None
    address = {"DBUS_SESSION_BUS_ADDRESS": bus.stdout.readline().strip()}
    keyring = subprocess.Popen(
        ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**environment, **address},
    )
    assert keyring.stdin is not None
    keyring.stdin.write(b"password")
    keyring.stdin.close()
    try:
        yield address
    finally:
        for process in (keyring, bus):
            process.terminate()
            process.wait()
