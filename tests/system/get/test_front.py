"""The compiled front: it answers a hit alone, and hands everything else over as it was.

Behind it is not Python here but a script that says what it was given. tests/unit/test_front.py
compares its answers with record.find.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from docker_credential_ecr_py.store import record
from tests.support.daemon import short_folder
from tests.support.front import SOURCE, build_front
from tests.support.home import DEV, HELPER, Answer, registry
from tests.support.programs import need
from tests.support.surroundings import machine_path

HOST = registry(DEV).encode()
BEHIND = """#!/bin/sh
echo "handed over: $*"
exec cat
"""
DOCUMENT = b'{"ServerURL":"%b","Username":"AWS","Secret":"x"}\n' % HOST
KEPT = b"kept\0" + DOCUMENT
# Of a hit, as gcc 12 compiles it for x86-64.
INSTRUCTIONS = 98_000
NOT_FOUND = Answer(1, b"credentials not found in native keychain\n", b"")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_front(tmp_path_factory.mktemp("front"), SOURCE / "front.c")


@dataclass
class Front:
    """An installation below `prefix`, and a user with a home and a runtime folder."""

    prefix: Path
    environment: dict[str, str]

    @property
    def program(self) -> Path:
        return self.prefix / "bin" / HELPER.name

    @property
    def launcher(self) -> Path:
        return self.prefix / "libexec" / HELPER.name

    @property
    def root(self) -> Path:
        return Path(self.environment["HOME"]) / ".cache" / "ecr-py"

    def call(self, *arguments: str | bytes, stdin: bytes = b"") -> Answer:
        done = subprocess.run(
            [self.program, *arguments],
            input=stdin,
            capture_output=True,
            env=self.environment,
            timeout=60,
            start_new_session=True,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def handed_over(self, *arguments: str, stdin: bytes = b"") -> Answer:
        """What is answered if all was handed over."""
        told = " ".join(["-IS -X utf8", f"{self.prefix}/bin/../libexec/{HELPER.name}", *arguments])
        return Answer(0, f"handed over: {told}\n".encode() + stdin, b"")

    def keep(
        self,
        *conditions: bytes,
        renew_in: int = 100,
        key: bytes = b"0" * 32,
        secret: bytes = b"x",
    ) -> None:
        """Write the records of a hit for HOST."""
        here = record.context({os.fsencode(k): os.fsencode(v) for k, v in self.environment.items()})
        now = int(time.time())
        times = (b"%d" % (now + after) for after in (-200, renew_in, 200, 300))
        fields = {
            record.selection_name(HOST, here): (
                *(record.SELECTION, HOST, here, key, b"{}"),
                *conditions,
            ),
            record.credential_name(key): (
                *(record.CREDENTIAL, key, *times),
                *(b'"AWS"', b'"%b"' % secret),
            ),
        }
        for folder in ("", "selections", "credentials", "locks"):
            (self.root / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, each in fields.items() if key else list(fields.items())[:1]:
            path = self.root / os.fsdecode(name)
            path.touch(mode=0o600)
            path.write_bytes(record.record_of(list(each)))

    def trace(self, calls: str) -> list[str]:
        log = self.prefix / "strace"
        options = ["-f", "-s", "4096", "-o", str(log), "-e", f"trace={calls}"]
        subprocess.run(
            [need("strace"), *options, self.program, "get"],
            input=HOST,
            env=self.environment,
            capture_output=True,
            timeout=60,
        )
        return [line for line in log.read_text().splitlines() if "+++" not in line]


@pytest.fixture
def front(compiled: Path, tmp_path: Path) -> Iterator[Front]:
    prefix = tmp_path / "prefix"
    for folder in ("bin", "libexec"):
        (prefix / folder).mkdir(parents=True)
    shutil.copy(compiled, prefix / "bin" / HELPER.name)
    behind = prefix / "behind"
    behind.write_text(BEHIND)
    behind.chmod(0o755)
    (prefix / "bin" / "ecr-py").write_text(f"#!{behind}\n# -*- coding: utf-8 -*-\n")
    (prefix / "libexec" / HELPER.name).touch()
    (tmp_path / "home").mkdir()
    with short_folder() as runtime:
        yield Front(
            prefix,
            {
                "HOME": str(tmp_path / "home"),
                "PATH": os.environ["PATH"],
                "XDG_RUNTIME_DIR": str(runtime),
            },
        )


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


# A hit from files


@pytest.mark.parametrize("given", [HOST, b" \t%b\r\n" % HOST])
def test_a_hit(front: Front, given: bytes) -> None:
    front.keep(b"/", record.PRESENT)
    before = tree(front.root)
    assert front.call("get", stdin=given) == Answer(0, DOCUMENT, b"")
    assert front.call("get", given) == Answer(0, DOCUMENT, b"")
    assert tree(front.root) == before


def test_a_host_without_credentials(front: Front) -> None:
    front.keep(key=b"")
    assert front.call("get", stdin=HOST) == NOT_FOUND


def test_a_hit_is_one_exec_and_opens_no_more_than_two_records(front: Front) -> None:
    front.keep(b"/", record.PRESENT)
    lines = front.trace("%process,%network,open,openat,write,unlink,rename,mkdir,utimensat")
    calls = [re.split(r"[\s(]+", line)[1] for line in lines]
    assert set(calls) <= {"execve", "arch_prctl", "open", "openat", "write", "exit_group"}
    assert calls.count("execve") == 1
    opened = [re.findall(r'"([^"]+)"', line)[0] for line in lines if " open" in line]
    files = {path for path in opened if not path.startswith(("/lib", "/usr/lib", "/etc/ld.so"))}
    assert files == {
        str(path)
        for name in ("selections", "credentials")
        for path in (front.root / name).iterdir()
    }
    assert [line for line in lines if " write(" in line and " write(1, " not in line] == []


def test_a_hit_takes_no_more_instructions_than_it_did(
    front: Front, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In `main`, with a secret as long as ECR's; other programs on the machine change nothing."""
    version = subprocess.run(
        ["cc", "-dM", "-E", "-x", "c", "/dev/null"],
        env={"PATH": machine_path()},
        capture_output=True,
        text=True,
    ).stdout
    if not {"#define __GNUC__ 12", "#define __x86_64__ 1"} <= set(version.splitlines()):
        pytest.skip("the count is known for gcc 12 on x86-64")
    front.keep(*(b"/", record.PRESENT) * 4, secret=b"x" * 2700)
    static = build_front(tmp_path_factory.mktemp("static"), SOURCE / "front.c", "-static")
    log = front.prefix / "callgrind"
    options = ("--tool=callgrind", "--toggle-collect=main", f"--callgrind-out-file={log}")
    done = subprocess.run(
        [need("valgrind"), *options, static, "get"],
        input=HOST,
        env=front.environment,
        capture_output=True,
        timeout=60,
    )
    assert done.stdout.startswith(b'{"ServerURL":')
    (total,) = re.findall(r"^(?:summary|totals): (\d+)", log.read_text(), re.MULTILINE)[:1]
    assert 0 < int(total) < 1.1 * INSTRUCTIONS


def test_an_ageing_credential_is_answered_for_a_minute_after_a_renewal_began(front: Front) -> None:
    front.keep(renew_in=-1)
    assert front.call("get", stdin=HOST) == front.handed_over("get", stdin=HOST)
    lock = front.root / "locks" / ("0" * 32)
    lock.touch()
    assert front.call("get", stdin=HOST) == Answer(0, DOCUMENT, b"")
    os.utime(lock, (time.time() - 61, time.time() - 61))
    assert front.call("get", stdin=HOST) == front.handed_over("get", stdin=HOST)


def test_the_cache_can_be_turned_off(front: Front) -> None:
    front.keep()
    front.environment["AWS_ECR_DISABLE_CACHE"] = "1"
    assert front.call("get", stdin=HOST) == front.handed_over("get", stdin=HOST)


@pytest.mark.parametrize("redirect", [">&-", "| :", ">/dev/full"])
def test_an_answer_that_cannot_be_written_is_exit_code_1(front: Front, redirect: str) -> None:
    front.keep()
    # If `:` is slow, what it does not read is in the pipe: it is given time to end.
    script = f'trap "" PIPE; {{ sleep 0.3; "$0" get "$1"; echo $? >&2; }} {redirect}'
    done = subprocess.run(
        ["sh", "-c", script.replace('trap "" PIPE; ', ""), front.program, HOST],
        env=front.environment,
        capture_output=True,
    )
    assert done.stderr.split() == [b"1"]


# What is handed over


@pytest.mark.parametrize(
    "stdin",
    [b"", b"ghcr.io", HOST, b"a\0b\n", b"x" * 4096, b'{"ServerURL":"a"}' * 10_000],
    ids=["nothing", "another", "a miss", "NUL", "4096", "large"],
)
@pytest.mark.parametrize(
    "arguments", [("get",), ("store",), ("list",), (), ("get", "a", "b"), ("get", "a b"), ("",)]
)
def test_arguments_and_standard_input(
    front: Front, arguments: tuple[str, ...], stdin: bytes
) -> None:
    if arguments == ("get",):
        stdin = stdin[:4096]  # Python reads no more of it
    before = tree(Path(front.environment["HOME"]))
    assert front.call(*arguments, stdin=stdin) == front.handed_over(*arguments, stdin=stdin)
    assert tree(Path(front.environment["HOME"])) == before


def test_a_closed_standard_input(front: Front) -> None:
    script = '"$0" get <&- 2>/dev/null'
    done = subprocess.run(
        ["sh", "-c", script, front.program], env=front.environment, capture_output=True
    )
    assert done.stdout == front.handed_over("get").stdout


def test_the_environment_is_passed_on(front: Front) -> None:
    (front.prefix / "behind").write_text("#!/bin/sh\necho $0 $MARK\n")
    front.environment["MARK"] = "here"
    assert front.call("get", stdin=HOST).stdout == f"{front.prefix}/behind here\n".encode()


@pytest.mark.parametrize("missing", ["bin/ecr-py", f"libexec/{HELPER.name}", "behind"])
def test_an_installation_that_is_not_whole(front: Front, missing: str) -> None:
    (front.prefix / missing).unlink()
    answer = front.call("get", stdin=HOST)
    assert (answer.code, answer.stdout) == (1, answer.stderr)
    assert f"is not beside {front.program}: install docker-credential-ecr-py again" in answer.line


def test_an_interpreter_that_may_not_be_run(front: Front) -> None:
    (front.prefix / "behind").chmod(0o644)
    answer = front.call("get", stdin=HOST)
    assert (answer.code, answer.stdout) == (1, answer.stderr)
    assert answer.line == f"ecr-py: {front.prefix}/behind cannot be started: Permission denied"


@pytest.mark.parametrize(
    "head", ["", "\n", "#!", "#!\n\n", "#!/bin/sh\n\n", "#!/bin/sh\n'''exec' \n"]
)
def test_a_head_without_an_interpreter(front: Front, head: str) -> None:
    (front.prefix / "bin" / "ecr-py").write_text(head)
    assert "the command ecr-py is not beside" in front.call("get", stdin=HOST).line


# A hit through the daemon's socket


@contextmanager
def answering(front: Front, behave: Callable[[socket.socket], None]) -> Iterator[list[bytes]]:
    """A daemon; yields the requests that it gets."""
    folder = Path(front.environment["XDG_RUNTIME_DIR"]) / "ecr-py"
    folder.mkdir(mode=0o700)
    requests: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "daemon.sock"))
        listener.listen(8)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    wire, _ = listener.accept()
                    with wire, suppress(OSError):
                        requests.append(wire.recv(65536))
                        behave(wire)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield requests
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def by_socket(front: Front, answer: bytes) -> Answer:
    with answering(front, lambda wire: wire.sendall(answer)):
        return front.call("get", stdin=HOST)


def test_a_hit_by_socket(front: Front) -> None:
    front.environment["AWS_PROFILE"] = "dev"
    with answering(front, lambda wire: wire.sendall(KEPT)) as requests:
        assert front.call("get", stdin=HOST) == Answer(0, DOCUMENT, b"")
    here = f"HOME={front.environment['HOME']}\nAWS_PROFILE=dev".encode()
    assert requests == [b"ecr-py/1 hit %b %b\n" % (HOST, here.hex().encode())]


def test_a_host_without_credentials_by_socket(front: Front) -> None:
    assert by_socket(front, b"kept\0-\n") == NOT_FOUND


def test_a_hit_by_file_does_not_ask(front: Front) -> None:
    front.keep()
    with answering(front, lambda wire: None) as requests:
        assert front.call("get", stdin=HOST) == Answer(0, DOCUMENT, b"")
    assert requests == []


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"\n", b"-\n", b"kept", b"kept\0", b"kept\n", DOCUMENT, b"\0" + DOCUMENT),
        *(b"renew\0" + DOCUMENT, KEPT[:-1], KEPT[:-3] + b"\n", KEPT.replace(HOST, b"example.com")),
        *(KEPT + b"\0", KEPT + b"\0\n", b"ecr-py/1\n", b"kept\0" * 20_000, b"x" * 200_000),
    ],
)
def test_what_is_no_answer(front: Front, answer: bytes) -> None:
    assert by_socket(front, answer) == front.handed_over("get", stdin=HOST)


@pytest.mark.parametrize(
    ("stamp", "holds"), [(b"right", True), (record.PRESENT, True), (b"-", False), (b"1.2.3", False)]
)
def test_the_files_that_it_depends_on(front: Front, stamp: bytes, holds: bool) -> None:
    file = front.prefix / "with\nnewline"
    file.touch()
    path = os.fsencode(file)
    stamp = record.stamp(path) if stamp == b"right" else stamp
    found = by_socket(front, b"\0".join([b"kept", path, stamp, DOCUMENT]))
    wanted = Answer(0, DOCUMENT, b"") if holds else front.handed_over("get", stdin=HOST)
    assert found == wanted


def test_a_daemon_that_does_not_answer_or_drips_is_not_waited_for(front: Front) -> None:
    ended = threading.Event()

    def drip(wire: socket.socket) -> None:
        while not ended.wait(0.02):
            wire.sendall(b"k")

    for behave in (lambda wire: bool(ended.wait(30)), drip):
        with answering(front, behave):  # type: ignore[arg-type]
            found = front.call("get", stdin=HOST)
            ended.set()
        ended.clear()
        assert found == front.handed_over("get", stdin=HOST)
        shutil.rmtree(Path(front.environment["XDG_RUNTIME_DIR"]) / "ecr-py")


def test_a_folder_that_others_may_enter(front: Front) -> None:
    with answering(front, lambda wire: wire.sendall(KEPT)) as requests:
        (Path(front.environment["XDG_RUNTIME_DIR"]) / "ecr-py").chmod(0o710)
        assert front.call("get", stdin=HOST) == front.handed_over("get", stdin=HOST)
    assert requests == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs a program as another user")
def test_another_user_s_daemon(front: Front) -> None:
    """As the kernel says, whatever the folder's mode and owner are."""
    runtime = Path(front.environment["XDG_RUNTIME_DIR"])
    front.prefix = Path(shutil.copytree(front.prefix, runtime / "prefix"))  # which all can reach
    (front.prefix / "bin" / "ecr-py").write_text(f"#!{front.prefix}/behind\n\n")
    with answering(front, lambda wire: wire.sendall(KEPT)) as requests:
        for path in (runtime, runtime / "ecr-py", runtime / "ecr-py" / "daemon.sock"):
            os.chown(path, 12345, 12345)
        done = subprocess.run(
            [need("setpriv"), "--reuid=12345", "--clear-groups", front.program, "get"],
            input=HOST,
            env=front.environment,
            capture_output=True,
        )
    assert done.stdout == front.handed_over("get", stdin=HOST).stdout
    assert requests in ([], [b""])  # it hangs up when it sees whose it is
