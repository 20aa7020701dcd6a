"""Whatever the daemon does, or whoever stands in its place: the helper still answers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from docker_credential_ecr_py.store import record
from tests.standin.aws import Aws
from tests.support.daemon import (
    ECR_PY,
    TOKEN,
    Daemon,
    as_bytes,
    let_pass_in_memory,
    new_record,
    socket_path,
    use_store,
)
from tests.support.home import DEV, HELPER, STAGE, Answer, Home, registry
from tests.support.other_user import as_other
from tests.support.processes import timed_get
from tests.support.programs import own_mounts
from tests.support.records import HALF_LIFE, LIFE, files, let_pass
from tests.support.user import eventually

Start = Callable[..., Daemon]
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
STORES = pytest.mark.parametrize("store", ["file", "memory"])


def right(aws: Aws, answer: Answer, account: str = DEV) -> str:
    assert answer.stderr == b""
    assert aws.issued[answer.password].account == account
    return answer.password


def answers(home: Home, aws: Aws) -> None:
    """The helper does, quickly, what it would do without a daemon."""
    for account in (DEV, DEV, STAGE):
        timed = timed_get(home, registry(account))
        right(aws, timed.answer, account)
        assert timed.seconds < 15


# Killed


@STORES
def test_a_daemon_killed_in_the_middle_of_a_renewal(
    home: Home, aws: Aws, start: Start, store: str
) -> None:
    daemon = start(store)
    home.get(registry(DEV))
    home.get(registry(DEV))
    age(daemon, store, HALF_LIFE + 60)
    aws.fault("GetRoleCredentials", "delay", seconds=3, times=1)
    daemon.ask(b"reload")
    eventually(lambda: aws.count("GetRoleCredentials") == 2)
    daemon.kill()
    answers(home, aws)


def age(daemon: Daemon, store: str, seconds: int) -> None:
    if store == "memory":
        let_pass_in_memory(daemon, seconds)
    else:
        let_pass(daemon.home, seconds)


@STORES
def test_a_daemon_killed_while_it_renews_what_is_spent(
    home: Home, aws: Aws, start: Start, store: str
) -> None:
    daemon = start(store)
    first = home.get(registry(DEV)).password
    home.get(registry(DEV))
    age(daemon, store, LIFE - 60)
    aws.fault("GetRoleCredentials", "delay", seconds=3, times=1)
    daemon.ask(b"reload")
    eventually(lambda: aws.count("GetRoleCredentials") == 2)
    daemon.kill()
    assert right(aws, home.get(registry(DEV))) != first
    answers(home, aws)


def test_a_daemon_killed_in_the_middle_of_answers(home: Home, aws: Aws, start: Start) -> None:
    daemon = start("memory")
    ended = threading.Event()
    found: list[Answer] = []

    def ask_on() -> None:
        while not ended.is_set():
            found.append(home.get(registry(DEV)))

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask_on) for _ in range(3)]
        eventually(lambda: len(found) >= 6)
        daemon.kill()
        ended.set()
        for one in asking:
            one.result()
    for answer in found:
        right(aws, answer)


def test_a_daemon_that_is_started_again_after_a_kill(home: Home, aws: Aws, start: Start) -> None:
    daemon = start("memory")
    home.get(registry(DEV))
    daemon.kill()
    assert socket_path(home).exists()
    right(aws, home.get(registry(DEV)))
    start("memory")
    first = home.get(registry(DEV))
    assert home.get(registry(DEV)) == first


# Silent


@STORES
def test_a_daemon_that_is_stopped(home: Home, aws: Aws, start: Start, store: str) -> None:
    daemon = start(store)
    home.get(registry(DEV))
    with daemon.stopped():
        answers(home, aws)
    home.get(registry(DEV))
    right(aws, home.get(registry(DEV)))


def test_what_was_asked_of_a_stopped_daemon_does_it_no_harm(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    with daemon.stopped(), ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda _: home.get(registry(DEV)), range(8)))
    assert {aws.issued[answer.password].account for answer in asked} == {DEV}
    assert {answer.stderr for answer in asked} == {b""}
    first = home.get(registry(DEV))
    assert home.get(registry(DEV)) == first


# Somebody in its place


def nonsense(wire: socket.socket) -> None:
    wire.sendall(os.urandom(3000))


def silence(wire: socket.socket) -> None:
    wire.recv(65536)
    time.sleep(3)


def another_version(wire: socket.socket) -> None:
    wire.sendall(b"ecr-py/2\n")


def ok(wire: socket.socket) -> None:
    wire.sendall(b"ok\n")


def document(host: str, password: str = "wrong") -> bytes:
    return b'{"ServerURL":"%b","Username":"AWS","Secret":"%b"}\n' % (
        host.encode(),
        password.encode(),
    )


def the_document_of_another_registry(wire: socket.socket) -> None:
    wire.sendall(document(registry("111111111111")))


def half_a_document(wire: socket.socket) -> None:
    asked = wire.recv(65536).split(b" ")
    wire.sendall(document(asked[2].decode())[:-9] if len(asked) > 2 else b"")


def byte_by_byte(wire: socket.socket) -> None:
    asked = wire.recv(65536).split(b" ")
    host = asked[2].decode() if len(asked) > 2 else "x"
    for byte in document(host, "wrong" * 200):
        wire.sendall(bytes([byte]))
        time.sleep(0.02)


def without_end(wire: socket.socket) -> None:
    while True:
        wire.sendall(b"a" * 65536)


def reset(wire: socket.socket) -> None:
    """Closes with what was asked unread."""


def the_records_of_another(wire: socket.socket) -> None:
    now = int(time.time())
    times = (b"%d" % moment for moment in (now, now + 600, now + 900, now + 1200))
    wire.sendall(new_record(record.CREDENTIAL, b"0" * 32, *times, b'"AWS"', b'"wrong"'))


@contextmanager
def in_its_place(
    home: Home, behave: Callable[[socket.socket], None], by_nobody: bool = False
) -> Iterator[list[int]]:
    """Somebody who listens where the daemon should. Yields a list that grows with each visit."""
    path = socket_path(home)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    if by_nobody:
        with as_other():
            listener.listen(64)
    else:
        listener.listen(64)
    visits: list[int] = []

    def meet(wire: socket.socket) -> None:
        with wire, suppress(OSError):
            behave(wire)

    def serve() -> None:
        with suppress(OSError):
            while True:
                wire, _ = listener.accept()
                visits.append(1)
                threading.Thread(target=meet, args=(wire,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield visits
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        path.unlink()


@STORES
@pytest.mark.parametrize(
    "behave",
    [
        nonsense,
        silence,
        another_version,
        ok,
        the_document_of_another_registry,
        half_a_document,
        byte_by_byte,
        without_end,
        reset,
        the_records_of_another,
    ],
)
def test_a_daemon_that_talks_nonsense(
    home: Home, aws: Aws, behave: Callable[[socket.socket], None], store: str
) -> None:
    use_store(home, store)
    with in_its_place(home, behave) as visits:
        answers(home, aws)
    assert visits


@AS_ROOT
@pytest.mark.parametrize("public", [False, True])
def test_a_socket_that_somebody_else_listens_on(home: Home, aws: Aws, public: bool) -> None:
    """It would answer what the helper asks, and take what it is given to keep."""
    use_store(home, "memory")
    heard: list[bytes] = []

    def listen(wire: socket.socket) -> None:
        heard.append(wire.recv(65536))
        wire.sendall(document(registry(DEV)))

    with in_its_place(home, listen, by_nobody=True) as visits:
        if public:
            socket_path(home).chmod(0o666)
        answers(home, aws)
    assert visits
    assert set(heard) <= {b""}


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777, 0o701])
def test_a_folder_that_others_may_enter_is_not_entered(
    home: Home, aws: Aws, daemon: Daemon, mode: int
) -> None:
    first = home.get(registry(DEV)).password
    socket_path(home).parent.chmod(mode)
    answers(home, aws)
    socket_path(home).parent.chmod(0o700)
    assert home.get(registry(DEV)).password == first


@AS_ROOT
def test_a_folder_of_somebody_else_is_not_entered(home: Home, aws: Aws, daemon: Daemon) -> None:
    os.chown(socket_path(home).parent, 65534, 65534)
    answers(home, aws)
    assert not list(socket_path(home).parent.glob("locks/*"))


def test_a_link_where_the_folder_belongs_is_not_followed(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    folder = socket_path(home).parent
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    answers(home, aws)
    assert not list(elsewhere.glob("locks/*"))


def a_file(path: Path) -> None:
    path.write_bytes(b"in the way")


def a_folder(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def a_link_to_a_file(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def a_socket_that_nobody_serves(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@STORES
@pytest.mark.parametrize(
    "plant",
    [a_file, a_folder, a_pipe, a_link_to_nothing, a_link_to_a_file, a_socket_that_nobody_serves],
)
def test_something_else_where_the_socket_belongs(
    home: Home, aws: Aws, plant: Callable[[Path], None], store: str
) -> None:
    use_store(home, store)
    socket_path(home).parent.mkdir(mode=0o700)
    plant(socket_path(home))
    answers(home, aws)


def test_a_runtime_folder_that_is_gone(home: Home, aws: Aws) -> None:
    use_store(home, "memory")
    home.environment["XDG_RUNTIME_DIR"] += "/gone"
    answers(home, aws)


@pytest.mark.parametrize("runtime", ["", "not/absolute", "/" + "long/" * 40])
def test_a_runtime_folder_that_is_none(home: Home, aws: Aws, runtime: str) -> None:
    use_store(home, "memory")
    home.environment["XDG_RUNTIME_DIR"] = runtime
    answers(home, aws)
    assert files(home, "credentials") == []


# Disks

FULL = """
mkdir -p {0}
mount -t tmpfs -o size=16k,mode=0700 none {0}
head -c 1000000 /dev/zero >{0}/filled 2>/dev/null || true
"""
ASK = """
"$1" daemon run & daemon=$!
for _ in $(seq 200); do "$1" daemon status >/dev/null 2>&1 && break; sleep 0.05; done
"$1" daemon status --json >status || true
for name in 1 2; do "$0" get "$2" >out.$name 2>err.$name; echo $? >code.$name; done
kill $daemon; wait $daemon || true
"""


@pytest.fixture
def with_disk(home: Home) -> Iterator[Callable[[str], list[Answer]]]:
    """Two gets with a daemon, after a shell command that mounts what it likes."""
    unshare: list[str | Path] = [*own_mounts(home.path)]

    def get(mount: str) -> list[Answer]:
        script = f"{mount}\n{ASK}"
        subprocess.run(
            [*unshare, "sh", "-ec", script, HELPER, ECR_PY, registry(DEV)],
            stdin=subprocess.DEVNULL,
            cwd=home.path,
            env=home.environment,
            timeout=60,
            check=True,
        )
        return [
            Answer(
                int((home.path / f"code.{name}").read_text()),
                (home.path / f"out.{name}").read_bytes(),
                (home.path / f"err.{name}").read_bytes(),
            )
            for name in (1, 2)
        ]

    yield get


@STORES
@pytest.mark.parametrize("place", [".cache", ".local", "runtime"])
def test_a_full_disk(
    home: Home, aws: Aws, with_disk: Callable[[str], list[Answer]], store: str, place: str
) -> None:
    use_store(home, store)
    shutil.rmtree(home.cache, ignore_errors=True)
    folder = home.environment["XDG_RUNTIME_DIR"] if place == "runtime" else place
    for answer in with_disk(FULL.format(folder)):
        right(aws, answer)


FULL_LATER = """
cp -a .cache/ecr-py cached
mount -t tmpfs -o size=512k,mode=0700 none .cache
cp -a cached .cache/ecr-py
head -c 1000000 /dev/zero >.cache/filled 2>/dev/null || true
"""


@pytest.mark.parametrize("seconds", [0, HALF_LIFE + 60, LIFE - 240, LIFE + 60])
def test_a_disk_that_fills_up_with_a_credential_of_any_age_on_it(
    home: Home, aws: Aws, with_disk: Callable[[str], list[Answer]], seconds: int
) -> None:
    use_store(home, "file")
    home.get(registry(DEV))
    let_pass(home, seconds)
    for answer in with_disk(FULL_LATER):
        right(aws, answer)


def test_a_disk_that_is_full_does_not_make_it_ask_aws_on_and_on(
    home: Home, aws: Aws, with_disk: Callable[[str], list[Answer]]
) -> None:
    """Two gets that cannot keep anything, one renewal of what is named, and then a pause."""
    use_store(home, "file", f'[registries."{registry(DEV)}"]\nprofile = "dev"\n')
    for answer in with_disk(FULL.format(".cache")):
        right(aws, answer)
    assert aws.count(TOKEN) <= 4


# Workers that hang


@STORES
def test_a_worker_that_hangs(home: Home, aws: Aws, start: Start, store: str) -> None:
    """What is ageing is answered at once; so is what others own."""
    daemon = start(store)
    first = home.get(registry(DEV)).password
    home.get(registry(DEV))
    age(daemon, store, HALF_LIFE + 60)
    aws.fault("GetRoleCredentials", "hang", times=1)
    daemon.ask(b"reload")
    eventually(lambda: aws.count("GetRoleCredentials") == 2)
    timed = timed_get(home, registry(DEV))
    assert right(aws, timed.answer) == first
    assert timed.seconds < 5
    answers(home, aws)


def test_four_workers_that_hang_hold_up_no_get(home: Home, aws: Aws, start: Start) -> None:
    hosts = [registry(DEV, region) for region in ("eu-west-1", "eu-west-2", "eu-north-1")]
    hosts += [registry(STAGE, "us-east-1"), registry(STAGE, "us-east-2")]
    tables = "".join(f'[registries."{host}"]\nprofile = "dev"\n' for host in hosts)
    aws.fault("GetRoleCredentials", "hang", times=4)
    start("memory", tables)
    eventually(lambda: aws.count("GetRoleCredentials") == 4)
    # One that no worker is at: theirs are waited for, as by any other get.
    timed = timed_get(home, registry(STAGE, "eu-west-3"))
    right(aws, timed.answer, STAGE)
    assert timed.seconds < 15


def test_a_worker_that_is_killed_is_tried_again_later(home: Home, aws: Aws, start: Start) -> None:
    daemon = start("memory")
    home.get(registry(DEV))
    home.get(registry(DEV))
    let_pass_in_memory(daemon, HALF_LIFE + 60)
    aws.fault("GetRoleCredentials", "hang", times=1)
    daemon.ask(b"reload")
    eventually(lambda: aws.count("GetRoleCredentials") == 2)
    (worker,) = daemon.workers()
    os.kill(worker, 9)
    failure = daemon.failure()
    assert failure["tries"] == 1
    assert failure["again"] > time.time()
    assert daemon.workers() == []
    right(aws, home.get(registry(DEV)))


def test_the_helper_hears_of_a_daemon_that_came_later(home: Home, aws: Aws, start: Start) -> None:
    use_store(home, "memory")
    right(aws, home.get(registry(DEV)))
    start("memory")
    first = home.get(registry(DEV))
    assert home.get(registry(DEV)) == first
    assert as_bytes(home)[b"HOME"] == bytes(home.path)
