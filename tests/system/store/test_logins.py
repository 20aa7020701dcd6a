"""`fallback = "keyring"`: what docker login gives for any registry is sealed, and comes back."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.home import DEV, HELPER, REGISTRIES, Answer, Home, registry
from tests.support.programs import own_mounts, read_only
from tests.support.secret_service import Keyring
from tests.support.stores import docker_logs_in, erase, readable, right, set_store, store

HUB = "https://index.docker.io/v1/"
GHCR = "ghcr.io"
SECRET = "correct-horse-battery-staple-of-octocat"
DONE = Answer(0, b"", b"")
NOT_FOUND = Answer(1, b"credentials not found in native keychain\n", b"")

pytestmark = pytest.mark.usefixtures("fallback")


@pytest.fixture
def fallback(home: Home) -> None:
    set_store(home, "keyring", fallback="keyring")


def folder(home: Home) -> Path:
    return home.path / ".local" / "share" / "ecr-py" / "logins"


def kept(home: Home) -> list[Path]:
    return sorted(folder(home).iterdir()) if folder(home).exists() else []


def answered(home: Home, server_url: str) -> tuple[str, str]:
    answer = home.get(server_url)
    assert answer.code == 0, answer
    assert answer.stderr == b""
    document = answer.json
    assert document.keys() == {"ServerURL", "Username", "Secret"}
    assert document["ServerURL"] == server_url
    return document["Username"], document["Secret"]


# What goes in comes out.


@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        "",
        "x" * 100_000,
        "\u2603" * 30_000,
        "with \"quotes\", 'others' and \\ backslashes \\u0041",
        "two\nlines\r\nand a tab\t\n",
        "a NUL \0 within, and at its end \0",
        "\x01\x1f\x7f\x80\x9f Grüße aus Zürich, 日本, \U0001f511",
        ' {"Username":"x","Secret":"y"} ',
    ],
    ids=lambda secret: ascii(secret[:12]),
)
def test_any_secret_comes_back(home: Home, keyring: Keyring, secret: str) -> None:
    assert store(home, GHCR, "octocat", secret) == DONE
    assert answered(home, GHCR) == ("octocat", secret)


@pytest.mark.parametrize("username", ["<token>", 'Zoë "\n\\"', "x" * 5000])
def test_any_username_comes_back(home: Home, keyring: Keyring, username: str) -> None:
    assert store(home, GHCR, username, SECRET) == DONE
    assert answered(home, GHCR) == (username, SECRET)
    assert home.logins() == {GHCR: username}


@pytest.mark.parametrize(
    "server_url",
    [
        HUB,
        "http://127.0.0.1:5000",
        "https://registry.example.com/a/path/",
        "registry.example.com/team/app",
        "[::1]:5000",
    ],
)
def test_any_server_url_comes_back(home: Home, keyring: Keyring, server_url: str) -> None:
    assert store(home, server_url, "octocat", SECRET) == DONE
    assert answered(home, server_url) == ("octocat", SECRET)
    assert home.logins() == {server_url: "octocat"}
    assert erase(home, server_url) == DONE
    assert home.get(server_url) == NOT_FOUND


def test_a_login_without_a_secret_is_one_with_an_empty_one(home: Home, keyring: Keyring) -> None:
    """As docker reads its own documents: what is null or missing is empty."""
    for more in ("", ',"Secret":null'):
        given = f'{{"ServerURL":"ghcr.io","Username":"octocat"{more}}}'
        assert home.call("store", stdin=given.encode()) == DONE
        assert answered(home, GHCR) == ("octocat", "")


def test_more_than_we_take_is_said_and_not_kept(home: Home, keyring: Keyring) -> None:
    assert "standard input" in store(home, GHCR, "octocat", "x" * 2_000_000).line
    assert kept(home) == []


def test_docker_hub_has_three_names(home: Home, keyring: Keyring) -> None:
    """As docker stores what `docker login` gets in the browser."""
    names = {HUB: "password", f"{HUB}access-token": "access", f"{HUB}refresh-token": "refresh"}
    for server_url, secret in names.items():
        assert store(home, server_url, "octocat", secret) == DONE
    for server_url, secret in names.items():
        assert answered(home, server_url) == ("octocat", secret)
    assert home.logins() == dict.fromkeys(names, "octocat")
    assert erase(home, f"{HUB}access-token") == DONE
    assert home.logins().keys() == {HUB, f"{HUB}refresh-token"}
    assert erase(home, HUB) == DONE
    assert answered(home, f"{HUB}refresh-token") == ("octocat", "refresh")


def test_list_has_ours_and_theirs(home: Home, aws: Aws, keyring: Keyring) -> None:
    right(aws, home.get(registry(DEV)))
    store(home, GHCR, "octocat", SECRET)
    store(home, HUB, "moby", SECRET)
    assert home.call("list").json == {
        **{f"https://{host}": "AWS" for host in REGISTRIES},
        GHCR: "octocat",
        HUB: "moby",
    }


def test_a_second_login_takes_the_place_of_the_first(home: Home, keyring: Keyring) -> None:
    store(home, GHCR, "octocat", SECRET)
    store(home, f"https://{GHCR}", "hubot", "another")
    assert answered(home, GHCR) == ("hubot", "another")
    assert len(kept(home)) == 1


@pytest.mark.parametrize(
    ("stored", "erased"),
    [(GHCR, f"https://{GHCR}"), (f"https://{GHCR}", GHCR), (f"https://{GHCR}/", f"https://{GHCR}")],
)
def test_erase_with_and_without_a_scheme(
    home: Home, keyring: Keyring, stored: str, erased: str
) -> None:
    store(home, stored, "octocat", SECRET)
    store(home, "other.example.com", "hubot", SECRET)
    assert erase(home, erased) == DONE
    assert home.get(stored) == NOT_FOUND
    assert home.logins() == {"other.example.com": "hubot"}


def test_what_is_not_there_is_not_found(home: Home, keyring: Keyring) -> None:
    assert home.get(GHCR) == NOT_FOUND
    assert erase(home, GHCR) == DONE
    assert home.logins() == {}
    assert keyring.everything == []  # no key is made for nothing


@pytest.mark.parametrize("other", ["file", "memory", "none"])
def test_logins_are_kept_whatever_the_store(home: Home, keyring: Keyring, other: str) -> None:
    store(home, GHCR, "octocat", SECRET)
    set_store(home, other, fallback="keyring")
    assert answered(home, GHCR) == ("octocat", SECRET)
    assert store(home, HUB, "moby", SECRET) == DONE
    set_store(home, "keyring", fallback="keyring")
    assert answered(home, HUB) == ("moby", SECRET)
    assert readable(home, SECRET) == []


# How they lie there.


def test_nothing_readable_lies_on_disk(home: Home, aws: Aws, keyring: Keyring) -> None:
    home.environment["ECR_PY_LOG"] = "debug"
    password = docker_logs_in(home)
    store(home, GHCR, "octocat-of-this-test-and-no-other", SECRET)
    store(home, HUB, "octocat-of-this-test-and-no-other", "x" + SECRET)
    home.get(GHCR)
    home.call("list")
    erase(home, HUB)
    assert keyring.everything == keyring.keys
    assert len(keyring.keys) == 1
    [key] = keyring.keys
    assert readable(home, SECRET, password, key.decode()) == []
    assert readable(home, "octocat-of-this-test-and-no-other") == []


def test_nobody_else_may_read_it(home: Home, keyring: Keyring) -> None:
    given = {"ServerURL": GHCR, "Username": "octocat", "Secret": SECRET}
    process = home.start("store", umask=0)
    assert process.communicate(json.dumps(given).encode()) == (b"", b"")
    [login] = kept(home)
    assert stat.S_IMODE(login.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder(home).stat().st_mode) == 0o700


def test_a_folder_that_others_may_enter_hides_no_login(home: Home, keyring: Keyring) -> None:
    """What is sealed is sealed; a login that is passed over in silence is a pull that fails."""
    store(home, GHCR, "octocat", SECRET)
    folder(home).chmod(0o755)
    assert home.get(GHCR) != NOT_FOUND


def test_a_login_that_was_moved_does_not_open(home: Home, keyring: Keyring) -> None:
    store(home, GHCR, "octocat", SECRET)
    [ghcr] = kept(home)
    store(home, HUB, "moby", "another")
    [hub] = set(kept(home)) - {ghcr}
    shutil.copy2(ghcr, hub)
    assert SECRET not in home.get(HUB).line
    assert home.logins() == {GHCR: "octocat"}


@pytest.mark.parametrize("change", ["flip", "cut", "rubbish"])
def test_a_damaged_login_is_said_and_can_be_made_anew(
    home: Home, keyring: Keyring, change: str
) -> None:
    store(home, GHCR, "octocat", SECRET)
    [login] = kept(home)
    whole = login.read_bytes()
    login.write_bytes(
        {
            "flip": whole[:30] + (b"A" if whole[30:31] != b"A" else b"B") + whole[31:],
            "cut": whole[:-8],
            "rubbish": os.urandom(200),
        }[change]
    )
    assert "docker login" in home.get(GHCR).line
    assert home.logins() == {}
    assert store(home, GHCR, "octocat", SECRET) == DONE
    assert answered(home, GHCR) == ("octocat", SECRET)


def test_a_lost_key_is_said_not_passed_over(home: Home, keyring: Keyring) -> None:
    store(home, GHCR, "octocat", SECRET)
    keyring.delete_key()
    assert "docker login" in home.get(GHCR).line
    assert store(home, HUB, "moby", "another") == DONE
    assert answered(home, HUB) == ("moby", "another")
    assert "docker login" in home.get(GHCR).line
    assert home.logins() == {HUB: "moby"}
    assert erase(home, GHCR) == DONE
    assert home.get(GHCR) == NOT_FOUND


def test_strange_things_among_the_logins(home: Home, keyring: Keyring) -> None:
    store(home, GHCR, "octocat", SECRET)
    (folder(home) / "a-folder").mkdir()
    (folder(home) / f"{'0' * 64}.0123.new").write_bytes(b"half of")
    (folder(home) / "a-link").symlink_to("nowhere")
    assert home.logins() == {GHCR: "octocat"}
    assert answered(home, GHCR) == ("octocat", SECRET)


def test_a_pipe_among_the_logins_makes_nobody_wait(home: Home, keyring: Keyring) -> None:
    store(home, GHCR, "octocat", SECRET)
    os.mkfifo(folder(home) / ("f" * 64), 0o600)
    process = home.start("list")
    try:
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert json.loads(out)[GHCR] == "octocat"


# Without a keyring.


def refused(answer: Answer) -> str:
    assert "keyring" in answer.line
    assert SECRET not in answer.line
    return answer.line


def test_a_login_before_a_locked_keyring_is_refused_and_leaves_nothing(
    home: Home, keyring: Keyring
) -> None:
    keyring.lock()
    before = set(home.path.rglob("*"))
    refused(store(home, GHCR, "octocat", SECRET))
    assert kept(home) == []
    assert readable(home, SECRET) == []
    new = {path for path in set(home.path.rglob("*")) - before if path.is_file()}
    assert {path for path in new if path != home.log and path.parent.name != "locks"} == set()


def test_a_login_without_a_keyring_is_refused_and_leaves_nothing(home: Home) -> None:
    refused(store(home, GHCR, "octocat", SECRET))
    assert kept(home) == []
    assert readable(home, SECRET) == []


def test_a_login_that_is_refused_leaves_the_one_before(home: Home, keyring: Keyring) -> None:
    store(home, GHCR, "octocat", SECRET)
    keyring.lock()
    refused(store(home, GHCR, "hubot", "another"))
    keyring.stop()
    keyring.start()
    assert answered(home, GHCR) == ("octocat", SECRET)


def test_a_locked_keyring_is_not_taken_for_no_login(home: Home, keyring: Keyring) -> None:
    """Docker would go on as nobody."""
    store(home, GHCR, "octocat", SECRET)
    keyring.lock()
    refused(home.get(GHCR))
    refused(home.call("list"))


def test_a_locked_keyring_is_not_asked_for_nothing(home: Home, keyring: Keyring) -> None:
    store(home, GHCR, "octocat", SECRET)
    keyring.lock()
    assert home.get(HUB) == NOT_FOUND
    assert erase(home, HUB) == DONE
    assert erase(home, GHCR) == DONE
    assert home.get(GHCR) == NOT_FOUND


def test_a_locked_keyring_at_ecr_is_as_ever(home: Home, aws: Aws, keyring: Keyring) -> None:
    keyring.lock()
    right(aws, home.get(registry(DEV)))


# Without room.

FULL = """
mount -t tmpfs -o size=64k,mode=700 none .local/share/ecr-py/logins
cp -a kept/. .local/share/ecr-py/logins
head -c 1000000 /dev/zero >.local/share/ecr-py/logins/filled 2>/dev/null || true
"$0" store; code=$?
ls .local/share/ecr-py/logins >left
exit $code
"""


def test_a_full_disk_refuses_a_login_and_leaves_nothing(home: Home, keyring: Keyring) -> None:
    unshare = own_mounts(home.path)
    store(home, HUB, "moby", "another")
    [hub] = kept(home)
    shutil.copytree(folder(home), home.path / "kept")
    given = json.dumps({"ServerURL": GHCR, "Username": "octocat", "Secret": SECRET * 1000})
    done = subprocess.run(
        [*unshare, "sh", "-c", FULL, HELPER],
        input=given.encode(),
        cwd=home.path,
        env=home.environment,
        capture_output=True,
        timeout=60,
    )
    line = Answer(done.returncode, done.stdout, done.stderr).line
    assert "No space left on device" in line
    assert GHCR in line
    assert SECRET not in line
    assert (home.path / "left").read_text().split() == sorted([hub.name, "filled"])


def test_a_login_that_cannot_be_removed_is_said(home: Home, keyring: Keyring) -> None:
    store(home, HUB, "moby", "another")
    line = home.call("erase", stdin=HUB.encode(), by=read_only(folder(home))).line
    assert "cannot be removed" in line
    assert HUB in line
