"""A GitHub runner, as far as a composite action sees it: inputs, scripts, and the files between.

It knows what action.yml of this project uses, and refuses anything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.standin.server import Handler, Reply, Server
from tests.support.programs import need
from tests.support.user import Done, User

_INPUT = re.compile(r"\$\{\{ inputs\.(\w+) \}\}")
_CONDITION = re.compile(r"inputs\.(\w+) (==|!=) '(\w*)'")


@dataclass
class Runner:
    """Runs the steps of the action in `folder`, and then those of a job, as a user.

    `temp` is the job's folder. What a step adds to GITHUB_PATH and GITHUB_ENV is there for the
    steps after it; `log` is what the job shows.
    """

    user: User
    folder: Path
    temp: Path
    path: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    log: str = ""

    @property
    def action(self) -> dict[str, Any]:
        document: dict[str, Any] = yaml.safe_load((self.folder / "action.yml").read_text())
        return document

    @property
    def steps(self) -> list[dict[str, Any]]:
        assert self.action["runs"]["using"] == "composite"
        return list(self.action["runs"]["steps"])

    def run(self, *, skip: tuple[str, ...] = (), **inputs: str) -> Done:
        """Run the steps with these inputs, to the first that fails. Return what the last did."""
        known = {name: of.get("default", "") for name, of in self.action["inputs"].items()}
        assert set(inputs) <= set(known), inputs
        values = known | inputs
        done = Done(0, "", "")
        for step in self.steps:
            if step["name"] in skip or not _holds(step.get("if", ""), values):
                continue
            assert set(step) <= {"name", "if", "shell", "env", "run"}, step
            assert step["shell"] == "bash", step
            assert "${{" not in step["run"], "an input in a script can add commands to it"
            environment = {
                name: _INPUT.sub(lambda found: values[found[1]], value)
                for name, value in step.get("env", {}).items()
            }
            done = self.script(step["run"], environment)
            if done.code:
                break
        return done

    def script(self, script: str, environment: Mapping[str, str] = {}) -> Done:
        """Run a script as a step with `shell: bash`."""
        self.temp.mkdir(parents=True, exist_ok=True)
        file = self.temp / "script.sh"
        file.write_text(script)
        added = {name: self.temp / name for name in ("GITHUB_ENV", "GITHUB_PATH")}
        for path in added.values():
            path.write_text("")
        seen = {
            "CI": "true",
            "RUNNER_OS": "Linux",
            "RUNNER_TEMP": str(self.temp),
            "GITHUB_ACTION_PATH": str(self.folder),
            **{name: str(path) for name, path in added.items()},
            **self.variables,
            **environment,
        }
        seen["PATH"] = ":".join([*self.path, self.user.environment["PATH"]])
        bash = (need("bash"), "--noprofile", "--norc", "-eo", "pipefail")
        done = self.user.try_run(*bash, str(file), **seen)
        self.log += done.said
        self.path[:0] = reversed(added["GITHUB_PATH"].read_text().splitlines())
        for line in added["GITHUB_ENV"].read_text().splitlines():
            name, _, value = line.partition("=")
            self.variables[name] = value
        return done


def _holds(condition: str, inputs: Mapping[str, str]) -> bool:
    if not condition:
        return True
    found = _CONDITION.fullmatch(condition)
    assert found, condition
    return (inputs[found[1]] == found[3]) == (found[2] == "==")


class _OidcHandler(Handler):
    def answer(self) -> None:
        request = self.read_request()
        owner: OidcServer = self.server.owner  # type: ignore[attr-defined]
        owner.asked.append(request.query.get("audience", ""))
        if self.headers.get("Authorization") != f"bearer {owner.bearer}":
            self.reply(Reply.json({"message": "Unauthorized"}, 401))
        else:
            self.reply(Reply.json({"count": 1, "value": owner.token}))


class OidcServer(Server):
    """GitHub's server of OIDC tokens; `asked` are the audiences that it was asked for."""

    handler = _OidcHandler
    bearer = "the-bearer-of-the-job"
    token = "eyJ0eXAi.the-oidc-token.of-the-job"

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def environment(self) -> dict[str, str]:
        """What a job with `permissions: id-token: write` has."""
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/idtoken/1?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.bearer,
        }
