"""A remote host: a real sshd on loopback with a home of its own, and the ssh that reaches it."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.daemon import short_folder
from tests.support.home import HELPER, Home
from tests.support.programs import need
from tests.support.user import eventually

_SERVER = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
SetEnv {environment}
{more}
"""
_CLIENT = """\
Host {name}
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {folder}/user
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known
    LogLevel ERROR
"""
_READY = b"SSH-2.0"


@dataclass
class RemoteHost:
    """A host called `name`, with docker-credential-ecr-py and no AWS configuration.

    `home` calls the helper there, as a program in a session does; `client` is what ssh's config
    says of it.
    """

    name: str
    home: Home
    client: str
    server: subprocess.Popen[bytes] = field(repr=False)

    @property
    def tunnel(self) -> Path:
        return Path(self.home.environment["XDG_RUNTIME_DIR"]) / "ecr-py-tunnel.sock"


@contextmanager
def remote_home(path: Path, environment: Mapping[str, str]) -> Iterator[Home]:
    """A home without AWS configuration, and with a runtime folder of its own."""
    with short_folder() as runtime:
        home = Home(path)
        home.path.mkdir()
        home.environment |= {
            "HOME": str(home.path),
            "PATH": f"{HELPER.parent}:{os.environ['PATH']}",
            "XDG_RUNTIME_DIR": str(runtime),
            **environment,
        }
        yield home


@contextmanager
def remote_host(
    name: str, folder: Path, environment: Mapping[str, str] | None = None, more: str = ""
) -> Iterator[RemoteHost]:
    """Run sshd for a new home. `more` is for its config."""
    need("ssh")
    server = need("/usr/sbin/sshd")
    folder.mkdir()
    _make_keys(folder)
    with remote_home(folder / "home", environment or {}) as home:
        port = _free_port()
        seen = " ".join(f'"{variable}={value}"' for variable, value in home.environment.items())
        config = folder / "sshd_config"
        config.write_text(_SERVER.format(port=port, folder=folder, environment=seen, more=more))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        process = subprocess.Popen(
            [server, "-D", "-e", "-f", config],
            stdin=subprocess.DEVNULL,
            stderr=(folder / "said").open("wb"),
            start_new_session=True,
        )
        try:
            eventually(lambda: _answers(port, process, folder))
            user = pwd.getpwuid(os.geteuid()).pw_name
            client = _CLIENT.format(name=name, port=port, user=user, folder=folder)
            yield RemoteHost(name, home, client, process)
        finally:
            process.kill()
            process.wait()


def write_ssh_config(home: Home, hosts: Sequence[RemoteHost]) -> Path:
    """Return a config for `ssh -F`: ssh itself looks for one in the home of /etc/passwd."""
    return home.write(home.path / ".ssh" / "config", "".join(host.client for host in hosts))


def _make_keys(folder: Path) -> None:
    make = [need("ssh-keygen"), "-q", "-t", "ed25519", "-N", ""]
    for name in ("host", "user"):
        subprocess.run([*make, "-f", folder / name], check=True)
    key = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"* {key}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _answers(port: int, process: subprocess.Popen[bytes], folder: Path) -> bool:
    assert process.poll() is None, (folder / "said").read_text()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
            return wire.recv(len(_READY)) == _READY
    except OSError:
        return False
