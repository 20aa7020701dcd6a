"""The compiled front for Windows: it answers a hit alone, and hands everything else over as it was.

Behind it is not Python here but behind.c, which says what it was given. The first test compares its
answers with those of Windows' Python. tests/system/get/test_front.py has the same for POSIX.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from docker_credential_ecr_py.store import record
from tests.support.environments import PROJECT
from tests.support.front import SOURCE, build_front
from tests.support.home import DEV, HELPER, Answer, registry
from tests.windows.wine import WindowsPython, windows_path

HOST = registry(DEV).encode()
DOCUMENT = b'{"ServerURL":"%b","Username":"AWS","Secret":"x"}\n' % HOST
NOT_FOUND = Answer(1, b"credentials not found in native keychain\n", b"")


def test_it_answers_as_python_does(
    windows: WindowsPython, compiler: list[str], tmp_path: Path
) -> None:
    source = PROJECT / "tests/unit/front_driver.c"
    driver = build_front(tmp_path, source, for_windows=compiler)
    test = windows_path(PROJECT / "tests" / "unit" / "test_front.py")
    options = ("--noconftest", "-p", "no:cacheprovider", "-k", "plain")
    done = windows.run(
        *(windows.python, "-X", "utf8", "-m", "pytest", *options, test),
        *("--basetemp", windows_path(tmp_path / "cases")),
        ECR_PY_FRONT_DRIVER=windows_path(driver),
        PYTHONPATH=windows_path(PROJECT),
    )
    assert done.stdout.startswith("."), done.stdout


@dataclass
class Front:
    """An installation in `scripts`, and a user with a profile folder."""

    windows: WindowsPython
    scripts: Path
    environment: dict[str, str]

    @property
    def program(self) -> Path:
        return self.scripts / f"{HELPER.name}.exe"

    @property
    def root(self) -> Path:
        return self.scripts.parent / "Ĺocal" / "ecr-py" / "Cache"

    def call(self, *arguments: str, stdin: bytes = b"", **environment: str) -> Answer:
        done = subprocess.run(
            self.windows.command(self.program, *arguments),
            input=stdin,
            capture_output=True,
            env=self.environment | environment,
            timeout=120,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def handed_over(self, *arguments: str, stdin: bytes = b"") -> Answer:
        told = "".join(f"<{argument}>" for argument in ("docker-credential", *arguments))
        return Answer(0, f"{told}\n".encode() + stdin, b"")

    def keep(self, *conditions: bytes, key: bytes = b"0" * 32, renew_in: int = 100) -> None:
        """Write the records of a hit for HOST."""
        now = int(time.time())
        times = (b"%d" % (now + after) for after in (-200, renew_in, 200, 300))
        seen = {os.fsencode(name): os.fsencode(text) for name, text in self.environment.items()}
        if sys.platform != "win32":
            del seen[b"HOME"]  # which wine keeps for itself
        here = record.context(seen)
        selection = [record.SELECTION, HOST, here, key, b"{}", *conditions]
        credential = [record.CREDENTIAL, b"0" * 32, *times, b'"AWS"', b'"x"']
        for name, fields in (
            (record.selection_name(HOST, here), selection),
            (record.credential_name(b"0" * 32), credential),
        ):
            file = self.root / os.fsdecode(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(record.record_of(fields))


@pytest.fixture(scope="module")
def installed(compiler: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Scripts folder with the front, and what is behind it."""
    folder = tmp_path_factory.mktemp("front")
    scripts = folder / "Pröjekt 東" / "Scripts"
    scripts.mkdir(parents=True)
    front = build_front(folder, SOURCE / "front.c", for_windows=compiler)
    shutil.copy(front, scripts / f"{HELPER.name}.exe")
    behind = (Path(__file__).with_name("behind.c"), "-o", scripts / "ecr-py.exe")
    subprocess.run([*compiler, "-municode", *behind], check=True)
    return scripts


@pytest.fixture
def front(windows: WindowsPython, installed: Path) -> Front:
    shutil.rmtree(installed.parent / "Ĺocal", ignore_errors=True)
    front = Front(windows, installed, {**windows.environment, "HOME": "/nowhere"})
    front.environment["LOCALAPPDATA"] = windows_path(front.root.parent.parent)
    return front


def test_a_hit(front: Front) -> None:
    front.keep(os.fsencode(windows_path(front.scripts)), record.PRESENT)
    for given in (HOST, b" \t%b\r\n" % HOST):
        assert front.call("get", stdin=given) == Answer(0, DOCUMENT, b"")
    assert front.call("get", HOST.decode()) == Answer(0, DOCUMENT, b"")
    assert front.call("get", stdin=HOST, AWS_PROFILE="x") == front.handed_over("get", stdin=HOST)


def test_a_host_without_credentials(front: Front) -> None:
    front.keep(key=b"")
    assert front.call("get", stdin=HOST) == NOT_FOUND


def test_a_damaged_and_an_ageing_record(front: Front) -> None:
    front.keep(renew_in=-1)
    assert front.call("get", stdin=HOST) == front.handed_over("get", stdin=HOST)
    lock = front.root / "locks" / ("0" * 32)
    lock.parent.mkdir()
    lock.touch()
    assert front.call("get", stdin=HOST) == Answer(0, DOCUMENT, b"")
    for file in front.root.glob("credentials/*"):
        file.write_bytes(file.read_bytes().replace(b'"x"', b'"y"'))
    assert front.call("get", stdin=HOST) == front.handed_over("get", stdin=HOST)


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("get",), b""),
        (("get",), b"ghcr.io\r\n\x1a\xff"),
        (("get",), b"x" * 4096),
        (("store",), b'{"ServerURL":"a"}\r\n' * 10_000),
        (("get", "a b", 'c"d', "e\\", "", "Łoś 東 *"), b""),
        ((), b""),
    ],
    ids=["nothing", "bytes", "4096", "large", "odd arguments", "none"],
)
def test_arguments_and_standard_input(
    front: Front, arguments: tuple[str, ...], stdin: bytes
) -> None:
    found = front.call(*arguments, stdin=stdin, PYTHONPATH="Z:\\tmp")
    assert found == front.handed_over(*arguments, stdin=stdin)


def test_the_exit_code_is_passed_on(front: Front) -> None:
    assert front.call("get", stdin=HOST, BEHIND_CODE="3").code == 3


def test_what_it_started_ends_with_it(front: Front, windows: WindowsPython) -> None:
    """Or the pipe of its answer would stay open, and docker would wait for its end."""
    # taskkill is given a name, and other tests run programs of the usual one at the same time.
    program = front.scripts / f"front-{os.getpid()}.exe"
    shutil.copy(front.program, program)
    process = subprocess.Popen(
        windows.command(program, "get"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=front.environment | {"BEHIND_CODE": "hang"},
    )
    assert process.stdout
    assert process.stdout.readline() == b"<docker-credential><get>\n"
    windows.run("taskkill", "/f", "/im", program.name)
    assert process.communicate(timeout=60)[0] == b""


def test_an_installation_that_is_not_whole(front: Front) -> None:
    hidden = (front.scripts / "ecr-py.exe").rename(front.scripts / "hidden")
    try:
        answer = front.call("get", stdin=HOST)
    finally:
        hidden.rename(front.scripts / "ecr-py.exe")
    assert (answer.code, answer.stdout) == (1, answer.stderr)
    told = f"the command ecr-py is not beside {windows_path(front.program)}"
    assert f"{told}: install docker-credential-ecr-py again" in answer.line


def test_a_program_that_windows_does_not_start(front: Front) -> None:
    program = front.scripts / "ecr-py.exe"
    hidden = program.rename(front.scripts / "hidden")
    try:
        program.write_text("damaged")
        answer = front.call("get", stdin=HOST)
    finally:
        hidden.replace(program)
    assert (answer.code, answer.stdout) == (1, answer.stderr)
    assert f"{windows_path(program)} cannot be started: Windows error 193" in answer.line
