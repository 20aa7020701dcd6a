"""Standard streams that are closed, broken, or a terminal."""

import os
import pty
import select
import subprocess
import time

import pytest

from tests.standin.aws import Aws
from tests.support.home import DEV, HELPER, REGISTRIES, Answer, Home, registry

HOST = registry(DEV)


def shell(home: Home, command: str) -> Answer:
    """A line of sh in which "$0" is the helper and "$1" a registry."""
    done = subprocess.run(
        ["sh", "-c", command, HELPER, HOST],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=home.environment,
        timeout=30,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(params=["cold", "hit"])
def either(request: pytest.FixtureRequest, home: Home) -> Home:
    if request.param == "hit":
        assert home.get(HOST).code == 0
    return home


def test_get_with_an_argument_and_no_stdin(either: Home) -> None:
    answer = shell(either, '"$0" get "$1" <&-')
    assert answer.json["ServerURL"] == HOST
    assert answer.stderr == b""


def test_get_with_no_stdin(either: Home) -> None:
    assert shell(either, '"$0" get <&-').line == "no credentials server URL"


def test_list_with_no_stdin(either: Home) -> None:
    listed = shell(either, '"$0" list <&-').json
    assert list(listed) == [f"https://{host}" for host in REGISTRIES]


@pytest.mark.parametrize("action", ["erase", "store"])
def test_erase_and_store_with_no_stdin(home: Home, action: str) -> None:
    assert "Traceback" not in shell(home, f'"$0" {action} <&-').line
    assert "unexpected" not in shell(home, f'"$0" {action} <&-').line


@pytest.mark.parametrize("action", ["get", "list", "version", "erase"])
def test_no_stdout(either: Home, action: str) -> None:
    answer = shell(
        either, f'"$0" {action} "$1" >&-' if action in ("get", "erase") else f'"$0" {action} >&-'
    )
    assert answer.code in (0, 1)
    assert answer.stderr == b""


def test_no_stderr(either: Home, aws: Aws) -> None:
    assert shell(either, 'echo "$1" | "$0" get 2>&-').json["ServerURL"] == HOST
    assert shell(either, 'echo "$1/\u00e9" | "$0" get 2>&-').line.startswith(
        "ecr-py: not a server URL"
    )


def test_no_streams_at_all(either: Home) -> None:
    assert shell(either, '"$0" get "$1" <&- >&- 2>&-').code in (0, 1)


@pytest.mark.parametrize("server_url", [HOST, "not a url"])
def test_whoever_asked_has_gone(either: Home, server_url: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    helper = subprocess.Popen(
        [HELPER, "get"],
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=subprocess.PIPE,
        env=either.environment,
    )
    os.close(writer)
    stderr = helper.communicate(server_url.encode(), timeout=30)[1]
    assert helper.returncode == 1
    assert stderr.count(b"\n") <= 1
    assert b"Exception ignored" not in stderr


def test_stdin_breaks_off_late(home: Home) -> None:
    helper = home.start("get")
    assert helper.stdin is not None
    for part in (HOST[:20], HOST[20:], "\n"):
        helper.stdin.write(part.encode())
        helper.stdin.flush()
        time.sleep(0.05)
    stdout, stderr = helper.communicate(timeout=30)
    assert HOST.encode() in stdout
    assert stderr == b""


def read_from(terminal: int, *, until: bytes) -> bytes:
    shown = b""
    while until not in shown:
        assert select.select([terminal], [], [], 20)[0], shown
        shown += os.read(terminal, 4096)
    return shown


@pytest.mark.parametrize("action", ["get", "erase", "store"])
def test_a_terminal_is_told_what_is_waited_for(either: Home, action: str) -> None:
    ours, theirs = pty.openpty()
    helper = subprocess.Popen(
        [HELPER, action],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=either.environment,
        start_new_session=True,
    )
    os.close(theirs)
    shown = read_from(ours, until=b"\n")
    assert b"docker-credential-ecr-py: type " in shown
    assert (b"then Ctrl-D" if action == "store" else b"then Enter") in shown
    typed = (
        '{"ServerURL": "%s", "Username": "AWS", "Secret": "x"}\n\x04'
        if action == "store"
        else "%s\n"
    )
    os.write(ours, (typed % HOST).encode())
    stdout, _ = helper.communicate(timeout=30)
    os.close(ours)
    assert helper.returncode == 0
    assert (HOST.encode() in stdout) == (action == "get")


def test_a_failure_is_shown_once_where_both_streams_are_the_terminal(home: Home) -> None:
    ours, theirs = pty.openpty()
    helper = subprocess.Popen(
        [HELPER, "get", "no such url"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=home.environment,
        start_new_session=True,
    )
    os.close(theirs)
    shown = read_from(ours, until=b"\n")
    assert helper.wait(timeout=30) == 1
    assert shown.count(b"not a server URL") == 1


def test_arguments_that_are_not_utf8_or_hold_a_newline(home: Home) -> None:
    for arguments in (["get", b"\xff"], ["erase", b"\xff"], [b"\xff"], ["a\nb"], ["get", "a\nb"]):
        done = subprocess.run(
            [os.fsencode(HELPER), *arguments],
            capture_output=True,
            env=home.environment,
            check=False,
        )
        assert Answer(done.returncode, done.stdout, done.stderr).line


@pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_CONFIG_FILE", "ECR_PY_CONFIG"])
def test_variables_that_are_not_utf8(home: Home, variable: str) -> None:
    environment = {os.fsencode(k): os.fsencode(v) for k, v in home.environment.items()}
    environment[variable.encode()] = os.fsencode(home.path) + b"/\xff\xfe"
    done = subprocess.run([HELPER, "get", HOST], capture_output=True, env=environment, check=False)
    answer = Answer(done.returncode, done.stdout, done.stderr)
    assert "unexpected" not in (answer.line if answer.code else "")


def test_renew_is_no_action_of_the_protocol(home: Home) -> None:
    assert "unexpected" not in home.call("renew").line
