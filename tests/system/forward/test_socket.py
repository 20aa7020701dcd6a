"""What the socket for other machines answers, and what it does not: asked directly, without ssh."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from docker_credential_ecr_py.daemon import forwarding
from docker_credential_ecr_py.store import daemon_client, record
from tests.standin.aws import Aws
from tests.support.daemon import TOKEN, as_bytes, use_store
from tests.support.home import DEV, PROD, REGISTRIES, STAGE, Home, registry
from tests.support.user import User, eventually, visit
from tests.system.forward.conftest import Laptop

HELLO = daemon_client.PROTOCOL + b" "


@contextmanager
def asked(laptop: Laptop, request: bytes) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(60)
        wire.connect(str(laptop.socket))
        wire.sendall(HELLO + request)
        yield wire


def answers(laptop: Laptop, request: bytes) -> list[bytes]:
    """The lines of an answer to its end, without those that say to wait."""
    with asked(laptop, request) as wire, wire.makefile("rb") as lines, suppress(OSError):
        return [line for line in lines if line != b"wait\n"]
    return []


def get(
    laptop: Laptop, host: str = registry(DEV), verb: bytes = b"get", more: bytes = b""
) -> bytes:
    """The last line of the answer."""
    return (answers(laptop, b"%b %b%b\n" % (verb, host.encode(), more)) or [b""])[-1]


def outcomes(laptop: Laptop) -> list[str]:
    return [one["outcome"] for one in laptop.daemon.status()["forward"]["last"]]


def fetches(aws: Aws) -> int:
    return [call.operation for call in aws.calls].count(TOKEN)


# Off, on and off


def test_without_the_setting_there_is_no_socket(laptop: Laptop) -> None:
    assert laptop.forward("off").stdout == "No other machine is answered\n"
    assert not laptop.socket.exists()
    assert "[forward]" not in laptop.home.settings.read_text()
    assert laptop.forward("status").line.startswith(
        "ecr-py: forwarding is off: run `ecr-py forward"
    )


def test_on_keeps_the_rest_of_the_settings_and_dry_run_writes_nothing(laptop: Laptop) -> None:
    before = '# mine\n[defaults]\nstore = "file"  # this too\n'
    laptop.home.write(laptop.home.settings, before)
    shown = laptop.forward("on", "--all", "--dry-run")
    assert '+registries = ["*"]' in shown.stdout
    assert laptop.home.settings.read_text() == before
    laptop.forward("on", "--registry", registry(DEV), "--uid", "7")
    assert laptop.home.settings.read_text().startswith(before)
    assert laptop.daemon.status()["forward"]["registries"] == [registry(DEV)]
    assert laptop.daemon.status()["forward"]["uids"] == [7]
    laptop.forward("off")
    assert laptop.home.settings.read_text().strip() == before.strip()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name the registries by --registry"),
        (("--all", "--registry", "x"), "name the registries by --registry"),
        (("--registry", "a b"), "is neither the host of a registry nor a glob of hosts"),
        (("--registry", ""), "empty"),
        (("--registry", "dve"), "dve is not a profile, and matches no registry; nearest: dev"),
        (("--registry", "ghcr.io"), "ghcr.io is not a profile, and matches no registry"),
        (("--registry", "1234"), "an account has twelve digits"),
        (("--all", "--uid", "-1"), "-1"),
    ],
)
def test_what_cannot_be_forwarded(
    home: Home, user: User, arguments: tuple[str, ...], says: str
) -> None:
    done = user.invoke("forward", "on", *arguments)
    assert done.code in (1, 2)
    assert says in done.said
    assert not home.settings.exists()


def test_a_profile_and_an_account_are_their_registries(user: User) -> None:
    shown = user.invoke_ok("forward", "on", "--registry", "dev", "--registry", STAGE, "--dry-run")
    assert f'+registries = ["{registry(DEV)}", "{STAGE}.*"]' in shown.stdout


def test_doctor_says_what_is_forwarded(laptop: Laptop, user: User) -> None:
    assert "answers other machines for every registry" in user.invoke("doctor").stdout


def test_without_a_daemon_it_says_so(user: User) -> None:
    done = user.invoke("forward", "on", "--all")
    assert (done.code, done.stderr) == (
        1,
        "ecr-py: forwarding is on, but the daemon is not running: run `ecr-py daemon install`, or "
        "`ecr-py daemon start`\n",
    )
    assert user.invoke("forward", "status").line.startswith("ecr-py: the daemon is not running")


def test_a_daemon_that_is_started_again_answers_again(laptop: Laptop, aws: Aws) -> None:
    first = get(laptop)
    laptop.daemon.kill()
    with pytest.raises(OSError, match="refused"):
        get(laptop)
    laptop.daemons.start()
    assert get(laptop) == first
    assert fetches(aws) == 1


def test_off_ends_what_waits(laptop: Laptop, aws: Aws) -> None:
    aws.fault(TOKEN, "hang")
    with asked(laptop, b"get %b\n" % registry(DEV).encode()) as wire:
        assert wire.recv(5) == b"wait\n"
        laptop.forward("off")
        with suppress(ConnectionResetError):
            assert set(wire.makefile("rb")) <= {b"wait\n"}
    assert not laptop.socket.exists()


# What is answered


def test_a_miss_then_a_hit_and_a_line_in_the_log(laptop: Laptop, aws: Aws) -> None:
    assert get(laptop, verb=b"hit") == b""  # to wait is all that it says
    document = get(laptop)
    assert aws.issued[json.loads(document)["Secret"]].account == DEV
    assert get(laptop, verb=b"hit") == document
    assert laptop.home.get(registry(DEV)).stdout == document
    assert fetches(aws) == 1
    log = laptop.home.log.read_text()
    assert log.count(f"forward: {registry(DEV)} for python: answered") == 2
    assert json.loads(document)["Secret"] not in log
    shown = laptop.forward("status").stdout
    assert "2 answered, 0 refused" in shown
    assert registry(DEV) in shown.splitlines()[-1]


@pytest.mark.parametrize("store", ["none", "memory", "keyring"])
def test_any_store(laptop: Laptop, aws: Aws, store: str) -> None:
    """A keyring that cannot be used keeps nothing, as with `none`."""
    use_store(laptop.home, store, '[forward]\nregistries = ["*"]\n')
    laptop.daemon.ask(b"reload")
    assert aws.issued[json.loads(get(laptop))["Secret"]].account == DEV


def test_a_crowd_that_comes_cold_costs_one_call(laptop: Laptop, aws: Aws) -> None:
    with ThreadPoolExecutor(50) as crowd:
        found = list(crowd.map(lambda _: get(laptop), range(50)))
    assert len(set(found)) == 1
    assert found[0].startswith(b'{"ServerURL":')
    assert fetches(aws) == 1


def test_more_registries_than_are_fetched_at_once(laptop: Laptop, aws: Aws) -> None:
    regions = ("eu-west-1", "us-east-1")
    hosts = [registry(account, region) for account in (DEV, STAGE, PROD) for region in regions]
    assert len(hosts) > forwarding._MOST_FETCHES
    with ThreadPoolExecutor(len(hosts)) as crowd:
        found = list(crowd.map(lambda host: get(laptop, host), hosts))
    assert [json.loads(document)["ServerURL"] for document in found] == hosts


def test_no_profile_here_is_left_to_the_other_machine(laptop: Laptop) -> None:
    assert get(laptop, registry("111122223333")) == b"no\n"


def test_an_error_is_one_line_without_secrets(laptop: Laptop, aws: Aws) -> None:
    aws.fault(TOKEN, "error", status=400, code="AccessDeniedException")
    line = get(laptop)
    assert line.startswith(b"error ")
    assert line.count(b"\n") == 1
    assert outcomes(laptop) == [line.decode().strip()]


# What is refused


def test_registries_that_are_not_on_the_list(laptop: Laptop, aws: Aws) -> None:
    laptop.forward("on", "--registry", registry(DEV), "--registry", f"{STAGE}.*")
    assert get(laptop).startswith(b"{")
    assert get(laptop, f"https://{registry(DEV)}").startswith(b"{")
    assert get(laptop, registry(STAGE, "us-east-1")).startswith(b"{")
    before = len(aws.calls)
    for host in (
        registry(PROD),
        registry(DEV, "us-east-1"),
        "docker.io",
        f"{registry(DEV)}.evil.example",
        f"evil.example/{registry(DEV)}",
        f"{registry(DEV)}.cn",
        f"{registry(DEV)}@evil.example",
        f"https://AWS:x@{registry(DEV)}",
        registry(DEV).replace("dkr", "dkr.evil"),
        registry(DEV).upper(),
        f"{STAGE}.evil.example",
        "*",
        "",
    ):
        assert get(laptop, host) == b"no\n", host
        assert get(laptop, host, b"hit") == b"no\n", host
    assert len(aws.calls) == before


def test_any_other_word(laptop: Laptop) -> None:
    laptop.home.get(registry(DEV))
    for line in (
        *(b"read credentials/" + b"0" * 32, b"names ", b"names credentials/", b"status", b"reload"),
        *(b"remove credentials/x", b"write credentials/x", b"list", b"erase x", b"get", b""),
        *(b"log in x", b"renew x", b"\xff\xfe", b"hit", b"GET x", b"get x login"),
    ):
        with asked(laptop, line + b"\nbody") as wire:
            wire.shutdown(socket.SHUT_WR)
            assert wire.recv(1000) in (b"", b"no\n")
    assert laptop.home.get(registry(DEV)).code == 0
    assert laptop.daemon.status()["registries"]


def test_a_context_of_the_clients_changes_nothing(laptop: Laptop) -> None:
    here = record.context(as_bytes(laptop.home) | {b"AWS_PROFILE": b"prod"}).hex().encode()
    assert get(laptop, more=b" " + here) == b""


def test_a_flood_is_refused_and_others_are_not_harmed(laptop: Laptop) -> None:
    get(laptop)
    many = (get(laptop, verb=b"hit") for _ in range(10 * forwarding._BURST))
    refused = next(line for line in many if not line.startswith(b"{"))
    assert refused == b"error too many requests: try again in a minute\n"
    assert laptop.home.get(registry(DEV)).code == 0
    assert laptop.home.log.read_text().count("too many requests") < 20
    eventually(lambda: get(laptop, verb=b"hit").startswith(b"{"))


def test_silent_clients_hold_up_nobody(laptop: Laptop) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = []
        for _ in range(forwarding._MOST_CONNECTIONS + 20):
            wire = socket.socket(socket.AF_UNIX)
            waiting.append(wire)
            wire.connect(str(laptop.socket))
        assert pool.submit(get, laptop).result().startswith(b"{")
        for wire in waiting:
            wire.close()


def test_only_this_user_reaches_it(laptop: Laptop) -> None:
    for path, mode in ((laptop.socket, 0o600), (laptop.socket.parent, 0o700)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    laptop.forward("on", "--all", "--uid", "65534")
    for path, mode in ((laptop.socket, 0o666), (laptop.socket.parent, 0o711)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE(laptop.socket.parent.parent.stat().st_mode) == 0o700


# Logins


@pytest.fixture
def ended(laptop: Laptop, user: User) -> User:
    """The user's session has ended, and there is a browser."""
    user.use_session_profiles()
    user.end_session()
    user.add_browser()
    laptop.daemon.kill()
    laptop.daemons.start()
    return user


def test_a_request_starts_the_login_here(laptop: Laptop, ended: User) -> None:
    with asked(laptop, b"get %b\n" % registry(DEV).encode()) as wire, wire.makefile("rb") as lines:
        address = ended.next_address()
        assert next(line for line in lines if line != b"wait\n") == b"login\n"
        assert visit(address, "allow")[0] == 200
        assert next(line for line in lines if line != b"wait\n").startswith(b"{")
    assert "python asks for" in laptop.home.log.read_text()


def test_a_refusal_is_one_line_and_no_second_window_opens(laptop: Laptop, ended: User) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(get, laptop)
        visit(ended.next_address(), "deny")
        line = first.result()
    assert line.startswith(b"error the login was refused")
    assert b"run `ecr-py login telia`" in line
    for host in REGISTRIES:
        assert get(laptop, host).startswith(b"error ")
    assert len(ended.addresses) == 1


@pytest.mark.parametrize("variable", ["CI=true", "ECR_PY_LOGIN=never", "client"])
def test_no_login_is_started(laptop: Laptop, ended: User, variable: str) -> None:
    """In CI, if the user does not want it, or if the client does not."""
    name, _, value = variable.partition("=")
    if value:
        laptop.daemon.kill()
        laptop.daemons.start({name: value})
    line = get(laptop, more=b"" if value else b" no-login")
    assert line.startswith(b"error not logged in, or the session has expired: run `ecr-py login")
    assert ended.addresses == []


def test_it_may_be_that_nothing_can_be_created(laptop: Laptop) -> None:
    """A file is where the folder belongs."""
    laptop.forward("off")
    laptop.socket.parent.rmdir()
    laptop.socket.parent.write_text("in the way")
    done = laptop.forward("on", "--all")
    assert done.code == 1
    assert "cannot be created" in done.stderr
    assert "Traceback" not in laptop.home.log.read_text()
    os.unlink(laptop.socket.parent)
    assert Path(laptop.home.settings).exists()
