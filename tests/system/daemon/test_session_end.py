"""Sessions: refreshed before they end where that can be; else a user is told, once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from docker_credential_ecr_py.daemon.notified_sessions import TOLD
from docker_credential_ecr_py.sso.token_cache import read_token
from tests.standin.aws import Aws
from tests.support.daemon import TOKEN, Daemon, socket_path
from tests.support.home import DEV, STAGE, START_URL, Home, registry
from tests.support.records import HALF_LIFE, let_pass
from tests.support.secrets import Secrets
from tests.support.user import BROWSER, SESSION, User, eventually, visit

Start = Callable[..., Daemon]
# Writes its arguments to a file, one a line, and is clicked where the test says so.
NOTIFY_SEND = """#!/bin/sh
printf '%s\\n' "$@" -- >>"$HOME/notified"
cat "$HOME/click" 2>/dev/null
exit 0
"""
# As before libnotify 0.8.
WITHOUT_BUTTONS = """#!/bin/sh
case "$*" in *--action*) echo 'Unknown option --action' >&2; exit 1 ;; esac
"""
# As systemd's user manager knows it, and as webbrowser opens a page where there is a display.
SHOW_ENVIRONMENT = """#!/bin/sh
[ "$*" = "--user show-environment" ] || exit 1
printf '%s\\n' LANG=C DISPLAY=:7 AWS_PROFILE=nobody
"""
XDG_OPEN = '#!/bin/sh\necho "$DISPLAY" "$AWS_PROFILE" >"$HOME/seen"\n'
MINUTES = 60.0


class Desktop:
    """A user at a desktop, with a browser and notifications."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.home = user.home
        user.add_browser()
        self.has("notify-send", NOTIFY_SEND)
        folder = self.home.path / "bin"
        self.home.environment["PATH"] = f"{folder}:{self.home.environment['PATH']}"

    def has(self, program: str, script: str) -> None:
        self.home.write(self.home.path / "bin" / program, script).chmod(0o755)

    @property
    def told(self) -> list[list[str]]:
        """The arguments of each notification."""
        file = self.home.path / "notified"
        shown = file.read_text() if file.exists() else ""
        return [one.splitlines() for one in shown.split("--\n")[:-1] if one]

    def clicks(self) -> None:
        self.home.write(self.home.path / "click", "login\n")


@pytest.fixture
def desktop(home: Home, aws: Aws) -> Desktop:
    return Desktop(User(home, aws))


def token_file(home: Home) -> Path:
    (file,) = User(home, None).token_files()  # type: ignore[arg-type]
    return file


def expires(home: Home) -> float:
    token = read_token(token_file(home))
    assert token is not None
    return token.expires


def session_ends_in(desktop: Desktop, aws: Aws, seconds: float, *, refresh: bool = True) -> None:
    """A named session that was used."""
    desktop.user.end_session()
    desktop.user.use_session_profiles()
    for lifetime in (8 * 3600, seconds):
        aws.write_sso_token(
            desktop.home.path, START_URL, session=SESSION, lifetime=lifetime, refresh=refresh
        )
        if lifetime != seconds:
            desktop.home.get(registry(DEV))
    aws.reset_calls()


def legacy_session_ends_in(desktop: Desktop, aws: Aws, seconds: float) -> None:
    for account in (DEV, STAGE):
        desktop.home.get(registry(account))
    aws.write_sso_token(desktop.home.path, START_URL, lifetime=seconds)
    aws.reset_calls()


# Refreshed


def test_a_session_that_soon_ends_is_refreshed(desktop: Desktop, aws: Aws, start: Start) -> None:
    session_ends_in(desktop, aws, 10 * MINUTES)
    daemon = start("file")
    eventually(lambda: expires(desktop.home) > time.time() + 30 * MINUTES)
    for _ in range(3):
        daemon.looks()
    assert aws.count("CreateToken") == 1
    (session,) = daemon.status()["sessions"]
    assert session["refreshable"] is True
    assert daemon.failures == []
    assert desktop.told == []
    calls = aws.count()
    assert desktop.home.get(registry(DEV)).code == 0
    assert aws.count() == calls


def test_one_that_lasts_is_left_alone(desktop: Desktop, aws: Aws, start: Start) -> None:
    session_ends_in(desktop, aws, 30 * MINUTES)
    daemon = start("file")
    daemon.looks()
    assert aws.count() == 0
    assert desktop.told == []


def test_a_portal_that_is_out_of_order_is_asked_again_later(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    session_ends_in(desktop, aws, 10 * MINUTES)
    aws.fault("CreateToken", "error", status=400, code="SlowDownException")
    daemon = start("file")
    failure = daemon.failure()
    assert failure["tries"] == 1
    assert failure["again"] > time.time()
    calls = aws.count()
    daemon.looks()
    assert aws.count() == calls


def test_a_portal_that_refuses_is_said_to_the_person_once(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    session_ends_in(desktop, aws, 10 * MINUTES)
    aws.end_session()
    daemon = start("file")
    failure = daemon.failure()
    assert f"ecr-py login {SESSION}" in failure["what"]
    eventually(lambda: desktop.told)
    for _ in range(3):
        daemon.looks()
    assert len(desktop.told) == 1
    assert aws.count("CreateToken") == 1


# Told


def test_a_session_that_needs_a_person_causes_one_notification(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    daemon = start("file")
    eventually(lambda: desktop.told)
    for _ in range(3):
        daemon.looks()
    (arguments,) = desktop.told
    said = "\n".join(arguments)
    assert "ends in 10 minutes" in said
    assert "ecr-py login dev" in said or "ecr-py login stage" in said
    assert any(argument.startswith("--action=login=") for argument in arguments)
    assert Secrets(aws).within(said.encode()) == []
    assert aws.count() == 0


def test_a_daemon_that_starts_again_does_not_repeat_it(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    daemon = start("file")
    eventually(lambda: desktop.told)
    for number in (signal.SIGKILL, signal.SIGTERM):
        daemon.process.send_signal(number)
        daemon.process.wait(20)
        daemon = start("file")
        daemon.looks()
    assert len(desktop.told) == 1
    kept = socket_path(desktop.home).with_name(TOLD)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert Secrets(aws).within(kept.read_bytes()) == []


def test_one_that_ends_later_causes_none(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, 20 * MINUTES)
    start("file").looks()
    assert desktop.told == []


def test_one_that_has_just_ended_causes_one(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, -5 * MINUTES)
    daemon = start("file")
    eventually(lambda: desktop.told)
    daemon.looks()
    (arguments,) = desktop.told
    assert "has ended" in "\n".join(arguments)


def test_one_that_ended_days_ago_causes_none(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, -2 * 86400)
    start("file").looks()
    assert desktop.told == []


def test_the_next_end_causes_another(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    daemon = start("file")
    eventually(lambda: len(desktop.told) == 1)
    aws.write_sso_token(desktop.home.path, START_URL, lifetime=12 * MINUTES)
    daemon.looks()
    eventually(lambda: len(desktop.told) == 2)
    daemon.looks()
    assert len(desktop.told) == 2


def test_none_where_nobody_wants_any(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    daemon = start("file", 'notify = "never"\n')
    daemon.looks()
    assert "a session ends soon" in desktop.home.log.read_text()
    assert desktop.told == []


def test_none_for_what_was_not_used_for_a_week(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    for file in (desktop.home.cache / "selections").iterdir():
        os.utime(file, (1, 1))
    start("file").looks()
    assert desktop.told == []


def test_without_a_desktop_it_lives_on(home: Home, aws: Aws, start: Start) -> None:
    home.get(registry(DEV))
    aws.write_sso_token(home.path, START_URL, lifetime=10 * MINUTES)
    daemon = start("file", PATH="/nowhere")
    daemon.looks()
    assert "a session ends soon" in home.log.read_text()
    assert daemon.status()["pid"] == daemon.pid


def test_a_notify_send_that_knows_no_buttons_shows_it_without(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    desktop.has("notify-send", WITHOUT_BUTTONS + NOTIFY_SEND.partition("\n")[2])
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    daemon = start("file")
    (arguments,) = eventually(lambda: desktop.told)
    assert "ends in 10 minutes" in "\n".join(arguments)
    assert not [argument for argument in arguments if argument.startswith("--action")]
    daemon.looks()
    assert daemon.failures == []


def test_it_gets_no_secret(desktop: Desktop, aws: Aws, start: Start) -> None:
    """It may wait for a click for a minute, and anybody may look into it."""
    desktop.has(
        "notify-send", '#!/bin/sh\nenv >"$HOME/seen.new"; mv "$HOME/seen.new" "$HOME/seen"\n'
    )
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    start("file", **dict.fromkeys(keys, "hunter2"), DBUS_SESSION_BUS_ADDRESS="unix:path=/bus")
    seen = desktop.home.path / "seen"
    eventually(seen.exists)
    assert "hunter2" not in seen.read_text()
    assert "unix:path=/bus" in seen.read_text()


def test_a_profile_whose_name_takes_quotes(desktop: Desktop, aws: Aws, start: Start) -> None:
    text = desktop.home.aws_config.read_text()
    desktop.home.aws_config.write_text(text.replace("[profile dev]", '[profile "our dev"]'))
    desktop.home.get(registry(DEV))
    aws.write_sso_token(desktop.home.path, START_URL, lifetime=10 * MINUTES)
    start("file")
    (arguments,) = eventually(lambda: desktop.told)
    assert "ecr-py login 'our dev'" in "\n".join(arguments)


# Clicked


def test_a_click_logs_in_by_the_browser(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    aws.end_session()
    desktop.clicks()
    daemon = start("file")
    visit(desktop.user.next_address(), "allow")
    eventually(lambda: expires(desktop.home) > time.time() + 3600)
    daemon.looks()
    assert len(desktop.user.addresses) == 1
    assert len(desktop.told) == 1
    assert aws.count("StartDeviceAuthorization") == 1


def test_a_click_for_a_named_session_logs_in_by_redirect(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    session_ends_in(desktop, aws, 10 * MINUTES, refresh=False)
    desktop.clicks()
    start("file")
    _, page = visit(desktop.user.next_address(), "allow")
    assert "You can close this page" in page
    eventually(lambda: expires(desktop.home) > time.time() + 30 * MINUTES)
    assert aws.count("StartDeviceAuthorization") == 0


def clicked_without_a_browser(desktop: Desktop, aws: Aws, start: Start) -> None:
    """A service begins before the desktop, and is not told of the display."""
    del desktop.home.environment["BROWSER"]
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    desktop.clicks()
    start("file")


def test_a_click_logs_in_on_the_display_that_came_later(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    desktop.has("systemctl", SHOW_ENVIRONMENT)
    desktop.has("xdg-settings", "#!/bin/sh\nexit 1\n")
    desktop.has("xdg-open", XDG_OPEN + BROWSER.partition("\n")[2])
    clicked_without_a_browser(desktop, aws, start)
    visit(desktop.user.next_address(), "allow")
    eventually(lambda: expires(desktop.home) > time.time() + 3600)
    assert (desktop.home.path / "seen").read_text().split() == [":7"]


def test_a_click_where_no_browser_is_to_be_had_says_so(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    desktop.has("systemctl", "#!/bin/sh\nexit 1\n")
    clicked_without_a_browser(desktop, aws, start)
    eventually(lambda: "login from the notification" in desktop.home.log.read_text())
    assert "the daemon cannot open a browser" in desktop.home.log.read_text()
    assert aws.count() == 0


def test_without_a_click_nobody_is_logged_in(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    daemon = start("file")
    eventually(lambda: desktop.told)
    daemon.looks()
    assert desktop.user.addresses == []
    assert aws.count() == 0


def test_a_login_brings_the_tokens_that_waited_for_it(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    """Nobody's get has to."""
    legacy_session_ends_in(desktop, aws, -5 * MINUTES)
    let_pass(desktop.home, HALF_LIFE + 60)
    daemon = start("file")
    eventually(lambda: daemon.failures)
    assert aws.count(TOKEN) == 0
    aws.write_sso_token(desktop.home.path, START_URL)
    daemon.looks()
    eventually(lambda: aws.count(TOKEN) == 2)
    daemon.looks()
    assert daemon.failures == []
