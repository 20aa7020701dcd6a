"""The control API of a stand-in that runs in another process: its methods, over HTTP.

`POST /_standin/NAME` with a JSON object of keyword arguments calls the method NAME, and answers
its result; `GET /_standin/calls` answers the calls so far; `POST /_standin/set` sets attributes.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

from tests.standin.server import Reply, Request

if TYPE_CHECKING:
    from tests.standin.aws import Aws

PREFIX = "/_standin/"
METHODS = (
    "add_key",
    "allow_role",
    "approve",
    "assign",
    "clear_faults",
    "count",
    "deny",
    "deny_ecr",
    "end_session",
    "fault",
    "reset_calls",
    "write_sso_token",
)
SETTINGS = (
    "access_token_lifetime",
    "auto_approve",
    "container_role",
    "device_interval",
    "instance_role",
    "latency",
    "session_lifetime",
    "token_lifetime",
)


def answer(aws: Aws, request: Request) -> Reply:
    """Do what a control request says; what cannot be done is a 400 with the reason."""
    name, arguments = request.path.removeprefix(PREFIX), request.json()
    try:
        if name == "calls":
            return Reply.json([asdict(call) for call in list(aws.calls)])
        if name == "set":
            for setting, value in arguments.items():
                if setting not in SETTINGS:
                    raise LookupError(f"no such setting: {setting}")
                setattr(aws, setting, value)
            return Reply.json(None)
        if name not in METHODS:
            raise LookupError(f"no such method: {name}")
        if "home" in arguments:
            arguments["home"] = Path(arguments["home"])
        result = getattr(aws, name)(**arguments)
    except (LookupError, TypeError, ValueError) as error:
        return Reply.json({"error": str(error)}, 400)
    return Reply.json(str(result) if isinstance(result, Path) else result)


def call(url: str, method: str, **arguments: Any) -> Any:
    """Call a method of the stand-in at `url`; its result, as JSON can say it."""
    body = json.dumps(arguments, default=str).encode()
    with urlopen(HttpRequest(url + PREFIX + method, data=body, method="POST")) as answered:
        return json.load(answered)
