"""A client that has the socket and nothing else, as a container may: what it can bring about.

docs/security.md has the table of what each request can and cannot do.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from docker_credential_ecr_py.store import daemon_client, record
from tests.standin.aws import Aws
from tests.support.daemon import (
    ECR_PY,
    TOKEN,
    Daemon,
    Daemons,
    as_bytes,
    document_in,
    ecr_py,
    let_pass_in_memory,
    names,
    new_record,
    use_store,
)
from tests.support.home import DEV, PROD, ROLE, STAGE, START_URL, Home, registry
from tests.support.programs import need
from tests.support.records import HALF_LIFE
from tests.support.user import eventually
from tests.system.daemon.test_protocol import credential

Start = Callable[..., Daemon]
VARIABLES = [name.decode() for name in (*record.CONTEXT, *record.SECRETS)]
HOSTILE = "hostile"
KEYS = {DEV: b"d" * 32, STAGE: b"e" * 32, PROD: b"f" * 32}
KEY = KEYS[DEV]
NAME = b"credentials/" + KEY
# Shows the environment of the worker that runs it, and answers as AWS's own programs do.
SPY = """#!/bin/sh
env >"$HOME/seen.$$"
printf '{"Version": 1, "AccessKeyId": "AKIADEV", "SecretAccessKey": "%s"}' "$(cat "$HOME/spy.key")"
"""


@dataclass
class Listener:
    """A server of the attacker's. `heard` is what came."""

    url: str
    heard: list[str] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Listener]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.heard.append(f"{self.path}\n{self.headers}")
            self.send_error(500)

        do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Listener(f"http://127.0.0.1:{server.server_port}/{HOSTILE}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Attack:
    """A home whose dev profile shows what workers see, and the attacker's own folder and server."""

    home: Home
    daemon: Daemon
    folder: Path
    listener: Listener

    def value(self, variable: str) -> str:
        """What leads the variable to something of the attacker's."""
        if "URL" in variable or variable.endswith("_ENDPOINT"):
            return self.listener.url
        if variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            return str(self.folder / ".aws" / "config")
        if variable == "ECR_PY_CONFIG":
            return str(self.folder / "ecr-py" / "config.toml")
        if variable in ("HOME", "XDG_CONFIG_HOME"):
            return str(self.folder)
        return HOSTILE

    def context(self, **more: str) -> bytes:
        """As a client would have it in the home's environment, with this in addition."""
        environ = as_bytes(self.home) | {name.encode(): v.encode() for name, v in more.items()}
        lines = [b"%b=%b" % (name, environ[name]) for name in record.CONTEXT if name in environ]
        # Of a secret an honest client says only that it is there.
        lines += [
            f"{name}={more[name]}".encode() for name in more if name.encode() in record.SECRETS
        ]
        return b"\n".join(lines)

    def writes_selection(self, account: str, here: bytes, *conditions: bytes) -> None:
        """A selection in this context, and a credential that ages, so that it is due."""
        host, key = registry(account).encode(), KEYS[account]
        details = json.dumps({"profile": HOSTILE}).encode()
        body = new_record(record.SELECTION, host, here, key, details, *conditions)
        written = self.daemon.ask(b"write " + record.selection_name(host, here), body)
        assert written == b"ok\n"
        assert self.daemon.ask(b"write credentials/" + key, ageing(key)) == b"ok\n"

    @property
    def seen(self) -> list[str]:
        """The environments of the workers that asked for the dev profile's keys."""
        return [file.read_text() for file in self.home.path.glob("seen.*")]

    @property
    def done(self) -> list[object]:
        """What the attacker achieved."""
        seen = [text for text in self.seen if HOSTILE in text]
        return [*seen, *self.listener.heard, *self.folder.glob("ran")]


def ageing(key: bytes) -> bytes:
    fields = credential(key).split(b"\0")[1:]
    now = int(fields[2])
    fields[2:6] = (b"%d" % moment for moment in (now - 7200, now - 60, now + 3600, now + 3900))
    return new_record(*fields)


@pytest.fixture
def attack(home: Home, aws: Aws, start: Start, tmp_path: Path) -> Iterator[Attack]:
    spy = home.write(home.path / "spy", SPY)
    spy.chmod(0o755)
    secret = aws.add_key("AKIADEV", f"arn:aws:iam::{DEV}:user/dev")
    home.write(home.path / "spy.key", secret)
    home.write(
        home.aws_config,
        f"[profile spy]\naws_account_id = {DEV}\ncredential_process = {spy}\n"
        f"[profile stage]\nsso_start_url = {START_URL}\nsso_region = eu-west-1\n"
        f"sso_account_id = {STAGE}\nsso_role_name = {ROLE}\n",
    )
    folder = tmp_path / HOSTILE
    runs = f"credential_process = touch {folder / 'ran'}\n"
    accounts = {DEV: "one", STAGE: "two"}
    profiles = "".join(
        f"[profile {name}]\naws_account_id = {account}\n{runs}"
        for account, name in accounts.items()
    )
    config = f"{profiles}[profile {HOSTILE}]\n{runs}[default]\n{runs}"
    home.write(folder / ".aws" / "config", config)
    home.write(folder / "ecr-py" / "config.toml", f'[registries."*"]\nprofile = "{HOSTILE}"\n')
    daemon = start("memory")
    with listening() as listener:
        yield Attack(home, daemon, folder, listener)


# What is written


@pytest.mark.parametrize("variable", VARIABLES)
def test_no_worker_gets_what_a_client_says_of_its_environment(
    attack: Attack, aws: Aws, variable: str
) -> None:
    for account in (DEV, STAGE):
        assert attack.home.get(registry(account)).password in aws.issued
    here = attack.context(**{variable: attack.value(variable)})
    let_pass_in_memory(attack.daemon, HALF_LIFE + 60)
    for account in (DEV, STAGE):
        attack.writes_selection(account, here)
    before = len(attack.seen)
    attack.daemon.looks()
    # What its own user asked for was renewed, so the daemon has looked at all.
    eventually(lambda: aws.count(TOKEN) == 4)
    assert len(attack.seen) == before + 1
    assert attack.done == []
    assert attack.daemon.failures == []


def test_a_profile_of_the_aws_config_is_all_that_is_taken(attack: Attack, aws: Aws) -> None:
    attack.writes_selection(PROD, attack.context(AWS_PROFILE="spy"))
    attack.daemon.looks()
    eventually(lambda: aws.count(TOKEN) == 1)
    (environ,) = attack.seen
    lines = environ.splitlines()
    ours = attack.home.environment
    for name in VARIABLES:
        told = [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]
        wanted = "spy" if name == "AWS_PROFILE" else ours.get(name)
        assert told == ([wanted] if wanted else []), name


def test_no_path_of_a_client_is_looked_at(home: Home, daemons: Daemons, tmp_path: Path) -> None:
    """It may be an automount, a server that does not answer, a FIFO."""
    use_store(home, "memory")
    trace = tmp_path / "trace"
    strace: list[str | Path] = [need("strace"), "-o", trace, "-e", "trace=%file", "-s", "4096"]
    daemon = daemons.start(command=[*strace, ECR_PY, "daemon", "run"])
    attack = Attack(home, daemon, tmp_path, Listener(""))
    here = attack.context()
    for stamp in (record.PRESENT, record.ABSENT, b"1.2.3"):
        attack.writes_selection(DEV, here, b"/net/hostile/x", stamp)
        times = record.fields_of(ageing(KEY), record.CREDENTIAL)
        assert times
        body = new_record(*times, b"/net/hostile/y", stamp)
        assert daemon.ask(b"write " + NAME, body) == b"ok\n"
        answer = daemon.ask(b"get %b %b" % (registry(DEV).encode(), here.hex().encode())) or b""
        # It is the client that has to look.
        assert answer.split(b"\0")[1:-1] == [b"/net/hostile/x", stamp, b"/net/hostile/y", stamp]
        daemon.looks()
        daemon.status()
    seen = trace.read_text()
    assert str(home.settings) in seen
    assert "hostile" not in seen


def test_with_files_nothing_is_written_to_it(home: Home, start: Start) -> None:
    daemon = start("file")
    assert daemon.ask(b"write " + NAME, ageing(KEY)) == b""
    assert daemon.ask(b"remove " + NAME) == b"ok\n"
    assert names(daemon, "") == []
    # A store that is changed is changed at once.
    use_store(home, "memory")
    assert daemon.ask(b"write " + NAME, ageing(KEY)) == b"ok\n"
    use_store(home, "none")
    daemon.looks()
    assert daemon.ask(b"write " + NAME, ageing(KEY)) == b""
    assert names(daemon, "") == []


def test_a_notification_names_no_profile_that_a_client_made_up(attack: Attack, aws: Aws) -> None:
    shown = attack.home.path / "shown"
    script = f'#!/bin/sh\nprintf "%s\\n" "$@" >>{shown}.new\nmv {shown}.new {shown}\n'
    attack.home.write(attack.home.path / "bin" / "notify-send", script).chmod(0o755)
    # A daemon that has it on its PATH.
    attack.daemon.kill()
    path = f"{attack.home.path / 'bin'}:{attack.home.environment['PATH']}"
    attack.daemon = Daemons(attack.home, attack.folder).start({"PATH": path})
    try:
        attack.home.get(registry(STAGE))
        (token,) = (attack.home.path / ".aws" / "sso" / "cache").iterdir()
        attack.writes_selection(STAGE, attack.context(), bytes(token), record.PRESENT)
        aws.write_sso_token(attack.home.path, START_URL, lifetime=600)
        attack.daemon.looks()
        eventually(shown.exists)
        assert HOSTILE not in shown.read_text()
        assert "Run ecr-py login to renew it" in shown.read_text()
    finally:
        attack.daemon.kill()


# What the daemon does not renew


def test_what_was_asked_for_in_another_environment_is_renewed_by_the_next_get(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    elsewhere = home.write(home.path / "elsewhere", home.aws_config.read_text())
    environ = {"AWS_CONFIG_FILE": str(elsewhere)}
    first = home.get(registry(DEV), **environ)
    assert home.get(registry(DEV), **environ) == first
    assert aws.count(TOKEN) == 1
    shown = ecr_py(home, "daemon", "status").stdout
    assert "AWS_CONFIG_FILE" in shown
    let_pass_in_memory(daemon, HALF_LIFE + 60)
    daemon.looks()
    assert aws.count(TOKEN) == 1
    # At once, and in the background.
    assert home.get(registry(DEV), **environ) == first
    eventually(lambda: aws.count(TOKEN) == 2)
    eventually(lambda: home.get(registry(DEV), **environ) != first)
    second = home.get(registry(DEV), **environ)
    assert (second.code, second.stderr) == (0, b"")
    assert aws.count(TOKEN) == 2


def test_one_get_a_minute_renews_what_the_daemon_does_not(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    secret = aws.add_key("AKIADEV", f"arn:aws:iam::{PROD}:user/dev")
    environ = {"AWS_ACCESS_KEY_ID": "AKIADEV", "AWS_SECRET_ACCESS_KEY": secret}
    here = record.context(
        as_bytes(home) | {name.encode(): value.encode() for name, value in environ.items()}
    )
    home.get(registry(DEV), **environ)
    let_pass_in_memory(daemon, HALF_LIFE + 60)
    asked = b"%b %b" % (registry(DEV).encode(), here.hex().encode())
    # A client that does not renew gets no answer, and leaves the renewal to one that does.
    verbs = (b"hit", b"hit", b"get", b"get", b"hit", b"get")
    states = [(daemon.ask(verb + b" " + asked) or b"").split(b"\0")[0] for verb in verbs]
    assert states == [b"", b"", daemon_client.RENEW, *[daemon_client.KEPT_FRESH] * 3]


def test_what_the_daemon_renews_no_get_does(home: Home, aws: Aws, daemon: Daemon) -> None:
    first = home.get(registry(DEV))
    aws.fault("GetRoleCredentials", "error", status=403, code="ForbiddenException")
    let_pass_in_memory(daemon, HALF_LIFE + 60)
    request = b"get %b %b" % (registry(DEV).encode(), record.context(as_bytes(home)).hex().encode())
    assert document_in(daemon.ask(request)) == first.stdout


def test_a_file_that_has_changed_is_seen_by_the_client_not_by_the_daemon(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    """So it may be one that the daemon cannot see, in a container."""
    elsewhere = home.write(home.path / "elsewhere", home.aws_config.read_text())
    environ = {"AWS_CONFIG_FILE": str(elsewhere)}
    assert aws.issued[home.get(registry(DEV), **environ).password].account == DEV
    home.write(elsewhere, elsewhere.read_text().replace(DEV, "111111111111"))
    assert "no AWS profile" in home.get(registry(DEV), **environ).line
