"""What a worker of the controller runs: fetches some credentials, and prints a line for each.

    {"fetch": [[KEY, HOST, PROFILE], ...]}   the job, on the command line: it holds no secret
    {"key": KEY, "credential": {...}}        a line of the result, a Credential
    {"key": KEY, "error": {...}}             or an error by EcrPyError.to_dict

The result goes through a pipe that only the controller reads, and nothing is stored: a controller
needs no folder that it can write to.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from docker_credential_ecr_py.app import App, fetch_from_aws
from docker_credential_ecr_py.environment import as_given, prepared_for_libraries
from docker_credential_ecr_py.errors import EcrPyError, Unreachable
from docker_credential_ecr_py.hardening import forbid_dumps_of_children

Line = dict[str, Any]


@prepared_for_libraries()
def main() -> None:
    forbid_dumps_of_children()
    for line in fetch_all(json.loads(sys.argv[1])["fetch"]):
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
    # Else a thread that hangs in a name lookup would keep the interpreter from ending.
    os._exit(0)


def fetch_all(jobs: list[list[str]]) -> Iterator[Line]:
    """Yield the result of each job. They are of one region: an outage ends them all."""
    outage: Unreachable | None = None
    for key, host, profile in jobs:
        try:
            if outage is not None:
                raise outage
            yield {"key": key, "credential": _fetch(key, host, profile)}
        except EcrPyError as error:
            outage = error if isinstance(error, Unreachable) else None
            yield {"key": key, "error": error.to_dict()}
        except Exception as error:
            what = EcrPyError(f"unexpected {type(error).__name__}")
            yield {"key": key, "error": what.to_dict()}


def _fetch(key: str, host: str, profile: str) -> Line:
    app = App({**as_given(), "AWS_ECR_DISABLE_CACHE": "true"}, profile=profile, may_log_in=False)
    if app.credential_key(host) != key:
        # The AWS config changed in between: the controller reads it again within seconds.
        raise EcrPyError(f"{host} is another identity's now")
    return asdict(app.call_as_selected(host, fetch_from_aws))


if __name__ == "__main__":
    main()
