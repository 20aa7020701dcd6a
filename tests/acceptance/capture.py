"""Captures docs/first-five-minutes.md, and README's pictures, from a terminal.

`python -m tests.acceptance.capture` types each command of the document in its order, in the home
of a newcomer and against the stand-ins, and puts what the terminal shows in the place of what it
showed when it was captured last. Then it draws a pull that logs in, `status` and `doctor`.
"""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from logging import getLogger
from pathlib import Path

from moto.server import ThreadedMotoServer

from tests.acceptance.pictures import DOCTOR, PULL, STATUS, draw
from tests.acceptance.readme import PROJECT
from tests.standin.aws import Issued
from tests.standin.engine import Engine
from tests.standin.proxy import Proxy
from tests.standin.registry import RegistryFront
from tests.support.docker_user import IMAGE, TAG
from tests.support.home import DEV, HELPER, PROD, STAGE, THREE_ACCOUNTS, new_home, registry
from tests.support.programs import need
from tests.support.repositories import AwsWithRepositories, an_image, backend, there_is
from tests.support.user import ECR_PY, eventually

FIVE_MINUTES = PROJECT / "docs" / "first-five-minutes.md"
HOME = "/home/sluggo"
_PROMPT = r"\[\e[1;32m\]$\[\e[0m\] "
BROWSER = """\
#!/bin/sh
cd {project} && exec {python} -c '
import sys, tests.support.user
tests.support.user.visit(sys.argv[1])
' "$1"
"""
_BLOCK = re.compile(r"```console\n(\$ ecr-py .*?|\$ docker .*?)```", re.DOTALL)
# Pictures are the same each time: the code of a login is random.
_CODE = re.compile(r"\b[A-Z]{4}-[A-Z]{4}\b")
_FOLDED = re.compile(r"^\$ (.{98})\n(\w+)\n")


class Screen:
    """A shell in a terminal emulator of so many columns."""

    def __init__(self, environment: Mapping[str, str], home: Path) -> None:
        self._tmux = [need("tmux"), "-u", "-f", "/dev/null", "-S", ""]
        self._environment = {**environment, "LANG": "C.UTF-8", "PS1": _PROMPT}
        self._home = home

    def start(self, columns: int) -> None:
        self.columns = columns
        self._tmux[-1] = str(self._home / f"tmux-{columns}")
        size = ("-x", str(columns), "-y", "50")
        where = ("-c", str(self._home))
        shell = (need("bash"), "--norc", "--noprofile")
        self._ask("new-session", "-d", *size, *where, *shell)
        eventually(lambda: self._lines() == ["$"])

    def type(self, command: str, *, escapes: bool = False) -> str:
        """What the terminal shows of it, its own line included; on request, in its colours."""
        before = len(self._lines()) - 1
        self._ask("send-keys", "-l", command)
        self._ask("send-keys", "Enter")
        time.sleep(0.5)  # the line is echoed, and the prompt above it is not the next one
        eventually(lambda: self._lines()[before + 1 :][-1:] == ["$"], seconds=60)
        shown = self._lines(*["-e"] * escapes)[before : len(self._lines()) - 1]
        return "\n".join(shown).replace(str(self._home), HOME)

    def draw(self, file: Path, command: str) -> None:
        """Type a command, which must succeed, and draw what the terminal shows of it."""
        shown = typed(self, command, escapes=True)
        draw(file, _CODE.sub("SBKF-HRGQ", shown.replace(HOME, "~")), self.columns)

    def end(self) -> None:
        self._ask("kill-server")

    def log_in_by_code(self) -> None:
        """From now on, at the end of the session: profiles of the older shape, AWS by its names."""
        shutil.rmtree(self._home / ".aws")
        shutil.rmtree(self._home / ".cache")
        (self._home / ".aws").mkdir()
        (self._home / ".aws" / "config").write_text(THREE_ACCOUNTS)
        for name in [name for name in self._environment if name.startswith("AWS_ENDPOINT_URL")]:
            del self._environment[name]
        self._environment["BROWSER"] = "true"

    def _lines(self, *options: str) -> list[str]:
        return self._ask("capture-pane", *options, "-p", "-S", "-").rstrip().splitlines()

    def _ask(self, *command: str) -> str:
        done = subprocess.run(
            [*self._tmux, *command],
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


@contextmanager
def newcomer() -> Iterator[Screen]:
    """A home with docker and no AWS config, and somebody who clicks Allow."""
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    # As long as the name it is shown by, so that lines are folded where they would be.
    folder = Path("/tmp", secrets.token_hex(4)[: len(HOME) - len("/tmp/")])
    with ExitStack() as stack:
        moto.start()
        stack.callback(moto.stop)
        getLogger("werkzeug").setLevel("ERROR")
        stack.callback(shutil.rmtree, folder)
        aws = stack.enter_context(AwsWithRepositories(moto))
        front = stack.enter_context(RegistryFront(aws))
        proxy = stack.enter_context(Proxy(aws, front))
        engine = stack.enter_context(Engine(front))
        home = new_home(folder, aws)
        shutil.rmtree(home.aws_config.parent)
        aws.auto_approve = True
        aws.account_names = {DEV: "dev", STAGE: "stage", PROD: "prod"}
        fill(aws, front)
        programs = home.path / ".local" / "bin"
        programs.mkdir(parents=True)
        for program in (HELPER, ECR_PY):
            (programs / program.name).symlink_to(program)
        browser = home.write(
            home.path / "browser", BROWSER.format(project=PROJECT, python=sys.executable)
        )
        browser.chmod(0o755)
        environment = home.environment | proxy.environment() | engine.environment()
        path = f"{programs}:/usr/local/bin:/usr/bin:/bin"
        screen = Screen(environment | {"BROWSER": str(browser), "PATH": path}, folder)
        yield screen


def fill(aws: AwsWithRepositories, front: RegistryFront) -> None:
    """What dev's registry holds, as the API and the engine see it."""
    days = {"1.0.0": 320, "1.0.1": 240, "1.0.10": 61, "1.0.11": 12}
    images = [an_image(tag, days=age, size=12_000_000 + age * 2_911) for tag, age in days.items()]
    there_is(IMAGE, *images, an_image(TAG, "latest", days=0.1, size=12_913_022))
    for name in ("lcm-backend", "nats", "mqtt-broker", "grafana/grafana", "hc-devcon-cpp-amd64"):
        there_is(name)
    for number, repository in enumerate(backend().repositories.values()):
        repository.created_at = datetime.now() - timedelta(days=330 - 40 * number)
    builder = Issued(f"arn:aws:iam::{DEV}:user/builder", DEV, "eu-west-1", aws.clock() + 60, False)
    aws.issued["somebody"] = builder
    somebody = {"username": "AWS", "password": "somebody"}
    Engine(front).push(f"{registry(DEV)}/{IMAGE}", TAG, somebody)


def captured(screen: Screen, text: str) -> str:
    def again(block: re.Match[str]) -> str:
        shown = _FOLDED.sub(r"$ \1\2\n", block[1])
        command = shown.partition("\n")[0].removeprefix("$ ")
        return f"```console\n{typed(screen, command)}\n```"

    return _BLOCK.sub(again, text)


def typed(screen: Screen, command: str, *, escapes: bool = False) -> str:
    """What it shows; it must succeed."""
    shown = screen.type(command, escapes=escapes)
    assert screen.type("echo $?").endswith("\n0"), shown
    return shown


def main() -> None:
    with newcomer() as screen:
        screen.start(columns=100)
        FIVE_MINUTES.write_text(captured(screen, FIVE_MINUTES.read_text()))
        screen.end()
        screen.start(columns=98)  # what these two need, and no more
        screen.draw(STATUS, "ecr-py status")
        screen.draw(DOCTOR, "ecr-py doctor")
        screen.end()
        screen.log_in_by_code()
        screen.start(columns=108)
        screen.draw(PULL, f"docker pull {registry(DEV)}/{IMAGE}:{TAG}")
        screen.end()


if __name__ == "__main__":
    main()
