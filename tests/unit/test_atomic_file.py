"""A user's file is replaced as a whole, in its place, and what it was lies beside it."""

import os
import stat
from pathlib import Path

import pytest

from docker_credential_ecr_py.atomic_file import read_if_there, rewrite
from tests.support.other_user import AS_ROOT
from tests.support.programs import NO_LINKS, NO_MODES


@NO_MODES
def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "config"
    assert read_if_there(file) is None
    rewrite(file, None, b"mine")
    assert file.read_bytes() == b"mine"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert os.listdir(file.parent) == ["config"]


@NO_MODES
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_mode_and_link_stay(tmp_path: Path, mode: int) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"before")
    real.chmod(mode)
    link.symlink_to(real)
    rewrite(link, b"before", b"after")
    assert link.is_symlink()
    assert real.read_bytes() == b"after"
    assert (tmp_path / "real.bak").read_bytes() == b"before"
    assert stat.S_IMODE(real.stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "real.bak").stat().st_mode) == 0o600


def test_what_it_was_lies_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "config"
    rewrite(file, None, b"before")
    rewrite(file, b"before", b"after")
    assert file.read_bytes() == b"after"
    assert (tmp_path / "config.bak").read_bytes() == b"before"


@NO_LINKS
def test_a_link_to_nothing_yet(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("elsewhere/real")
    rewrite(link, None, b"mine")
    assert (tmp_path / "elsewhere" / "real").read_bytes() == b"mine"


def test_what_changed_since_it_was_read_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_bytes(b"theirs")
    for before in (None, b"before"):
        with pytest.raises(OSError, match="changed"):
            rewrite(file, before, b"after")
    assert file.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["config"]


def test_a_read_only_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_bytes(b"before")
    file.chmod(0o444)
    with pytest.raises(PermissionError, match="read-only"):
        rewrite(file, b"before", b"after")
    assert file.read_bytes() == b"before"


def test_none_removes_it(tmp_path: Path) -> None:
    file = tmp_path / "config"
    rewrite(file, None, b"mine")
    rewrite(file, b"mine", None)
    assert os.listdir(tmp_path) == []


@AS_ROOT
def test_root_does_not_take_a_file_away(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_bytes(b"before")
    os.chown(file, 1234, 1234)
    rewrite(file, b"before", b"after")
    for path in (file, tmp_path / "config.bak"):
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1234)


@pytest.mark.posix_only("there are no named pipes in folders")
def test_what_is_no_regular_file_stays_what_it_is(tmp_path: Path) -> None:
    """As root, it would be everybody's /dev/null."""
    special = tmp_path / "special"
    os.mkfifo(special)
    (tmp_path / "link").symlink_to(special)
    for file in (special, tmp_path / "link"):
        with pytest.raises(OSError, match="not a regular file"):
            read_if_there(file)
        with pytest.raises(OSError, match="not a regular file"):
            rewrite(file, b"", b"after")
    assert stat.S_ISFIFO(special.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "special"]


@pytest.mark.posix_only("there is no /dev/zero")
def test_a_device_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """/dev/null stands for an empty file; /dev/zero must not fill the memory."""
    assert read_if_there(Path(os.devnull)) == b""
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="File too large"):
        read_if_there(tmp_path / "link")
    with pytest.raises(OSError, match="not a regular file"):
        rewrite(tmp_path / "link", b"", b"after")
