"""ecr-py version."""

from __future__ import annotations

import json
from importlib.metadata import version

from tests.support.home import HELPER
from tests.support.user import User


def test_versions_and_places(user: User) -> None:
    done = user.ecr_py("version")
    assert done.code == 0
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert rows["ecr-py"] == version("docker-credential-ecr-py")
    assert rows["botocore"] == version("botocore")
    assert rows["helper"] == str(HELPER)
    assert str(user.home.log) in rows["log"]
    document = json.loads(user.ecr_py("version", "--json").stdout)
    assert document["cache"] == str(user.home.cache)
    assert document["settings"] == str(user.home.settings)


def test_it_is_the_version_that_the_option_tells(user: User) -> None:
    told = user.ecr_py("--version").stdout.split()[-1]
    assert told == version("docker-credential-ecr-py")


def test_a_home_that_is_nowhere(user: User) -> None:
    done = user.ecr_py("version", HOME=str(user.home.path / "nowhere"))
    assert done.code == 0
    assert "log            (none)" in done.stdout


def test_nothing_of_aws_is_imported(user: User) -> None:
    done = user.ecr_py("version", PYTHONPROFILEIMPORTTIME="1")
    assert "click" in done.stderr
    for slow in ("botocore", "boto3", "rich", "keyring"):
        assert f" {slow}" not in done.stderr
