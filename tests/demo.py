"""The helper at work, with nothing but Python: `make demo`.

Runs the installed executable through docker's own protocol against a stand-in for AWS on this
machine, shows what a user would see, and fails where that is not what it says.
"""

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.standin.aws import Aws
from tests.support.home import (
    DEV,
    HELPER,
    PROD,
    STAGE,
    THREE_ACCOUNTS,
    Answer,
    Home,
    new_home,
    registry,
)

FRANKFURT = registry(DEV, "eu-central-1")
UNKNOWN_ACCOUNT = "123456789012"
NOT_FOUND = "credentials not found in native keychain"
LOGIN = ("RegisterClient", "StartDeviceAuthorization", "CreateToken")


class NotAsTold(Exception):
    """The helper did something else than this demo says."""


@dataclass
class Demo:
    home: Home
    aws: Aws
    colour: bool
    steps: int = 0

    def step(
        self,
        what: str,
        *arguments: str,
        stdin: str = "",
        variables: Mapping[str, str] = {},
        calls: tuple[str, ...] = (),
        code: int = 0,
    ) -> Answer:
        """Shows one call of the helper, which must end with `code` and cost exactly `calls`."""
        self.steps += 1
        self.aws.reset_calls()
        began = time.perf_counter()
        answer = self.home.call(*arguments, stdin=stdin.encode(), environment=variables)
        took = (time.perf_counter() - began) * 1000
        asked = tuple(call.operation for call in self.aws.calls)
        typed = [f"{name}={value}" for name, value in variables.items()]
        typed += [HELPER.name, *arguments]
        print(f"\n{self._bold(f'{self.steps}. {what}')}")
        print(f"   $ {f'echo {stdin} | ' if stdin else ''}{' '.join(typed)}")
        print(f"   {self._shown(answer)}")
        print(f"   {took:,.0f} ms, exit {answer.code}, {_asked(asked)}")
        expect(answer.code == code, f"exit {code}, not {answer.code}")
        expect(asked == calls, f"{_asked(calls)!r}, not {_asked(asked)!r}")
        expect(code != 0 or not answer.stderr, "nothing on standard error")
        return answer

    def get(self, what: str, host: str, *calls: str, **variables: str) -> None:
        """A `get` that succeeds, with the password that AWS issued to the host's account."""
        answer = self.step(what, "get", stdin=host, variables=variables, calls=calls)
        issued = self.aws.issued.get(answer.password)
        expect(issued is not None, "a password that AWS issued")
        expect(issued is not None and issued.account == host[:12], "a password of that account")

    def refused(self, what: str, host: str, *calls: str, says: str, **variables: str) -> None:
        """A `get` that fails with one line, which names the registry and `says` what mends it."""
        answer = self.step(what, "get", stdin=host, variables=variables, calls=calls, code=1)
        expect(says in answer.line, f"a line that says {says!r}")
        expect(host in answer.line, "a line that names the registry")

    def _shown(self, answer: Answer) -> str:
        """What it printed, the password shortened, and the home called by its usual name."""
        text = answer.stdout.decode().strip()
        if answer.code == 0 and b'"Secret"' in answer.stdout:
            password = answer.password
            text = text.replace(password, f"{password[:6]}… ({len(password)} characters)")
        return text.replace(str(self.home.path), "~")

    def _bold(self, text: str) -> str:
        return f"\033[1m{text}\033[0m" if self.colour else text


def _asked(calls: tuple[str, ...]) -> str:
    if not calls:
        return "AWS was not asked"
    times = "once" if len(calls) == 1 else f"{len(calls)} times"
    return f"AWS was asked {times} ({', '.join(calls)})"


def expect(true: bool, what: str) -> None:
    if not true:
        raise NotAsTold(f"expected {what}")


def show(demo: Demo) -> None:
    both = ("GetRoleCredentials", "GetAuthorizationToken")
    demo.get("docker is to pull from account dev, and asks for its password.", registry(DEV), *both)
    demo.get("docker asks again: the answer is at hand, and AWS is left alone.", registry(DEV))
    demo.get("Another account: its own profile is found.", registry(STAGE), *both)
    demo.get("And the third.", registry(PROD), *both)

    answer = demo.step("The registries that can be answered for.", "list")
    three = {f"https://{registry(account)}": "AWS" for account in (DEV, STAGE, PROD)}
    expect(answer.json == three, "the three registries")

    what = "A registry that is not ECR: docker goes on without a password."
    answer = demo.step(what, "get", stdin="https://index.docker.io/v1/", code=1)
    expect(answer.line == NOT_FOUND, "the words that docker knows")
    expect(not answer.stderr, "nothing on standard error")
    demo.refused(
        "An account that no profile is for.",
        registry(UNKNOWN_ACCOUNT),
        says=f"ecr-py config set 'registries.{UNKNOWN_ACCOUNT}.*.profile' dev",
    )

    demo.aws.end_session()
    demo.get("The SSO session ends. What is at hand is still answered.", registry(DEV))
    demo.refused(
        "What is not, needs a login. In CI nobody is there: one line says what to run.",
        FRANKFURT,
        "GetRoleCredentials",
        says="profile dev): run `ecr-py login dev`",
        CI="true",
    )
    demo.aws.auto_approve = True
    demo.get(
        "Where somebody is, a browser opens (here a mere `true`, and the stand-in clicks Allow).",
        FRANKFURT,
        "GetRoleCredentials",
        *LOGIN,
        *both,
        BROWSER="true",
    )


def main() -> int:
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    if not HELPER.exists():
        print(f"{HELPER} is missing: install the package into this environment", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="demo-") as folder, Aws() as aws:
        home = new_home(Path(folder), aws)
        print(f"What docker hears from {HELPER.name}, and how long it waits.\n")
        print(f"AWS is a stand-in at {aws.url}; nothing leaves this machine. There is an SSO")
        print("session that is alive, and an AWS config with three accounts:\n")
        for line in THREE_ACCOUNTS.splitlines():
            if line.startswith(("[", "sso_account_id", "sso_role_name")):
                print(f"   {line}")
        try:
            show(Demo(home, aws, colour))
        except (NotAsTold, AssertionError) as wrong:
            print(f"\nNot as told: {wrong}", file=sys.stderr)
            return 1
    print("\nAll as told.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
