"""What a user sees in a console of Windows, and what Ctrl-C does there.

wine shows its console on a terminal of ours. Programs see an older console, which obeys no escape
sequences: those that arrive here are wine's own, for what Windows' calls asked it to do.

wine gives no Ctrl-C to a program that reads from the console.
"""

from __future__ import annotations

import re
import sys

import pytest

from tests.support.home import DEV, registry
from tests.support.terminal import Terminal
from tests.support.user import CODE, User, eventually
from tests.windows.test_login import set_browser
from tests.windows.wine import WindowsPython

if sys.platform != "win32":
    import termios

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the terminal is a pty")

# How rich, but not wine, ends a colour.
_RESET = "\x1b[0m"
_SECONDS = 120


def text(terminal: Terminal) -> str:
    return re.sub(r"\x1b\[[?\d;]*[A-Za-z]|\r", "", terminal.shown)


def type_keys(terminal: Terminal, keys: str) -> None:
    """Type once wine reads keys itself: before that, Enter would be another key."""
    eventually(lambda: not terminal.state[0] & termios.ICRNL, seconds=_SECONDS)
    terminal.type(keys)


def test_a_table_and_a_question(user: User) -> None:
    assert user.ecr_py("configure", "--yes").code == 0
    with user.at_terminal(f"{user.program} status && {user.program} uninstall") as terminal:
        terminal.wait_for("Continue", seconds=_SECONDS)
        type_keys(terminal, "y\r")
        assert terminal.wait(seconds=_SECONDS) == 0
    assert _RESET not in terminal.shown
    assert "░░░░░░ none" in terminal.shown
    assert not user.docker_config.exists()


def test_a_login_that_is_given_up(user: User, windows: WindowsPython) -> None:
    user.end_session()
    set_browser(user, windows)
    with user.at_terminal(f"{user.program} login dev --device") as terminal:
        terminal.wait_for(CODE, seconds=_SECONDS)
        terminal.wait_for("Waiting", seconds=_SECONDS)
        terminal.type("\x03")
        assert terminal.wait(seconds=_SECONDS) == 130
    assert text(terminal).endswith("ecr-py: cancelled\n")
    assert _RESET not in terminal.shown
    assert not any(dots in terminal.shown for dots in "⠋⠙⠹⠸")  # its fonts do not have them


def test_a_get_whose_login_is_given_up(user: User, windows: WindowsPython) -> None:
    """Both programs end: the one that docker starts, and Python behind it."""
    user.end_session()
    set_browser(user, windows)
    get = f"printf {registry(DEV)} | {user.home.helper} get"
    with user.at_terminal(get) as terminal:
        terminal.wait_for("the code is", seconds=_SECONDS)
        terminal.type("\x03")
        assert terminal.wait(seconds=_SECONDS) == 130
    assert "Traceback" not in text(terminal)
    assert not user.token_files()
