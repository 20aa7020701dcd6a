"""The commands that a message tells the user to run."""

from __future__ import annotations

import re

from tests.support.home import Answer
from tests.support.user import Done, User


def commands_in(message: str) -> list[str]:
    """Return what stands in backquotes, in its order."""
    return re.findall(r"`([^`]+)`", message)


def command_in(message: str) -> str:
    """Return the first command that a message names."""
    found = commands_in(message)
    assert found, message
    return found[0]


def shell(user: User, command: str) -> Done:
    """Run a line as the user types it; it must succeed."""
    return user.run("bash", "-c", f"set -eo pipefail; {command}")


def opens(answer: Answer, user: User, account: str) -> None:
    """Check that a `get` worked, with the password of an identity of that account."""
    assert user.aws.issued[answer.password].account == account
