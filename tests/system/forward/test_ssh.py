"""`ecr-py ssh` to a real sshd: pulls on the remote host use the login of the laptop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.browser import Browser
from tests.support.daemon import TOKEN
from tests.support.home import DEV, registry
from tests.support.programs import need
from tests.support.remote_host import RemoteHost, write_ssh_config
from tests.support.stores import right
from tests.support.terminal import Terminal
from tests.support.user import ECR_PY, User, eventually
from tests.system.forward.conftest import Laptop

GET = f"printf {registry(DEV)} | docker-credential-ecr-py get"
# What the host says without a session.
NOT_SET_UP = ".aws/config does not exist"


def test_a_pull_in_the_session_and_a_hit(laptop: Laptop, host: RemoteHost, aws: Aws) -> None:
    with laptop.session(host):
        first = right(aws, host.home.get(registry(DEV)))
        assert right(aws, host.home.get(registry(DEV))) == first
        assert laptop.home.get(registry(DEV)).password == first
    assert [call.operation for call in aws.calls].count(TOKEN) == 1
    assert not os.path.lexists(host.tunnel)
    assert list(host.home.path.rglob("*credentials*")) == []


def test_a_command_its_output_and_its_exit_code(laptop: Laptop, host: RemoteHost) -> None:
    done = laptop.ssh(host.name, f"{GET}; exit 7")
    assert done.code == 7, done
    assert registry(DEV) in done.stdout
    assert done.stderr == ""


def test_two_hosts_and_an_end_everywhere(
    laptop: Laptop, host: RemoteHost, new_host: Callable[..., RemoteHost], aws: Aws
) -> None:
    other = new_host("test.example.com")
    with laptop.session(host), laptop.session(other):
        first = right(aws, host.home.get(registry(DEV)))
        assert right(aws, other.home.get(registry(DEV))) == first
        names = [one["machine"] for one in laptop.daemon.status()["forward"]["last"]]
        assert set(names) == {"build.example.com", "test.example.com"}
        laptop.forward("off")
        for each in (host, other):
            assert each.home.get(registry(DEV)).line.startswith("ecr-py: the tunnel is gone")


def test_sessions_beside_each_other_and_a_daemon_that_is_started_again(
    laptop: Laptop, host: RemoteHost, aws: Aws
) -> None:
    with laptop.session(host):
        with laptop.session(host):
            first = right(aws, host.home.get(registry(DEV)))
        assert right(aws, host.home.get(registry(DEV))) == first
        laptop.daemon.kill()
        assert host.home.get(registry(DEV)).line.startswith("ecr-py: the tunnel is gone")
        laptop.daemons.start()
        assert right(aws, host.home.get(registry(DEV))) == first
    assert NOT_SET_UP in host.home.get(registry(DEV)).line


def test_what_a_broken_connection_leaves_is_in_nobodys_way(
    laptop: Laptop, host: RemoteHost, aws: Aws
) -> None:
    for name in ("ecr-py-tunnel-1-1.sock", "ecr-py-tunnel.sock"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(host.tunnel.with_name(name)))
    with laptop.session(host):
        right(aws, host.home.get(registry(DEV)))
    assert list(host.tunnel.parent.glob("*.sock")) == []


def test_a_server_that_forwards_no_sockets(
    laptop: Laptop, new_host: Callable[..., RemoteHost]
) -> None:
    host = new_host("closed.example.com", "AllowStreamLocalForwarding no")
    done = laptop.ssh(host.name, "echo there")
    assert (done.code, done.stdout) == (0, "there\n")
    assert "closed.example.com does not forward sockets, so pulls there do not" in done.stderr


def test_the_lines_of_forward_config_are_used_by_plain_ssh(
    laptop: Laptop, new_host: Callable[..., RemoteHost], tmp_path: Path
) -> None:
    host = new_host(more="StreamLocalBindUnlink yes")
    config = write_ssh_config(laptop.home, [host])
    program = laptop.home.write(
        tmp_path / "bin" / "ssh", f'#!/bin/sh\nexec {need("ssh")} -F {config} "$@"\n'
    )
    program.chmod(0o755)
    laptop.home.environment["PATH"] = f"{program.parent}:{laptop.home.environment['PATH']}"
    lines = laptop.forward("config", host.name).stdout
    assert lines.splitlines() == [
        f"Host {host.name}",
        f"    RemoteForward {host.tunnel} {laptop.socket}",
    ]
    config.write_text(config.read_text() + lines)
    for _ in range(2):  # the second one replaces the socket that the first one left
        done = subprocess.run([program, host.name, GET], capture_output=True, text=True)
        assert registry(DEV) in done.stdout, done


@pytest.mark.parametrize(
    "path",
    [
        '/tmp/x" "/run/user/0/bus" #',
        "/tmp/${AWS_SECRET_ACCESS_KEY}",
        "/tmp/%u",
        "/tmp/a\\ b",
        "/tmp/x:/run/user/0/bus",
        "/tmp/x\x1b[2J",
        "tmp/x",
        "/" + "x" * 200,
    ],
)
def test_a_host_that_leads_ssh_elsewhere(user: User, tmp_path: Path, path: str) -> None:
    """The host says where its end of the tunnel is, and ssh reads that as it reads its config."""
    said = user.home.write(tmp_path / "said", f"Welcome!\necr-py {path}\n")
    script = f"#!/bin/sh\nexec cat {said} /dev/zero\n"
    user.home.write(tmp_path / "bin" / "ssh", script).chmod(0o755)
    user.home.environment["PATH"] = f"{tmp_path / 'bin'}:{user.home.environment['PATH']}"
    line = user.invoke("forward", "config", "build.example.com").line
    assert "may be there" in line if len(path) > 200 else "a tunnel cannot end at" in line


def test_a_connection_that_is_killed(laptop: Laptop, host: RemoteHost, aws: Aws) -> None:
    with laptop.session(host) as process:
        right(aws, host.home.get(registry(DEV)))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            with suppress(ProcessLookupError):  # one ends with the connection of the other
                os.kill(int(child), signal.SIGKILL)
        assert process.wait(20) in (137, 255)
    line = host.home.get(registry(DEV)).line
    assert line.startswith("ecr-py: the tunnel is gone") or NOT_SET_UP in line
    with laptop.session(host):
        right(aws, host.home.get(registry(DEV)))


def test_a_connection_that_ssh_shares_already(laptop: Laptop, host: RemoteHost) -> None:
    config = write_ssh_config(laptop.home, [host])
    shared = laptop.socket.parent.parent / "shared"
    ssh = [need("ssh"), "-F", str(config), "-S", str(shared)]
    with subprocess.Popen([*ssh, "-M", "-N", host.name]) as master:
        eventually(shared.exists)
        done = laptop.ssh("-S", str(shared), host.name, GET)
        assert registry(DEV) in done.stdout, done
        eventually(lambda: not os.path.lexists(host.tunnel))
        assert master.poll() is None
        subprocess.run([*ssh, "-O", "exit", host.name], check=True, stderr=subprocess.DEVNULL)


def test_by_way_of_another_host(laptop: Laptop, host: RemoteHost) -> None:
    """The same server twice."""
    jump = "jump.example.com"
    laptop.hosts.append(replace(host, name=jump, client=host.client.replace(host.name, jump, 1)))
    done = laptop.ssh("-J", jump, host.name, GET)
    assert registry(DEV) in done.stdout, done
    assert laptop.daemon.status()["forward"]["last"][-1]["machine"] == host.name


@pytest.mark.parametrize(("option", "code"), [("-t", 7), ("-T", 255)])
def test_a_terminal_and_ctrl_c(
    laptop: Laptop, host: RemoteHost, tmp_path: Path, option: str, code: int
) -> None:
    """With a terminal, Ctrl-C goes to the program there; without one it ends ssh."""
    config = write_ssh_config(laptop.home, [host])
    script = 'trap "exit 7" INT; tty; echo there; cat'
    command = f"{ECR_PY} ssh -F {config} {option} {host.name} '{script}'"
    with Terminal(command, laptop.home.environment, tmp_path) as terminal:
        terminal.wait_for("there\n")
        assert ("/dev/" in terminal.shown) == (option == "-t")
        assert os.path.lexists(host.tunnel)
        terminal.type("\x03")
        assert terminal.wait() == code
        assert terminal.state == terminal.before
        assert "Traceback" not in terminal.shown
    eventually(lambda: not os.path.lexists(host.tunnel))


def test_without_a_host_or_without_ssh(laptop: Laptop) -> None:
    need("ssh")
    done = laptop.ssh("-o", "HostName=127.0.0.1", "-p", "1", "build.example.com", "true")
    assert (done.code, done.stdout) == (255, "")
    assert done.stderr == "ssh: connect to host 127.0.0.1 port 1: Connection refused\n"
    laptop.home.environment["PATH"] = str(ECR_PY.parent)
    done = laptop.ssh("build.example.com")
    assert (done.code, done.stderr) == (
        1,
        "ecr-py: ssh is not on the PATH: install OpenSSH's client\n",
    )


def test_a_login_that_a_remote_pull_began(
    laptop: Laptop, host: RemoteHost, user: User, aws: Aws, tmp_path: Path
) -> None:
    user.use_session_profiles()
    user.end_session()
    user.add_browser()
    laptop.daemon.kill()
    laptop.daemons.start()
    with laptop.session(host), ThreadPoolExecutor(1) as pool, Browser(tmp_path / "web") as browser:
        pull = pool.submit(host.home.get, registry(DEV))
        browser.open(user.next_address())
        browser.click("#allow")
        right(aws, pull.result())
    assert "build.example.com asks for" in laptop.home.log.read_text()
