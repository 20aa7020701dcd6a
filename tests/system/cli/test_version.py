"""ecr-py version."""

from __future__ import annotations

import json
from importlib.metadata import version

from tests.support.home import HELPER
from tests.support.user import Person


def test_versions_and_places(person: Person) -> None:
    done = person.types("version")
    assert done.code == 0
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert rows["ecr-py"] == version("docker-credential-ecr-py")
    assert rows["botocore"] == version("botocore")
    assert rows["helper"] == str(HELPER)
    assert str(person.home.log) in rows["log"]
    document = json.loads(person.types("version", "--json").stdout)
    assert document["cache"] == str(person.home.cache)
    assert document["settings"] == str(person.home.settings)


def test_it_is_the_version_that_the_option_tells(person: Person) -> None:
    told = person.types("--version").stdout.split()[-1]
    assert told == version("docker-credential-ecr-py")


def test_a_home_that_is_nowhere(person: Person) -> None:
    done = person.types("version", HOME=str(person.home.path / "nowhere"))
    assert done.code == 0
    assert "log            (none)" in done.stdout


def test_nothing_of_aws_is_imported(person: Person) -> None:
    done = person.types("version", PYTHONPROFILEIMPORTTIME="1")
    assert "click" in done.stderr
    for slow in ("botocore", "boto3", "rich", "keyring"):
        assert f" {slow}" not in done.stderr
