"""`ecr-py` on Windows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from docker_credential_ecr_py import __version__
from tests.standin.aws import Aws
from tests.support.home import DEV, THREE_ACCOUNTS, registry
from tests.support.user import User
from tests.windows.wine import WindowsPython, windows_path

ONLY_ELSEWHERE = "the daemon runs only on Linux and macOS"
# An editor: adds a line to the file that is its argument.
EDITOR = "import sys; open(sys.argv[1], 'a', newline='').write('login = \"never\"\\r\\n')"


def test_version(user: User) -> None:
    done = user.ecr_py("version")
    assert done.code == 0, done
    assert __version__ in done.stdout
    assert "Windows" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("daemon", "start"),
        ("daemon", "status"),
        ("forward", "on", "--all"),
        ("ssh", "host"),
        ("config", "set", "store", "memory"),
    ],
    ids=" ".join,
)
def test_there_is_no_daemon(user: User, command: tuple[str, ...]) -> None:
    assert user.ecr_py(*command).line.endswith(ONLY_ELSEWHERE)
    assert not user.home.settings.exists()


def test_docker_desktops_store_becomes_the_fallback(user: User, compiler: list[str]) -> None:
    before = {"credsStore": "wincred", "currentContext": "desktop-linux"}
    user.write_docker_config(before)
    folder = user.home.path / "Docker Desktop"
    folder.mkdir()
    source = Path(__file__).with_name("wincred.c")
    subprocess.run([*compiler, source, "-o", folder / "docker-credential-wincred.exe"], check=True)
    variable = "PATH" if sys.platform == "win32" else "WINEPATH"
    user.environment[variable] += f";{windows_path(folder)}"

    done = user.ecr_py("configure", "--creds-store", "--yes")
    assert done.code == 0, done
    assert user.read_config() == {**before, "credsStore": "ecr-py"}
    assert 'fallback = "wincred"' in user.home.settings.read_text()
    assert user.home.get("ghcr.io").password == "of wincred"
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
    assert token.stdout.strip() in user.ecr_py("token", "dev", "--format", "powershell").stdout


def test_what_is_printed_is_utf8(user: User) -> None:
    """Whatever the code page, which has no such letters."""
    user.home.write(user.home.aws_config, THREE_ACCOUNTS.replace("dev", "Łoś-開発"))
    done = user.ecr_py("explain", registry(DEV))
    assert done.code == 0, done
    assert "profile Łoś-開発 is for account" in done.stdout


def test_a_reader_that_has_gone(user: User) -> None:
    assert user.ecr_py_into_closed_pipe("explain") == (1, "")


@pytest.mark.parametrize("quote", ["", '"'], ids=["plain", "quoted"])
def test_the_settings_are_edited(user: User, windows: WindowsPython, quote: str) -> None:
    """By an editor whose path has backslashes; the file keeps its line ends."""
    script = windows_path(user.home.write(user.home.path / "editor.py", EDITOR))
    editor = f"{quote}{windows_path(windows.python)}{quote} {script}"
    user.write_config(b"[defaults]\r\n", user.home.settings)
    done = user.ecr_py("config", "edit", EDITOR=editor)
    assert done.code == 0, done
    assert user.home.settings.read_bytes() == b'[defaults]\r\nlogin = "never"\r\n'


def test_an_editor_that_is_not_there(user: User) -> None:
    line = user.ecr_py("config", "edit", EDITOR="nowhere").line
    assert line.startswith("ecr-py: nowhere: Editing failed")


def test_what_is_set_up_is_removed_again(user: User) -> None:
    assert user.ecr_py("configure", "--yes").code == 0
    user.home.get(registry(DEV))
    assert user.ecr_py("logout", "dev").code == 0
    assert not user.token_files()
    done = user.ecr_py("uninstall", "--yes")
    assert done.code == 0, done
    assert "python.exe -m pip uninstall docker-credential-ecr-py" in done.stdout
    assert not user.docker_config.exists()
    assert not user.home.cache.exists()


def test_completion(user: User) -> None:
    done = user.ecr_py("completion", "powershell")
    assert "Register-ArgumentCompleter" in done.stdout, done
    words = {"COMP_WORDS": "ecr-py\ntoken", "COMP_TYPED": "st"}
    done = user.ecr_py(_ECR_PY_COMPLETE="powershell_complete", **words)
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == ["stage"], done
