import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from docker_credential_ecr_py.errors import AccessDenied, EcrPyError, LoginNeeded, error_from_dict
from docker_credential_ecr_py.store.lock import Lock, locked, open_lock
from tests.support.other_user import AS_ROOT
from tests.support.programs import NO_LINKS, NO_MODES

FAILED = LoginNeeded("the session has ended", hint="log in")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_one_at_a_time(path: Path) -> None:
    with locked(path, wait=0) as first, locked(path, wait=0) as second:
        assert first is not None
        assert second is None
    with locked(path, wait=0) as third:
        assert third is not None


def test_it_waits_no_longer_than_it_may(path: Path) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        time.sleep(seconds)

    with locked(path, wait=0):
        began = time.monotonic()
        with locked(path, wait=0.5, sleep=sleep) as lock:
            assert lock is None
        assert 0.5 <= time.monotonic() - began < 20
    assert pauses == sorted(pauses)
    assert max(pauses) <= 0.1


def test_it_gets_it_as_soon_as_it_is_free(path: Path) -> None:
    with locked(path, wait=0) as first:
        assert first is not None
        threading.Timer(0.2, lambda: ended.set()).start()
        ended, got = threading.Event(), threading.Event()

        def wait() -> None:
            with locked(path, wait=10) as lock:
                if lock is not None:
                    got.set()

        waiter = threading.Thread(target=wait)
        waiter.start()
        ended.wait()
        assert not got.is_set()
    waiter.join(20)
    assert got.is_set()


def test_a_process_that_dies_lets_go(path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from docker_credential_ecr_py.store.lock import locked\n"
        "with locked(Path(sys.argv[1]), wait=0):\n    print(flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with locked(path, wait=0) as lock:
            assert lock is None
        holder.kill()
        with locked(path, wait=5) as lock:
            assert lock is not None


def after_a_holder(path: Path, error: EcrPyError | None, *, late: float = 0.0) -> EcrPyError | None:
    """What somebody who waited finds; `late` seconds after, what somebody who did not."""
    found: list[EcrPyError | None] = []

    def wait() -> None:
        with locked(path, wait=5) as lock:
            assert lock is not None
            found.append(lock.previous_failure())

    with locked(path, wait=0) as holder:
        assert holder is not None
        waiter = threading.Thread(target=wait)
        if not late:
            waiter.start()
            time.sleep(0.1)
        holder.record_failure(error)
    if late:
        time.sleep(late)
        waiter.start()
    waiter.join()
    return found[0]


def test_those_who_waited_share_a_failure(path: Path) -> None:
    shared = after_a_holder(path, FAILED)
    assert type(shared) is LoginNeeded
    assert str(shared) == str(FAILED)


def test_those_who_waited_see_no_failure_after_a_success(path: Path) -> None:
    after_a_holder(path, FAILED)
    assert after_a_holder(path, None) is None


def test_those_who_come_later_try_for_themselves(path: Path) -> None:
    assert after_a_holder(path, FAILED, late=0.05) is None


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"at": 9e99}',
        b'{"at": null}',
        b"\xff",
        b'{"at": 9e99, "error": []}',
    ],
)
def test_a_note_that_cannot_be_read_is_no_failure(path: Path, note: bytes) -> None:
    path.write_bytes(note)
    with locked(path, wait=0) as lock:
        assert lock is not None
        waited = Lock(lock.file, waited_since=0.0)
        assert waited.previous_failure() is None


def test_a_note_holds_no_secret(path: Path) -> None:
    key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    with locked(path, wait=0) as lock:
        assert lock is not None
        lock.record_failure(AccessDenied(f"refused: aws_secret_access_key={key}", hint="ask again"))
    assert key.encode() not in path.read_bytes()
    assert b"refused" in path.read_bytes()


@pytest.mark.parametrize(
    "obstacle",
    [
        "missing folder",
        pytest.param("symlink", marks=NO_LINKS),
        "folder",
        pytest.param("pipe", marks=pytest.mark.posix_only("there are no named pipes in folders")),
    ],
)
def test_where_it_cannot_be_made_there_is_nobody_to_share_with(
    path: Path, tmp_path: Path, obstacle: str
) -> None:
    match obstacle:
        case "missing folder":
            path = path / "inside"
        case "symlink":
            path.symlink_to(tmp_path / "elsewhere")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
    for _ in range(2):
        with locked(path, wait=0) as lock:
            assert lock is not None
            assert lock.file is None
            lock.record_failure(FAILED)
            assert lock.previous_failure() is None
    assert not (tmp_path / "elsewhere").exists()


@AS_ROOT
def test_a_lock_of_another_user_is_none(path: Path) -> None:
    """Its owner could hold it for ever, and would say why we failed."""
    import fcntl

    note = {"at": 9e99, "error": FAILED.to_dict()}
    path.write_text(json.dumps(note))
    os.chown(path, 12345, 12345)
    with path.open() as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with locked(path, wait=0) as lock:
            assert lock is not None
            assert lock.file is None
            lock.record_failure(None)
    assert json.loads(path.read_text()) == note
    with pytest.raises(PermissionError, match="another user"):
        open_lock(path)


@NO_MODES
def test_a_lock_of_ours_is_closed_to_others(path: Path) -> None:
    """Whoever may open it may hold it."""
    path.touch(mode=0o666)
    path.chmod(0o666)
    with locked(path, wait=0) as lock:
        assert lock is not None
        assert lock.file is not None
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_unknown_kind_of_failure_is_a_failure_still() -> None:
    for note in ({}, {"kind": "redact"}, {"kind": "ProtocolError", "what": "x"}, {"kind": "Gone"}):
        assert isinstance(error_from_dict(note), EcrPyError)
