"""ecr-py config: settings shown and changed, checked before they are written."""

from __future__ import annotations

import json
import os
import stat

import pytest

from docker_credential_ecr_py.config.settings import CHOICES, defaults
from tests.support.home import DEV, STAGE, registry
from tests.support.user import User

THEIRS = """\
# mine
[defaults] # all of them
login = "never"   # on this machine

# for stage
[registries."998135273239.*"]
profile = "stage"
"""


def refused(user: User, *arguments: str) -> str:
    before = user.home.settings.read_text() if user.home.settings.exists() else None
    line = user.invoke("config", *arguments).line
    assert (user.home.settings.read_text() if user.home.settings.exists() else None) == before
    return line


def test_show_says_where_each_comes_from(user: User) -> None:
    user.home.write(user.home.settings, THEIRS)
    shown = json.loads(user.invoke_ok("config", "show", "--json").stdout)
    assert shown["file"] == str(user.home.settings)
    found = {row["key"]: (row["value"], row["from"]) for row in shown["settings"]}
    assert found.keys() == {*defaults(), "registries.998135273239.*.profile"}
    assert found["login"] == ("never", "file")
    assert found["login_timeout"] == (300, "default")
    assert found["registries.998135273239.*.profile"] == ("stage", "file")
    rows = [line.split() for line in user.invoke_ok("config", "show").stdout.splitlines()]
    assert ["login", "never", "file"] in rows
    assert ["fallback", "-", "default"] in rows


def test_brackets_are_shown_as_they_are(user: User) -> None:
    glob = "[12]*.dkr.ecr.*.amazonaws.com"
    with user.home.aws_config.open("a") as config:
        config.write("[profile a[/b]:smile:]\nregion = eu-west-1\n")
    user.invoke_ok("config", "set", f"registries.{glob}.profile", "a[/b]:smile:")
    rows = [line.split() for line in user.invoke_ok("config", "show").stdout.splitlines()]
    assert [f"registries.{glob}.profile", "a[/b]:smile:", "file"] in rows


def test_show_knows_what_the_environment_overrules(user: User) -> None:
    done = user.invoke_ok("config", "show", ECR_PY_LOGIN="never", AWS_ECR_DISABLE_CACHE="1")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["login", "never", "ECR_PY_LOGIN"] in rows
    assert ["store", "none", "AWS_ECR_DISABLE_CACHE"] in rows


def test_path_is_that_of_the_settings(user: User) -> None:
    assert user.invoke_ok("config", "path").stdout == f"{user.home.settings}\n"
    elsewhere = str(user.home.path / "mine.toml")
    assert user.invoke_ok("config", "path", ECR_PY_CONFIG=elsewhere).stdout == f"{elsewhere}\n"


def test_a_value_that_is_no_text(user: User) -> None:
    script = "ecr-py config set registries.foo.profile \"$(printf '\\377')\""
    assert "not UTF-8 text" in user.try_run("sh", "-c", script).line
    assert not user.home.settings.exists()


def test_what_is_set_holds(user: User) -> None:
    """For the helper, and not only for this command."""
    user.invoke_ok("config", "set", "registries.642976147714.*.profile", "stage")
    said = user.invoke_ok("explain", registry(DEV)).stdout
    assert "profile   stage" in said
    user.invoke_ok("config", "unset", "registries.642976147714.*.profile")
    assert "profile   dev" in user.invoke_ok("explain", registry(DEV)).stdout


@pytest.mark.parametrize("key", CHOICES)
def test_every_choice_can_be_set_and_unset(user: User, key: str) -> None:
    for choice in CHOICES[key]:
        user.invoke_ok("config", "set", f"defaults.{key}", choice)
        rows = [line.split() for line in user.invoke_ok("config", "show").stdout.splitlines()]
        assert [key, choice, "file"] in rows
    user.invoke_ok("config", "unset", key)
    rows = [line.split() for line in user.invoke_ok("config", "show").stdout.splitlines()]
    assert [key, str(defaults()[key]), "default"] in rows
    assert user.home.settings.read_text() == ""


def test_comments_and_order_stay(user: User) -> None:
    file = user.home.write(user.home.settings, THEIRS)
    file.chmod(0o640)
    user.invoke_ok("config", "set", "login_timeout", "600")
    user.invoke_ok("config", "set", 'registries."images.example.com".alias', registry(STAGE))
    after = THEIRS.replace("machine\n", "machine\nlogin_timeout = 600\n")
    assert file.read_text() == (
        f'{after}\n[registries."images.example.com"]\nalias = "{registry(STAGE)}"\n'
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert file.with_name("config.toml.bak").read_text() == after
    user.invoke_ok("config", "set", "login", "auto")
    assert 'login = "auto"   # on this machine' in file.read_text()


def test_a_link_a_byte_order_mark_and_crlf_stay(user: User) -> None:
    real = user.home.path / "dotfiles.toml"
    real.write_bytes(b'\xef\xbb\xbf[defaults]\r\nlogin = "auto"\r\n')
    user.home.settings.parent.mkdir(parents=True)
    user.home.settings.symlink_to(real)
    user.invoke_ok("config", "set", "prefer", "account")
    assert user.home.settings.is_symlink()
    assert real.read_bytes() == (
        b'\xef\xbb\xbf[defaults]\r\nlogin = "auto"\r\nprefer = "account"\r\n'
    )


def test_dry_run_and_what_is_so_already_write_nothing(user: User) -> None:
    file = user.home.write(user.home.settings, THEIRS)
    written = file.stat().st_mtime_ns
    done = user.invoke_ok("config", "set", "login", "auto", "--dry-run")
    assert '+login = "auto"   # on this machine' in done.stdout
    assert "already" in user.invoke_ok("config", "set", "login", "never").stdout
    assert "prefer is not set in" in user.invoke_ok("config", "unset", "prefer").stdout
    assert file.read_text() == THEIRS
    assert file.stat().st_mtime_ns == written
    assert os.listdir(file.parent) == [file.name]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("stor", "none", "nearest: store"),
        ("defaults.login_timout", "60", "nearest: login_timeout"),
        ("zzz", "none", "settings are prefer, store"),
        ("registries.x.example.profil", "dev", "nearest: registries.HOST.profile"),
        ("registries..profile", "dev", "is not a setting"),
        ("store", "nne", "nearest: none"),
        ("login_timeout", "5", "10 to 3600"),
        ("login_timeout", "soon", "10 to 3600"),
        ("fallback", "ecr-py", "its own fallback"),
        ("fallback", "", "ecr-py config unset fallback"),
        ("registries.a.example.alias", "b.example", "not an Amazon ECR registry"),
        ("registries.a b.profile", "dev", "not a registry host"),
        (f"registries.{DEV}.*.profile", "stagge", "not a profile in"),
        (f"registries.{DEV}.*.profile", "stagge", "nearest: stage"),
        (f"registries.{DEV}.*.profile", "zzz", "profiles are dev, stage, prod"),
        ("registries.images.example.com.profile", "dev", "set registries.images.example.com.alias"),
        (f"registries.{DEV}.profile", "dev", f"{DEV} matches no registry"),
        ("registries.64297614771.*.profile", "dev", "123456789012.*"),
        (f"registries.{registry(DEV, 'cn-north-1')}.profile", "dev", "matches no registry"),
        ("fallback", "typo", "docker-credential-typo is not on the PATH"),
    ],
)
def test_what_cannot_be_is_refused(user: User, key: str, value: str, said: str) -> None:
    assert said in refused(user, "set", key, value)
    assert not user.home.settings.exists()


def test_a_mistake_elsewhere_in_the_file(user: User) -> None:
    file = user.home.write(user.home.settings, '[defaults]\nstore = "bogus"\n')
    assert "line 2: store" in refused(user, "set", "prefer", "account")
    user.invoke_ok("config", "set", "store", "none")  # which mends it
    assert file.read_text() == '[defaults]\nstore = "none"\n'
    file.write_text("[defaults\n")
    for arguments in (["show"], ["set", "store", "none"], ["unset", "store"]):
        assert "not TOML" in refused(user, *arguments)


def test_a_file_that_cannot_be_read_or_written(user: User) -> None:
    file = user.home.write(user.home.settings, "")
    file.chmod(0o400)
    assert "read-only" in refused(user, "set", "store", "none")
    file.unlink()
    file.mkdir()
    assert "Is a directory" in user.invoke("config", "show").line


def test_a_fallback_that_is_no_longer_installed(user: User) -> None:
    helper = user.home.write(user.home.path / "bin" / "docker-credential-typo", "#!/bin/sh\n")
    helper.chmod(0o755)
    path = f"{helper.parent}:{user.home.environment['PATH']}"
    user.invoke_ok("config", "set", "fallback", "docker-credential-typo", PATH=path)
    assert "fallback" in user.home.settings.read_text()
    lines = user.ecr_py("doctor").stdout.splitlines()
    [line] = [line for line in lines if line.split()[1] == "fallback"]
    assert line.startswith("note")
    assert "docker-credential-typo is not on the PATH" in line


# One value, and the whole file


def test_get_prints_what_counts(user: User) -> None:
    user.home.write(user.home.settings, THEIRS)
    assert user.invoke_ok("config", "get", "login").stdout == "never\n"
    assert user.invoke_ok("config", "get", "defaults.store").stdout == "file\n"
    assert user.invoke_ok("config", "get", "login", ECR_PY_LOGIN="auto").stdout == "auto\n"
    key = f"registries.{STAGE}.*.profile"
    assert user.invoke_ok("config", "get", key).stdout == "stage\n"
    assert "is not set" in refused(user, "get", "fallback")
    assert "nearest: login" in refused(user, "get", "logn")


def editor(user: User, script: str) -> dict[str, str]:
    """Return the variable of an editor that is a shell script; the file is "$1"."""
    program = user.home.write(user.home.path / "bin" / "my editor", f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"EDITOR": f"'{program}'", "PATH": f"{user.environment['PATH']}:/usr/bin:/bin"}


@pytest.mark.parametrize("before", [None, THEIRS])
def test_edit_opens_the_editor(user: User, before: str | None) -> None:
    if before is not None:
        user.home.write(user.home.settings, before)
    line = f'[registries."images.example.com"]\\nalias = "{registry(DEV)}"\\n'
    done = user.invoke_ok("config", "edit", **editor(user, f"printf '{line}' >>\"$1\""))
    assert done.stdout == f"saved {user.home.settings}\n"
    assert user.home.settings.read_text().startswith(before or "[")
    assert f'alias = "{registry(DEV)}"' in user.home.settings.read_text()
    assert stat.S_IMODE(user.home.settings.stat().st_mode) in (0o600, 0o644)


@pytest.mark.parametrize("script", ["", "exit 1"], ids=["closed", "failed"])
def test_edit_without_saving_changes_nothing(user: User, script: str) -> None:
    user.home.write(user.home.settings, THEIRS)
    done = user.invoke("config", "edit", **editor(user, script))
    assert done.code == (1 if script else 0)
    assert "Traceback" not in done.said
    assert user.home.settings.read_text() == THEIRS


@pytest.mark.parametrize("command", ["nowhere", "vi '"], ids=["not there", "open quote"])
def test_an_editor_that_cannot_be_run(user: User, command: str) -> None:
    line = user.invoke("config", "edit", EDITOR=command).line
    assert line.startswith("ecr-py: ")
    assert line.endswith("set EDITOR to the command of an editor")


def test_edit_refuses_what_is_wrong(user: User) -> None:
    user.home.write(user.home.settings, THEIRS)
    environ = editor(user, """echo 'login = "nevr"' >"$1" """)
    done = user.invoke("config", "edit", **environ)
    assert done.code == 1
    assert "login" in done.stderr
    assert user.home.settings.read_text() == THEIRS


def test_edit_offers_to_go_on(user: User) -> None:
    """With the text as it was left, so that nothing has to be typed again."""
    first = """grep -q nevr "$1" && sed -i s/nevr/never/ "$1" || """
    second = """printf '[defaults]\\nlogin = "nevr"\\n' >"$1" """
    with user.at_terminal("ecr-py config edit", **editor(user, first + second)) as terminal:
        terminal.wait_for(r"line 2: login: 'nevr' is not one of[^?]*Edit it again")
        terminal.type("\r")
        assert terminal.wait() == 0
    assert user.home.settings.read_text() == '[defaults]\nlogin = "never"\n'
