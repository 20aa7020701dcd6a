"""An upgrade that no get notices: a new environment, then links, as docs/configuration.md says."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.environments import new_environment
from tests.support.home import DEV, Answer, Home, registry
from tests.support.processes import wait_until

HOST = registry(DEV)
SWITCHES = 20


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> list[Path]:
    """The bin folders of two environments: the one that is used, and the one that replaces it."""
    folder = tmp_path_factory.mktemp("environments")
    return [new_environment(folder / name, Path(sys.executable), wheel) for name in ("old", "new")]


def switch(links: Path, environment: Path) -> None:
    """Replace each link by a new one, so that there is one at any moment."""
    for name in ("ecr-py", "docker-credential-ecr-py"):
        (links / f"{name}.new").symlink_to(environment / name)
        os.replace(links / f"{name}.new", links / name)


@pytest.fixture
def home(home: Home, tmp_path: Path, environments: list[Path]) -> Home:
    links = tmp_path / "bin"
    links.mkdir()
    switch(links, environments[0])
    home.helper = links / "docker-credential-ecr-py"
    return home


def test_no_get_fails_while_the_links_are_switched(
    home: Home, aws: Aws, environments: list[Path]
) -> None:
    home.get(HOST)
    ends = threading.Event()
    answers: list[Answer] = []

    def ask(**environment: str) -> None:
        while not ends.is_set():
            answers.append(home.get(HOST, **environment))

    asks_aws = {"AWS_ECR_DISABLE_CACHE": "1"}
    threads = [threading.Thread(target=ask), threading.Thread(target=ask, kwargs=asks_aws)]
    for thread in threads:
        thread.start()
    for number in range(SWITCHES):
        before = len(answers)
        switch(home.helper.parent, environments[(number + 1) % 2])
        wait_until(lambda before=before: len(answers) > before + 1)  # type: ignore[misc]
    ends.set()
    for thread in threads:
        thread.join()
    assert len(answers) > 2 * SWITCHES
    assert [answer for answer in answers if answer.code or answer.stderr] == []


def test_a_get_that_runs_is_not_disturbed(home: Home, aws: Aws, environments: list[Path]) -> None:
    aws.fault("GetAuthorizationToken", "delay", seconds=1)
    process = home.start("get", HOST)
    wait_until(lambda: aws.count("GetAuthorizationToken"))
    switch(home.helper.parent, environments[1])
    stdout, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, b"")
    assert Answer(0, stdout, b"").password in aws.issued
