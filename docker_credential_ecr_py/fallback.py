"""The helper that the settings name for every registry that is not ECR's."""

import json
import os
import subprocess

from docker_credential_ecr_py.errors import EcrPyError
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.programs import drop_relative_folders, find_program

# Seconds. Long, because a keyring may ask a person to unlock it.
_LIMIT = 120


class FallbackFailed(EcrPyError):
    """The other helper is not there, or did not answer."""


def program_of(helper: str) -> str:
    """Where it is. Raises FallbackFailed where it is not on the PATH."""
    name = f"docker-credential-{helper}"
    program = find_program(name)
    if program is None:
        raise FallbackFailed(f"the fallback helper {name} is not on the PATH")
    return program


def call(helper: str, action: str, given: bytes) -> tuple[int, bytes]:
    """Exit code and standard output of `docker-credential-HELPER ACTION`, fed with `given`.

    What it says on standard error goes where ours goes. Raises FallbackFailed.
    """
    program, name = program_of(helper), f"docker-credential-{helper}"
    environ = dict(os.environ)
    drop_relative_folders(environ)  # it may run others: `pass`, gpg
    try:
        done = subprocess.run(
            [program, action],
            input=given,
            stdout=subprocess.PIPE,
            env=environ,
            timeout=_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FallbackFailed(f"the fallback helper {name} gave no answer in {_LIMIT} s") from None
    except OSError as error:
        raise FallbackFailed(f"the fallback helper {name} cannot run: {error.strerror}") from None
    return done.returncode, done.stdout


def registries(code: int, listed: bytes) -> dict[str, str]:
    """What an answer to `list` says: URL to username; nothing where it failed.

    Raises FallbackFailed.
    """
    if code:
        log.warning("the fallback helper failed to list: exit code %d", code)
        return {}
    try:
        found = json.loads(listed or b"{}") or {}
        return {str(url): str(username) for url, username in found.items()}
    except (ValueError, AttributeError):
        raise FallbackFailed("the fallback helper answered list with no JSON object") from None
