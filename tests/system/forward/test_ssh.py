"""`ecr-py ssh` to a real sshd: pulls on the remote host use the login of the laptop."""

from __future__ import annotations

import os

from tests.standin.aws import Aws
from tests.support.daemon import TOKEN
from tests.support.home import DEV, registry
from tests.support.remote_host import RemoteHost
from tests.support.stores import right
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
