"""`ecr-py` on Windows."""

from docker_credential_ecr_py import __version__
from tests.support.user import User


def test_version(user: User) -> None:
    done = user.ecr_py("version")
    assert done.code == 0, done
    assert __version__ in done.stdout
    assert "Windows" in done.stdout
