import json
import os
import sys
import time
from pathlib import Path

import platformdirs.macos
import platformdirs.unix
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_credential_ecr_py.store import record
from tests.support.records import write_sealed

HOST = b"123456789012.dkr.ecr.eu-west-1.amazonaws.com"
KEY = b"0" * 32
ENVIRON = {b"HOME": b"/home/dev", b"AWS_PROFILE": b"dev", b"PATH": b"/bin", b"SECRET": b"x"}
HERE = record.context(ENVIRON)
FIELD = st.binary(max_size=20).map(lambda field: field.replace(b"\0", b""))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store's folder with one credential that is fresh, and the selection that leads to it."""
    folder = tmp_path_factory.mktemp("store")
    for name in ("", "selections", "credentials", "locks"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
        (folder / name).chmod(0o700)
    return os.fsencode(folder)


def keep(path: bytes, fields: list[bytes]) -> None:
    file = Path(os.fsdecode(path))
    file.touch(mode=0o600)
    write_sealed(file, fields)


def credential(
    *, issued: int = -10, renew_at: int = 100, spent_at: int = 200, key: bytes = KEY
) -> list[bytes]:
    times = (int(time.time()) + moment for moment in (issued, renew_at, spent_at, 300))
    return [record.CREDENTIAL, key, *(b"%d" % moment for moment in times), b'"AWS"', b'"secret"']


def selection(*conditions: bytes, key: bytes = KEY) -> list[bytes]:
    return [record.SELECTION, HOST, HERE, key, b"{}", *conditions]


def find(root: bytes, of_selection: list[bytes], of_credential: list[bytes]) -> record.Hit | None:
    keep(root + b"/" + record.selection_name(HOST, HERE), of_selection)
    keep(root + b"/" + record.credential_name(KEY), of_credential)
    return record.find(root, HOST, ENVIRON)


def test_a_hit(root: bytes) -> None:
    hit = find(root, selection(), credential())
    assert hit is not None
    assert not hit.ageing
    assert json.loads(hit.answer) == {
        "ServerURL": HOST.decode(),
        "Username": "AWS",
        "Secret": "secret",
    }


def test_nobody_answers(root: bytes) -> None:
    hit = find(root, selection(key=b""), credential())
    assert hit is not None
    assert hit.answer == b""


def test_ageing_is_a_hit_still(root: bytes) -> None:
    hit = find(root, selection(), credential(renew_at=0))
    assert hit is not None
    assert hit.ageing


@pytest.mark.parametrize(
    "of_credential",
    [
        credential(spent_at=0),
        credential(issued=10**6, spent_at=10**7),
        credential(key=b"another"),
        [record.SELECTION, *credential()[1:]],
        [b"ecr-py credential 2", *credential()[1:]],
        credential()[:7],
        credential()[:5],
        credential()[:2],
        [*credential()[:2], b"x", *credential()[3:]],
        [*credential()[:3], b"x", *credential()[4:]],
        [*credential()[:4], b"x", *credential()[5:]],
        [*credential()[:3], b"", *credential()[4:]],
    ],
)
def test_a_credential_that_is_not_trusted(root: bytes, of_credential: list[bytes]) -> None:
    assert find(root, selection(), of_credential) is None


@pytest.mark.parametrize(
    "of_selection",
    [
        [record.SELECTION, b"docker.io", HERE, KEY, b"{}"],
        [record.SELECTION, HOST, b"", KEY, b"{}"],
        selection()[:4],
        selection(b"/nowhere", record.PRESENT),
        selection(b"/", record.ABSENT),
        selection(b"/", b"1.2.3"),
        selection(b"/", record.PRESENT, b"/nowhere", record.PRESENT),
    ],
)
def test_a_selection_that_does_not_hold(root: bytes, of_selection: list[bytes]) -> None:
    assert find(root, of_selection, credential()) is None


def test_a_selection_that_holds(root: bytes) -> None:
    conditions = (b"/", record.PRESENT, b"/nowhere", record.ABSENT, b"/", record.stamp(b"/"))
    assert find(root, selection(*conditions), credential())


@pytest.mark.parametrize(
    "change", ["touched", "rewritten", "replaced", "removed", "same size and time"]
)
def test_a_stamp_changes_with_its_file(tmp_path: Path, change: str) -> None:
    file = tmp_path / "config"
    file.write_text("one")
    os.utime(file, (1, 1))
    before = record.stamp(os.fsencode(file))
    assert record.stamp(os.fsencode(file)) == before
    match change:
        case "touched":
            os.utime(file, (2, 2))
        case "rewritten":
            file.write_text("more")
            os.utime(file, (1, 1))
        case "replaced" | "same size and time":
            (tmp_path / "new").write_text("two")
            os.utime(tmp_path / "new", (1, 1))
            (tmp_path / "new").replace(file)
        case "removed":
            file.unlink()
    assert record.stamp(os.fsencode(file)) != before


def test_the_context_holds_no_secret_and_what_decides() -> None:
    assert HERE == b"HOME=/home/dev\nAWS_PROFILE=dev"
    assert not [
        name for name in record.CONTEXT if b"SECRET_ACCESS" in name or name.endswith(b"TOKEN")
    ]


@given(st.dictionaries(st.sampled_from(record.CONTEXT), FIELD), FIELD)
def test_another_environment_is_another_context(environ: dict[bytes, bytes], value: bytes) -> None:
    for name in record.CONTEXT:
        changed = {**environ, name: value}
        assert (record.context(changed) == record.context(environ)) == (changed == environ)


@given(st.binary(max_size=200))
def test_no_noise_is_a_record(root: bytes, noise: bytes) -> None:
    path = root + b"/" + record.credential_name(b"noise")
    file = Path(os.fsdecode(path))
    file.touch(mode=0o600)
    file.write_bytes(noise)
    assert record.read(path, record.CREDENTIAL) is None


@given(st.lists(FIELD, max_size=12))
def test_a_record_comes_back_as_it_was(root: bytes, fields: list[bytes]) -> None:
    path = root + b"/" + record.credential_name(b"any")
    keep(path, [record.CREDENTIAL, *fields])
    expected = [record.CREDENTIAL, *fields] if len(fields) >= 4 else None
    assert record.read(path, record.CREDENTIAL) == expected
    assert record.read(path, record.SELECTION) is None


@given(st.data())
def test_noise_with_the_right_fingerprint_raises_nothing(root: bytes, data: st.DataObject) -> None:
    of_selection, of_credential = selection(b"/", record.PRESENT), credential()
    for fields in (of_selection, of_credential):
        for n in data.draw(st.lists(st.integers(1, len(fields) - 1), max_size=2)):
            fields[n] = data.draw(FIELD | st.sampled_from([b"9" * 5000, b"-1", b"1_0", b"../x"]))
        del fields[data.draw(st.integers(1, len(fields))) :]
    hit = find(root, of_selection, of_credential)
    if hit is not None and hit.answer:
        assert hit.answer.count(b"\n") == 1
        assert json.loads(hit.answer)["ServerURL"] == HOST.decode()


def test_a_record_that_is_too_large_is_none(root: bytes) -> None:
    path = root + b"/" + record.credential_name(b"large")
    keep(path, [*credential(), b"x" * record.LARGEST_RECORD])
    assert record.read(path, record.CREDENTIAL) is None


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_fingerprints(one: bytes, two: bytes) -> None:
    assert len(record.fingerprint(one)) == 32
    assert (record.fingerprint(one) == record.fingerprint(two)) == (
        one.lstrip(b"\0") == two.lstrip(b"\0")
    )


FOLDERS = st.sampled_from(["", "/home/dev", "/home/dev/", "/", "relative", "/a b/\u00e9", "  "])
PLATFORMS = {
    "linux": platformdirs.unix.Unix,
    "darwin": platformdirs.macos.MacOS,
}


@pytest.mark.posix_only("paths begin with a drive there")
@pytest.mark.parametrize("platform", list(PLATFORMS))
@given(home=FOLDERS.filter(bool), cache=FOLDERS)
def test_the_root_is_what_platformdirs_names(platform: str, home: str, cache: str) -> None:
    environ = {b"HOME": os.fsencode(home)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "platform", platform)
        patch.setenv("HOME", home)
        patch.delenv("XDG_CACHE_HOME", raising=False)
        if cache:
            patch.setenv("XDG_CACHE_HOME", cache)
            environ[b"XDG_CACHE_HOME"] = os.fsencode(cache)
        named = PLATFORMS[platform]("ecr-py", appauthor=False).user_cache_dir
        ours = record.cache_root(environ)
    if ours is not None:
        assert Path("/", *os.fsdecode(ours).split("/")) == Path("/", *named.split("/"))
    else:
        assert not os.path.isabs(home) or not os.path.isabs(cache or "/")


def test_no_root_without_a_home() -> None:
    assert record.cache_root({}) is None
