"""`ecr-py` on Windows."""

import json

from docker_credential_ecr_py import __version__
from tests.standin.aws import Aws
from tests.support.home import DEV, registry
from tests.support.user import User
from tests.windows.wine import windows_path


def test_version(user: User) -> None:
    done = user.ecr_py("version")
    assert done.code == 0, done
    assert __version__ in done.stdout
    assert "Windows" in done.stdout


def test_there_is_no_daemon(user: User) -> None:
    assert user.ecr_py("daemon", "start").line == "ecr-py: the daemon runs only on Linux and macOS"


def test_configure_and_its_undo(user: User) -> None:
    """Docker Desktop's store becomes the fallback."""
    before = {"credsStore": "desktop", "currentContext": "desktop-linux"}
    user.write_docker_config(before)
    done = user.ecr_py("configure", "--creds-store", "--yes")
    assert done.code == 0, done
    assert user.read_config() == {**before, "credsStore": "ecr-py"}
    assert 'fallback = "desktop"' in user.home.settings.read_text()
    assert user.ecr_py("configure", "--undo").code == 0
    assert user.read_config() == before


def test_doctor_names_paths_and_commands_of_windows(user: User) -> None:
    user.write_config("{")
    done = user.ecr_py("doctor")
    assert done.code == 1, done
    assert f"run `notepad {windows_path(user.docker_config)}`" in done.stdout


def test_status_and_token(user: User, aws: Aws) -> None:
    token = user.ecr_py("token", "dev")
    assert aws.issued[token.stdout.strip()].account == DEV, token
    shown = json.loads(user.ecr_py("status", "--json").stdout)
    assert registry(DEV) in json.dumps(shown)
