"""What is renewed and cannot be kept: AWS is not asked for it on and on, and a user is told."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.standin.aws import Aws
from tests.support.daemon import ECR_PY, TOKEN
from tests.support.home import DEV, HELPER, START_URL, THREE_ACCOUNTS, Home, registry
from tests.support.processes import renewals
from tests.support.programs import own_mounts
from tests.support.records import HALF_LIFE, let_pass, only
from tests.support.user import SESSION, User, eventually

# What lies in the cache, on a disk that is full, or that nobody may write to.
FULL = """
cp -a .cache/ecr-py cached
mount -t tmpfs -o size=512k,mode=0700 none .cache
cp -a cached .cache/ecr-py
head -c 1000000 /dev/zero >.cache/filled 2>/dev/null || true
"""
READ_ONLY = "mount --bind .cache .cache; mount -o remount,ro,bind .cache\n"
# One record that cannot be replaced, in a folder that can be written.
FIXED = "for file in .cache/ecr-py/{}/*; do mount --bind $file $file; done\n"
DAEMON = """
"$1" daemon run >said 2>&1 & daemon=$!
trap 'kill $daemon; wait $daemon || true' EXIT
for _ in $(seq 400); do "$1" daemon status >/dev/null 2>&1 && break; sleep 0.05; done
for _ in 1 2 3; do
    kill -HUP $daemon
    for _ in $(seq 400); do
        "$1" daemon status --json >daemon
        grep -q '"busy": \\[\\]' daemon && break
        sleep 0.05
    done
done
"""
LOOK = """
"$1" status >status 2>&1 || true
"$1" status --json >status.json || true
"$1" doctor >doctor 2>&1 || true
"$0" get "$2" >answer
"""
UNTIL_LOGGED = """
for _ in $(seq 400); do
    grep -q "could not be kept" .local/state/ecr-py/log/ecr-py.log && break
    sleep 0.05
done
"""
DISKS = [
    pytest.param(FULL, "the disk of", "free some space on it", id="full"),
    pytest.param(READ_ONLY, "mounted read-only", "mount it read-write", id="read-only"),
]


@dataclass
class Disk:
    """Runs a shell script in mounts of its own. Its commands leave what they say in files."""

    home: Home
    unshare: list[str]

    def run(self, script: str) -> None:
        command: list[str | Path] = [*self.unshare, "sh", "-ec", script, HELPER, ECR_PY]
        subprocess.run(
            [*command, registry(DEV)],
            stdin=subprocess.DEVNULL,
            cwd=self.home.path,
            env=self.home.environment,
            timeout=110,
            check=True,
        )

    def said(self, name: str) -> str:
        return (self.home.path / name).read_text()

    @property
    def failures(self) -> list[dict[str, Any]]:
        return list(json.loads(self.said("daemon"))["failures"])


@pytest.fixture
def disk(home: Home) -> Disk:
    return Disk(home, own_mounts(home.path))


@pytest.fixture
def ageing(home: Home, aws: Aws) -> Iterator[str]:
    """A password that is kept, and is to be renewed."""
    password = home.get(registry(DEV)).password
    let_pass(home, HALF_LIFE + 60)
    yield password


@pytest.mark.parametrize(("mount", "why", "advice"), DISKS)
def test_the_daemon_asks_aws_for_nothing_that_it_cannot_keep(
    home: Home, aws: Aws, disk: Disk, ageing: str, mount: str, why: str, advice: str
) -> None:
    disk.run(mount + DAEMON + LOOK)
    assert aws.count(TOKEN) == 1
    assert json.loads(disk.said("answer"))["Secret"] == ageing
    (failure,) = disk.failures
    assert why in failure["what"]
    assert advice in failure["what"]
    assert "1 failed, see `ecr-py daemon status`" in disk.said("status")
    for told in (disk.said("status"), disk.said("doctor")):
        assert why in told
        assert advice in told
        assert "chmod" not in told
    (line,) = [line for line in disk.said("doctor").splitlines() if line[8:].startswith("renewal")]
    assert line.startswith("note")
    assert why in json.loads(disk.said("status.json"))["store"]["problem"]


@pytest.mark.parametrize(("mount", "why", "advice"), DISKS)
def test_neither_does_a_get_without_a_daemon(
    home: Home, aws: Aws, disk: Disk, ageing: str, mount: str, why: str, advice: str
) -> None:
    disk.run(f'{mount}"$0" get "$2" >first\n{LOOK}')
    eventually(lambda: not renewals(home))
    assert {json.loads(disk.said(name))["Secret"] for name in ("first", "answer")} == {ageing}
    assert aws.count(TOKEN) == 1
    for told in (disk.said("status"), disk.said("doctor")):
        assert why in told
        assert advice in told
        assert "chmod" not in told


def test_what_could_not_be_kept_though_all_looked_well_is_not_fetched_on_and_on(
    home: Home, aws: Aws, disk: Disk, ageing: str
) -> None:
    disk.run(FIXED.format("credentials") + DAEMON + LOOK)
    (failure,) = disk.failures
    assert "the fetched credential could not be kept" in failure["what"]
    assert failure["tries"] == 1
    assert aws.count(TOKEN) == 2
    assert json.loads(disk.said("answer"))["Secret"] == ageing


def test_neither_by_one_get_a_minute(home: Home, aws: Aws, disk: Disk, ageing: str) -> None:
    lock = only(home, "locks")
    disk.run(f'{FIXED.format("credentials")}"$0" get "$2" >first\n{UNTIL_LOGGED}{LOOK}')
    eventually(lambda: not renewals(home))
    assert aws.count(TOKEN) == 2
    # For longer than the minute that any renewal has.
    assert lock.stat().st_mtime > time.time() + 600
    assert home.get(registry(DEV)).password == ageing
    assert renewals(home) == []


def test_a_choice_that_cannot_be_kept_is_shown(home: Home, aws: Aws, disk: Disk) -> None:
    home.get(registry(DEV))
    home.write(home.aws_config, f"# changed\n{THREE_ACCOUNTS}")
    disk.run(FIXED.format("selections") + DAEMON)
    (failure,) = disk.failures
    assert "the selected profile could not be kept" in failure["what"]
    assert failure["tries"] == 1
    assert aws.count(TOKEN) == 1


def test_a_session_is_not_refreshed_where_its_token_cannot_be_kept(
    home: Home, aws: Aws, disk: Disk
) -> None:
    """A refresh token may be good for one time."""
    user = User(home, aws)
    user.end_session()
    user.use_session_profiles()
    aws.write_sso_token(home.path, START_URL, session=SESSION, lifetime=600, refresh=True)
    aws.reset_calls()
    disk.run(
        "cp -a .aws/sso/cache tokens\n"
        "mount -t tmpfs -o size=64k,mode=0700 none .aws/sso/cache\n"
        "cp -a tokens/. .aws/sso/cache\n"
        "head -c 1000000 /dev/zero >.aws/sso/cache/filled 2>/dev/null || true\n"
        '"$0" get "$2" >answer\n'
    )
    assert json.loads(disk.said("answer"))["Secret"] in aws.issued
    assert aws.count("CreateToken") == 0


def test_there_is_room_again(home: Home, aws: Aws, disk: Disk, ageing: str) -> None:
    disk.run(f'{FULL}rm .cache/filled\n{DAEMON}"$0" get "$2" >answer\n')
    assert disk.failures == []
    assert aws.count(TOKEN) == 2
    assert json.loads(disk.said("answer"))["Secret"] != ageing
