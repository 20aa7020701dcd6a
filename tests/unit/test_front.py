"""Whatever the compiled front answers from files, record.find answers too, and nothing else.

The same holds of what it answers from a tunnel, and tunnel_client.hit.

Each case is a folder of records, an environment, a URL and a clock, drawn at random: most are right
but for one thing. On Windows, which has no compiler, ECR_PY_FRONT_DRIVER names the compiled driver.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from docker_credential_ecr_py.store import record, tunnel_client
from tests.support.front import SANITIZERS, build_front

PARTS, CASES = (1, 200) if sys.platform == "win32" else (10, 1_000)
DRIVER = Path(__file__).with_name("front_driver.c")
NOTHING, ANSWER, UNUSUAL = range(3)
HOST = b"123456789012.dkr.ecr.eu-west-1.amazonaws.com"
NOW = 1_800_000_000
SECOND = 10**9
CACHE = Path("ecr-py", "Cache") if sys.platform == "win32" else Path("ecr-py")
ODD = (b"", b"x", b"-1", b"+5", b" 5", b"1_0", b"9" * 17, b"9" * 30, b"0x5", b"\xff", b"\n")
ODD_JSON = (
    b'"',
    b'""',
    b"AWS",
    b'"a\\n"',
    b'"a"b"',
    b'"\xc3\xa9"',
    b'"\x7f"',
    b'"\n"',
    b"'a'",
    b"",
)


class Driver:
    """The front's answer_hit, as a process that answers one case after the other."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def answer(self, url: bytes, environ: dict[bytes, bytes], now: int) -> tuple[int, bytes]:
        """Return the outcome and the document, with the clock at `now` (nanoseconds)."""
        assert self._process.stdin and self._process.stdout
        lines = [b"%b=%b" % pair for pair in environ.items()]
        told = [b"%d %d %d %d\n%b" % (len(url), len(lines), *divmod(now, SECOND), url)]
        told += [b"%d\n%b" % (len(line), line) for line in lines]
        with suppress(BrokenPipeError):
            self._process.stdin.write(b"".join(told))
            self._process.stdin.flush()
        head = self._process.stdout.readline().split()
        assert head, self._process.communicate()[1].decode(errors="replace")
        return int(head[0]), self._process.stdout.read(int(head[1]))

    def end(self) -> None:
        _, said = self._process.communicate(timeout=60)
        assert (self._process.returncode, said) == (0, b"")


@pytest.fixture(scope="module", params=["plain", "sanitized"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform == "win32":
        if request.param == "sanitized" or "ECR_PY_FRONT_DRIVER" not in os.environ:
            pytest.skip("tests/windows/test_front.py runs this with a driver for Windows")
        return Path(os.environ["ECR_PY_FRONT_DRIVER"])
    options = SANITIZERS if request.param == "sanitized" else ()
    return build_front(tmp_path_factory.mktemp("front"), DRIVER, *options)


@pytest.fixture
def driver(program: Path) -> Iterator[Driver]:
    started = Driver(program)
    yield started
    started.end()


@dataclass
class Case:
    """What lies below `top`, and what is asked. Records that are None are missing."""

    top: Path
    url: bytes = HOST
    now: int = NOW * SECOND
    environ: dict[bytes, bytes] = field(default_factory=dict)
    selection: list[bytes] = field(default_factory=list)
    credential: list[bytes] = field(default_factory=list)
    key: bytes = b"0" * 32
    lock: int | None = None
    # What is done when the files have been written.
    last: list[Callable[[], None]] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.top / CACHE

    def file(self, name: bytes) -> Path:
        return Path(os.fsdecode(os.fsencode(self.root) + b"/" + name))

    def write(self) -> None:
        here = record.context(self.environ)
        host = record.plain_host(self.url.strip()) or HOST
        files = {
            record.selection_name(host, here): self.selection,
            record.credential_name(self.key): self.credential,
        }
        for name, fields in files.items():
            path = self.file(name)
            with suppress(OSError):
                path.unlink()
            with suppress(OSError):
                path.write_bytes(record.record_of(fields))
                path.chmod(0o600)
        lock = self.file(b"locks/" + self.key)
        if self.lock is None:
            lock.unlink(missing_ok=True)
        else:
            lock.touch()
            os.utime(lock, ns=(self.lock, self.lock))
        for change in self.last:
            change()


def conditions(draw: random.Random, top: Path) -> list[bytes]:
    """Paths and stamps: most hold."""
    found: list[bytes] = []
    for _ in range(draw.choice((0, 0, 1, 2, 5))):
        path = os.fsencode(top / draw.choice(("one", "two", "link", "gone", "fifo", "ecr-py")))
        right = record.stamp(path)
        present = record.PRESENT if right != record.ABSENT else right
        found += [path, draw.choice((right, right, right, present))]
    return found


def right_case(draw: random.Random, top: Path) -> Case:
    case = Case(top)
    case.url = (
        draw.choice((b"", b"https://")) + HOST + draw.choice((b"", b"/", b"/v2/", b"/a_b:1", b"\n"))
    )
    names = draw.sample(record.CONTEXT, draw.choice((0, 1, 3)))
    values = (b"", b"dev", b"a=b\nAWS_PROFILE=x", b"\xff\x01", b"y" * 500)
    case.environ = {name: draw.choice(values) for name in names}
    case.environ |= {b"PATH": b"/bin", b"AWS_PROFILES": b"x", b"XDG_RUNTIME_DIR": os.fsencode(top)}
    if draw.random() < 0.2:
        case.environ[b"AWS_SECRET_ACCESS_KEY"] = draw.choice((b"", b"secret"))
    case.environ[b"LOCALAPPDATA"] = case.environ[b"XDG_CACHE_HOME"] = os.fsencode(top)
    if draw.random() < 0.2:
        home = os.fsencode(top / "home")
        case.environ |= {b"XDG_CACHE_HOME": b"", b"HOME": home}  # its .cache is a link to `top`
    case.now += draw.randrange(SECOND)
    seconds = case.now // SECOND
    times = [seconds - draw.choice((0, 1, 9)), seconds + draw.choice((-5, 0, 1, 9)), seconds + 9]
    case.credential = [
        *(record.CREDENTIAL, case.key),
        *(b"%d" % moment for moment in (*times, seconds + 99)),
        *(b'"AWS"', b'"%b"' % draw.choice((b"", b"secret", b"c2VjcmV0" * 400))),
        *(conditions(draw, top) if draw.random() < 0.2 else ()),
    ]
    key = draw.choice((case.key,) * 9 + (b"",))
    here = record.context(case.environ)
    host = record.plain_host(case.url.strip()) or HOST
    case.selection = [record.SELECTION, host, here, key, b"{}", *conditions(draw, top)]
    if draw.random() < 0.7:
        edges = (0, -59, -60, -61, 3599, 3600, 3601)
        case.lock = case.now + draw.choice(edges) * SECOND + draw.choice((-1000, 0, 1000))
    return case


def change_field(draw: random.Random, case: Case) -> None:
    fields = draw.choice((case.selection, case.credential))
    where = draw.randrange(len(fields))
    noise = draw.randbytes(draw.randrange(30)).replace(b"\0", b"")
    fields[where] = draw.choice((draw.choice(ODD), draw.choice(ODD_JSON), noise))


def change_count(draw: random.Random, case: Case) -> None:
    fields = draw.choice((case.selection, case.credential))
    if draw.random() < 0.5:
        del fields[draw.randrange(1, len(fields)) :]
    else:
        fields += [draw.choice((b"", b"/", b"-", b"+"))] * draw.choice((1, 2, 5, 5000))


def change_times(draw: random.Random, case: Case) -> None:
    seconds = case.now // SECOND
    for where in (record.ISSUED, record.RENEW_AT, record.SPENT_AT):
        case.credential[where] = b"%d" % (seconds + draw.choice((-(10**6), -1, 0, 1, 10**6)))
    if draw.random() < 0.3:
        case.credential[draw.choice((2, 3, 4))] = draw.choice(ODD)


def change_url(draw: random.Random, case: Case) -> None:
    odd = (b"", b"/", b"https://", b"http://" + HOST, HOST + b":443", HOST.upper(), b"\xff", b'"')
    more = (HOST + b"\n", HOST + b"\0", HOST + b"/" + b"a" * 3000, b"a" * 300, b"https://" * 2)
    case.url = draw.choice((*odd, *more, draw.randbytes(draw.randrange(60))))


def change_environ(draw: random.Random, case: Case) -> None:
    """After the records were made for another one."""
    folders = (b"XDG_CACHE_HOME", b"XDG_RUNTIME_DIR", b"LOCALAPPDATA")
    name = draw.choice((*record.CONTEXT, *record.SECRETS, *folders))
    values = (b"", b"relative", b"/", b"x" * 70_000, os.fsencode(case.top) + b"/")
    case.last.append(lambda: case.environ.update({name: draw.choice(values)}))


def change_bytes(draw: random.Random, case: Case) -> None:
    def change() -> None:
        path = any_record(draw, case)
        data = bytearray(path.read_bytes())
        match draw.randrange(5):
            case 0:
                del data[draw.randrange(len(data)) :]
            case 1:
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            case 2:
                data += draw.choice((b"\0", b"x", b"\n", b"x" * record.LARGEST_RECORD))
            case 3:
                data.insert(draw.randrange(len(data)), draw.randrange(256))
            case _:
                del data[draw.randrange(len(data))]
        path.write_bytes(data)

    case.last.append(change)


def change_file(draw: random.Random, case: Case) -> None:
    def change() -> None:
        path = any_record(draw, case)
        match draw.randrange(7) if os.name == "posix" else draw.choice((0, 7, 8)):
            case 0:
                path.unlink()
            case 7:
                path.unlink()
                path.mkdir()
            case 1:
                path.chmod(draw.choice((0o640, 0o604, 0o610, 0o400, 0o700, 0o4600, 0)))
            case 2:
                other = path.rename(path.with_suffix(".other"))
                path.symlink_to(other)
            case 3:
                path.unlink()
                os.mkfifo(path, 0o600)
            case 4:
                path.unlink()
                with socket.socket(socket.AF_UNIX) as there, suppress(OSError):
                    there.bind(os.fsencode(path)[:100])
            case 5 if os.geteuid() == 0:
                os.chown(path, 12345, -1)
            case _:
                path.write_bytes(b"")

    case.last.append(change)


def change_folder(draw: random.Random, case: Case) -> None:
    case.last.append(lambda: case.root.chmod(draw.choice((0o755, 0o710, 0o701, 0o500))))


def change_clock(draw: random.Random, case: Case) -> None:
    seconds = draw.choice((-1, 0, 1, 5, 8, 9, 10, 10**9, -NOW))
    case.last.append(lambda: setattr(case, "now", case.now + seconds * SECOND))


# In the order in which two of them can follow each other.
CHANGES = (
    *(change_times, change_field, change_count, change_url, change_environ),
    *(change_bytes, change_file, change_folder, change_clock),
)


def any_record(draw: random.Random, case: Case) -> Path:
    """One of the two. That of the selection has any name that begins so."""
    found = [*case.root.glob("selections/[!.]*~*"), *case.root.glob("credentials/0*")]
    return draw.choice([path for path in found if path.suffix != ".other"])


def clear(top: Path) -> None:
    root = top / CACHE
    root.chmod(0o700)
    for path in [*root.glob("selections/*"), *root.glob("credentials/*")]:
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.fixture
def top(tmp_path: Path) -> Path:
    folder = tmp_path / "t\u014dp"
    for name in (CACHE / "selections", CACHE / "credentials", CACHE / "locks", "home"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / CACHE).chmod(0o700)
    (folder / "one").write_text("one")
    (folder / "two").write_text("two")
    if sys.platform != "win32":
        os.utime(folder / "two", ns=(-1, -1))
        (folder / "home" / ".cache").symlink_to(folder)
        (folder / "link").symlink_to("one")
        os.mkfifo(folder / "fifo")
    return folder


def renewed_of_late(root: bytes, hit: record.Hit, now: int) -> bool:
    """As helper.renew_in_background decides."""
    try:
        age = now / SECOND - os.stat(record.lock_path(root, hit.key)).st_mtime
    except OSError:
        return False
    return -3600 <= age < 60


def check(driver: Driver, case: Case, monkeypatch: pytest.MonkeyPatch) -> tuple[int, bool]:
    """Return what the front did, and whether Python would answer without a renewal."""
    outcome, document = driver.answer(case.url, case.environ, case.now)
    monkeypatch.setattr(time, "time", lambda: case.now / SECOND)
    root = record.cache_root(case.environ)
    hit = record.find(root, case.url.strip(), case.environ) if root else None
    monkeypatch.undo()
    may = hit is not None and (not hit.ageing or renewed_of_late(root or b"", hit, case.now))
    if outcome == ANSWER:
        assert hit is not None
        assert may
        assert document == hit.answer
    if outcome == NOTHING:
        assert hit is None
    return outcome, may


@pytest.mark.parametrize("part", range(PARTS))
def test_it_answers_as_python_does(
    driver: Driver, top: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    seen: Counter[tuple[int, bool]] = Counter()
    for seed in range(part * CASES, (part + 1) * CASES):
        draw = random.Random(seed)
        clear(top)
        case = right_case(draw, top)
        changes = sorted(draw.sample(CHANGES, draw.choice((0, 1, 1, 1, 2))), key=CHANGES.index)
        for change in changes:
            change(draw, case)
        with suppress(IndexError):  # a second change has no file to begin with
            case.write()
        try:
            found = check(driver, case, monkeypatch)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {[one.__name__ for one in changes]}") from error
        if not changes:
            assert (found[0] == ANSWER) == found[1], seed
        seen[found] += 1
    assert seen[ANSWER, True] > CASES / 10
    assert seen[NOTHING, False] > CASES / 10
    assert seen[UNUSUAL, True] < CASES / 100, seen


class OtherEnd:
    """The other end of a tunnel: answers everybody with `answer`, and keeps the requests."""

    def __init__(self, path: Path) -> None:
        self.answer = b""
        self.requests: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                wire, _ = self._listener.accept()
                with wire, suppress(OSError):
                    self.requests.append(wire.recv(10_000))
                    wire.sendall(self.answer)

    def end(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


def tunnel_answer(draw: random.Random, url: bytes) -> bytes:
    """What comes through a tunnel: half of it is right."""
    secret = draw.choice((b"", b"secret", b"c2VjcmV0" * 400))
    right = b'{"ServerURL":"%b","Username":"AWS","Secret":"%b"}\n' % (url, secret)
    if draw.random() < 0.5:
        return right
    line = bytearray(right)
    where = draw.randrange(len(line))
    match draw.randrange(6):
        case 0:
            line[where] ^= 1 << draw.randrange(8)
        case 1:
            line[where:where] = draw.choice((b"\0", b"\n", b'"', b"\\", b"\xc3\xa9", b"x" * 20_000))
        case 2:
            del line[where:]
        case 3:
            return right.replace(*draw.choice(((b"AWS", b"x"), (url, b"x"), (b"Secret", b"x"))))
        case 4:
            return right + draw.choice((right, b"\n", b"x", b"\0"))
        case _:
            lines = (tunnel_client.NO_CREDENTIALS, tunnel_client.NOT_FORWARDED)
            more = (tunnel_client.WAIT, tunnel_client.LOGIN, b"error x\n", b"\n", b"")
            return draw.choice(lines + more)
    return bytes(line)


@pytest.mark.skipif(sys.platform == "win32", reason="no tunnel leads to Windows")
def test_it_answers_from_a_tunnel_as_python_does(
    driver: Driver, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.daemon import short_folder

    seen: Counter[tuple[int, bytes]] = Counter()
    with short_folder() as folder:
        path = folder / "tunnel"
        other = OtherEnd(path)
        for seed in range(CASES):
            draw = random.Random(seed)
            url = draw.choice((b"", b"https://")) + HOST + draw.choice((b"", b"/", b"/v2/", b" "))
            environ = {b"XDG_CACHE_HOME": os.fsencode(top), b"ECR_PY_FORWARD": os.fsencode(path)}
            folder.chmod(draw.choice((0o700, 0o700, 0o755, 0o711, 0o720, 0o702)))
            other.answer = tunnel_answer(draw, url.strip())
            other.requests.clear()
            outcome, document = driver.answer(url, environ, NOW * SECOND)
            monkeypatch.setattr(tunnel_client, "is_gone", False)
            patient = environ | {b"ECR_PY_FORWARD_WAIT": b"20"}
            answer = tunnel_client.hit(os.fsencode(path), url.strip(), patient)
            if outcome == ANSWER:
                expected = b"" if answer == tunnel_client.NO_CREDENTIALS else answer
                assert document == expected, seed
                assert document == b"" or answer.startswith(b"{"), seed
            assert len(set(other.requests)) <= 1, seed
            seen[outcome, b"{" if answer.startswith(b"{") else answer] += 1
        other.end()
    assert seen[ANSWER, b"{"] > CASES / 5, seen
    assert seen[UNUSUAL, b"{"] + seen[NOTHING, b"{"] < CASES / 10, seen
    assert seen[NOTHING, b""] > CASES / 10, seen
    assert seen[ANSWER, tunnel_client.NO_CREDENTIALS], seen
    assert seen[NOTHING, tunnel_client.NOT_FORWARDED], seen
    assert seen[UNUSUAL, tunnel_client.WAIT], seen


@pytest.mark.posix_only("a socket of the daemon is part of it")
def test_what_fuzzing_found_worth_trying(tmp_path: Path) -> None:
    """See front_fuzz.c. The files that people wrote have names, and come to what is said here."""
    from tests.support.daemon import short_folder

    program = build_front(tmp_path, DRIVER.with_name("front_fuzz.c"), *SANITIZERS, "-DREPLAY")
    files = sorted(DRIVER.with_name("front_corpus").iterdir())
    with short_folder() as folder:  # a socket is in it
        done = subprocess.run(
            [program, *files],
            env={"TMPDIR": str(folder)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    outcomes = {file.name: int(line) for file, line in zip(files, done.stdout.split(), strict=True)}
    wanted = {
        **dict.fromkeys(("hit", "whole", "none", "daemon", "daemon-none-by-bytes"), ANSWER),
        **dict.fromkeys(("hit-conditions", "daemon-renew"), NOTHING),
        **dict.fromkeys(("ageing", "many-fields", "long"), UNUSUAL),
    }
    assert {name: outcomes[name] for name in wanted} == wanted
