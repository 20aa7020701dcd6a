"""ecr-py config: settings shown and changed, checked before they are written."""

from __future__ import annotations

import json
import os
import stat

import pytest

from docker_credential_ecr_py.config.settings import CHOICES, defaults
from tests.support.home import DEV, STAGE, registry
from tests.system.cli.conftest import Owner

THEIRS = """\
# mine
[defaults] # all of them
login = "never"   # on this machine

# for stage
[registries."998135273239.*"]
profile = "stage"
"""


def refused(owner: Owner, *arguments: str) -> str:
    before = owner.home.settings.read_text() if owner.home.settings.exists() else None
    line = owner.invokes("config", *arguments).line
    assert (owner.home.settings.read_text() if owner.home.settings.exists() else None) == before
    return line


def test_show_says_where_each_comes_from(owner: Owner) -> None:
    owner.home.write(owner.home.settings, THEIRS)
    shown = json.loads(owner.does("config", "show", "--json").stdout)
    assert shown["file"] == str(owner.home.settings)
    found = {row["key"]: (row["value"], row["from"]) for row in shown["settings"]}
    assert found.keys() == {*defaults(), "registries.998135273239.*.profile"}
    assert found["login"] == ("never", "file")
    assert found["login_timeout"] == (300, "default")
    assert found["registries.998135273239.*.profile"] == ("stage", "file")
    rows = [line.split() for line in owner.does("config", "show").stdout.splitlines()]
    assert ["login", "never", "file"] in rows
    assert ["fallback", "-", "default"] in rows


def test_brackets_are_shown_as_they_are(owner: Owner) -> None:
    glob = "[ab]*.dkr.ecr.*.amazonaws.com"
    owner.does("config", "set", f"registries.{glob}.profile", "a[/b]:smile:")
    rows = [line.split() for line in owner.does("config", "show").stdout.splitlines()]
    assert [f"registries.{glob}.profile", "a[/b]:smile:", "file"] in rows


def test_show_knows_what_the_environment_overrules(owner: Owner) -> None:
    done = owner.does("config", "show", ECR_PY_LOGIN="never", AWS_ECR_DISABLE_CACHE="1")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["login", "never", "ECR_PY_LOGIN"] in rows
    assert ["store", "none", "AWS_ECR_DISABLE_CACHE"] in rows


def test_path_is_that_of_the_settings(owner: Owner) -> None:
    assert owner.does("config", "path").stdout == f"{owner.home.settings}\n"
    elsewhere = str(owner.home.path / "mine.toml")
    assert owner.does("config", "path", ECR_PY_CONFIG=elsewhere).stdout == f"{elsewhere}\n"


def test_a_value_that_is_no_text(owner: Owner) -> None:
    script = "ecr-py config set registries.foo.profile \"$(printf '\\377')\""
    assert "not UTF-8 text" in owner.runs("sh", "-c", script).line
    assert not owner.home.settings.exists()


def test_what_is_set_holds(owner: Owner) -> None:
    """For the helper, and not only for this command."""
    owner.does("config", "set", "registries.642976147714.*.profile", "stage")
    said = owner.does("explain", registry(DEV)).stdout
    assert "profile   stage" in said
    owner.does("config", "unset", "registries.642976147714.*.profile")
    assert "profile   dev" in owner.does("explain", registry(DEV)).stdout


@pytest.mark.parametrize("key", CHOICES)
def test_every_choice_can_be_set_and_unset(owner: Owner, key: str) -> None:
    for choice in CHOICES[key]:
        owner.does("config", "set", f"defaults.{key}", choice)
        rows = [line.split() for line in owner.does("config", "show").stdout.splitlines()]
        assert [key, choice, "file"] in rows
    owner.does("config", "unset", key)
    rows = [line.split() for line in owner.does("config", "show").stdout.splitlines()]
    assert [key, str(defaults()[key]), "default"] in rows
    assert owner.home.settings.read_text() == ""


def test_comments_and_order_stay(owner: Owner) -> None:
    file = owner.home.write(owner.home.settings, THEIRS)
    file.chmod(0o640)
    owner.does("config", "set", "login_timeout", "600")
    owner.does("config", "set", 'registries."images.example.com".alias', registry(STAGE))
    after = THEIRS.replace("machine\n", "machine\nlogin_timeout = 600\n")
    assert file.read_text() == (
        f'{after}\n[registries."images.example.com"]\nalias = "{registry(STAGE)}"\n'
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert file.with_name("config.toml.bak").read_text() == after
    owner.does("config", "set", "login", "auto")
    assert 'login = "auto"   # on this machine' in file.read_text()


def test_a_link_a_byte_order_mark_and_crlf_stay(owner: Owner) -> None:
    real = owner.home.path / "dotfiles.toml"
    real.write_bytes(b'\xef\xbb\xbf[defaults]\r\nlogin = "auto"\r\n')
    owner.home.settings.parent.mkdir(parents=True)
    owner.home.settings.symlink_to(real)
    owner.does("config", "set", "prefer", "account")
    assert owner.home.settings.is_symlink()
    assert real.read_bytes() == (
        b'\xef\xbb\xbf[defaults]\r\nlogin = "auto"\r\nprefer = "account"\r\n'
    )


def test_dry_run_and_what_is_so_already_write_nothing(owner: Owner) -> None:
    file = owner.home.write(owner.home.settings, THEIRS)
    written = file.stat().st_mtime_ns
    done = owner.does("config", "set", "login", "auto", "--dry-run")
    assert '+login = "auto"   # on this machine' in done.stdout
    assert "already" in owner.does("config", "set", "login", "never").stdout
    assert "already" in owner.does("config", "unset", "prefer").stdout
    assert file.read_text() == THEIRS
    assert file.stat().st_mtime_ns == written
    assert os.listdir(file.parent) == [file.name]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("stor", "none", "nearest: store"),
        ("defaults.login_timout", "60", "nearest: login_timeout"),
        ("zzz", "none", "there are prefer, store"),
        ("registries.x.example.profil", "dev", "nearest: registries.HOST.profile"),
        ("registries..profile", "dev", "is no setting"),
        ("store", "nne", "nearest: none"),
        ("login_timeout", "5", "10 to 3600"),
        ("login_timeout", "soon", "10 to 3600"),
        ("fallback", "ecr-py", "our own fallback"),
        ("fallback", "", "ecr-py config unset fallback"),
        ("registries.a.example.alias", "b.example", "not an Amazon ECR registry"),
        ("registries.a b.profile", "dev", "not a registry's host"),
    ],
)
def test_what_cannot_be_is_refused(owner: Owner, key: str, value: str, said: str) -> None:
    assert said in refused(owner, "set", key, value)
    assert not owner.home.settings.exists()


def test_a_mistake_elsewhere_in_the_file(owner: Owner) -> None:
    file = owner.home.write(owner.home.settings, '[defaults]\nstore = "bogus"\n')
    assert "line 2: store" in refused(owner, "set", "prefer", "account")
    owner.does("config", "set", "store", "none")  # which mends it
    assert file.read_text() == '[defaults]\nstore = "none"\n'
    file.write_text("[defaults\n")
    for arguments in (["show"], ["set", "store", "none"], ["unset", "store"]):
        assert "not TOML" in refused(owner, *arguments)


def test_a_file_that_cannot_be_read_or_written(owner: Owner) -> None:
    file = owner.home.write(owner.home.settings, "")
    file.chmod(0o400)
    assert "read-only" in refused(owner, "set", "store", "none")
    file.unlink()
    file.mkdir()
    assert "Is a directory" in owner.invokes("config", "show").line


def test_a_fallback_that_is_not_installed(owner: Owner) -> None:
    """Set all the same: it may come later."""
    done = owner.does("config", "set", "fallback", "typo")
    assert "docker-credential-typo is not on the PATH" in done.stderr
    assert "fallback" in owner.home.settings.read_text()
    lines = owner.types("doctor").stdout.splitlines()
    [line] = [line for line in lines if line.split()[1] == "fallback"]
    assert line.startswith("note")
    assert "docker-credential-typo is not on the PATH" in line
