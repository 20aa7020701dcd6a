"""Root edits files in a folder where another user may plant links, and changes nothing else."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from docker_credential_ecr_py.atomic_file import make_private_folder, rewrite, write_whole
from docker_credential_ecr_py.daemon.service import Service
from docker_credential_ecr_py.errors import CannotInstall
from tests.support.other_user import (
    AS_ROOT,
    OTHER,
    as_other,
    folder_of_theirs,
    give,
    repeated_by_other,
)

pytestmark = AS_ROOT

EDITS = 100


@pytest.fixture
def theirs() -> Iterator[Path]:
    with folder_of_theirs() as folder:
        yield folder


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """A file that is root's alone, in a folder that is too."""
    file = tmp_path / "roots" / "shadow"
    file.parent.mkdir(mode=0o700)
    file.write_text("root:secret")
    file.chmod(0o600)
    return file


def facts(path: Path) -> tuple[int, int, int, bytes]:
    found = path.lstat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), path.read_bytes()


def put_back(file: Path) -> None:
    """The other user's own file takes the place of whatever is there."""
    beside = file.with_name("their-own")
    beside.write_text("{}")
    give(beside)
    beside.rename(file)


@pytest.mark.parametrize("always", [False, True], ids=["when it is root's", "always"])
@pytest.mark.parametrize("name", ["config.json", "config.json.bak"])
def test_a_link_that_is_raced_in_wins_nothing(
    theirs: Path, roots: Path, name: str, always: bool
) -> None:
    file, before = theirs / "config.json", facts(roots)
    beside = theirs / "planted"

    def plant() -> None:
        with suppress(FileExistsError):
            beside.symlink_to(roots)
        if always or (theirs / name).lstat().st_uid == 0:
            beside.rename(theirs / name)

    with repeated_by_other(plant):
        for number in range(EDITS):
            put_back(file)
            with suppress(OSError):
                rewrite(file, b"{}", b"%d" % number)
            assert facts(roots) == before
    assert os.listdir(roots.parent) == [roots.name]


def test_a_link_in_the_place_of_what_is_half_written_wins_nothing(
    theirs: Path, roots: Path
) -> None:
    file, before = theirs / "config.json", facts(roots)

    def swap() -> None:
        for name in os.listdir(theirs):
            if name.endswith(".new"):
                (theirs / name).unlink()
                (theirs / name).symlink_to(roots)

    with repeated_by_other(swap):
        for number in range(EDITS):
            put_back(file)
            with suppress(OSError):
                rewrite(file, b"{}", b"%d" % number)
            assert facts(roots) == before


def test_a_folder_that_is_swapped_for_a_link_wins_nothing(theirs: Path, roots: Path) -> None:
    folder, aside = theirs / "folder", theirs / "aside"
    folder.mkdir()
    (folder / roots.name).write_bytes(roots.read_bytes())
    give(folder)
    before = facts(roots)

    def swap() -> None:
        folder.rename(aside)
        folder.symlink_to(roots.parent)
        folder.unlink()
        aside.rename(folder)

    with repeated_by_other(swap):
        for number in range(EDITS):
            with suppress(OSError):
                rewrite(folder / roots.name, before[3], b"%d" % number)
            with suppress(OSError):
                write_whole(folder / roots.name, before[3], for_owner_of_folder=True)
            with suppress(OSError):
                make_private_folder(folder / "deeper" / "still")
            assert facts(roots) == before
            assert os.listdir(roots.parent) == [roots.name]


def planted_file(theirs: Path, roots: Path) -> Path:
    (theirs / "config.json").symlink_to(roots)
    return theirs / "config.json"


def planted_folder(theirs: Path, roots: Path) -> Path:
    (theirs / "folder").symlink_to(roots.parent)
    return theirs / "folder" / roots.name


def moved_link_of_roots(theirs: Path, roots: Path) -> Path:
    """One that root once made in their folder, and that they have renamed since."""
    (theirs / "of-roots").symlink_to(roots.parent)
    with as_other():
        (theirs / "of-roots").rename(theirs / "folder")
    return theirs / "folder" / roots.name


def planted_chain(theirs: Path, roots: Path) -> Path:
    """A link to a link, of which the second goes up and elsewhere."""
    (theirs / "first").symlink_to("second")
    (theirs / "second").symlink_to(os.path.relpath(roots.parent, theirs))
    return theirs / "first" / roots.name


PLANTED = [planted_file, planted_folder, moved_link_of_roots, planted_chain]


@pytest.mark.parametrize("planted", PLANTED)
def test_root_follows_no_link_of_theirs(
    theirs: Path, roots: Path, planted: Callable[[Path, Path], Path]
) -> None:
    file, before = planted(theirs, roots), facts(roots)
    if planted is not moved_link_of_roots:
        for path in theirs.iterdir():
            os.chown(path, OTHER, OTHER, follow_symlinks=False)
    for after in (b"changed", None):
        with pytest.raises(PermissionError, match="a link that another user may have created"):
            rewrite(file, before[3], after)
    if planted is not planted_file:
        with pytest.raises(PermissionError, match="a link"):
            write_whole(file.with_name("new"), b"")
        with pytest.raises(PermissionError, match="a link"):
            make_private_folder(file.with_name("new"))
        with pytest.raises(PermissionError, match="a link"):
            rewrite(file.with_name("new"), None, b"new")
    assert facts(roots) == before
    assert os.listdir(roots.parent) == [roots.name]


def test_a_hard_link_to_a_file_of_roots_gives_nothing_away(theirs: Path, roots: Path) -> None:
    """Where the kernel lets them make one (fs.protected_hardlinks = 0)."""
    inside = theirs.parent / "shadow"  # on the same file system
    inside.write_bytes(roots.read_bytes())
    inside.chmod(0o600)
    os.link(inside, theirs / "config.json")
    before = facts(inside)
    rewrite(theirs / "config.json", before[3], b"changed")
    assert facts(inside) == before
    for path in theirs.iterdir():
        assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (0, 0o600)


def test_the_daemons_units_are_written_through_no_link_of_theirs(theirs: Path, roots: Path) -> None:
    (theirs / "systemd").symlink_to(roots.parent)
    os.chown(theirs / "systemd", OTHER, OTHER, follow_symlinks=False)
    unit = theirs / "systemd" / "user" / "ecr-py.service"
    service = Service("systemd", {unit: "text"}, (), (), (), ())
    with pytest.raises(CannotInstall, match="a link that another user may have created"):
        service.write()
    assert os.listdir(roots.parent) == [roots.name]


def test_what_root_makes_in_their_folder_is_theirs(theirs: Path) -> None:
    file = theirs / "new" / "deep" / "config"
    rewrite(file, None, b"first")
    rewrite(file, b"first", b"second")
    made = [theirs / "new", file.parent, file, file.with_name("config.bak")]
    assert sorted(theirs.rglob("*")) == sorted(made)
    for path in made:
        assert (path.stat().st_uid, path.stat().st_gid) == (OTHER, OTHER)
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_folder_that_root_filled_is_not_given_away(theirs: Path) -> None:
    """They may put one in the place of a folder that root has just made."""
    filled = theirs / "of-roots"
    filled.mkdir(mode=0o700)
    (filled / "secret").touch()
    aside = theirs / "aside"

    def swap() -> None:
        filled.rename(theirs / "new")
        aside.rename(filled)
        filled.rename(aside)
        (theirs / "new").rename(filled)

    with repeated_by_other(swap):
        for _ in range(EDITS):
            with suppress(OSError):
                make_private_folder(theirs / "new")
            with suppress(OSError):
                (theirs / "new").rmdir()
    for path in theirs.iterdir():
        if (path / "secret").exists():
            assert path.stat().st_uid == 0


@pytest.mark.parametrize("relative", [False, True])
def test_their_own_links_go_on_working_for_them(theirs: Path, relative: bool) -> None:
    """Dotfiles are kept elsewhere, and linked to."""
    dotfiles = theirs / "dotfiles" / "docker"
    dotfiles.mkdir(parents=True)
    (dotfiles / "real.json").write_text("{}")
    (dotfiles / "config.json").symlink_to("real.json")
    target = os.path.relpath(dotfiles, theirs) if relative else str(dotfiles)
    (theirs / ".docker").symlink_to(target)
    (theirs / ".config").symlink_to("dotfiles/not-yet")
    give(theirs)
    with as_other():
        rewrite(theirs / ".docker" / "config.json", b"{}", b"[]")
        rewrite(theirs / ".config" / "new", None, b"new")
    assert (theirs / ".docker").is_symlink()
    assert (dotfiles / "config.json").is_symlink()
    assert (dotfiles / "real.json").read_text() == "[]"
    assert (dotfiles / "real.json.bak").read_text() == "{}"
    assert (theirs / "dotfiles" / "not-yet" / "new").read_text() == "new"


def test_roots_own_links_go_on_working_for_root(tmp_path: Path, roots: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(roots)
    rewrite(link, b"root:secret", b"changed")
    assert link.is_symlink()
    assert roots.read_text() == "changed"


def test_a_user_follows_no_link_of_another_user(theirs: Path, tmp_path: Path) -> None:
    """In a folder that is open to all: what the first user edits, the second has not chosen."""
    shared = theirs.parent / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (theirs / "mine").write_text("before")
    give(theirs)
    (shared / "config.json").symlink_to(theirs / "mine")
    os.chown(shared / "config.json", 12345, 12345, follow_symlinks=False)
    with as_other(), pytest.raises(PermissionError, match="another user"):
        rewrite(shared / "config.json", b"before", b"after")
    assert (theirs / "mine").read_text() == "before"


def test_links_in_a_circle_have_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for file in (tmp_path / "a", tmp_path / "a" / "inside"):
        with pytest.raises(OSError, match="links"):
            rewrite(file, None, b"")


def test_a_group_that_cannot_be_kept_gets_no_rights(theirs: Path) -> None:
    """Or else the group of whoever edits would read what was another group's alone."""
    file = theirs / "config"
    file.write_text("before")
    os.chown(file, OTHER, 12345)
    file.chmod(0o660)
    with as_other():
        rewrite(file, b"before", b"after")
    assert file.stat().st_gid == OTHER
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
