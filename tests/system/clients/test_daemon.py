"""With the daemon nobody waits for AWS: one login, half a life later a hundred calls, none to AWS.

The daemon is started as systemd starts it, by its socket. A real `systemd --user` is not needed
for that, and few machines that run tests have one.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from docker_credential_ecr_py.store import daemon_client
from tests.standin.aws import Aws
from tests.support.docker_user import IMAGE, TAG, image
from tests.support.home import ACCOUNTS, HELPER, registry
from tests.support.programs import need
from tests.support.records import HALF_LIFE, let_pass
from tests.support.user import User

ECR_PY = HELPER.with_name("ecr-py")
CALLS = 100


@pytest.fixture
def socket(docker_user: User) -> Iterator[Path]:
    """The socket that systemd listens on for the daemon, which it starts when somebody asks."""
    activate = need("systemd-socket-activate")
    with tempfile.TemporaryDirectory() as runtime:  # short: a socket's path holds 107 bytes
        docker_user.environment["XDG_RUNTIME_DIR"] = runtime
        path = Path(runtime, "ecr-py", "daemon.sock")
        path.parent.mkdir(mode=0o700)
        passed = [f"--setenv={name}={value}" for name, value in docker_user.environment.items()]
        process = subprocess.Popen(
            [activate, f"--listen={path}", *passed, str(ECR_PY), "daemon", "run"],
            env=docker_user.environment,
            stderr=subprocess.DEVNULL,
        )
        try:
            _until(path.exists)
            path.chmod(0o600)
            yield path
        finally:
            process.terminate()
            process.wait()


def _until(done: object) -> None:
    deadline = time.monotonic() + 30
    while not (callable(done) and done()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("images")
def test_a_hundred_calls_after_half_a_life_ask_aws_nothing(
    docker_user: User, aws: Aws, socket: Path
) -> None:
    for token in (docker_user.home.path / ".aws" / "sso" / "cache").iterdir():
        token.unlink()
    aws.auto_approve = True
    docker_user.run(str(ECR_PY), "login", "dev", "--no-browser")
    skopeo, docker = need("skopeo"), need("docker")
    for account in ACCOUNTS:
        docker_user.run(skopeo, "list-tags", f"docker://{registry(account)}/{IMAGE}")
    assert daemon_client.ask(os.fsencode(socket), b"status")
    let_pass(docker_user.home, HALF_LIFE)
    aws.calls.clear()
    daemon_client.ask(os.fsencode(socket), b"reload")
    _until(lambda: aws.count("GetAuthorizationToken") == len(ACCOUNTS))
    _until(lambda: b'"busy": []' in (daemon_client.ask(os.fsencode(socket), b"status") or b""))
    aws.calls.clear()

    def call(number: int) -> str:
        account = ACCOUNTS[number % len(ACCOUNTS)]
        if number % 2:
            return docker_user.run(docker, "manifest", "inspect", image(account)).stdout
        return docker_user.run(skopeo, "list-tags", f"docker://{registry(account)}/{IMAGE}").stdout

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(call, range(CALLS)))
    assert all("layers" in text or TAG in text for text in said)
    assert aws.calls == []
