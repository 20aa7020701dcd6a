"""A cache that is full, read-only, damaged, open to others, or not ours: never a wrong answer."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docker_credential_ecr_py.store import record
from tests.standin.aws import Aws
from tests.support.home import DEV, HELPER, STAGE, Answer, Home, registry
from tests.support.processes import at_once
from tests.support.programs import need, own_mounts
from tests.support.records import (
    HALF_LIFE,
    KINDS,
    LIFE,
    damaged,
    files,
    let_pass,
    only,
    store_of,
)

NOBODY = 65534


@pytest.fixture
def first(home: Home) -> str:
    return home.get(registry(DEV)).password


def modes(top: Path) -> dict[str, str]:
    """What may be done by others with anything under `top`."""
    found = {}
    for path in [top, *top.rglob("*")]:
        wanted = 0o700 if path.is_dir() else 0o600
        if stat.S_IMODE(path.lstat().st_mode) != wanted:
            found[str(path)] = oct(path.lstat().st_mode)
    return found


def right(aws: Aws, answer: Answer, account: str = DEV) -> str:
    assert answer.stderr == b""
    assert aws.issued[answer.password].account == account
    return answer.password


# Rights.


def test_all_that_is_written_is_for_the_owner_alone(home: Home, aws: Aws) -> None:
    before = set(home.path.rglob("*"))
    process = home.start("get", umask=0)
    process.communicate(registry(DEV).encode())
    home.call("erase", stdin=registry(STAGE).encode())
    written = [path for path in home.path.rglob("*") if path not in before]
    assert home.log in written
    assert only(home, "credentials") in written
    loose = [path for path in written if path.stat().st_mode & 0o077]
    assert loose == []


@pytest.mark.parametrize("where", ["", "credentials", "selections", "locks"])
def test_a_folder_open_to_others_is_closed(home: Home, aws: Aws, first: str, where: str) -> None:
    (home.cache / where).chmod(0o777)
    right(aws, home.get(registry(DEV)))
    right(aws, home.get(registry(STAGE)), STAGE)
    assert modes(home.cache) == {}


@pytest.mark.parametrize("mode", [0o777, 0o644, 0o660, 0o601])
def test_a_credential_open_to_others_is_fetched_anew(
    home: Home, aws: Aws, first: str, mode: int
) -> None:
    only(home, "credentials").chmod(mode)
    assert home.cached() == []
    second = right(aws, home.get(registry(DEV)))
    assert second != first
    assert home.get(registry(DEV)).password == second
    assert modes(home.cache) == {}


def test_a_selection_open_to_others_is_made_anew(home: Home, aws: Aws, first: str) -> None:
    only(home, "selections").chmod(0o666)
    assert right(aws, home.get(registry(DEV))) == first
    assert modes(home.cache) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("where", ["", "credentials"])
def test_what_belongs_to_another_user_is_not_trusted(
    home: Home, aws: Aws, first: str, where: str
) -> None:
    for path in [home.cache / where, *(home.cache / where).rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    second = right(aws, home.get(registry(DEV)))
    assert second != first
    assert right(aws, home.get(registry(DEV))) not in (first, second)
    assert {path.stat().st_uid for path in (home.cache / where).rglob("*")} == {NOBODY}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_credential_of_another_user_is_replaced(home: Home, aws: Aws, first: str) -> None:
    os.chown(only(home, "credentials"), NOBODY, NOBODY)
    second = right(aws, home.get(registry(DEV)))
    assert second != first
    assert home.get(registry(DEV)).password == second
    assert only(home, "credentials").stat().st_uid == os.geteuid()


# Something else where a record, a folder or a lock belongs.


@pytest.mark.parametrize("folder", ["credentials", "selections"])
def test_a_symlink_where_a_record_belongs(
    home: Home, aws: Aws, first: str, folder: str, tmp_path: Path
) -> None:
    planted, elsewhere = only(home, folder), tmp_path / "elsewhere"
    shutil.copy2(planted, elsewhere)
    before = elsewhere.read_bytes()
    planted.unlink()
    planted.symlink_to(elsewhere)
    password = right(aws, home.get(registry(DEV)))
    assert (password == first) == (folder == "selections")
    assert elsewhere.read_bytes() == before
    assert stat.S_ISREG(only(home, folder).lstat().st_mode)


@pytest.mark.parametrize("where", ["", "credentials", "selections", "locks"])
def test_a_symlink_where_a_folder_belongs(home: Home, aws: Aws, where: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    precious = home.write(elsewhere / "precious", "precious")
    elsewhere.chmod(0o700)
    os.utime(precious, (1, 1))
    for folder in {"", "credentials", "selections", "locks"} - {where}:
        if where:
            (home.cache / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    (home.cache / where).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    (home.cache / where).symlink_to(elsewhere)
    for _ in range(2):
        right(aws, home.get(registry(DEV)))
    assert list(elsewhere.iterdir()) == [precious]
    assert (home.cache / where).is_symlink()


def test_a_symlink_where_the_lock_belongs(home: Home, aws: Aws, first: str, tmp_path: Path) -> None:
    precious = home.write(tmp_path / "precious", "precious")
    lock = only(home, "locks")
    only(home, "credentials").unlink()
    lock.unlink()
    lock.symlink_to(precious)
    second = right(aws, home.get(registry(DEV)))
    assert home.get(registry(DEV)).password == second
    assert precious.read_text() == "precious"


def fifo(path: Path) -> None:
    os.mkfifo(path, 0o600)


def folder(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "inside").touch()


def device(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make devices")
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero


@pytest.mark.parametrize("kind", ["credentials", "selections", "locks"])
@pytest.mark.parametrize("plant", [fifo, folder, device])
def test_something_else_where_a_file_belongs(
    home: Home, aws: Aws, first: str, plant: Callable[[Path], None], kind: str
) -> None:
    file = only(home, kind)
    if kind == "locks":
        only(home, "credentials").unlink()
    file.unlink()
    plant(file)
    # More than one at a time, for a lock that cannot be waited for.
    for timed in at_once(home, [registry(DEV)] * 2):
        right(aws, timed.answer)
        assert timed.seconds < 10
    assert home.call("list").code == 0
    assert home.call("erase", stdin=registry(DEV).encode()).code == 0


def test_strange_files_among_the_records(home: Home, aws: Aws, first: str) -> None:
    for kind in ("credentials", "selections", "locks"):
        for name in (b"\xff~\xff", b"~", b"a b", b"x~" + b"0" * 32, b"z.new"):
            with open(os.path.join(os.fsencode(home.cache / kind), name), "wb") as file:
                file.write(b"strange")
    assert home.get(registry(DEV)).password == first
    assert home.cached() == [registry(DEV)]
    assert home.call("erase", stdin=registry(DEV).encode()).code == 0
    assert right(aws, home.get(registry(DEV))) != first


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_record_cut_at_every_byte_or_with_a_bit_changed(
    home: Home, aws: Aws, first: str, kind: str
) -> None:
    variables = store_of(home)._here  # the context, as the helper sees it
    environment = {os.fsencode(k): os.fsencode(v) for k, v in home.environment.items()}
    assert record.context(environment) == variables
    path, root = os.fsencode(only(home, kind)), os.fsencode(home.cache)
    host, whole = registry(DEV).encode(), only(home, kind).read_bytes()
    assert record.find(root, host, environment)
    damages = [whole[:n] for n in range(len(whole))]
    damages += [
        whole[:n] + bytes([whole[n] ^ 1 << n % 8]) + whole[n + 1 :] for n in range(len(whole))
    ]
    for damage in [*damages, whole + b"\0", whole + b"x", whole + whole]:
        with open(path, "r+b") as file:
            file.truncate(file.write(damage))
        assert record.read(path, KINDS[kind]) is None
        assert record.find(root, host, environment) is None
    answer = right(aws, home.get(registry(DEV)))
    assert (answer == first) == (kind == "selections")
    assert damaged(home) == []


# Disks.


@pytest.fixture
def mounted(home: Home) -> Iterator[Callable[[str, str], Answer]]:
    """Runs a get after a shell command that may mount what it likes."""
    unshare = own_mounts(home.path)

    def get(mount: str, account: str) -> Answer:
        done = subprocess.run(
            [*unshare, "sh", "-ec", f'{mount}\nexec "$0" get', HELPER],
            input=registry(account).encode(),
            cwd=home.path,
            env=home.environment,
            capture_output=True,
            timeout=60,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    yield get


FULL = """
mount -t tmpfs -o size=16k none .cache
head -c 1000000 /dev/zero >.cache/filled 2>/dev/null || true
"""
FULL_LATER = """
mount -t tmpfs -o size=512k none .cache
cp -a cached .cache/ecr-py
head -c 1000000 /dev/zero >.cache/filled 2>/dev/null || true
"""
READ_ONLY = "mount --bind {0} {0}\nmount -o remount,ro,bind {0}\n"


def test_a_full_disk(
    home: Home, aws: Aws, first: str, mounted: Callable[[str, str], Answer]
) -> None:
    for account in (DEV, STAGE):
        assert right(aws, mounted(FULL, account), account) != first
    assert "No space left on device" in home.log.read_text()


def test_a_disk_that_is_full_still_answers_what_it_has(
    home: Home, aws: Aws, first: str, mounted: Callable[[str, str], Answer]
) -> None:
    shutil.copytree(home.cache, home.path / "cached")
    (home.path / "cached").chmod(0o700)
    assert right(aws, mounted(FULL_LATER, DEV)) == first
    right(aws, mounted(FULL_LATER, STAGE), STAGE)


# What lies in the cache by the time that something breaks, and whether it is answered still.
AGES = {
    "fresh": (0, True),
    "ageing": (HALF_LIFE + 60, True),
    "spent": (LIFE - 240, False),
    "past its end": (LIFE + 60, False),
}
OF_EVERY_AGE = pytest.mark.parametrize(("seconds", "answered"), AGES.values(), ids=AGES)


@OF_EVERY_AGE
def test_a_full_disk_with_a_credential_of_any_age(
    home: Home,
    aws: Aws,
    first: str,
    mounted: Callable[[str, str], Answer],
    seconds: int,
    answered: bool,
) -> None:
    let_pass(home, seconds)
    shutil.copytree(home.cache, home.path / "cached")
    (home.path / "cached").chmod(0o700)
    for _ in range(2):
        assert (right(aws, mounted(FULL_LATER, DEV)) == first) == answered
    if not answered:
        assert "No space left on device" in home.log.read_text()


def test_a_full_disk_with_a_spent_credential_while_aws_is_down(
    home: Home, aws: Aws, first: str, mounted: Callable[[str, str], Answer]
) -> None:
    """The failure cannot be noted, so each get asks; registries take the token all the same."""
    let_pass(home, LIFE - 240)
    shutil.copytree(home.cache, home.path / "cached")
    (home.path / "cached").chmod(0o700)
    aws.fault("GetAuthorizationToken", "error", status=503, code="Unavailable")
    for mount in (FULL_LATER, READ_ONLY.format(".cache")):
        assert right(aws, mounted(mount, DEV)) == first


def test_a_full_disk_for_the_log_too(
    home: Home, aws: Aws, first: str, mounted: Callable[[str, str], Answer]
) -> None:
    right(aws, mounted(FULL + FULL.replace(".cache", ".local"), DEV))


@pytest.mark.parametrize("folder", [".cache", "."])
def test_a_read_only_disk(
    home: Home, aws: Aws, first: str, folder: str, mounted: Callable[[str, str], Answer]
) -> None:
    read_only = READ_ONLY.format(folder)
    assert right(aws, mounted(read_only, DEV)) == first
    right(aws, mounted(read_only, STAGE), STAGE)
    let_pass(home, 7 * 3600)  # ageing, with a lock that nobody can touch
    assert right(aws, mounted(read_only, DEV)) == first
    let_pass(home, 6 * 3600)
    assert right(aws, mounted(read_only, DEV)) != first


@pytest.mark.parametrize("place", [".cache", ".cache/ecr-py", ".local", ".config", ".aws/sso"])
def test_a_file_where_a_folder_belongs(home: Home, aws: Aws, place: str) -> None:
    path = home.path / place
    if path.exists():
        shutil.rmtree(path)
        home.environment["AWS_ACCESS_KEY_ID"] = "AKIADEV"
        home.environment["AWS_SECRET_ACCESS_KEY"] = aws.add_key(
            "AKIADEV", f"arn:aws:iam::{DEV}:user/dev"
        )
    path.parent.mkdir(exist_ok=True)
    path.write_text("in the way")
    for _ in range(2):
        right(aws, home.get(registry(DEV)))
    assert path.read_text() == "in the way"


@pytest.mark.parametrize(
    "place", [".", ".aws", ".aws/sso", ".aws/sso/cache", ".cache", ".local", ".config", ".docker"]
)
def test_a_folder_that_may_not_be_entered(home: Home, first: str, place: str) -> None:
    """After `sudo aws sso login`, say."""
    as_user: list[str] = []
    if os.geteuid() == 0:
        as_user = [need("setpriv"), "--bounding-set=-dac_override,-dac_read_search", "--"]
    path = home.path / place
    path.mkdir(exist_ok=True)
    path.chmod(0)
    ours = str(HELPER.with_name("ecr-py"))
    for command in ([str(HELPER), "get"], *([ours, *words.split()] for words in COMMANDS)):
        done = subprocess.run(
            [*as_user, *command],
            input=registry(DEV),
            env=home.environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,
        )
        assert "Traceback" not in done.stderr, done
        assert "unexpected" not in done.stdout + done.stderr, done
    path.chmod(0o700)


COMMANDS = (
    "status", "doctor", "explain dev", "token dev", "login dev", "logout dev", "configure",
    "config show", "cache ls", "daemon status", "daemon logs",
)  # fmt: skip


@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_locks(home: Home, aws: Aws, error: str) -> None:
    """Lustre's and NFS's may be so: everybody asks for themselves."""
    without = ["-f", "-o", "/dev/null", "-e", "trace=flock", "-e", f"inject=flock:error={error}"]
    first = right(
        aws, home.call("get", stdin=registry(DEV).encode(), by=[need("strace"), *without])
    )
    assert right(aws, home.get(registry(DEV))) == first
    let_pass(home, LIFE - 240)
    second = right(
        aws, home.call("get", stdin=registry(DEV).encode(), by=[need("strace"), *without])
    )
    assert second != first
    assert right(aws, home.get(registry(DEV))) == second


def test_leftovers_of_killed_processes_are_swept(home: Home, aws: Aws, first: str) -> None:
    leftover = home.cache / "credentials" / "x.0123.new"
    leftover.touch(mode=0o600)
    for path in (leftover, home.cache / "locks" / ".swept"):
        os.utime(path, (1, 1))
    home.get(registry(STAGE))
    assert not leftover.exists()
    assert len(files(home, "credentials")) == 2
