"""What a shell's environment may not put into the files of a service: lines of its own."""

from __future__ import annotations

import json
import os
import plistlib
import subprocess
import sys
from typing import Any

import pytest

from tests.support.daemon import ECR_PY, Daemon, Daemons, ecr_py
from tests.support.home import Home
from tests.support.user import Done, eventually

# What becomes a line of a unit, what no XML or UTF-8 holds, and what a terminal would obey.
BAD = {
    "newline": "/a\nExecStartPre=/bin/touch /tmp/owned",
    "carriage return": "/a\rb",
    "tab": "/a\tb",
    "escape": "/a\x1b]0;b\x07",
    "delete": "/a\x7f",
    "C1": "/a\x9bb",
    "next line": "/a\x85b",
    "line separator": "/a\u2028b",
    "no character": "/a\uffffb",
    "not UTF-8": os.fsdecode(b"/a\xffb"),
}
VARIABLES = (
    "PATH",
    "HTTPS_PROXY",
    "no_proxy",
    "AWS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "AWS_CONFIG_FILE",
    "DOCKER_CONFIG",
    "ECR_PY_CONFIG",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
)
UNUSUAL = "/a b/$HOME/%h/${x}/\"q\"/'q'/back\\slash/é/\U0001f600/#;"


def with_value(home: Home, name: str, value: str) -> dict[str, str]:
    return {name: f"{home.environment['PATH']}:{value}" if name == "PATH" else value}


def check_refused(home: Home, done: Done, name: str) -> None:
    assert done.line.startswith(f"ecr-py: {name} contains "), done
    assert done.line.endswith("change it, and run the command again")
    assert done.stderr.rstrip("\n").isprintable()
    assert not (home.path / ".config" / "systemd").exists()


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
@pytest.mark.parametrize("name", ["PATH", "HTTPS_PROXY"])
def test_install_refuses_a_value_and_names_its_variable(home: Home, name: str, value: str) -> None:
    environment = with_value(home, name, value)
    check_refused(home, ecr_py(home, "daemon", "install", **environment), name)
    check_refused(home, ecr_py(home, "daemon", "install", "--dry-run", **environment), name)


def made(*wanted: tuple[str, dict[str, str], str]) -> list[Any]:
    """What `service` makes of each program, environment and platform: its files, or the error.

    The installed package is asked, because the templates are a part of that.
    """
    script = (
        "import json, sys\n"
        "from docker_credential_ecr_py.daemon.service import service\n"
        "from docker_credential_ecr_py.errors import CannotInstall\n"
        "def made(one):\n"
        "    try:\n"
        "        return {str(file): text for file, text in service(*one).files.items()}\n"
        "    except CannotInstall as error:\n"
        "        return str(error)\n"
        "print(json.dumps([made(one) for one in json.load(sys.stdin)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        input=json.dumps(wanted),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return list(json.loads(done.stdout))


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_every_variable_and_the_path_of_the_program_are_looked_at(platform: str) -> None:
    by_variable = [("/opt/ecr-py", {name: "/a\nb"}, platform) for name in VARIABLES]
    found = made(*by_variable, ("/opt/a\nb/ecr-py", {}, platform))
    for name, error in zip((*VARIABLES, "the path of ecr-py"), found, strict=True):
        assert error.startswith(f"ecr-py: {name} contains the character U+000A")


def test_an_executable_in_such_a_folder_is_refused(home: Home) -> None:
    """A folder may have such a name."""
    folder = home.path / "a\nExecStartPre=b"
    folder.mkdir()
    (folder / "ecr-py").symlink_to(ECR_PY)
    done = subprocess.run(
        [folder / "ecr-py", "daemon", "install", "--dry-run"],
        env=home.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    check_refused(home, Done(done.returncode, done.stdout, done.stderr), "the path of ecr-py")


def test_what_is_not_refused_is_one_line_of_a_unit() -> None:
    characters = [chr(number) for number in range(0x20, 0x3000)]
    asked = (("/opt/ecr-py", {"PATH": f"/a{character}b"}, "linux") for character in characters)
    for character, found in zip(characters, made(*asked), strict=True):
        if isinstance(found, str):
            assert not character.isprintable()
            continue
        (unit,) = [text for text in found.values() if "[Service]" in text]
        (line,) = [line for line in unit.splitlines() if line.startswith("Environment=")]
        assert line.startswith('Environment="PATH=/a')
        assert line.endswith('b"')


def test_a_plist_holds_what_the_shell_held() -> None:
    (found,) = made((UNUSUAL, {"PATH": f"{UNUSUAL}<&>]]>"}, "darwin"))
    (plist,) = found.values()
    read = plistlib.loads(plist.encode())
    assert read["ProgramArguments"][0] == UNUSUAL
    assert read["EnvironmentVariables"]["PATH"] == f"{UNUSUAL}<&>]]>"


def test_stop_and_status_do_not_mind(home: Home, daemons: Daemons) -> None:
    """What is installed must be stopped and removed from any shell."""
    daemon: Daemon = daemons.start()
    environment = with_value(home, "PATH", BAD["newline"])
    assert ecr_py(home, "daemon", "status", **environment).code == 0
    assert ecr_py(home, "daemon", "stop", **environment).stdout == "Stopped\n"
    eventually(lambda: daemon.process.poll() is not None)
    assert ecr_py(home, "daemon", "uninstall", **environment).code == 0


def test_a_fifo_in_the_place_of_a_unit_does_not_hang(home: Home) -> None:
    folder = home.path / ".config" / "systemd" / "user"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "ecr-py.service")
    assert ecr_py(home, "daemon", "uninstall").stdout == "It was not installed\n"
    home.write(home.path / "bin" / "systemctl", "#!/bin/sh\nexit 0\n").chmod(0o755)
    path = f"{home.path / 'bin'}:{home.environment['PATH']}"
    assert "was not written by ecr-py" in ecr_py(home, "daemon", "install", PATH=path).line
