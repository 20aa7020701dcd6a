import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.file_backend import FileBackend, FileStore
from docker_credential_ecr_py.store.store import NoStore, Store, StoredSelection
from tests.support.programs import NO_LINKS, NO_MODES
from tests.support.records import write_sealed

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
OTHER = "123456789012.dkr.ecr.eu-west-2.amazonaws.com"
DEV, STAGE = {b"AWS_PROFILE": b"dev"}, {b"AWS_PROFILE": b"stage"}
CREDENTIAL = Credential("AWS", "password", 1, 2, 3, 2**40)
MOMENTS = st.integers(-(2**62), 2**62)
CREDENTIALS = st.builds(
    Credential, st.text(), st.text(), *[MOMENTS] * 3, expires=st.integers(2**40, 2**62)
)

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> FileStore:
    return FileStore(root, DEV)


def remembered(host: str = HOST, key: str = "key") -> StoredSelection:
    return StoredSelection(host, key, {b"/": record.PRESENT}, {"profile": "dev"})


@in_one_folder
@given(CREDENTIALS)
def test_a_credential_comes_back_as_it_was(store: FileStore, credential: Credential) -> None:
    store.save("key", credential)
    assert store.load("key") == credential
    assert store.load("another") is None


@in_one_folder
@given(st.dictionaries(st.text(), st.text()), st.integers(0, 3))
def test_a_selection_comes_back_as_it_was(
    store: FileStore, details: dict[str, str], conditions: int
) -> None:
    paths = [f"/nowhere/{n}\u00e9".encode() for n in range(conditions)]
    selection = StoredSelection(HOST, "key", dict.fromkeys(paths, record.ABSENT), details)
    store.save_selection(selection)
    assert list(store.selections()) == [selection]


def test_what_the_store_keeps_is_what_a_hit_reads(root: Path, store: FileStore) -> None:
    store.save("key", replace(CREDENTIAL, spent_at=2**40))
    store.save_selection(remembered())
    hit = record.find(os.fsencode(root), HOST.encode(), DEV)
    assert hit is not None
    assert json.loads(hit.answer)["Secret"] == "password"
    assert record.find(os.fsencode(root), HOST.encode(), STAGE) is None


def test_a_selection_is_for_one_environment(root: Path, store: FileStore) -> None:
    store.save_selection(remembered())
    assert list(FileStore(root, STAGE).selections()) == []


def test_a_selection_that_no_longer_holds_is_not_told(store: FileStore) -> None:
    store.save_selection(StoredSelection(HOST, "key", {b"/nowhere": record.PRESENT}, {}))
    assert list(store.selections()) == []


def test_forget_is_for_every_environment_and_one_host(root: Path, store: FileStore) -> None:
    other = FileStore(root, STAGE)
    store.save_selection(remembered())
    other.save_selection(remembered(key="stages"))
    store.save_selection(remembered(OTHER, "others"))
    assert store.forget(HOST) == {"key", "stages"}
    assert [selection.host for selection in store.selections()] == [OTHER]
    assert list(other.selections()) == []
    assert store.forget(HOST) == set()


def test_forget_reads_no_glob(store: FileStore) -> None:
    store.save_selection(remembered())
    assert store.forget("*") == set()
    assert store.forget("") == set()
    assert len(list(store.selections())) == 1


def test_discard(store: FileStore) -> None:
    store.discard("key")
    store.save("key", CREDENTIAL)
    store.discard("key")
    assert store.load("key") is None


@NO_MODES
def test_only_the_owner_may_read(root: Path, store: FileStore) -> None:
    store.save("key", CREDENTIAL)
    store.save_selection(remembered())
    with store.lock("key", wait=0):
        pass
    for path in [root, *root.rglob("*")]:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_nothing_is_left_beside(root: Path, store: FileStore) -> None:
    for _ in range(3):
        store.save("key", CREDENTIAL)
    assert [path.name for path in (root / "credentials").iterdir()] == ["key"]


def test_where_nothing_can_be_kept_nothing_is_raised(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    store = FileStore(blocked / "store", DEV)
    store.save("key", CREDENTIAL)
    store.save_selection(remembered())
    store.discard("key")
    assert store.load("key") is None
    assert store.forget(HOST) == set()
    assert list(store.selections()) == []
    with store.lock("key", wait=0) as lock:
        assert lock is not None


def age(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))
    if path.stat().st_atime > then + 1:
        pytest.skip("the access time of a file cannot be set here, as under wine")


def test_the_sweep_drops_what_is_of_no_use(root: Path, store: FileStore) -> None:
    day = 86400
    store.save("spent", replace(CREDENTIAL, expires=1))
    store.save("kept", CREDENTIAL)
    for name in ("old", "kept"):
        (root / "locks" / name).touch(mode=0o600)
        (root / "selections" / name).touch(mode=0o600)
    for path in (root / "locks" / "old", root / "selections" / "old"):
        age(path, 40 * day)
    for name in ("killed.0.new", "at-work.1.new"):
        (root / "credentials" / name).touch(mode=0o600)
    age(root / "credentials" / "killed.0.new", day)
    (root / "locks" / ".swept").touch(mode=0o600)
    age(root / "locks" / ".swept", 2 * day)
    store.save("new", CREDENTIAL)
    left = {path.name for path in root.rglob("*") if path.is_file()}
    assert left == {"kept", "new", "at-work.1.new", ".swept"}


def test_the_sweep_leaves_a_selection_that_is_old_and_in_use(root: Path, store: FileStore) -> None:
    store.save_selection(remembered())
    (path,) = (root / "selections").iterdir()
    used = path.stat().st_mtime
    os.utime(path, (used, used - 40 * 86400))
    store.save("key", CREDENTIAL)
    assert (root / "locks" / ".swept").exists()
    assert path.exists()


def test_what_is_half_written_is_no_record_and_goes_later(root: Path, store: FileStore) -> None:
    store.save("key", CREDENTIAL)
    backend = FileBackend(root)
    half = root / "credentials" / "key.0123.new"
    half.touch(mode=0o600)
    for act in (backend.drop_half_written, backend.wipe):
        act()
        assert half.exists()
    assert backend.names(b"credentials/") == []
    age(half, 3600)
    backend.wipe()
    assert not half.exists()


@NO_LINKS
def test_the_sweep_leaves_what_lies_behind_a_link(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "precious").touch()
    age(elsewhere / "precious", 10**8)
    root.mkdir(mode=0o700)
    (root / "credentials").symlink_to(elsewhere)
    FileStore(root, DEV).save("key", CREDENTIAL)
    assert [path.name for path in elsewhere.iterdir()] == ["precious"]


@in_one_folder
@given(st.data())
def test_noise_with_the_right_fingerprint_raises_nothing(
    root: Path, store: FileStore, data: st.DataObject
) -> None:
    store.save("key", CREDENTIAL)
    store.save_selection(remembered())
    field = st.binary(max_size=10) | st.sampled_from([b"9" * 5000, b"[" * 50_000, b"\xff", b"null"])
    for folder in ("credentials", "selections"):
        (path,) = (root / folder).iterdir()
        fields = path.read_bytes().split(b"\0")[1:]
        for n in data.draw(st.lists(st.integers(2, len(fields) - 1), max_size=2)):
            fields[n] = data.draw(field)
        write_sealed(path, fields[: data.draw(st.integers(1, len(fields)))])
    loaded = store.load("key")
    assert loaded is None or isinstance(loaded.username + loaded.secret, str)
    for selection in store.selections():
        assert isinstance(selection.key, str)
    store.forget(HOST)
    store.discard("key")


def test_a_key_that_is_no_text_is_forgotten_with_all(root: Path, store: FileStore) -> None:
    store.save("key", CREDENTIAL)
    store.save_selection(remembered())
    (path,) = (root / "selections").iterdir()
    fields = path.read_bytes().split(b"\0")[1:]
    fields[record.HOST] = fields[record.SELECTED_KEY] = b"\xff"
    write_sealed(path, fields)
    assert store.forget_all() == set()
    assert not [*(root / "credentials").iterdir(), *(root / "selections").iterdir()]


@pytest.mark.posix_only("every file name is text")
def test_a_name_that_is_no_text(root: Path, store: FileStore) -> None:
    store.save_selection(remembered())
    with open(os.fsencode(root) + b"/selections/\xff~\xff", "wb"):
        pass
    assert len(list(store.selections())) == 1
    assert store.forget(HOST) == {"key"}


def test_none_keeps_nothing() -> None:
    store: Store = NoStore()
    store.save("key", CREDENTIAL)
    store.save_selection(remembered())
    assert store.load("key") is None
    assert list(store.selections()) == []
    assert store.forget(HOST) == set()
    with store.lock("key", wait=0) as lock:
        assert lock is not None
