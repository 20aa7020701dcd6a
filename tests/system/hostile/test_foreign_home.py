"""Root with another user's HOME (`sudo -E`, provisioning): it answers, and leaves nothing there."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from docker_credential_ecr_py.store import record
from tests.standin.aws import Aws
from tests.support.home import DEV, HELPER, PROD, STAGE, Answer, Home, new_home, registry
from tests.support.other_user import AS_ROOT, OTHER, becoming_another, folder_of_theirs, give
from tests.support.processes import at_once
from tests.support.user import SESSION, Done, User, eventually
from tests.system.hostile.test_planted_links import facts

pytestmark = AS_ROOT

ECR_PY = str(HELPER.with_name("ecr-py"))
LOCKS = Path("/run/ecr-py")
CONFIG = {"credHelpers": {registry(DEV): "ecr-py"}}


@pytest.fixture
def home(aws: Aws) -> Iterator[Home]:
    """Everything in it belongs to the other user."""
    with roots_folder_in_use(), folder_of_theirs() as folder:
        made = new_home(folder, aws)
        made.write(folder / ".docker" / "config.json", json.dumps(CONFIG))
        give(folder)
        yield made


@contextmanager
def roots_folder_in_use() -> Iterator[None]:
    """Remove root's folder for the other user at the end, if no other process's test uses it."""
    with (Path(tempfile.gettempdir()) / "tests-foreign-home.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(LOCKS / str(OTHER), ignore_errors=True)


@pytest.fixture
def user(home: Home, aws: Aws) -> User:
    return User(home, aws)


def seen(home: Home) -> dict[str, tuple[int, int, int]]:
    """Owner, group and mode of everything in the home."""
    found = {}
    for path in [home.path, *home.path.rglob("*")]:
        at = path.lstat()
        found[str(path)] = (at.st_uid, at.st_gid, stat.S_IMODE(at.st_mode))
    return found


def right(aws: Aws, answer: Answer, account: str = DEV) -> str:
    assert answer.stderr == b"", answer
    assert aws.issued[answer.password].account == account
    return answer.password


def as_user(home: Home, *command: str, stdin: str = "") -> Done:
    """A program, run by the user whose home it is."""
    with becoming_another() as become:
        done = subprocess.run(
            [*become, *command],
            input=stdin,
            capture_output=True,
            text=True,
            env=home.environment,
            cwd="/",
            timeout=60,
            start_new_session=True,
            check=False,
        )
    return Done(done.returncode, done.stdout, done.stderr)


def gets(home: Home, account: str = DEV) -> str:
    """The password that the user whose home it is gets."""
    done = as_user(home, str(HELPER), "get", stdin=registry(account))
    assert (done.code, done.stderr) == (0, ""), done
    return str(json.loads(done.stdout)["Secret"])


# Nothing is left there


@pytest.mark.parametrize("store", ["file", "keyring", "memory", "none"])
@pytest.mark.parametrize("runtime", [True, False], ids=["their runtime folder", "none"])
def test_a_get_answers_and_leaves_nothing(home: Home, aws: Aws, store: str, runtime: bool) -> None:
    home.write(home.settings, f'[defaults]\nstore = "{store}"\nfallback = "keyring"\n')
    give(home.path)
    if not runtime:
        del home.environment["XDG_RUNTIME_DIR"]
    before = seen(home)
    for _ in range(2):
        right(aws, home.get(registry(DEV)))
    home.get("https://index.docker.io/v1/")
    given = {"ServerURL": registry(DEV), "Username": "AWS", "Secret": "x"}
    assert home.call("store", stdin=json.dumps(given).encode()).code == 0
    given["ServerURL"] = "ghcr.io"
    line = home.call("store", stdin=json.dumps(given).encode()).line
    assert "root keeps no login" in line
    assert home.call("erase", stdin=registry(DEV).encode()).code == 0
    assert home.call("list").code == 0
    assert seen(home) == before


@pytest.mark.parametrize(
    "words",
    [
        "status", "status --check", "doctor", "doctor --deep", "explain dev", "token dev",
        "cache ls", "cache rm --all", "config show", "login dev", "daemon status", "daemon start",
        "daemon run", "configure --dry-run", "configure --undo", "version",
    ],
)  # fmt: skip
def test_no_command_leaves_anything(home: Home, words: str) -> None:
    before = seen(home)
    done = subprocess.run(
        [ECR_PY, *words.split()],
        capture_output=True,
        text=True,
        env=home.environment,
        stdin=subprocess.DEVNULL,
        timeout=60,
        start_new_session=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert seen(home) == before


@pytest.mark.parametrize("words", ["daemon install", "daemon start", "daemon run"])
def test_a_runtime_folder_of_roots_own_makes_no_place_for_a_daemon(
    home: Home, user: User, tmp_path: Path, words: str
) -> None:
    """As root has one that logged in as root, and then names another user's home."""
    tmp_path.chmod(0o700)
    systemctl = user.home.write(tmp_path / "bin" / "systemctl", "#!/bin/sh\nexit 0\n")
    systemctl.chmod(0o755)
    home.environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    home.environment["PATH"] = f"{systemctl.parent}:{home.environment['PATH']}"
    before = seen(home)
    done = user.ecr_py(*words.split())
    assert done.code == 1
    assert "root runs no daemon in" in done.stderr
    assert seen(home) == before


def test_completion_leaves_nothing(home: Home) -> None:
    before = seen(home)
    asked = {
        "_ECR_PY_COMPLETE": "bash_complete",
        "COMP_WORDS": "ecr-py repo rm ",
        "COMP_CWORD": "3",
    }
    subprocess.run([ECR_PY], env=home.environment | asked, timeout=60, check=False)
    assert seen(home) == before


def test_what_root_kept_before_is_answered_no_more(home: Home, aws: Aws) -> None:
    """An earlier version left it; its renewal has no place to be kept in."""
    first = gets(home)
    for path in [home.cache, *home.cache.rglob("*")]:
        os.chown(path, 0, 0)
    assert right(aws, home.get(registry(STAGE)), STAGE) != first


def test_it_is_said_where_it_can_be(home: Home, user: User, tmp_path: Path) -> None:
    state = tmp_path / "state"
    home.get(registry(DEV), XDG_STATE_HOME=str(state))
    [line] = [
        line
        for line in (state / "ecr-py" / "log" / "ecr-py.log").read_text().splitlines()
        if "root keeps nothing" in line
    ]
    assert f"{home.cache}, which belongs to user nobody" in line
    assert "store   none: root keeps nothing in" in user.invoke("status").stdout
    lines = user.invoke("doctor").stdout.splitlines()
    [line] = [line for line in lines if line.split()[1] == "cache"]
    assert line.split()[0] == "note"
    assert "which belongs to user nobody: run it as that user" in line


def test_it_is_logged_in_a_place_of_roots(home: Home, user: User, aws: Aws) -> None:
    right(aws, home.get(registry(DEV)))
    log = LOCKS / str(OTHER) / "ecr-py.log"
    assert "root keeps nothing in" in log.read_text()
    assert log.parent.stat().st_mode & 0o777 == 0o700
    lines = user.invoke("doctor").stdout.splitlines()
    [line] = [line for line in lines if line.split()[1] == "log"]
    assert line.split() == ["ok", "log", str(log.parent)]
    assert "root keeps nothing in" in user.ecr_py("daemon", "logs").stdout


def test_a_place_of_roots_own_is_used(home: Home, aws: Aws, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = right(aws, home.get(registry(DEV), XDG_CACHE_HOME=str(cache)))
    assert right(aws, home.get(registry(DEV), XDG_CACHE_HOME=str(cache))) == first
    assert (cache / "ecr-py").stat().st_uid == 0


def test_the_users_daemon_is_neither_asked_nor_kept_from_starting(home: Home, aws: Aws) -> None:
    line = User(home, aws).ecr_py("daemon", "start").line
    assert (
        f"root runs no daemon in {home.path}/runtime/ecr-py, which belongs to user nobody" in line
    )
    home.write(home.settings, '[defaults]\nstore = "memory"\n')
    give(home.path)
    right(aws, home.get(registry(DEV)))
    with becoming_another() as become:
        daemon = subprocess.Popen(
            [*become, ECR_PY, "daemon", "run"],
            env=home.environment,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            socket = home.path / "runtime" / "ecr-py" / "daemon.sock"
            eventually(socket.exists)
            password = gets(home)
            assert gets(home) == password
            assert right(aws, home.get(registry(DEV))) != password
        finally:
            daemon.terminate()
            daemon.wait(20)


# The session


@pytest.fixture
def near_its_end(home: Home, user: User, aws: Aws) -> Path:
    """The token file of a session that is to be refreshed."""
    shutil.rmtree(user.sso_cache)
    user.use_session_profiles()
    aws.write_sso_token(
        home.path,
        "https://teliacompany.awsapps.com/start",
        session=SESSION,
        lifetime=300,
        refresh=True,
    )
    give(home.path)
    [file] = user.token_files()
    return file


def test_a_refreshed_token_keeps_its_owner(home: Home, aws: Aws, near_its_end: Path) -> None:
    before, was = seen(home), near_its_end.read_bytes()
    assert before[str(near_its_end)] == (OTHER, OTHER, 0o600)
    right(aws, home.get(registry(DEV)))
    assert near_its_end.read_bytes() != was
    assert seen(home) == before
    gets(home)


# botocore refreshes the tokens of `aws login` itself, where its crypto library is installed.
_REFRESHES_LOGIN = """
import json, os, sys
from docker_credential_ecr_py.aws.session import Session
session = Session()
session.use_tolerant_config_readers("default")
cache = session.get_component("credential_provider").get_provider("login")._token_cache
cache["token"] = dict(cache["token"], refreshToken="new")
"""


def test_a_refreshed_token_of_aws_login_keeps_its_owner(home: Home) -> None:
    token = home.write(home.path / ".aws" / "login" / "cache" / "token.json", '{"clientId": "1"}')
    give(home.path)
    before = seen(home)
    subprocess.run(
        [sys.executable, "-I", "-c", _REFRESHES_LOGIN], env=home.environment, timeout=60, check=True
    )
    assert json.loads(token.read_text()) == {"clientId": "1", "refreshToken": "new"}
    assert {path: owner for path, (owner, *_) in seen(home).items()} == {
        path: owner for path, (owner, *_) in before.items()
    }


def test_many_at_once_refresh_once(home: Home, aws: Aws, near_its_end: Path) -> None:
    """A refresh token is good for one use. Root's processes wait for each other elsewhere."""
    user = 100_000 + os.getpid()  # another than any test that runs beside this one has
    for path in [home.path, *home.path.rglob("*")]:
        os.chown(path, user, user)
    accounts = (DEV, STAGE, PROD) * 2
    try:
        answers = at_once(home, [registry(account) for account in accounts])
    finally:
        shutil.rmtree(LOCKS / str(user), ignore_errors=True)
    for timed, account in zip(answers, accounts, strict=True):
        right(aws, timed.answer, account)
    assert aws.count("CreateToken") == 1


def test_a_login_by_root_is_the_users(home: Home, user: User, aws: Aws) -> None:
    shutil.rmtree(home.path / ".aws" / "sso")
    aws.end_session()
    aws.auto_approve = True
    assert user.ecr_py("login", "dev").code == 0
    assert {owner for owner, _, _ in seen(home).values()} == {OTHER}
    assert [mode for path, (_, _, mode) in seen(home).items() if "/sso" in path] == [
        0o700 if os.path.isdir(path) else 0o600 for path in seen(home) if "/sso" in path
    ]
    gets(home)


# Edits, which were asked for


def test_what_root_edits_there_is_the_users(home: Home, user: User) -> None:
    assert (
        "--undo` is not available here: see the copies in NAME.bak"
        in user.ecr_py("configure").stdout
    )
    assert user.ecr_py("config", "set", "login", "never").code == 0
    assert {owner for owner, _, _ in seen(home).values()} == {OTHER}
    assert not list(home.path.rglob("undo"))
    done = as_user(home, ECR_PY, "config", "show")
    assert "never" in done.stdout
    assert as_user(home, ECR_PY, "configure", "--undo").code == 0


def test_what_the_user_configured_root_can_undo(home: Home, user: User) -> None:
    file = home.path / ".docker" / "config.json"
    before = file.read_bytes()
    assert as_user(home, ECR_PY, "configure").code == 0
    assert file.read_bytes() != before
    assert user.ecr_py("configure", "--undo").code == 0
    assert file.read_bytes() == before
    assert {owner for owner, _, _ in seen(home).values()} == {OTHER}


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    folder = tmp_path / "of-roots"
    folder.mkdir(mode=0o700)
    for name in ("config.json", "config", "config.toml"):
        (folder / name).write_text("{}" if name == "config.json" else "")
    return folder


@pytest.mark.parametrize("part", ["file", "folder"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        (".docker/config.json", "configure"),
        (".docker/config.json", "configure --yes --creds-store"),
        (".config/ecr-py/config.toml", "config set login never"),
        (".aws/config", "login --all --start-url https://teliacompany.awsapps.com/start "
                        "--sso-region eu-west-1"),
    ],
)  # fmt: skip
def test_an_edit_follows_no_link_of_the_users(
    home: Home, user: User, aws: Aws, roots: Path, name: str, words: str, part: str
) -> None:
    aws.auto_approve = True
    file = home.path / name
    if part == "file":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.symlink_to(roots / file.name)
    else:
        shutil.rmtree(file.parent, ignore_errors=True)
        file.parent.parent.mkdir(parents=True, exist_ok=True)
        file.parent.symlink_to(roots)
    give(home.path)
    before = {path: facts(path) for path in roots.iterdir()}
    done = user.ecr_py(*words.split())
    assert done.code == 1
    assert "is a link that another user may have created" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path: facts(path) for path in roots.iterdir()} == before


def test_a_session_is_kept_behind_no_link_of_the_users(
    home: Home, user: User, aws: Aws, near_its_end: Path, roots: Path
) -> None:
    cache = user.sso_cache
    moved = roots / "cache"
    cache.rename(moved)
    cache.symlink_to(moved)
    os.chown(cache, OTHER, OTHER, follow_symlinks=False)
    before = {path: facts(path) for path in moved.iterdir()}
    assert (
        "is a link that another user may have created"
        in user.ecr_py("login", "dev", "--force", "--device", "--no-browser").stderr
    )
    home.get(registry(DEV))
    assert {path: facts(path) for path in moved.iterdir()} == before


# What was left by root before, and how to mend it


def damage(home: Home, *paths: Path) -> None:
    """As an earlier version did to the home, run as root."""
    for path in paths:
        path.mkdir(mode=0o700, parents=True, exist_ok=True) if not path.exists() else None
        for inside in [path, *path.rglob("*")]:
            os.chown(inside, 0, 0, follow_symlinks=False)


def hint(home: Home, user: User) -> list[str]:
    """Runs what doctor says, as root. The lines that it had to say."""
    done = as_user(home, ECR_PY, "doctor")
    assert done.code == 1, done
    wrong = [line for line in done.stdout.splitlines() if "belongs to another user" in line]
    for line in wrong:
        [command] = re.findall(r"run `sudo (chown [^`]+)`", line)
        assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
    return wrong


def test_doctor_names_what_root_left_and_the_command_that_mends_it(
    home: Home, user: User, aws: Aws
) -> None:
    [token] = user.token_files()
    damage(
        home,
        token,
        home.path / ".cache",
        home.path / ".local",
        home.path / "runtime" / "ecr-py",
        home.path / ".docker" / "config.json",
    )
    (home.path / ".docker" / "config.json").chmod(0o600)
    wrong = hint(home, user)
    named = " ".join(wrong)
    for path in (token, home.path / ".cache", home.path / ".local"):
        assert str(path) in named
    assert str(home.path / "runtime" / "ecr-py") in named
    assert str(home.path / ".docker" / "config.json") in named
    assert {owner for owner, _, _ in seen(home).values()} == {OTHER}
    assert gets(home) == gets(home)
    assert as_user(home, ECR_PY, "doctor").code == 0


def test_doctor_names_files_in_folders_that_are_right(home: Home, user: User, aws: Aws) -> None:
    gets(home)
    [record] = (home.cache / "credentials").iterdir()
    damage(home, record)
    [line] = hint(home, user)
    assert line.startswith("wrong   cache")
    assert str(record) in line
    assert as_user(home, ECR_PY, "doctor").code == 0


def test_root_itself_is_told_too(home: Home, user: User) -> None:
    damage(home, home.path / ".cache")
    done = user.ecr_py("doctor")
    [line] = [line for line in done.stdout.splitlines() if "belongs to another user" in line]
    assert f"run `chown -R nobody: {home.path / '.cache'}`" in line


def test_doctor_is_content_with_what_works(home: Home, user: User, tmp_path: Path) -> None:
    """Files that an administrator made, and links to such files, can be read all the same."""
    managed = tmp_path / "managed"
    tmp_path.chmod(0o755)
    for path in tmp_path.parents:
        if path.stat().st_mode & 0o001 == 0:
            managed = home.path.parent / "managed"
    managed.mkdir()
    (managed / "config").write_text(home.aws_config.read_text())
    (managed / "config").chmod(0o644)
    home.aws_config.unlink()
    home.aws_config.symlink_to(managed / "config")
    os.chown(home.aws_config, OTHER, OTHER, follow_symlinks=False)
    docker = home.path / ".docker" / "config.json"
    docker.write_text(json.dumps({"credsStore": "ecr-py"}))
    os.chown(docker, 0, 0)
    docker.chmod(0o644)
    done = as_user(home, ECR_PY, "doctor")
    assert (done.code, "another user" in done.stdout) == (0, False), done


def test_a_hit_takes_no_record_of_another_user(home: Home, aws: Aws) -> None:
    """What decides is who owns the record, not whose home it is in."""
    password = gets(home)
    environ = {os.fsencode(k): os.fsencode(v) for k, v in home.environment.items()}
    root = os.fsencode(home.cache)
    assert record.find(root, registry(DEV).encode(), environ) is None
    assert right(aws, home.get(registry(DEV))) != password
