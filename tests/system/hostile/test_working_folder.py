"""Programs in the working folder are never run, though the PATH has an empty entry for it.

Docker runs the helper in the folder of whatever project is being built.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from docker_credential_ecr_py.daemon.notify import notify
from docker_credential_ecr_py.programs import (
    drop_relative_folders,
    find_program,
    path_without_relative_folders,
)
from tests.standin.aws import Aws
from tests.support.home import DEV, HELPER, Answer, Home, registry
from tests.support.user import BROWSER, ECR_PY, Done, User, eventually, visit

# Programs that are not installed here, and that we or Python's webbrowser look for.
MORE_PROGRAMS = (
    *("docker-credential-x", "docker-credential-secretservice", "docker-credential-pass", "pass"),
    *("xdg-open", "xdg-settings", "gio", "x-www-browser", "www-browser", "firefox", "chromium"),
    *("google-chrome", "konqueror", "kfmclient", "notify-send", "wslview", "rundll32.exe"),
    *("systemctl", "launchctl", "osascript", "keys", "uname", "tail", "ecr-py", HELPER.name),
)
TRAP = '#!/bin/sh\necho "${0##*/} $*" >>"$HOME/trapped"\nexit 1\n'
REAL = '#!/bin/sh\necho "$@" >>"$HOME/real"\n'
RELATIVE_ENTRIES = pytest.mark.parametrize("entry", ["", ".", "../project"])


class Project:
    """A working folder with a trap for every program of this machine; `path` is searched first."""

    def __init__(self, user: User, entry: str = "") -> None:
        self.user, self.home = user, user.home
        self.folder = user.home.path / "project"
        self.folder.mkdir()
        trap = user.home.write(self.folder / "trap", TRAP)
        trap.chmod(0o755)
        installed = {
            program.name
            for folder in os.environ["PATH"].split(":")
            if os.path.isabs(folder) and os.path.isdir(folder)
            for program in os.scandir(folder)
        }
        for name in installed | set(MORE_PROGRAMS):
            (self.folder / name).symlink_to(trap)
        self.real = user.home.path / "real-programs"
        self.real.mkdir()
        self.path = f"{entry}:{self.real}:{user.home.environment['PATH']}"

    def has(self, name: str, script: str = REAL) -> None:
        """Installs a program in a folder that the PATH names in full."""
        self.home.write(self.real / name, script).chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        return self.home.environment | {"PATH": self.path}

    @property
    def trapped(self) -> list[str]:
        """The programs of this folder that were run."""
        return _lines(self.home.path / "trapped")

    @property
    def real_calls(self) -> list[str]:
        return _lines(self.home.path / "real")

    def try_run(self, *command: str, **environment: str) -> Done:
        """An installed executable of ours, in this folder."""
        here = ("/usr/bin/env", "-C", str(self.folder))
        return self.user.try_run(*here, *command, PATH=self.path, **environment)


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def project(user: User) -> Project:
    return Project(user)


@pytest.fixture
def user(home: Home, aws: Aws) -> User:
    someone = User(home, aws)
    someone.end_session()
    return someone


# Finding


def test_what_is_found_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("here", "there"):
        program = tmp_path / folder / "tool"
        program.parent.mkdir()
        program.touch(0o755)
    (tmp_path / "there" / "text").touch(0o644)
    (tmp_path / "there" / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    there = str(tmp_path / "there")
    for path in ("", ".", "../here", "::", f"relative:{tmp_path}/none"):
        assert find_program("tool", path) is None, path
        assert find_program("tool", f"{path}:{there}") == f"{there}/tool"
    assert find_program("text", there) is None
    assert find_program("folder", there) is None
    assert find_program(f"{there}/tool", "") == f"{there}/tool"
    assert find_program("./tool", there) is None
    assert find_program("../there/tool", there) is None
    assert find_program("", there) is None


def test_without_a_path_the_systems_own_folders_are_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PATH")
    assert find_program("sh") in ("/bin/sh", "/usr/bin/sh")


def test_relative_folders_are_dropped_from_a_path() -> None:
    assert path_without_relative_folders(":/bin:.::x/y:/usr/bin:") == "/bin:/usr/bin"
    environ = {"PATH": ".:/bin", "HOME": "/x"}
    drop_relative_folders(environ)
    assert environ == {"PATH": "/bin", "HOME": "/x"}
    nothing: dict[str, str] = {}
    drop_relative_folders(nothing)
    assert nothing == {}


# The helper


@RELATIVE_ENTRIES
def test_the_fallback_helper(user: User, entry: str) -> None:
    project = Project(user, entry)
    user.home.write(user.home.settings, '[defaults]\nfallback = "x"\n')
    document = b'{"ServerURL": "https://ghcr.io", "Username": "me", "Secret": "hunter2"}'
    for action, given in (("get", b"https://ghcr.io"), ("store", document), ("list", b"")):
        answer = helper(project, action, given)
        assert b"docker-credential-x is not on the PATH" in answer.stderr
    assert project.trapped == []
    project.has("docker-credential-x", REAL + 'echo "$PATH" >>"$HOME/real"\ncat\n')
    assert helper(project, "get", b"https://ghcr.io").code == 0
    assert project.real_calls[0] == "get"
    # Nor does it find what it runs there.
    assert all(map(os.path.isabs, project.real_calls[1].split(":")))
    assert project.trapped == []


@RELATIVE_ENTRIES
def test_the_launcher_that_is_a_link(user: User, entry: str) -> None:
    """As pipx makes it: the shell asks readlink where it leads."""
    project = Project(user, entry)
    link = user.home.path / "links" / HELPER.name
    link.parent.mkdir()
    link.symlink_to(HELPER)
    done = project.try_run(str(link), "version")
    assert done.code == 0, done
    assert project.trapped == []
    alone = user.home.path / "alone" / HELPER.name
    alone.parent.mkdir()
    shutil.copy(HELPER, alone)
    assert "the command ecr-py is not beside" in project.try_run(str(alone), "version").stderr
    assert project.trapped == []


def helper(project: Project, action: str, given: bytes) -> Answer:
    return project.home.call(
        action, stdin=given, environment={"PATH": project.path}, cwd=project.folder
    )


def test_a_credential_process(project: Project, aws: Aws) -> None:
    """botocore runs it, by the PATH of our own process."""
    key = aws.session_key(f"arn:aws:iam::{DEV}:user/dev", 3600)
    home = project.home
    home.write(home.aws_config, "[profile dev]\ncredential_process = keys\nregion = eu-west-1\n")
    environment = {"PATH": project.path, "AWS_PROFILE": "dev"}
    host = registry(DEV).encode()
    answer = home.call("get", stdin=host, environment=environment, cwd=project.folder)
    assert answer.code == 1
    assert project.trapped == []
    document = (
        f'{{"Version": 1, "AccessKeyId": "{key.access_key_id}", "SecretAccessKey": '
        f'"{key.secret_access_key}", "SessionToken": "{key.session_token}"}}'
    )
    project.has("keys", f"#!/bin/sh\necho '{document}'\n")
    answer = home.call("get", stdin=host, environment=environment, cwd=project.folder)
    assert answer.password in aws.issued
    assert project.trapped == []


# The browser


def test_the_browser_of_a_desktop(project: Project, aws: Aws) -> None:
    """Python's webbrowser looks for a dozen programs, and asks xdg-settings."""
    project.has("xdg-settings", "#!/bin/sh\nexit 1\n")
    project.has("xdg-open", BROWSER + '\npwd >>"$HOME/real"\n')
    with project.user.at_terminal(
        f"(cd {project.folder} && {ECR_PY} login dev)", DISPLAY=":7", PATH=project.path
    ) as terminal:
        visit(project.user.next_address(), "allow")
        terminal.wait()
    assert project.trapped == []
    assert eventually(lambda: project.real_calls) == ["/"]


@pytest.mark.parametrize("browser", ["browser", "./browser", "browser %s", "../project/browser"])
def test_a_browser_variable_that_names_no_folder(project: Project, aws: Aws, browser: str) -> None:
    (project.folder / "browser").symlink_to(project.folder / "trap")
    installed = "/" not in browser
    if installed:
        project.has("browser", BROWSER)
    with project.user.at_terminal(
        f"(cd {project.folder} && {ECR_PY} login dev)", BROWSER=browser, PATH=project.path
    ) as terminal:
        code = terminal.wait_for(r"user_code=([A-Z]{4}-[A-Z]{4})")[1]
        if installed:
            project.user.next_address()
        aws.approve(code)
        assert terminal.wait() == 0
    assert project.trapped == []


def test_the_browser_under_wsl(project: Project, aws: Aws) -> None:
    (project.folder / "wslview").unlink()
    for name in ("wslview", "rundll32.exe"):
        path = project.folder / name
        path.unlink(missing_ok=True)
        path.symlink_to(project.folder / "trap")
    aws.auto_approve = True
    done = project.try_run(str(ECR_PY), "login", "dev", WSL_DISTRO_NAME="Debian")
    assert done.code == 0
    assert project.trapped == []


# The daemon


def test_notifications(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    environ: Mapping[str, str] = project.environment
    shutil.rmtree(project.real)
    if find_program("notify-send", project.path) is None:
        assert notify(environ, "title", "text", "button") is None
    project.real.mkdir()
    project.has("notify-send", REAL + 'pwd >>"$HOME/real"\n')
    pipe = notify(environ, "title", "text", "button")
    assert pipe is not None
    os.close(pipe)
    eventually(lambda: project.real_calls[1:] == ["/"])
    assert project.trapped == []


# ecr-py


@pytest.mark.parametrize(
    "arguments",
    [
        ("version",),
        ("daemon", "logs"),
        ("daemon", "install"),
        ("daemon", "status"),
        ("configure", "--dry-run"),
        ("config", "set", "fallback", "x"),
        ("doctor",),
        ("status",),
        ("login", "dev"),
        ("logout", "dev"),
        ("explain", registry(DEV)),
        ("completion", "bash"),
    ],
    ids=" ".join,
)
def test_a_command(project: Project, aws: Aws, arguments: tuple[str, ...]) -> None:
    aws.auto_approve = True
    project.home.get(registry(DEV))  # leaves a log
    project.try_run(str(ECR_PY), *arguments)
    assert project.trapped == []


def test_the_log_is_shown_by_the_systems_tail(project: Project) -> None:
    project.home.get(registry(DEV))
    done = project.try_run(str(ECR_PY), "daemon", "logs")
    assert done.code == 0, done
    assert "ecr-py login" in done.stdout
