"""What the helper does with the other end of a tunnel, which may be dead, slow or hostile."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from docker_credential_ecr_py.store import tunnel_client
from tests.standin.aws import Aws
from tests.support.daemon import short_folder
from tests.support.home import DEV, LAUNCHER, NOT_FOUND, STAGE, Home, registry
from tests.support.other_user import AS_ROOT, OTHER
from tests.support.remote_host import remote_home
from tests.support.user import Done, User, eventually
from tests.system.forward.conftest import answer_for

HOST = registry(DEV)
PASSWORD = "c3dvcmRmaXNo"


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Home]:
    """A host without AWS configuration, in which no answer is late."""
    with remote_home(tmp_path / "remote", {"ECR_PY_FORWARD_WAIT": "10"}) as home:
        yield home


def usual(home: Home) -> Path:
    return Path(home.environment["XDG_RUNTIME_DIR"]) / "ecr-py-tunnel.sock"


def document(host: str = HOST, username: str = "AWS", secret: str = PASSWORD) -> bytes:
    return f'{{"ServerURL":"{host}","Username":"{username}","Secret":"{secret}"}}\n'.encode()


@contextmanager
def other_end(path: Path, *lines: bytes, pause: float = 0) -> Iterator[list[bytes]]:
    """A program that gives everybody the same answer; yields the requests that it got."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(50)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    wire, _ = listener.accept()
                    with wire, suppress(OSError):
                        asked.append(wire.recv(65536))
                        for line in lines:
                            wire.sendall(line)
                            time.sleep(pause)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
    path.unlink(missing_ok=True)


@pytest.fixture(params=["front", "launcher"])
def either(request: pytest.FixtureRequest, remote: Home) -> Home:
    """The installed executable, and Python behind the front, which answers the same."""
    if request.param == "launcher":
        script = remote.path / "bin" / "docker-credential-ecr-py"
        remote.write(script, f'#!/bin/sh\nexec {sys.executable} -IS -X utf8 {LAUNCHER} "$@"\n')
        script.chmod(0o755)
        remote.helper = script
    else:
        del remote.environment["ECR_PY_FORWARD_WAIT"]
    return remote


def test_an_answer_is_passed_on_and_not_kept(either: Home) -> None:
    with other_end(usual(either), document()) as asked:
        answer = eventually(lambda: _answered(either))
    assert answer == document()
    assert asked[0].startswith(b"ecr-py/1 hit %b\n" % HOST.encode())
    assert [
        path for path in either.path.rglob("*") if path.is_file() and "bin" not in str(path)
    ] == []


def _answered(home: Home) -> bytes:
    """The document, once the machine was fast enough."""
    answer = home.get(HOST)
    return answer.stdout if answer.code == 0 else b""


@pytest.mark.parametrize(
    "line",
    [
        document(registry(STAGE)),
        document("https://" + HOST),
        document(username="bob"),
        document(secret='x","Username":"y'),
        document(secret="\\u0041"),
        document(secret="\x1b[31m"),
        document()[:-1] + b"x\n",
        document()[:-3],
        b"\0" + document(),
        document()[:-2] + b"\0}\n",
        b"yes\n",
        b"\n",
        b"no\0\n",
        b"x" * 100_000,
        b"",
    ],
)
def test_an_answer_that_does_not_count(remote: Home, line: bytes) -> None:
    with other_end(usual(remote), line):
        said = remote.get(HOST).line
    assert said.startswith("ecr-py: the tunnel is gone: nothing answers at ")
    del remote.environment["ECR_PY_FORWARD_WAIT"]  # the front leaves it to Python else
    with other_end(usual(remote), line):
        assert remote.get(HOST).line == said


def test_the_text_of_an_error_is_one_plain_line(remote: Home) -> None:
    hostile = b"error \x1b[31m\xe2\x80\xaeowned " + b"x" * 5000 + b"\n"
    with other_end(usual(remote), hostile):
        said = remote.get(HOST).line
    assert said.startswith(r"ecr-py: the forwarding machine: \x1b[31m\u202eowned x")
    assert len(said) < 700


def test_a_registry_that_is_not_forwarded_is_asked_for_here(home: Home, aws: Aws) -> None:
    with other_end(usual(home), b"no\n"):
        assert aws.issued[home.get(HOST, ECR_PY_FORWARD_WAIT="10").password].account == DEV


def test_the_tunnel_is_asked_before_the_files_here(home: Home) -> None:
    own = home.get(HOST).stdout
    with other_end(usual(home), document()):
        assert home.get(HOST, ECR_PY_FORWARD_WAIT="10").stdout == document()
        assert eventually(lambda: home.get(HOST).stdout != own)
    assert home.get(HOST).stdout == own


def test_no_credentials_is_what_docker_understands(remote: Home) -> None:
    with other_end(usual(remote), b"-\n"):
        assert remote.get(HOST).line == NOT_FOUND


def test_not_forwarded_and_nothing_here(remote: Home) -> None:
    with other_end(usual(remote), b"no\n"):
        assert remote.get(HOST).line == (
            f"ecr-py: the forwarding machine does not forward {HOST}, or has no profile for it: "
            f"run `ecr-py forward on --registry {HOST}` there"
        )


def test_a_dead_tunnel_costs_one_limit_alone(home: Home) -> None:
    """Whether it is noticed by the front or by Python, and whether there are files here."""
    home.get(HOST)
    with other_end(usual(home), pause=60) as asked, socket.socket(socket.AF_UNIX) as silent:
        usual(home).unlink()
        silent.bind(str(usual(home)))
        silent.listen()
        assert home.get(HOST).code == 0
        silent.setblocking(False)
        connections = 0
        with suppress(BlockingIOError):
            while True:
                silent.accept()
                connections += 1
        assert connections == 1
        assert home.get(registry("111122223333")).line.startswith("ecr-py: the tunnel is gone")
        silent.accept()
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert asked == []
    assert tunnel_client.LIMIT < 0.3


def test_one_that_drips_does_not_hold_it_up(remote: Home) -> None:
    del remote.environment["ECR_PY_FORWARD_WAIT"]
    with other_end(usual(remote), *(b"w" for _ in range(400)), pause=0.1) as asked:
        assert remote.get(HOST).line.startswith("ecr-py: the tunnel is gone")
    assert len(asked) == 1


@pytest.mark.parametrize("variable", ["CI", "ECR_PY_LOGIN"])
def test_ci_and_never_reach_the_other_end(remote: Home, variable: str) -> None:
    with other_end(usual(remote), b"wait\n", b"error later\n") as asked:
        remote.get(HOST, **{variable: "never"})
    assert asked[-1] == b"ecr-py/1 get %b no-login\n" % HOST.encode()


def test_empty_means_none(remote: Home) -> None:
    with other_end(usual(remote), document()) as asked:
        assert ".aws/config does not exist" in remote.get(HOST, ECR_PY_FORWARD="").line
    assert asked == []


# A socket of somebody else's


def test_a_folder_that_others_can_write_to(remote: Home) -> None:
    place = remote.path / "open"
    place.mkdir()
    place.chmod(0o777)
    with other_end(place / "t.sock", document()) as asked:
        said = remote.get(HOST, ECR_PY_FORWARD=str(place / "t.sock")).line
    assert f"{place} can be written by other users" in said
    assert asked == []


@AS_ROOT
@pytest.mark.parametrize("what", ["folder", "process"])
def test_a_socket_that_another_user_has_planted(what: str) -> None:
    """As this user, who is not root; with ECR_PY_FORWARD_UID it would be used."""
    with short_folder() as place:
        place.chmod(0o755)
        os.chown(place, OTHER if what == "folder" else 1234, -1)
        planted = _planted(place / "t.sock")
        try:
            eventually((place / "t.sock").exists)
            for named, expected in (("", b""), (str(OTHER), document())):
                assert answer_for(1234, place / "t.sock", named) == expected
        finally:
            planted.kill()
            planted.wait()


def _planted(path: Path) -> subprocess.Popen[bytes]:
    """A process of the other user that answers at a socket which everybody may connect to."""
    script = (
        "import os, socket, sys\nlistener = socket.socket(socket.AF_UNIX)\n"
        "os.setgroups([]); os.setgid(int(sys.argv[2])); \n"
        "listener.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o777); os.setuid(int(sys.argv[2]))\n"
        "listener.listen()\nwhile True:\n wire, _ = listener.accept()\n"
        " try: wire.recv(9999), wire.sendall(sys.argv[3].encode())\n"
        " except OSError: pass\n"
        " wire.close()\n"
    )
    command: list[str | Path] = [
        sys.executable,
        "-c",
        script,
        path,
        str(OTHER),
        document().decode(),
    ]
    return subprocess.Popen(command)


# doctor and status


def _ecr_py(home: Home, *arguments: str) -> Done:
    return User(home, None).invoke(*arguments)  # type: ignore[arg-type]


def test_doctor_and_status_know_a_tunnel_that_lives(remote: Home) -> None:
    docker = remote.path / ".docker" / "config.json"
    remote.write(docker, '{"credsStore": "ecr-py"}')
    with other_end(usual(remote), b"no\n"):
        done = _ecr_py(remote, "doctor")
        shown = _ecr_py(remote, "status")
    assert done.code == 0, done
    assert f"ok      tunnel         another machine answers at {usual(remote)}\n" in done.stdout
    assert f"tunnel  another machine answers at {usual(remote)}\n" in shown.stdout


def test_doctor_and_status_know_a_tunnel_that_is_dead(remote: Home) -> None:
    with other_end(usual(remote)):
        done = _ecr_py(remote, "doctor")
        shown = _ecr_py(remote, "status")
    assert done.code == 1
    assert f"wrong   tunnel         nothing answers at {usual(remote)}: connect" in done.stdout
    assert f"tunnel  nothing answers at {usual(remote)}: connect again" in shown.stdout


def test_one_that_says_wait_without_end(remote: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel_client, "LONGEST_WAIT", 0.3)
    path, url = os.fsencode(usual(remote)), HOST.encode()
    with other_end(usual(remote), *[tunnel_client.WAIT * 1000] * 100_000):
        answer = tunnel_client.get(path, url, {}, may_log_in=True, tell=lambda: None)
    assert answer == b""
