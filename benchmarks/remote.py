"""The row of `python -m benchmarks.helpers` about forwarding: a laptop and a remote host.

The host is a real sshd on loopback, so its network takes no time.
"""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.daemon import ECR_PY, Resident, resident
from benchmarks.measure import Wrong
from tests.support.home import Home
from tests.support.remote_host import RemoteHost, remote_host, write_ssh_config


@contextmanager
def tunnel(home: Path, environment: Mapping[str, str]) -> Iterator[tuple[Resident, RemoteHost]]:
    """A daemon that answers other machines, and a host with a session of `ecr-py ssh`."""
    more = '[forward]\nregistries = ["*"]\n'
    with (
        remote_host("build.example.com", home.with_name(f"{home.name}-host")) as host,
        resident(home, environment, "memory", more) as daemon,
    ):
        config = write_ssh_config(Home(home), [host])
        with subprocess.Popen(
            [ECR_PY, "ssh", "-F", config, host.name, "echo there; cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=daemon.environment,
        ) as session:
            assert session.stdin is not None
            assert session.stdout is not None
            try:
                if session.stdout.readline() != b"there\n" or not host.tunnel.exists():
                    raise Wrong("there is no tunnel")
                yield daemon, host
            finally:
                session.stdin.close()
