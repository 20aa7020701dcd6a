"""`ecr-py repo` and `ecr-py image` on Windows. tests/system/cli has the rest."""

from __future__ import annotations

import json

import pytest

from tests.support.home import DEV, registry
from tests.support.repositories import an_image, aws, builder, moto, repositories, tags, there_is
from tests.support.user import User

__all__ = ["aws", "builder", "moto"]


@pytest.fixture
def dev(builder: User, user: User) -> User:
    """Return the same user, with Windows' ecr-py."""
    there_is("nats", an_image("2.9", days=3), an_image("2.10", "latest", days=1))
    return user


def test_repositories(dev: User) -> None:
    done = dev.ecr_py("repo", "create", f"{registry(DEV)}/grafana/grafana")
    assert done.code == 0, done
    assert repositories() == ["grafana/grafana", "nats"]
    listed = json.loads(dev.ecr_py("repo", "ls", "--json").stdout)
    assert [one["name"] for one in listed] == ["grafana/grafana", "nats"]
    done = dev.ecr_py("repo", "rm", "grafana/grafana", "--yes")
    assert done.code == 0, done
    assert repositories() == ["nats"]


def test_images(dev: User) -> None:
    done = dev.ecr_py("image", "ls", "nats", "--tags")
    assert done.stdout.split() == ["latest", "2.9", "2.10"], done
    done = dev.ecr_py("image", "rm", "nats", "2.9", "--yes")
    assert done.code == 0, done
    assert tags("nats") == ["2.10", "latest"]
