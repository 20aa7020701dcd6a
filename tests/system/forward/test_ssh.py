"""`ecr-py ssh` to a real sshd: pulls on the remote host use the login of the laptop."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.standin.aws import Aws
from tests.support.browser import Browser
from tests.support.daemon import TOKEN
from tests.support.home import DEV, registry
from tests.support.remote_host import RemoteHost
from tests.support.stores import right
from tests.support.user import User
from tests.system.forward.conftest import Laptop

GET = f"printf {registry(DEV)} | docker-credential-ecr-py get"


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
    assert host.home.get(registry(DEV)).line.startswith("ecr-py: no AWS profile")


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
