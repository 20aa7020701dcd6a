"""A person's home on loopback: the AWS config of three accounts, a session, and our executable."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.standin.aws import Aws

HELPER = Path(sys.executable).parent / "docker-credential-ecr-py"
# What Python runs: the helper itself, or what the compiled front runs on a miss.
_BEHIND_FRONT = HELPER.parent.parent / "libexec" / HELPER.name
LAUNCHER = _BEHIND_FRONT if _BEHIND_FRONT.exists() else HELPER
THREE_ACCOUNTS = (Path(__file__).parent / "data" / "three_accounts.ini").read_text()
NOT_FOUND = "credentials not found in native keychain"
START_URL = "https://teliacompany.awsapps.com/start"
ROLE = "Administrator"
DEV, STAGE, PROD = ACCOUNTS = ("642976147714", "998135273239", "883291977974")


def registry(account: str, region: str = "eu-west-1") -> str:
    return f"{account}.dkr.ecr.{region}.amazonaws.com"


REGISTRIES = [registry(account) for account in ACCOUNTS]


def access_key_id(account: str) -> str:
    """As AWS makes them since 2019: with the account in it."""
    return "AKIA" + base64.b32encode((1 << 79 | int(account) << 39).to_bytes(10)).decode()


@dataclass
class Answer:
    """What one call of the helper left behind."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def json(self) -> dict[str, str]:
        document: dict[str, str] = json.loads(self.stdout)
        return document

    @property
    def password(self) -> str:
        assert self.code == 0, self
        return self.json["Secret"]

    @property
    def line(self) -> str:
        """The one line of a failure, which stdout and stderr must share.

        That of a failed `get` also has the words by which docker-py goes on.
        """
        assert self.code == 1, self
        text = self.stdout.decode()
        assert text.count("\n") == 1, self
        assert text.endswith("\n"), self
        assert self.stderr in (self.stdout, b""), self
        return text.rstrip("\n").removesuffix(f" ({NOT_FOUND})")


@dataclass
class Home:
    """`environment` is all that `helper`, the installed executable, gets to see."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)
    helper: Path = HELPER
    limit: float = 60  # seconds for a call

    @property
    def cache(self) -> Path:
        return self.path / ".cache" / "ecr-py"

    @property
    def log(self) -> Path:
        return self.path / ".local" / "state" / "ecr-py" / "log" / "ecr-py.log"

    @property
    def settings(self) -> Path:
        return self.path / ".config" / "ecr-py" / "config.toml"

    @property
    def aws_config(self) -> Path:
        return self.path / ".aws" / "config"

    def write(self, file: Path, text: str) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def call(
        self,
        *arguments: str,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        by: Sequence[str] = (),
        cwd: Path | None = None,
    ) -> Answer:
        """Runs the installed helper to its end. `environment` is added to the home's own.

        `by` is a command that runs the one after it, in its own way; `cwd` is the folder to run
        it in, else that of the tests.
        """
        done = subprocess.run(
            [*by, self.helper, *arguments],
            input=stdin,
            capture_output=True,
            env=self.environment | dict(environment or {}),
            cwd=cwd,
            timeout=self.limit,
            start_new_session=True,  # no terminal of whoever runs the tests
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def get(self, server_url: str, **environment: str) -> Answer:
        """As docker asks: the server URL on standard input."""
        return self.call("get", stdin=server_url.encode(), environment=environment)

    def logins(self) -> dict[str, str]:
        """Return what `list` names besides ECR's registries: URLs and usernames."""
        return {url: name for url, name in self.call("list").json.items() if name != "AWS"}

    def cached(self) -> list[str]:
        """Return the registries whose credential is in the cache, by `ecr-py cache ls`."""
        done = subprocess.run(
            [self.helper.with_name("ecr-py"), "cache", "ls", "--json"],
            capture_output=True,
            env=self.environment,
            timeout=60,
            start_new_session=True,
            check=True,
        )
        return [row["registry"] for row in json.loads(done.stdout)]

    def start(self, *arguments: str, **popen: Any) -> subprocess.Popen[bytes]:
        """Starts the installed helper with pipes, and does not wait for it."""
        popen = {"env": self.environment, "start_new_session": True, **popen}
        pipe = subprocess.PIPE
        command: list[str | Path] = [self.helper, *arguments]
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, **popen)


def home_variables(path: Path) -> dict[str, str]:
    """Return the variables that say where a user's home is."""
    if sys.platform != "win32":
        return {"HOME": str(path)}
    local = str(path / "AppData" / "Local")
    return {
        "USERPROFILE": str(path),
        "LOCALAPPDATA": local,
        "WIN_PD_OVERRIDE_LOCAL_APPDATA": local,  # platformdirs asks Windows first
    }


def live_in(path: Path, patch: pytest.MonkeyPatch) -> None:
    """Make `path` the home of this process; no variable leads out of it."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ECR_PY", "XDG_")):
            patch.delenv(name)
    for name, value in home_variables(path).items():
        patch.setenv(name, value)


def new_home(path: Path, aws: Aws) -> Home:
    """A home with the three accounts of one SSO start URL, and a live session."""
    path.mkdir(parents=True, exist_ok=True)
    environment = {
        "HOME": str(path),
        "PATH": f"{HELPER.parent}:{os.environ['PATH']}",
        "XDG_RUNTIME_DIR": str(path / "runtime"),  # or else we meet the daemon of whoever runs us
    }
    (path / "runtime").mkdir(mode=0o700, exist_ok=True)
    home = Home(path, environment | aws.environment())
    home.write(home.aws_config, THREE_ACCOUNTS)
    for account in (DEV, STAGE, PROD):
        aws.assign(account, ROLE)
    aws.write_sso_token(path, START_URL, region="eu-west-1")
    return home
