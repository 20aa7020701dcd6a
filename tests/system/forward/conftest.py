"""A laptop whose daemon answers other machines, and remote hosts that it reaches by ssh."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from docker_credential_ecr_py.store import tunnel_client
from tests.standin.aws import Aws
from tests.support.daemon import Daemon, Daemons, daemons, ecr_py, short_folder, use_store
from tests.support.home import DEV, Home, new_home, registry
from tests.support.remote_host import RemoteHost, remote_host, write_ssh_config
from tests.support.user import ECR_PY, Done, User

__all__ = ["daemons"]

# Seconds that a busy machine may take to answer through a tunnel.
PATIENT = {"ECR_PY_FORWARD_WAIT": "20"}


@pytest.fixture
def home(tmp_path: Path, aws: Aws) -> Iterator[Home]:
    """The laptop's; the path of a Unix socket holds 107 bytes."""
    ours = new_home(tmp_path / "laptop", aws)
    with short_folder() as runtime:
        ours.environment["XDG_RUNTIME_DIR"] = str(runtime)
        yield ours


@pytest.fixture
def user(home: Home, aws: Aws) -> User:
    return User(home, aws)


@dataclass
class Laptop:
    """The machine with the login. `ssh` and `session` are `ecr-py ssh` to one of the hosts."""

    home: Home
    daemons: Daemons
    hosts: list[RemoteHost]

    @property
    def daemon(self) -> Daemon:
        return self.daemons.running[-1]

    @property
    def socket(self) -> Path:
        runtime = Path(self.home.environment["XDG_RUNTIME_DIR"])
        return runtime / "ecr-py" / "forward" / "forward.sock"

    def forward(self, *arguments: str) -> Done:
        return ecr_py(self.home, "forward", *arguments)

    def ssh(self, *arguments: str) -> Done:
        config = write_ssh_config(self.home, self.hosts)
        return ecr_py(self.home, "ssh", "-F", str(config), *arguments)

    @contextmanager
    def session(self, host: RemoteHost) -> Iterator[subprocess.Popen[bytes]]:
        """A session that stays open, and its tunnel."""
        config = write_ssh_config(self.home, self.hosts)
        with subprocess.Popen(
            [ECR_PY, "ssh", "-F", config, host.name, "echo there; cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.home.environment,
            start_new_session=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                assert process.stdout.readline() == b"there\n"
                yield process
            finally:
                process.stdin.close()
                process.wait(20)


@pytest.fixture
def laptop(home: Home, daemons: Daemons) -> Laptop:
    """It answers for every registry."""
    use_store(home, "file", '[forward]\nregistries = ["*"]\n')
    daemons.start()
    return Laptop(home, daemons, [])


@pytest.fixture
def new_host(laptop: Laptop, tmp_path: Path) -> Iterator[Callable[..., RemoteHost]]:
    with ExitStack() as stack:

        def made(name: str = "build.example.com", more: str = "", **environ: str) -> RemoteHost:
            found = remote_host(name, tmp_path / name, PATIENT | environ, more)
            laptop.hosts.append(stack.enter_context(found))
            return laptop.hosts[-1]

        yield made


@pytest.fixture
def host(new_host: Callable[..., RemoteHost]) -> RemoteHost:
    return new_host()


def answer_for(uid: int, socket: Path, trusted: str = "", *, folder: Path | None = None) -> bytes:
    """What another user gets through a tunnel; in `folder`, as by a mount, if there is one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            if folder:
                os.chdir(folder)
            os.setgroups([])
            os.setuid(uid)
            environ = {b"ECR_PY_FORWARD_UID": trusted.encode(), b"ECR_PY_FORWARD_WAIT": b"20"}
            path = os.fsencode(f"./{socket}" if folder else socket)
            os.write(writer, tunnel_client.hit(path, registry(DEV).encode(), environ))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    return answer
