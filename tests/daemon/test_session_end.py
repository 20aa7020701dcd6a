"""Sessions: refreshed before they end where that can be; else a person is told, once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from docker_credential_ecr_py.sso.files import read_token
from tests.breaking.entries import HALF_LIFE, let_pass
from tests.breaking.test_secrets import Secrets
from tests.daemon.resident import TOKEN, Resident
from tests.home import DEV, STAGE, START_URL, Home, registry
from tests.login.person import SESSION, Person, eventually, visit
from tests.standin.aws import Aws

Start = Callable[..., Resident]
# Writes its arguments to a file, one a line, and is clicked where the test says so.
NOTIFY_SEND = """#!/bin/sh
printf '%s\\n' "$@" -- >>"$HOME/notified"
cat "$HOME/click" 2>/dev/null
exit 0
"""
MINUTES = 60.0


class Desktop:
    """A person at a desktop, with a browser and notifications."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.home = person.home
        person.has_browser()
        script = self.home.write(self.home.path / "bin" / "notify-send", NOTIFY_SEND)
        script.chmod(0o755)
        self.home.environment["PATH"] = f"{script.parent}:{self.home.environment['PATH']}"

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
    return Desktop(Person(home, aws))


def token_file(home: Home) -> Path:
    (file,) = Person(home, None).token_files()  # type: ignore[arg-type]
    return file


def expires(home: Home) -> float:
    token = read_token(token_file(home))
    assert token is not None
    return token.expires


def session_ends_in(desktop: Desktop, aws: Aws, seconds: float, *, refresh: bool = True) -> None:
    """A named session that was used."""
    desktop.person.ends_session()
    desktop.person.use_session_profiles()
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
    resident = start("file")
    eventually(lambda: expires(desktop.home) > time.time() + 30 * MINUTES)
    for _ in range(3):
        resident.looks()
    assert aws.count("CreateToken") == 1
    (session,) = resident.status()["sessions"]
    assert session["refreshable"] is True
    assert resident.failures == []
    assert desktop.told == []
    calls = aws.count()
    assert desktop.home.get(registry(DEV)).code == 0
    assert aws.count() == calls


def test_one_that_lasts_is_left_alone(desktop: Desktop, aws: Aws, start: Start) -> None:
    session_ends_in(desktop, aws, 30 * MINUTES)
    resident = start("file")
    resident.looks()
    assert aws.count() == 0
    assert desktop.told == []


def test_a_portal_that_is_out_of_order_is_asked_again_later(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    session_ends_in(desktop, aws, 10 * MINUTES)
    aws.fault("CreateToken", "error", status=400, code="SlowDownException")
    resident = start("file")
    failure = resident.failure()
    assert failure["tries"] == 1
    assert failure["again"] > time.time()
    calls = aws.count()
    resident.looks()
    assert aws.count() == calls


def test_a_portal_that_refuses_is_said_to_the_person_once(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    session_ends_in(desktop, aws, 10 * MINUTES)
    aws.end_session()
    resident = start("file")
    failure = resident.failure()
    assert f"ecr-py login {SESSION}" in failure["what"]
    eventually(lambda: desktop.told)
    for _ in range(3):
        resident.looks()
    assert len(desktop.told) == 1
    assert aws.count("CreateToken") == 1


# Told


def test_a_session_that_needs_a_person_causes_one_notification(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    resident = start("file")
    eventually(lambda: desktop.told)
    for _ in range(3):
        resident.looks()
    (arguments,) = desktop.told
    said = "\n".join(arguments)
    assert "ends in 10 minutes" in said
    assert "ecr-py login dev" in said or "ecr-py login stage" in said
    assert any(argument.startswith("--action=login=") for argument in arguments)
    assert Secrets(aws).within(said.encode()) == []
    assert aws.count() == 0


def test_one_that_ends_later_causes_none(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, 20 * MINUTES)
    start("file").looks()
    assert desktop.told == []


def test_one_that_has_just_ended_causes_one(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, -5 * MINUTES)
    resident = start("file")
    eventually(lambda: desktop.told)
    resident.looks()
    (arguments,) = desktop.told
    assert "has ended" in "\n".join(arguments)


def test_one_that_ended_days_ago_causes_none(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, -2 * 86400)
    start("file").looks()
    assert desktop.told == []


def test_the_next_end_causes_another(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    resident = start("file")
    eventually(lambda: len(desktop.told) == 1)
    aws.write_sso_token(desktop.home.path, START_URL, lifetime=12 * MINUTES)
    resident.looks()
    eventually(lambda: len(desktop.told) == 2)
    resident.looks()
    assert len(desktop.told) == 2


def test_none_where_nobody_wants_any(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    resident = start("file", 'notify = "never"\n')
    resident.looks()
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
    resident = start("file", PATH="/nowhere")
    resident.looks()
    assert "a session ends soon" in home.log.read_text()
    assert resident.status()["pid"] == resident.pid


# Clicked


def test_a_click_logs_in_by_the_browser(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    aws.end_session()
    desktop.clicks()
    resident = start("file")
    visit(desktop.person.next_address(), "allow")
    eventually(lambda: expires(desktop.home) > time.time() + 3600)
    resident.looks()
    assert len(desktop.person.addresses) == 1
    assert len(desktop.told) == 1
    assert aws.count("StartDeviceAuthorization") == 1


def test_a_click_for_a_named_session_logs_in_by_redirect(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    session_ends_in(desktop, aws, 10 * MINUTES, refresh=False)
    desktop.clicks()
    start("file")
    _, page = visit(desktop.person.next_address(), "allow")
    assert "You can close this page" in page
    eventually(lambda: expires(desktop.home) > time.time() + 30 * MINUTES)
    assert aws.count("StartDeviceAuthorization") == 0


def test_without_a_click_nobody_is_logged_in(desktop: Desktop, aws: Aws, start: Start) -> None:
    legacy_session_ends_in(desktop, aws, 10 * MINUTES)
    resident = start("file")
    eventually(lambda: desktop.told)
    resident.looks()
    assert desktop.person.addresses == []
    assert aws.count() == 0


def test_a_login_brings_the_tokens_that_waited_for_it(
    desktop: Desktop, aws: Aws, start: Start
) -> None:
    """Nobody's get has to."""
    legacy_session_ends_in(desktop, aws, -5 * MINUTES)
    let_pass(desktop.home, HALF_LIFE + 60)
    resident = start("file")
    eventually(lambda: resident.failures)
    assert aws.count(TOKEN) == 0
    aws.write_sso_token(desktop.home.path, START_URL)
    resident.looks()
    eventually(lambda: aws.count(TOKEN) == 2)
    resident.looks()
    assert resident.failures == []
