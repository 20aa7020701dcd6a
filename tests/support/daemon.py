"""The installed daemon of a home: started, asked, looked at, and ended with all that it started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from docker_credential_ecr_py.store import daemon_client, record
from docker_credential_ecr_py.store.memory_backend import MemoryStore
from tests.support.home import HELPER, Home
from tests.support.user import Done, eventually

ECR_PY = HELPER.with_name("ecr-py")
TOKEN = "GetAuthorizationToken"


def use_store(home: Home, store: str, more: str = "") -> None:
    """Leaves settings that say so already as they are: what was chosen by them still holds."""
    text = f'[defaults]\nstore = "{store}"\n{more}'
    if not home.settings.exists() or home.settings.read_text() != text:
        home.write(home.settings, text)


def socket_path(home: Home) -> Path:
    return Path(home.environment["XDG_RUNTIME_DIR"]) / "ecr-py" / "daemon.sock"


def as_bytes(home: Home) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in home.environment.items()}


def ecr_py(home: Home, *arguments: str, **environment: str) -> Done:
    done = subprocess.run(
        [ECR_PY, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=home.environment | environment,
        timeout=60,
        start_new_session=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass
class Daemon:
    """An installed daemon that runs for a home. `said` is where its standard error goes."""

    home: Home
    process: subprocess.Popen[bytes]
    said: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, request: bytes, body: bytes = b"") -> bytes | None:
        """As the helper asks, but with more patience."""
        return daemon_client.ask(os.fsencode(socket_path(self.home)), request, body, limit=20)

    @property
    def answers(self) -> bool:
        """Fails where it has ended, with what it said."""
        assert self.process.poll() is None, self.said.read_text()
        return bool(self.ask(b"status"))

    def status(self) -> dict[str, Any]:
        answer = self.ask(b"status")
        assert answer, self.said.read_text()
        return dict(json.loads(answer))

    @property
    def credentials(self) -> list[bytes]:
        """The names of the credentials in its memory."""
        return (self.ask(b"names credentials/") or b"").splitlines()

    def is_idle(self) -> bool:
        return not self.status()["busy"]

    def unseal_failure(self) -> str:
        """Return why it could not open what is sealed, or "" if it did not fail."""
        return next((str(one["what"]) for one in self.failures if one["job"] == "unseal"), "")

    def reload(self) -> None:
        """Let it read the settings again; return when it has the store that they name."""
        wanted = self.home.settings.read_text().partition('store = "')[2].partition('"')[0]
        assert self.ask(b"reload") == b"ok\n"
        eventually(lambda: self.status()["store"] == wanted)

    def looks(self) -> None:
        """It looks at all files now, not within the minute; back when all that was due is done."""
        while self._takes_a_turn():
            eventually(self.is_idle, seconds=40)

    def _takes_a_turn(self) -> list[str]:
        """What is under way after it."""
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(20)
            wire.connect(str(socket_path(self.home)))
            wire.sendall(daemon_client.PROTOCOL + b" reload")
            # Once this is answered, the line above was read. What completes it is served by
            # itself, and whoever asks then is answered after the turn.
            self.status()
            wire.sendall(b"\n")
            assert wire.recv(100) == b"ok\n", self.said.read_text()
        return list(self.status()["busy"])

    def registry(self, host: str) -> dict[str, Any]:
        (found,) = [one for one in self.status()["registries"] if one["registry"] == host]
        return dict(found)

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The jobs that failed, as status has them."""
        return list(self.status()["failures"])

    def failure(self) -> dict[str, Any]:
        """The one job that fails in the end."""
        (found,) = eventually(lambda: self.failures)
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def workers(self) -> list[int]:
        """The processes that it has started and that still run."""
        return [pid for pid in children(self.pid) if state(pid) not in "ZX"]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.process.send_signal(signal.SIGSTOP)
        eventually(lambda: state(self.pid) == "T")
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


def state(pid: int) -> str:
    """As ps shows it; X where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def children(pid: int) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(process.name))
    return found


def processes_of(home: Home) -> list[int]:
    """Those that run in this home, as far as we may look."""
    ours = f"XDG_RUNTIME_DIR={home.environment['XDG_RUNTIME_DIR']}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if ours in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


@dataclass
class Daemons:
    """Starts daemons for a home."""

    home: Home
    folder: Path
    running: list[Daemon] = field(default_factory=list)

    def start(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        command: list[str | Path] | None = None,
        answers: bool = True,
        **popen: Any,
    ) -> Daemon:
        """`ecr-py daemon run`, or another command that becomes it, once it answers."""
        said = self.folder / f"said.{len(self.running)}"
        with said.open("wb") as output:
            process = subprocess.Popen(
                command or [ECR_PY, "daemon", "run"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.home.environment | dict(environment or {}),
                start_new_session=True,
                cwd="/",
                **popen,
            )
        daemon = Daemon(self.home, process, said)
        self.running.append(daemon)
        if answers:
            eventually(lambda: daemon.answers)
        return daemon

    def end(self) -> None:
        for daemon in self.running:
            left = [daemon.pid, *children(daemon.pid)]
            if daemon.process.poll() is None:
                for pid in left:
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
            daemon.process.wait()
        for pid in processes_of(self.home):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def daemons(home: Home, tmp_path: Path) -> Iterator[Daemons]:
    found = Daemons(home, tmp_path)
    try:
        yield found
    finally:
        found.end()


@contextmanager
def daemon_of(home: Home) -> Iterator[Daemon]:
    """Run the installed daemon for a home until the end of the context, then stop it politely."""
    with tempfile.TemporaryDirectory(prefix="daemon-") as folder:
        daemon = Daemons(home, Path(folder)).start(answers=False)
        try:
            eventually(lambda: daemon.answers)
            yield daemon
        finally:
            daemon.process.terminate()
            try:
                daemon.process.wait(10)
            finally:  # its own group alone: the home's keyring goes on
                with suppress(ProcessLookupError):
                    os.killpg(daemon.pid, signal.SIGKILL)
                daemon.process.wait()


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name: pytest's own may not."""
    path = Path(tempfile.mkdtemp(prefix="ecr-py-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


# What the daemon has in its memory.


def memory_of(home: Home) -> MemoryStore:
    return MemoryStore(as_bytes(home), None)


def names(daemon: Daemon, folder: str) -> list[bytes]:
    return (daemon.ask(b"names " + folder.encode()) or b"").split()


def let_pass_in_memory(daemon: Daemon, seconds: int) -> None:
    """Makes the credentials in memory look `seconds` older, as if that time had passed."""
    store = memory_of(daemon.home)
    found = names(daemon, "credentials/")
    assert found
    for name in found:
        key = name.partition(b"/")[2].decode()
        credential = store.load(key)
        assert credential is not None
        older = {
            name: getattr(credential, name) - seconds
            for name in ("issued", "renew_at", "spent_at", "expires")
        }
        store.save(key, replace(credential, **older))


def document_in(answer: bytes | None) -> bytes:
    """What docker gets, of an answer to `get` that nobody has to renew."""
    state, *_, document = (answer or b"").split(b"\0")
    assert state == daemon_client.KEPT_FRESH, answer
    return document


def new_record(*fields: bytes) -> bytes:
    """A record whose fingerprint is right, whatever its fields."""
    return record.record_of(list(fields))


def stays(what: Callable[[], object], *, seconds: float = 1.0) -> bool:
    """Whether something that must not change has not, for as long as one can wait for nothing."""
    try:
        eventually(lambda: not what(), seconds=seconds)
    except AssertionError:
        return True
    return False
