"""Names and messages that would command a terminal reach neither it, nor docker, nor the log.

They come from AWS, the portal, redirects, profiles, docker's config, settings, file names and the
command line.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from docker_credential_ecr_py.printable import printable
from tests.standin.aws import Aws
from tests.support.daemon import short_folder
from tests.support.home import DEV, STAGE, START_URL, THREE_ACCOUNTS, Home, new_home, registry
from tests.support.user import User, visit

HOST = registry(DEV)
# A title, a wiped screen, a cursor that moves, C1 controls, DEL, bidirectional overrides and
# isolates, and what is not seen. None is what rich may write.
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[5;5H\x9b2J\x90q\x9c\x7f\x08\u202e\u2066\u200f\u200b\ufeff"
# What ends a line somewhere, which an INI file cannot have in a name.
LINES = "\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\x00"
# What rich writes: colours, a hidden cursor, a line that is drawn anew, and a link (OSC 8).
RICH = re.compile(
    r"\x1b\[[0-9;]*m|\x1b\[\?25[hl]|\x1b\[2K|\x1b\[1A|\r"
    r"|\x1b\]8;id=\d+;http[!-~]+\x1b\\|\x1b\]8;;\x1b\\"
)
TARGET = "AmazonEC2ContainerRegistry_V20150921"


def left(shown: bytes | str, *, by_rich: bool = False) -> set[str]:
    """The characters that should not be there."""
    text = shown.decode() if isinstance(shown, bytes) else shown
    text = text.replace("\r\n", "\n")
    if by_rich:
        text = RICH.sub("", text)
    return {character for character in text if printable(character, keep="\n") != character}


@pytest.fixture
def user(tmp_path: Path, aws: Aws) -> User:
    """A home with such a path, and a profile with such a name."""
    home = new_home(tmp_path / f"home{HOSTILE}", aws)
    config = THREE_ACCOUNTS.replace("[profile dev]", f'[profile "dev{HOSTILE}"]')
    home.write(home.aws_config, config)
    home.write(
        home.settings,
        f'[registries."{registry(STAGE)}"]\nprofile = {json.dumps("stage" + HOSTILE)}\n',
    )
    docker = {
        "credHelpers": {f"x{HOSTILE}.example.com": "ecr-py", HOST: f"other{HOSTILE}"},
        "auths": {f"https://{registry(STAGE)}/{HOSTILE}": {"auth": "eDp5"}},
    }
    home.write(home.path / ".docker" / "config.json", json.dumps(docker, ensure_ascii=False))
    return User(home, aws)


def on_terminal(user: User, script: str, types: str = "", **environment: str) -> str:
    """What a script leaves on a terminal."""
    with user.at_terminal(script, **environment) as terminal:
        if types:
            terminal.wait_for(r"[?:]")
            terminal.type(types)
        terminal.wait(seconds=90)
        said = bytes(terminal._said).decode()
    assert "Traceback" not in said
    return said


COMMANDS = [
    "status",
    "status --check",
    "doctor",
    "doctor --deep",
    "explain {host}",
    "configure --dry-run",
    "configure --replace other",
    "cache ls",
    "config show",
    "config path",
    "config set registries.x.profile {hostile}",
    "config set {hostile} x",
    "login dev{hostile}",
    "login {hostile}",
    "logout {hostile}",
    "{hostile}",
    "status --{hostile}",
    "daemon install --dry-run",
    "daemon status",
    "daemon logs",
    "version",
    "token dev{hostile} --format header",
    "token {hostile}",
    "repo ls --profile {hostile}",
    "image ls {hostile}",
    "policy pull dev{hostile}",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(user: User, aws: Aws, command: str) -> None:
    aws.auto_approve = True
    user.home.get(HOST)
    words = command.format(host=HOST, hostile="$HOSTILE")
    words = re.sub(r"\S*\$HOSTILE", lambda found: f'"{found[0]}"', words)
    plain = on_terminal(user, f"ecr-py {words}", HOSTILE=HOSTILE, TERM="dumb", NO_COLOR="1")
    assert left(plain) == set(), plain
    assert len(plain) > 10
    coloured = on_terminal(user, f"ecr-py {words}", HOSTILE=HOSTILE)
    assert left(coloured, by_rich=True) == set(), coloured
    piped = on_terminal(user, f"ecr-py {words} 2>&1 | cat", HOSTILE=HOSTILE)
    assert left(piped) == set(), piped
    assert left(user.home.log.read_bytes()) == set()


@pytest.mark.parametrize("command", ["status", "doctor", "version", "config show", "cache ls"])
def test_json_is_what_it_was(user: User, command: str) -> None:
    """Escaped by JSON, for programs: what they read is the name itself."""
    user.home.get(HOST)
    text = on_terminal(user, f"ecr-py {command} --json", NO_COLOR="1")
    assert left(text) == set()
    assert HOSTILE in json.dumps(json.loads(text), ensure_ascii=False).replace(
        json.dumps(HOSTILE, ensure_ascii=False)[1:-1], HOSTILE
    )


# What AWS says


@pytest.mark.parametrize("operation", ["GetAuthorizationToken", "GetRoleCredentials"])
@pytest.mark.parametrize("status", [400, 500])
def test_an_error_of_aws(user: User, aws: Aws, operation: str, status: int) -> None:
    code = f"Odd{HOSTILE}"
    aws.fault(operation, "error", status=status, code=code, message=HOSTILE + LINES)
    answer = user.home.get(HOST)
    assert answer.code == 1
    for said in (answer.stdout, answer.stderr):
        assert said.count(b"\n") == 1
        assert left(said) == set()
    shown = on_terminal(user, f"echo {HOST} | docker-credential-ecr-py get")
    assert left(shown) == set()
    for command in ("status --check", "doctor --deep", "token 642976147714"):
        assert left(on_terminal(user, f"ecr-py {command}"), by_rich=True) == set()
    assert left(user.home.log.read_bytes()) == set()


@pytest.mark.parametrize(
    "operation", ["RegisterClient", "StartDeviceAuthorization", "CreateToken", "ListAccounts"]
)
def test_an_error_of_the_portal(user: User, aws: Aws, operation: str) -> None:
    aws.auto_approve = True
    user.end_session()
    # The portal has the code of an error in a header, which holds no such characters.
    aws.fault(operation, "error", status=400, code="Odd", message=HOSTILE + LINES)
    command = f"ecr-py login --start-url {START_URL} --sso-region eu-west-1 --all --session x"
    shown = on_terminal(user, command)
    assert "Odd" in shown
    assert left(shown, by_rich=True) == set()
    assert left(user.home.log.read_bytes()) == set()


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}], ids=["rich", "plain"])
def test_a_code_of_the_portal(user: User, aws: Aws, environment: dict[str, str]) -> None:
    user.end_session()
    answer = {
        "deviceCode": "x",
        "userCode": f"AB\n{HOSTILE}"[:60],
        "verificationUri": f"{aws.url}/device",
        "verificationUriComplete": f"{aws.url}/device",
        "expiresIn": 1,
        "interval": 1,
    }
    aws.fault("StartDeviceAuthorization", "answer", document=answer)
    user.portal_fails_with("AuthorizationPendingException")
    # Profiles of one portal are one session: any of them begins it.
    shown = on_terminal(user, "ecr-py login stage --no-browser", **environment)
    assert "the login was not approved" in shown
    assert left(shown, by_rich=not environment) == set()
    shown = on_terminal(user, f"echo {HOST} | docker-credential-ecr-py get")
    assert "the code is AB\\n" in shown
    assert left(shown) == set()


def test_what_a_redirect_says(home: Home, aws: Aws) -> None:
    user = User(home, aws)
    user.end_session()
    user.use_session_profiles()
    user.add_browser()
    with user.at_terminal("ecr-py login", NO_COLOR="1") as terminal:
        address = user.next_address()
        port = int(address.partition("127.0.0.1%3A")[2].partition("%2F")[0])
        state = address.partition("&state=")[2].partition("&")[0]
        error = "%1B%5D0%3Bowned%07%C2%9B2J%E2%80%AE%0A"
        visit(f"http://127.0.0.1:{port}/oauth/callback?state={state}&error=denied{error}")
        assert terminal.wait() == 1
        shown = bytes(terminal._said)
    assert b"refused (denied" in shown
    assert left(shown) == set()
    assert left(home.log.read_bytes()) == set()


def test_accounts_to_choose_from(user: User, aws: Aws) -> None:
    aws.auto_approve = True
    accounts = [{"accountId": one, "accountName": f"a{HOSTILE}"[:50]} for one in (DEV, STAGE)]
    aws.fault("ListAccounts", "answer", document={"accountList": accounts})
    command = f"ecr-py login --start-url {START_URL} --sso-region eu-west-1 --session x"
    shown = on_terminal(user, command, types="1\n", NO_COLOR="1", TERM="dumb")
    assert "Which (their numbers, or all)" in shown
    assert left(shown) == set()


def test_accounts_to_pick_from(user: User, aws: Aws) -> None:
    """The list itself moves the cursor: none of what the names have may be in it."""
    aws.auto_approve = True
    accounts = [{"accountId": one, "accountName": f"a{HOSTILE}"[:50]} for one in (DEV, STAGE)]
    aws.fault("ListAccounts", "answer", document={"accountList": accounts})
    command = f"ecr-py login --start-url {START_URL} --sso-region eu-west-1 --session x"
    with user.at_terminal(command) as terminal:
        terminal.wait_for("Tab chooses a row")
        terminal.type("\t\r")
        terminal.wait(seconds=90)
        shown = bytes(terminal._said).decode()
    assert "[2J" in shown  # as text
    for hidden in ("\x1b]0;owned", "\x1b[5;5H", *HOSTILE[HOSTILE.index("\x9b") :]):
        assert hidden in "2Jq\b" or hidden not in shown


def test_repositories_and_images(user: User, aws: Aws) -> None:
    """As ECR would never name them."""
    repository = {
        "registryId": DEV,
        "repositoryName": f"a{HOSTILE}{LINES}",
        "repositoryUri": f"{HOST}/a{HOSTILE}",
        "repositoryArn": "arn",
        "createdAt": time.time(),
        "imageTagMutability": f"MUTABLE{HOSTILE}",
    }
    image = {
        "registryId": DEV,
        "repositoryName": "nats",
        "imageDigest": f"sha256:{HOSTILE}",
        "imageTags": [f"1{HOSTILE}{LINES}", "\u202e2"],
        "imageSizeInBytes": 1,
        "imagePushedAt": time.time(),
    }
    aws.fault(f"{TARGET}.DescribeRepositories", "answer", document={"repositories": [repository]})
    aws.fault(f"{TARGET}.DescribeImages", "answer", document={"imageDetails": [image]})
    for command in ("repo ls", "image ls nats", "image ls nats --tags", "image ls nats --digests"):
        for options in (f"--registry {HOST}", f"--registry {HOST} --json"):
            if "--tags" in command and "--json" in options:
                continue
            shown = on_terminal(user, f"ecr-py {command} {options}", NO_COLOR="1")
            assert "\\u202e" in shown, shown
            assert left(shown, by_rich=True) == set()
    shown = on_terminal(user, f"ecr-py image rm nats 1 --registry {HOST}", types="n\n")
    assert left(shown, by_rich=True) == set()


# Elsewhere


def test_a_credential_process(user: User) -> None:
    home = user.home
    home.write(home.path / "message", HOSTILE + LINES)
    config = (
        "[profile dev]\naws_account_id = 642976147714\n"
        'credential_process = sh -c "cat \\"$HOME/message\\" >&2; exit 1"\n'
    )
    home.write(home.aws_config, config)
    answer = home.get(HOST)
    assert answer.code == 1
    assert left(answer.stdout) == left(answer.stderr) == set()
    assert left(home.log.read_bytes()) == set()


def test_the_paths_in_the_help_of_the_helper(home: Home) -> None:
    answer = home.call("help", environment={"XDG_CONFIG_HOME": f"{home.path}/\x1b[31m\udcff"})
    assert (answer.code, answer.stderr) == (0, b"")
    assert f"{home.path}/\\x1b[31m\\udcff/ecr-py/config.toml\n" in answer.stdout.decode()


def test_the_path_of_the_log_in_an_error_that_nobody_has_thought_of(home: Home) -> None:
    script = (
        "import sys\n"
        "from docker_credential_ecr_py import protocol\n"
        "class Broken:\n"
        "    def __init__(self, *a, **k): raise ZeroDivisionError\n"
        "protocol.App = Broken\n"
        "sys.exit(protocol.main(['list'], None))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script],
        env=home.environment | {"XDG_STATE_HOME": f"{home.path}/\x1b[31m\udcff"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == done.stderr
    assert done.stdout.startswith(b"ecr-py: unexpected ZeroDivisionError: ")
    assert b"/\\x1b[31m\\udcff/ecr-py/log/ecr-py.log has more\n" in done.stdout


def test_a_server_url_and_an_action(home: Home) -> None:
    for answer in (
        home.get(f"https://{HOST}{HOSTILE}"),
        home.call("get", f"x{HOSTILE}"),
        home.call(f"get{HOSTILE}"),
        home.call("erase", stdin=f"x{HOSTILE}".encode()),
        home.call("store", stdin=json.dumps({"ServerURL": HOSTILE, "Username": "x"}).encode()),
    ):
        assert answer.code == 1
        assert left(answer.stdout) == left(answer.stderr) == set()
    assert left(home.log.read_bytes()) == set()


def test_an_mfa_device(home: Home, aws: Aws) -> None:
    """Its name is in the config; the question for its code is on the terminal."""
    role = f"arn:aws:iam::{DEV}:role/Deploy"
    secret = aws.add_key("AKIAIOSFODNN7EXAMPLE", f"arn:aws:iam::{STAGE}:user/x")
    aws.mfa_serials[role] = "serial"
    home.write(
        home.aws_config,
        f"[profile dev]\nrole_arn = {role}\nsource_profile = keys\n"
        f"mfa_serial = arn:aws:iam::{STAGE}:mfa/x{HOSTILE}\n"
        f"[profile keys]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n"
        f"aws_secret_access_key = {secret}\n",
    )
    user = User(home, aws)
    shown = on_terminal(user, f"echo {HOST} | docker-credential-ecr-py get", types="123456\n")
    assert "MFA code of" in shown
    assert left(shown) == set()


def test_completion(user: User) -> None:
    """A shell shows the words beside a suggestion as they are."""
    config = user.home.aws_config
    text = config.read_text().replace("region = eu-west-1", f"region = eu-west-1{HOSTILE}")
    config.write_text(text)
    for shell in ("zsh", "fish"):
        environment = {
            "_ECR_PY_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": "ecr-py login ",
            "COMP_CWORD": "" if shell == "fish" else "2",
        }
        done = user.ecr_py(**environment)
        assert "stage" in done.stdout
        assert left(done.stdout.replace("\t", "")) == set()


def test_the_daemon(user: User) -> None:
    """What it says of what it keeps."""
    home = user.home
    with short_folder() as runtime:
        home.environment["XDG_RUNTIME_DIR"] = str(runtime)
        home.get(HOST)
        started = user.ecr_py("daemon", "start")
        assert started.code == 0, started
        try:
            for options in ("", " --json"):
                shown = on_terminal(user, f"ecr-py daemon status{options}", NO_COLOR="1")
                assert HOST in shown
                assert left(shown, by_rich=True) == set()
        finally:
            assert user.ecr_py("daemon", "stop").code == 0
    assert left(home.log.read_bytes()) == set()


def test_the_hostile_text_is_hostile(user: User) -> None:
    """A program that does not care would let it through."""
    shown = on_terminal(user, 'printf %s "$HOSTILE"', HOSTILE=HOSTILE)
    assert len(left(shown, by_rich=True)) > 10
