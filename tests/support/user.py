"""A user of `ecr-py`: a home, the commands that they run in it, a terminal and a browser."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode
from urllib.request import HTTPErrorProcessor, ProxyHandler, Request, build_opener

from click.testing import CliRunner

from docker_credential_ecr_py.cli.main import main
from tests.standin.aws import Aws
from tests.support.home import DEV, HELPER, PROD, ROLE, STAGE, START_URL, Home
from tests.support.terminal import Terminal

ECR_PY = HELPER.with_name("ecr-py")
SESSION = "telia"
# The code of a device login, in its address.
CODE = r"user_code=([A-Z]{4}-[A-Z]{4})"
# Goes where the page leads that it is given, and leaves both addresses for the test to read.
BROWSER = """#!/bin/sh
printf '%s\\n' "$1" >>"$HOME/opened"
case $1 in
file:*) page=$(cat "${1#file://}") ;;
*/login/*) page=$(curl -s --noproxy '*' "$1") ;;
*) page="href=\\"$1\\"" ;;
esac
address=$(printf '%s\\n' "$page" | sed -n 's/.*href="\\([^"]*\\)".*/\\1/p')
printf '%s\\n' "$address" | sed 's/&amp;/\\&/g' >>"$HOME/addresses"
"""

_T = TypeVar("_T")


def session_config(scopes: str = "sso:account:access") -> str:
    """The three accounts as AWS CLI 2.9 and newer write them: by [sso-session]."""
    registration = f"sso_registration_scopes = {scopes}\n" if scopes else ""
    profiles = "".join(
        f"[profile {name}]\nsso_session = {SESSION}\nsso_account_id = {account}\n"
        f"sso_role_name = {ROLE}\nregion = eu-west-1\n"
        for name, account in (("dev", DEV), ("stage", STAGE), ("prod", PROD))
    )
    return (
        f"[sso-session {SESSION}]\nsso_start_url = {START_URL}\nsso_region = eu-west-1\n"
        f"{registration}{profiles}"
    )


@dataclass
class Done:
    code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        return self.stdout + self.stderr

    @property
    def line(self) -> str:
        """The one line of a failure."""
        assert self.code == 1, self
        assert self.stdout == "", self
        assert self.stderr.count("\n") == 1, self
        assert "Traceback" not in self.stderr
        return self.stderr.rstrip("\n")


@dataclass
class User:
    """Runs `ecr-py` and any other program in a home, and reads what they leave there.

    Programs see the home's environment and nothing else. `ecr_py` and `try_run` return whatever
    happens; `run` and `invoke_ok` fail the test unless the program does what is expected. To
    call the credential helper as docker does, use `home.call` and `home.get`.
    """

    home: Home
    aws: Aws
    program: Path = ECR_PY
    limit: float = 60  # seconds for a program

    @property
    def environment(self) -> dict[str, str]:
        return self.home.environment

    def use_session_profiles(self, scopes: str = "sso:account:access") -> None:
        self.home.write(self.home.aws_config, session_config(scopes))

    def add_browser(self) -> None:
        script = self.home.write(self.home.path / "bin" / "browser", BROWSER)
        script.chmod(0o755)
        self.home.environment["BROWSER"] = str(script)

    def end_session(self) -> None:
        """At the portal, and here."""
        self.aws.end_session()
        for file in self.token_files():
            file.unlink()

    @property
    def addresses(self) -> list[str]:
        """Where the browser went, each time."""
        return self._left_by_browser("addresses")

    @property
    def opened(self) -> list[str]:
        """What the browser was told to open, each time: what other users see of it."""
        return self._left_by_browser("opened")

    def _left_by_browser(self, name: str) -> list[str]:
        file = self.home.path / name
        return file.read_text().splitlines() if file.exists() else []

    def next_address(self, after: int = 0) -> str:
        return eventually(lambda: self.addresses[after:])[0]

    @property
    def sso_cache(self) -> Path:
        return self.home.path / ".aws" / "sso" / "cache"

    def token_files(self) -> list[Path]:
        if not self.sso_cache.exists():
            return []
        return [file for file in self.sso_cache.glob("*.json") if "accessToken" in file.read_text()]

    def ecr_py(self, *arguments: str, **environment: str) -> Done:
        """Run `ecr-py` without a terminal."""
        return self.try_run(str(self.program), *arguments, **environment)

    def invoke(self, *arguments: str, **environment: str) -> Done:
        """Run `ecr-py` in this process: ten times as fast, if only its answer is of interest.

        What it shows while it waits for a login is not captured. It gets no token by a session:
        botocore looks for that in the home in which it was imported.
        """
        nothing_else = dict.fromkeys(os.environ)
        seen = nothing_else | self.home.environment | environment
        done = CliRunner().invoke(main, arguments, env=seen, prog_name="ecr-py")
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    def invoke_ok(self, *arguments: str, **environment: str) -> Done:
        """Run `ecr-py` in this process; it must succeed."""
        done = self.invoke(*arguments, **environment)
        assert done.code == 0, done
        return done

    def ecr_py_into_closed_pipe(self, *arguments: str) -> tuple[int, str]:
        """Run `ecr-py` with a closed pipe as standard output. Return exit code and stderr."""
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as stdout:
            done = subprocess.run(
                [self.program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                env=self.home.environment,
                cwd=self.home.path,
                timeout=60,
                start_new_session=True,
                check=False,
            )
        return done.returncode, done.stderr

    def try_run(self, *command: str, **environment: str) -> Done:
        """Run any program without a terminal. Return whatever happens."""
        return self._run(command, "", environment)

    def run(self, *command: str, stdin: str = "", fails: bool = False, **environment: str) -> Done:
        """Run any program without a terminal. It must succeed, or with `fails` it must fail."""
        done = self._run(command, stdin, environment)
        assert (done.code != 0) == fails, done.said
        return done

    def _run(self, command: tuple[str, ...], stdin: str, environment: Mapping[str, str]) -> Done:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment | dict(environment),
            cwd=self.home.path,
            timeout=self.limit,
            start_new_session=True,  # without the terminal of whoever runs the tests
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def docker_config(self) -> Path:
        return self.home.path / ".docker" / "config.json"

    def write_docker_config(self, config: Mapping[str, Any]) -> None:
        self.home.write(self.docker_config, json.dumps(config))

    def write_config(self, text: str | bytes, file: Path | None = None) -> bytes:
        """Write a config file, by default docker's. Return its bytes."""
        file = file or self.docker_config
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file.read_bytes()

    def read_config(self, file: Path | None = None) -> dict[str, Any]:
        """Parse a JSON config file, by default docker's."""
        document: dict[str, Any] = json.loads((file or self.docker_config).read_text("utf-8-sig"))
        return document

    def at_terminal(self, script: str, **environment: str) -> Terminal:
        """A terminal in which a shell script runs; our executables are on its PATH."""
        seen = {"TERM": "xterm-256color", **self.home.environment, **environment}
        return Terminal(script, seen, self.home.path)

    def portal_fails_with(self, code: str, *, times: int | None = None) -> None:
        """Each poll, exchange and refresh fails with this error."""
        self.aws.fault("CreateToken", "error", times=times, status=400, code=code)

    def calls(self, *operations: str) -> list[str]:
        """The operations that AWS was asked for; of these, if some are named."""
        asked = [call.operation for call in list(self.aws.calls)]
        return [name for name in asked if not operations or name in operations]


class _AsItIs(HTTPErrorProcessor):
    """Every answer is one: redirects and errors too."""

    def http_response(self, request: Request, response: HTTPResponse) -> HTTPResponse:
        return response


_OPENER = build_opener(ProxyHandler({}), _AsItIs)


def visit(address: str, decision: str = "") -> tuple[int, str]:
    """As a browser: opens an address or, with a decision, presses that button of its form.

    Follows redirects, those of pages too. The status and text of the page that it ends on.
    """
    data = urlencode({"decision": decision}).encode() if decision else None
    with _OPENER.open(address, data, timeout=20) as page:
        if page.status == 302:
            return visit(page.headers["Location"])
        text = page.read().decode()
        if leads := re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', text):
            return visit(html.unescape(leads[1]), decision)
        return page.status, text


def eventually(what: Callable[[], _T], *, seconds: float = 20) -> _T:
    """What is true in the end."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def leftovers(folders: Iterable[Path]) -> list[Path]:
    """Half-written files."""
    return [file for folder in folders for file in folder.rglob("*.new")]


def redirect_port(address: str) -> int:
    """Return the port of the loopback listener that a login's address names."""
    found = re.search(r"127\.0\.0\.1%3A(\d+)%2Foauth", address)
    assert found, address
    return int(found[1])
