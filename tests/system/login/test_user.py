"""Whether somebody is there, and which browser they see: decided from the environment."""

from __future__ import annotations

import html
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from docker_credential_ecr_py.sso import user as sso_user
from docker_credential_ecr_py.sso.user import browser_command
from tests.support.user import User, eventually

PYTHONS = [sys.executable, "-I", "-m", "webbrowser"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have their own way")


@pytest.fixture
def windows(tmp_path: Path) -> str:
    """A PATH with what WSL has on it."""
    for name in ("rundll32.exe", "wslview"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return str(tmp_path)


@linux
@pytest.mark.parametrize(
    ("environ", "opens"),
    [
        ({}, False),
        ({"DISPLAY": ":0"}, True),
        ({"DISPLAY": ""}, False),
        ({"BROWSER": "firefox"}, True),
        ({"BROWSER": ""}, False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "10.0.0.1 5 10.0.0.2 22"}, False),
        ({"DISPLAY": "localhost:10.0", "SSH_TTY": "/dev/pts/1"}, False),
        # Somebody who says so has a way to show it.
        ({"BROWSER": "lemonade open", "SSH_CONNECTION": "10.0.0.1 5 10.0.0.2 22"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, False),
        ({"WSL_DISTRO_NAME": "Debian", "PATH": ""}, False),
    ],
)
def test_where_a_browser_would_be_seen(environ: dict[str, str], opens: bool) -> None:
    assert browser_command(environ) == (PYTHONS if opens else None)


@linux
def test_wayland_counts_where_its_socket_is(tmp_path: Path) -> None:
    environ = {"WAYLAND_DISPLAY": "wayland-0", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert browser_command(environ) is None
    (tmp_path / "wayland-0").touch()
    assert browser_command(environ) == PYTHONS
    # The socket may be named by its full path, as the protocol's library allows.
    assert browser_command({"WAYLAND_DISPLAY": str(tmp_path / "wayland-0")}) == PYTHONS


@linux
def test_under_wsl_the_browser_is_the_one_of_windows(windows: str) -> None:
    environ = {"WSL_DISTRO_NAME": "Debian", "PATH": windows}
    assert browser_command(environ) == [f"{windows}/wslview"]
    (Path(windows) / "wslview").unlink()
    expected = [f"{windows}/rundll32.exe", "url.dll,FileProtocolHandler"]
    assert browser_command(environ) == expected
    # With WSLg there is a display too, and still a user looks at Windows.
    assert browser_command(environ | {"DISPLAY": ":0"}) == expected
    assert browser_command(environ | {"BROWSER": "firefox"}) == PYTHONS


@linux
def test_under_wsl_over_ssh_there_is_none(windows: str) -> None:
    environ = {"WSL_DISTRO_NAME": "Debian", "PATH": windows, "SSH_CONNECTION": "a 1 b 2"}
    assert browser_command(environ) is None


@pytest.mark.parametrize(
    ("value", "ci"),
    [("true", True), ("1", True), ("yes", True), ("", False), ("false", False), ("0", False)],
)
def test_nobody_is_there_in_ci(value: str, ci: bool) -> None:
    """Whatever desktop there is."""
    environ = {"CI": value, "DISPLAY": ":0"}
    assert sso_user.User(environ, may_be_asked=True).is_there != ci
    assert not sso_user.User(environ, may_be_asked=False).is_there


@contextmanager
def opened_by(user: User, address: str) -> Iterator[None]:
    browser = sso_user.User(user.home.environment, may_be_asked=True).browser
    assert browser is not None
    with browser(address):
        yield


def test_a_browser_gets_the_address_whole_and_writes_nowhere(
    user: User, capfd: pytest.CaptureFixture[str]
) -> None:
    """No shell looks at it, and what it prints is not the protocol."""
    user.add_browser()
    script = Path(user.home.environment["BROWSER"])
    script.write_text(script.read_text() + "echo noise\necho noise >&2\ncat\n")
    address = "https://example.com/?a=b&c=%20;$(touch${IFS}x)`touch${IFS}y`|'\"<>"
    with opened_by(user, address):
        eventually(lambda: user.addresses)
    assert list(map(html.unescape, user.addresses)) == [address]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("address", ["--help", "file:///etc/passwd", "javascript:alert(1)", ""])
def test_what_is_no_web_page_is_not_opened(user: User, address: str) -> None:
    user.add_browser()
    with pytest.raises(ValueError, match="web page"), opened_by(user, address):
        pass
    with opened_by(user, "https://example.com/after"):
        eventually(lambda: user.addresses)
    assert user.addresses == ["https://example.com/after"]


def test_a_browser_gets_no_keys(user: User) -> None:
    """It runs for days, and its children with it."""
    user.add_browser()
    script = Path(user.home.environment["BROWSER"])
    script.write_text('#!/bin/sh\nenv >"$HOME/seen.new"; mv "$HOME/seen.new" "$HOME/seen"\n')
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    user.home.environment |= dict.fromkeys(keys, "hunter2")
    seen = user.home.path / "seen"
    with opened_by(user, "https://example.com/"):
        eventually(seen.exists)
    assert "hunter2" not in seen.read_text()
    assert f"HOME={user.home.path}" in seen.read_text()


def test_a_project_cannot_stand_in_for_the_browser(tmp_path: Path) -> None:
    """Docker runs us in its folder, with what its .envrc has set."""
    project, opened = tmp_path / "project", tmp_path / "opened"
    project.mkdir()
    for name in ("webbrowser.py", "shlex.py", "sitecustomize.py"):
        (project / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >{opened}\n')
    browser.chmod(0o755)
    environ = {"BROWSER": str(browser), "PYTHONPATH": str(project)}
    command = browser_command(environ)
    assert command is not None
    subprocess.run([*command, "http://127.0.0.1/"], env=environ, cwd=project, check=True)
    assert opened.read_text() == "http://127.0.0.1/\n"
    assert not (tmp_path / "ran").exists()
