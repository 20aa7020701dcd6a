"""docker pull with an ended session: a browser opens, somebody clicks Allow, the pull goes on."""

from __future__ import annotations

import json

import pytest

from tests.standin.aws import Aws
from tests.standin.engine import Engine
from tests.support.browser import Browser
from tests.support.docker_user import image
from tests.support.home import DEV, HELPER, START_URL, registry
from tests.support.terminal import Terminal
from tests.support.user import SESSION, User

# In docker's way to the helper: keeps what the helper printed, and passes it on.
WITNESS = """\
#!/bin/sh
{helper} "$@" >"$HOME/printed.$$"
code=$?
cat "$HOME/printed.$$"
exit $code
"""
GRANTS = pytest.mark.parametrize("grant", ["device", "code"])


@pytest.fixture
def waiting(user: User, docker_user: User, images: None, grant: str) -> User:
    """A session that has ended; legacy profiles log in by a device code, others by a redirect."""
    if grant == "code":
        user.use_session_profiles()
    user.add_browser()
    folder = user.home.path / "witness"
    helper = WITNESS.format(helper=HELPER)
    user.home.write(folder / HELPER.name, helper).chmod(0o755)
    user.home.environment = docker_user.environment | user.home.environment
    user.home.environment["PATH"] = f"{folder}:{user.home.environment['PATH']}"
    return user


def pulling(user: User, docker: str) -> Terminal:
    return user.at_terminal(f"{docker} pull {image(DEV)}")


def printed(user: User) -> list[str]:
    return [file.read_text() for file in user.home.path.glob("printed.*")]


@GRANTS
def test_a_pull_logs_in_by_a_click_and_goes_on(
    waiting: User, docker: str, browser: Browser, aws: Aws, engine: Engine, grant: str
) -> None:
    user = waiting
    with pulling(user, docker) as terminal:
        address = user.next_address()
        terminal.wait_for(r"log in to(.|\n)*Ctrl-C")
        shown = terminal.shown.replace("\n", "")
        assert address in shown
        assert (START_URL if grant == "device" else f"{SESSION} ({START_URL})") in shown
        browser.open(address)
        if grant == "device":
            code = address.partition("user_code=")[2]
            assert f"code is {code}" in shown
            browser.wait_for(f"Is your code {code}?")
        browser.click("#allow")
        browser.wait_for("close this page")
        if grant == "code":
            assert browser.address.startswith("http://127.0.0.1:")
        assert terminal.wait() == 0
        terminal.wait_for("Downloaded newer image")
        assert terminal.state == terminal.before
        assert "no basic auth" not in terminal.shown
    assert user.addresses == [address]
    [answer] = printed(user)
    assert answer.count("\n") == 1
    assert set(json.loads(answer)) == {"ServerURL", "Username", "Secret"}
    [asked] = engine.asked
    assert aws.issued[asked.auth["password"]].account == DEV
    assert asked.auth["password"] == json.loads(answer)["Secret"]
    # From now on nobody is asked anything.
    calls = aws.count()
    with pulling(user, docker) as terminal:
        assert terminal.wait() == 0
        assert "log in" not in terminal.shown
    assert aws.count() == calls


@GRANTS
def test_a_click_on_deny_is_told_in_one_line(
    waiting: User, docker: str, browser: Browser, aws: Aws, grant: str
) -> None:
    user = waiting
    with pulling(user, docker) as terminal:
        browser.open(user.next_address())
        browser.click("#deny")
        if grant == "code":
            browser.wait_for("Not logged in")
        assert terminal.wait() != 0
        assert terminal.state == terminal.before
        lines = [line for line in terminal.shown.splitlines() if "refused" in line]
    assert len(lines) == 1
    for wanted in ("ecr-py: the login was refused", registry(DEV), "profile dev"):
        assert wanted in lines[0]
    assert [text.rstrip("\n") for text in printed(user)] == lines
    assert aws.count("GetAuthorizationToken") == 0
    assert user.token_files() == []
