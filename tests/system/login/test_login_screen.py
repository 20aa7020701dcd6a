"""The screen of ecr-py login, as a terminal draws it: the address, the code, a QR code."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import pytest

from tests.standin.aws import Aws
from tests.support.home import START_URL
from tests.support.programs import need
from tests.support.user import ECR_PY, SESSION, User, eventually, visit

CODE = "BQTD-QJWX"
PENDING = "AuthorizationPendingException"
# As portals answer it today, and as they did.
ADDRESSES = {
    "start": f"{START_URL}/#/device?user_code={CODE}",
    "device": f"https://device.sso.eu-west-1.amazonaws.com/?user_code={CODE}",
}


class Tmux:
    """A terminal emulator that can say what stands on its screen."""

    def __init__(self, environment: Mapping[str, str], columns: int, rows: int) -> None:
        self._program = need("tmux")
        self._environment = environment
        self._size = (str(columns), str(rows))

    def __enter__(self) -> Self:
        # A short path: a socket's may have 107 characters.
        self._folder = tempfile.TemporaryDirectory(prefix="tmux-")
        return self

    def __exit__(self, *exception: object) -> None:
        self._ask("kill-server")
        self._folder.cleanup()

    def start(self, *command: str) -> None:
        shell = 'trap : INT; "$@"; echo "exit $?"; sleep 60'
        columns, rows = self._size
        variables = itertools.chain(*(("-e", f"{k}={v}") for k, v in self._environment.items()))
        size = ("-x", columns, "-y", rows)
        self._ask("new-session", "-d", *size, *variables, "sh", "-c", shell, "sh", *command)

    def screen(self, *options: str) -> str:
        """What is visible; what has scrolled off is not."""
        return self._ask("capture-pane", "-p", *options)

    def wait_for(self, pattern: str) -> str:
        eventually(lambda: re.search(pattern, self.screen()))
        return self.screen()

    def type(self, key: str) -> None:
        self._ask("send-keys", key)

    def _ask(self, *command: str) -> str:
        done = subprocess.run(
            [self._program, "-u", "-f", "/dev/null", "-S", f"{self._folder.name}/s", *command],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            check=False,
        )
        return done.stdout


@pytest.fixture
def waiting(user: User, aws: Aws) -> Iterator[User]:
    """A login that nobody allows; the code and the address are always the same."""
    user.use_session_profiles()
    user.portal_fails_with(PENDING)
    portal_answers(aws, ADDRESSES["start"])
    yield user


def portal_answers(aws: Aws, address: str) -> None:
    aws.faults = [fault for fault in aws.faults if fault.kind != "answer"]
    answer = {
        "deviceCode": "x",
        "userCode": CODE,
        "verificationUri": address.partition("?")[0],
        "verificationUriComplete": address,
        "expiresIn": 600,
        "interval": 1,
    }
    aws.fault("StartDeviceAuthorization", "answer", document=answer)


def code_stands_on(screen: str) -> bool:
    """Spaced out or not, but in one piece and on a line of its own."""
    return any(line.strip(" │|").replace(" ", "") == CODE for line in screen.splitlines())


@pytest.mark.parametrize(
    ("kind", "columns", "rows"),
    [
        ("device", 80, 24),
        ("start", 80, 24),
        ("start", 40, 24),
        ("start", 30, 20),
    ],
)
def test_all_that_is_needed_stands_on_the_screen(
    waiting: User, aws: Aws, kind: str, columns: int, rows: int
) -> None:
    address = ADDRESSES[kind]
    portal_answers(aws, address)
    with Tmux(waiting.home.environment, columns, rows) as tmux:
        tmux.start(str(ECR_PY), "login", "--device", "--no-browser")
        screen = tmux.wait_for(r"4:\d\d left")
        whole = tmux.screen("-J")
    assert SESSION in screen
    assert code_stands_on(screen) or re.search(rf"[│|] +{' *'.join(CODE)} +[│|]", screen), screen
    # One line to whoever copies it, however many it takes.
    assert address in [line.strip() for line in whole.splitlines()], whole
    assert "Ctrl-C" in screen
    assert max(map(len, screen.splitlines())) <= columns
    frame = [line for line in screen.splitlines() if re.search("[╭╰]─", line)]
    assert len(frame) in (0, 2)


def test_the_time_runs_in_one_line_and_nothing_else_moves(waiting: User) -> None:
    with Tmux(waiting.home.environment, 80, 40) as tmux:
        tmux.start(str(ECR_PY), "login", "--device", "--no-browser")
        first = tmux.wait_for(r"4:\d\d left").splitlines()
        time.sleep(1.5)
        second = tmux.screen().splitlines()
        assert [a for a, b in zip(first, second, strict=True) if a != b] == [
            line for line in first if "left" in line
        ]
        tmux.type("C-c")
        last = tmux.wait_for("exit 1")
    assert "left. Ctrl-C" not in last


@pytest.mark.parametrize(
    ("kind", "columns", "rows"), [("device", 80, 24), ("start", 80, 24), ("start", 120, 50)]
)
def test_the_qr_code_can_be_scanned(
    waiting: User, aws: Aws, tmp_path: Path, kind: str, columns: int, rows: int
) -> None:
    zbarimg, address = need("zbarimg"), ADDRESSES[kind]
    portal_answers(aws, address)
    with Tmux(waiting.home.environment, columns, rows) as tmux:
        tmux.start(str(ECR_PY), "login", "--device", "--no-browser")
        tmux.wait_for(r"4:\d\d left")
        screen = tmux.screen("-e", "-N")
    picture = tmp_path / "screen.pgm"
    picture.write_bytes(drawn(screen, columns))
    read = subprocess.run(
        [zbarimg, "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", str(picture)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert read.stdout.strip() == address, screen


def drawn(screen: str, columns: int, scale: int = 6) -> bytes:
    """A dark terminal's screen as a picture (PGM): half blocks, in their colours, no letters."""
    light, dark = 229, 24
    ink, paper = light, dark
    pixels: list[list[int]] = []
    for line in screen.splitlines():
        upper, lower = [], []
        for sgr, character in re.findall(r"\x1b\[([\d;]*)m|(.)", line):
            if not character:
                codes = sgr.split(";")
                if codes in ([""], ["0"]):
                    ink, paper = light, dark
                ink = dark if "30" in codes else light if {"39", "37", "97"} & {*codes} else ink
                paper = light if {"47", "107"} & {*codes} else dark if "49" in codes else paper
                continue
            upper.append(ink if character in "█▀" else paper)
            lower.append(ink if character in "█▄" else paper)
        for half in (upper, lower):
            half += [dark] * (columns - len(half))
            pixels += [[value for value in half for _ in range(scale)]] * scale
    size = f"P5 {columns * scale} {len(pixels)} 255\n"
    return size.encode() + b"".join(map(bytes, pixels))


@pytest.mark.parametrize("columns", [40, 59])
def test_no_qr_code_where_it_would_not_fit(waiting: User, columns: int) -> None:
    with Tmux(waiting.home.environment, columns, 30) as tmux:
        tmux.start(str(ECR_PY), "login", "--device", "--no-browser")
        assert "▀" not in tmux.wait_for(r"4:\d\d left")


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_plain_lines_where_they_are_asked_for(waiting: User, environment: dict[str, str]) -> None:
    with waiting.at_terminal("ecr-py login --device --no-browser", **environment) as terminal:
        terminal.wait_for("Ctrl-C")
        time.sleep(0.5)
        shown = terminal.shown
        assert "\x1b" not in shown
        assert shown.count("\n") == 3
        assert f"the code is {CODE}\n" in shown
        assert shown.isascii()


def test_plain_lines_in_a_pipe(waiting: User) -> None:
    """And none of them on standard output."""
    waiting.aws.clear_faults()
    waiting.portal_fails_with("ExpiredTokenException")
    done = waiting.ecr_py("login", "--device", "--no-browser")
    assert done.stdout == ""
    assert "\x1b" not in done.stderr
    assert done.stderr.count("\n") == 4
    assert done.stderr.isascii()


def test_a_long_address_of_a_redirect_can_be_copied_whole(user: User) -> None:
    user.use_session_profiles()
    user.add_browser()
    for columns in (80, 40):
        with Tmux(user.home.environment, columns, 24) as tmux:
            tmux.start(str(ECR_PY), "login")
            tmux.wait_for(r"4:\d\d left")
            address = user.addresses[-1]
            assert address in tmux.screen("-J").splitlines()
            tmux.type("C-c")
            tmux.wait_for("exit")


def test_the_address_is_a_link_and_whole(waiting: User) -> None:
    """It can be clicked although the terminal wraps it; what is shown and copied is all of it."""
    with waiting.at_terminal("stty cols 40; ecr-py login --device --no-browser") as terminal:
        terminal.wait_for("left")
        [link] = re.findall(r"\x1b\]8;id=\d+;(\S+?)\x1b\\(.+?)\x1b\]8;;\x1b\\", terminal.shown)
    address, text = link
    assert text == address
    assert address.endswith(CODE)


def test_a_dumb_terminal_gets_no_link(waiting: User) -> None:
    with waiting.at_terminal("ecr-py login --device --no-browser", TERM="dumb") as terminal:
        terminal.wait_for(f"{CODE}\n")
        assert "\x1b]8" not in terminal.shown


def test_without_unicode_it_still_can_be_read(waiting: User) -> None:
    """A terminal of the C locale: no frame that turns into question marks, no error."""
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with waiting.at_terminal("ecr-py login --device --no-browser", **plain) as terminal:
        terminal.wait_for("left")
        assert "Traceback" not in terminal.shown
        assert CODE in terminal.shown.replace(" ", "")
        assert terminal.shown.isascii()
        assert "?????" not in terminal.shown
        assert "\\u" not in terminal.shown


def test_success_leaves_one_line(user: User, aws: Aws) -> None:
    user.use_session_profiles()
    with Tmux(user.home.environment, 80, 40) as tmux:
        tmux.start(str(ECR_PY), "login", "--no-browser")
        shown = tmux.wait_for(r"user_code=[A-Z-]+\n")
        found = re.search(r"http://\S+", shown)
        assert found
        visit(found[0], "allow")
        last = [line for line in tmux.wait_for("exit 0").splitlines() if line.strip()]
    # At 80 columns the line is folded once.
    assert last[-3].startswith(f"Logged in to {SESSION}")
