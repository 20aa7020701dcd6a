"""A login that was refused or given up is not offered again for a minute."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.docker_user import image
from tests.support.home import DEV, PROD, STAGE, START_URL, registry
from tests.support.user import BROWSER, CODE, SESSION, User, visit
from tests.system.login.test_docker_login_flow import waiting
from tests.system.login.test_from_get import GET, answer_of, answers, gets

__all__ = ["waiting"]

HOST = registry(DEV)
GRANTS = pytest.mark.parametrize("grant", ["device", "code"])
# The user says no at once.
DENIES = f"""{BROWSER}
curl -s -o /dev/null -L --noproxy '*' -d decision=deny "$(tail -n 1 "$HOME/addresses")"
"""


@pytest.fixture
def refuses(user: User, grant: str) -> User:
    """Somebody who clicks Deny, on every page."""
    if grant == "code":
        user.use_session_profiles()
    user.add_browser()
    Path(user.home.environment["BROWSER"]).write_text(DENIES)
    return user


@GRANTS
def test_three_pulls_that_are_refused_open_one_window(
    waiting: User, docker: str, aws: Aws, grant: str
) -> None:
    """Docker asks for each of them more than once."""
    user = waiting
    Path(user.home.environment["BROWSER"]).write_text(DENIES)
    said = []
    for account in (DEV, STAGE, PROD):
        with user.at_terminal(f"{docker} pull {image(account)}") as terminal:
            assert terminal.wait() != 0
            said.append(terminal.shown)
    assert len(user.opened) == 1
    for shown in said:
        [line] = [line for line in shown.splitlines() if "refused" in line]
        assert "ecr-py login" in line
    assert aws.count("GetAuthorizationToken") == 0


@GRANTS
def test_further_gets_fail_at_once_with_the_same_line(refuses: User, aws: Aws, grant: str) -> None:
    user = refuses
    first = user.home.get(HOST).line
    calls = aws.count()
    assert "the login was refused" in first
    name = SESSION if grant == "code" else "dev"
    assert f"run `ecr-py login {name}`" in first
    for _ in range(3):
        assert user.home.get(HOST).line == first
    # Other accounts of the same portal, too; the line says which.
    other = user.home.get(registry(STAGE)).line
    assert other.partition(" (registry")[0] == first.partition(" (registry")[0]
    assert registry(STAGE) in other
    assert len(user.opened) == 1
    assert aws.count() == calls


@GRANTS
def test_ten_at_once_and_ten_more(refuses: User, aws: Aws, grant: str) -> None:
    user = refuses
    hosts = [registry((DEV, STAGE, PROD)[number % 3]) for number in range(10)]
    for _ in range(2):
        with user.at_terminal(gets(hosts)) as terminal:
            assert terminal.wait() == 0
        assert {"refused" in answer.line for answer in answers(user, 10)} == {True}
    assert len(user.opened) == 1


def refused(user: User, aws: Aws) -> str:
    """The line of a get whose login is refused."""
    with user.at_terminal(GET) as terminal:
        aws.deny(terminal.wait_for(CODE)[1])
        return answer_of(user, terminal).line


def note(user: User) -> Path:
    [file] = (user.home.cache / "locks").glob("sso-*")
    return file


@pytest.mark.parametrize(("seconds", "asks"), [(55, False), (61, True), (-3600, True)])
def test_after_a_minute_it_is_offered_again(
    user: User, aws: Aws, seconds: float, asks: bool
) -> None:
    """A note of the future, from before the clock was set back, does not count."""
    refused(user, aws)
    file = note(user)
    left = json.loads(file.read_text())
    file.write_text(json.dumps(left | {"at": time.time() - seconds}))
    with user.at_terminal(GET) as terminal:
        if asks:
            aws.approve(terminal.wait_for(CODE)[1])
            assert answer_of(user, terminal).password in aws.issued
        else:
            assert "refused" in answer_of(user, terminal).line
    assert aws.count("StartDeviceAuthorization") == 1 + asks


def test_a_refusal_does_not_last_because_it_is_met(user: User, aws: Aws) -> None:
    """The minute is counted from the refusal, however often somebody asks."""
    refused(user, aws)
    before = json.loads(note(user).read_text())["at"]
    for _ in range(3):
        assert "refused" in at_terminal(user)
    assert json.loads(note(user).read_text())["at"] == before


def at_terminal(user: User) -> str:
    """The line of a get where a user is there."""
    with user.at_terminal(GET) as terminal:
        return answer_of(user, terminal).line


def test_a_login_by_hand_is_not_kept_from_it(user: User, aws: Aws) -> None:
    refused(user, aws)
    with user.at_terminal("ecr-py login dev") as terminal:
        aws.approve(terminal.wait_for(CODE)[1])
        assert terminal.wait() == 0
    assert user.home.get(HOST).password in aws.issued
    # And what was refused is forgotten: a session that ends leads to a login again.
    user.end_session()
    with user.at_terminal(GET) as terminal:
        aws.approve(terminal.wait_for(CODE)[1])
        assert answer_of(user, terminal).password in aws.issued


def test_a_login_by_hand_that_is_refused_counts_too(user: User, aws: Aws) -> None:
    with user.at_terminal("ecr-py login dev") as terminal:
        aws.deny(terminal.wait_for(CODE)[1])
        assert terminal.wait() == 1
        assert terminal.shown.endswith("ecr-py: the login was refused\n")
    assert "the login was refused" in at_terminal(user)
    assert aws.count("StartDeviceAuthorization") == 1


def test_one_that_was_begun_anew_by_hand_is_not_refused_any_more(user: User, aws: Aws) -> None:
    """Though it ended in a timeout: nobody has said no to it."""
    refused(user, aws)
    user.home.write(user.home.settings, "[defaults]\nlogin_timeout = 10\n")
    assert "the login was not approved" in user.ecr_py("login", "dev").stderr
    with user.at_terminal(GET) as terminal:
        aws.approve(terminal.wait_for(CODE)[1])
        assert answer_of(user, terminal).password in aws.issued


@pytest.mark.parametrize("command", [GET, "ecr-py login dev"], ids=["get", "login"])
def test_one_that_was_given_up(user: User, aws: Aws, command: str) -> None:
    with user.at_terminal(command) as terminal:
        terminal.wait_for(CODE)
        terminal.wait_for("Ctrl-C")
        terminal.type("\x03")
        assert terminal.wait() in (1, 130)
    line = at_terminal(user)
    assert "the login was cancelled" in line
    assert "run `ecr-py login dev`, or try again in a minute" in line
    assert aws.count("StartDeviceAuthorization") == 1


def test_two_terminals_of_which_one_gives_up(user: User, aws: Aws) -> None:
    """The other waits for the same login: no second window."""
    user.add_browser()
    other = GET.replace(HOST, registry(STAGE)).replace("out", "out.2").replace("err", "err.2")
    with user.at_terminal(GET) as one, user.at_terminal(other) as two:
        user.next_address()
        two.wait_for("waiting for the login|log in to")
        one.wait_for("waiting for the login|log in to")
        first = one if "the code is" in one.shown else two
        second = two if first is one else one
        first.type("\x03")
        assert first.wait() != 0
        assert second.wait() == 1
    assert len(user.opened) == 1


def test_where_nobody_is_the_line_is_the_usual_one(user: User, aws: Aws) -> None:
    """And the refusal still counts where somebody is."""
    refused(user, aws)
    line = user.home.get(HOST).line
    assert "not logged in, or the session has expired" in line
    assert "ecr-py login dev" in line
    assert "refused" in at_terminal(user)


def test_another_portal_is_not_refused(user: User, aws: Aws) -> None:
    refused(user, aws)
    config = user.home.aws_config
    text = config.read_text().replace("[profile stage]", "[profile other]")
    first, _, rest = text.partition("[profile other]")
    rest = rest.replace(START_URL, "https://second.awsapps.com/start", 1)
    config.write_text(f"{first}[profile other]{rest}")
    script = GET.replace(HOST, registry(STAGE))
    with user.at_terminal(script) as terminal:
        aws.approve(terminal.wait_for(CODE)[1])
        assert answer_of(user, terminal).password in aws.issued


def test_a_session_that_can_be_refreshed_is(user: User, aws: Aws) -> None:
    """Nobody has to be asked for that."""
    user.use_session_profiles()
    with user.at_terminal(GET) as terminal:
        aws.deny(terminal.wait_for(CODE)[1])
        assert "refused" in answer_of(user, terminal).line
    aws.write_sso_token(user.home.path, START_URL, session=SESSION, lifetime=-60, refresh=True)
    assert user.home.get(HOST).password in aws.issued


def test_a_damaged_note_is_none(user: User, aws: Aws) -> None:
    refused(user, aws)
    for content in ("{", "[]", '{"at": "x", "error": 7}', '{"at": 1e999}', "\x00" * 9000):
        note(user).write_text(content)
        with user.at_terminal(GET) as terminal:
            aws.deny(terminal.wait_for(CODE)[1])
            assert "refused" in answer_of(user, terminal).line


def test_a_portal_that_has_forgotten_us_is_asked_again_at_once(user: User, aws: Aws) -> None:
    """Nobody has refused anything: the line says to log in once more, and that must do."""
    user.use_session_profiles()
    user.add_browser()
    user.portal_fails_with("InvalidClientException", times=1)
    with user.at_terminal(GET) as terminal:
        visit(user.next_address(), "allow")
        assert "log in once more" in answer_of(user, terminal).line
    with user.at_terminal(GET) as terminal:
        visit(user.next_address(after=1), "allow")
        assert answer_of(user, terminal).password in aws.issued


def test_without_a_folder_for_notes_each_asks(user: User, aws: Aws) -> None:
    """There is no place to remember it in."""
    for _ in range(2):
        with user.at_terminal(GET, XDG_CACHE_HOME="/proc/nowhere") as terminal:
            aws.deny(terminal.wait_for(CODE)[1])
            assert "refused" in answer_of(user, terminal).line
