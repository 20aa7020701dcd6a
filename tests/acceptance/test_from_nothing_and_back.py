"""A newcomer's day: from no config at all to a pull, and docker's config back as it was."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.acceptance.conftest import shell
from tests.acceptance.readme import PROJECT, consoles
from tests.standin.aws import Aws
from tests.support.docker_user import image
from tests.support.home import DEV, PROD, STAGE
from tests.support.user import User

BEFORE = b'{\r\n\t"auths": { "ghcr.io": {} },  "zz": [1.50, null],\r\n\t"credsStore": ""\n}'
FIVE_MINUTES = PROJECT / "docs" / "first-five-minutes.md"


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("before", "back"),
    [
        (None, "ecr-py uninstall --yes"),
        (b"{}", "ecr-py configure --undo"),
        (BEFORE, "ecr-py uninstall --yes"),
    ],
    ids=["none", "empty", "odd"],
)
def test_dockers_config_is_byte_for_byte_as_it_was(
    docker_user: User, docker: str, before: bytes | None, back: str
) -> None:
    docker_user.docker_config.unlink()
    if before is not None:
        docker_user.docker_config.write_bytes(before)
    assert docker_user.run("ecr-py", "doctor", fails=True).code == 1

    shell(docker_user, "ecr-py configure")
    for account in (DEV, STAGE, PROD):
        done = docker_user.run(docker, "pull", image(account))
        assert "Downloaded newer image" in done.stdout
        assert done.stderr == ""
    status = shell(docker_user, "ecr-py status")
    assert status.count("██████ 11h59m") == 3
    assert "uses ecr-py for 3 of 3" in status
    assert "log in" not in status
    doctor = shell(docker_user, "ecr-py doctor --deep")
    assert {line.split()[0] for line in doctor.splitlines()} == {"ok"}
    shell(docker_user, back)

    assert docker_user.docker_config.exists() is (before is not None)
    assert before is None or docker_user.docker_config.read_bytes() == before
    assert docker_user.run("ecr-py", "doctor", fails=True).code == 1


@pytest.mark.usefixtures("images", "repositories")
def test_the_first_five_minutes(docker_user: User, aws: Aws) -> None:
    """Each command of the document, in its order; what it said when captured it says still."""
    shutil.rmtree(docker_user.home.aws_config.parent)
    docker_user.docker_config.unlink()
    aws.account_names = {DEV: "dev", STAGE: "stage", PROD: "prod"}
    aws.auto_approve = True
    text = re.sub(r"Admi\nnistrator", "Administrator", FIVE_MINUTES.read_text())
    lines = list(consoles(text))
    assert lines.pop(0).startswith("pipx install ")
    for line in lines:
        shown = shell(docker_user, line)
        captured = text.partition(f"$ {line}\n")[2].partition("\n```")[0]
        # Nobody folds a pipe: it may say more.
        assert words(captured) <= words(shown), line


def words(shown: str) -> set[str]:
    """The headings and labels: what does not depend on the day or the width."""
    return {
        word
        for line in shown.splitlines()
        for word in re.findall(r"^[a-z]+(?=  )|\b[A-Z]{3,}\b", line)
    }
