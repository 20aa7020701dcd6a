"""ecr-py config: shows and changes the settings of ecr-py."""

import os
import shlex
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.atomic_file import BYTE_ORDER_MARK
from docker_credential_ecr_py.cli.completions import SETTINGS, VALUES
from docker_credential_ecr_py.cli.output import (
    Group,
    can_ask,
    json_option,
    show_change,
    show_json,
    show_table,
)
from docker_credential_ecr_py.config import file_edits, paths, settings_edit
from docker_credential_ecr_py.config.settings import (
    CHOICES,
    KEYRING,
    REGISTRY,
    Settings,
    defaults,
    may_be_used,
    parse_settings,
)
from docker_credential_ecr_py.config.text_file import read_text
from docker_credential_ecr_py.daemon.discovery import NOT_RUNNING, START, find_daemon
from docker_credential_ecr_py.errors import (
    LOG_IN_FIRST,
    BadInput,
    EcrPyError,
    SettingsError,
    nearest,
    some,
)
from docker_credential_ecr_py.other_registries import find_helper
from docker_credential_ecr_py.programs import find_program

_STORE = ("defaults", "store")
_EXAMPLE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would change; write nothing.")


@click.group(cls=Group)
def config() -> None:
    """Show and change the settings of ecr-py.

    \b
    ecr-py config show                      all settings, and where they come from
    ecr-py config get store                 one of them
    ecr-py config edit                      the file, in your editor
    ecr-py config set store none            store nothing on disk
    ecr-py config set 'registries.998135273239.*.profile' stage
    ecr-py config unset store               back to the default
    ecr-py config path                      the path of the file
    """


@config.command()
@json_option
def show(as_json: bool) -> None:
    """Show every setting, and whether it comes from the file or is the default."""
    file = paths.settings_file(os.environ)
    text = read_text(file, SettingsError) or ""
    rows = _rows(parse_settings(text, str(file)), text)
    if as_json:
        settings = [{"key": key, "value": value, "from": origin} for key, value, origin in rows]
        show_json({"file": str(file), "settings": settings})
        return
    shown = [(key, str(value) if value != "" else "-", origin) for key, value, origin in rows]
    show_table(("SETTING", "VALUE", "FROM"), shown)
    click.echo(f"\n{file}{'' if text else ' (does not exist)'}")


@config.command()
@click.argument("key", shell_complete=SETTINGS)
def get(key: str) -> None:
    """Print the value of KEY: the one that counts, or the default. Exit 1 if it has none."""
    path = _path(key)
    file = paths.settings_file(os.environ)
    text = read_text(file, SettingsError) or ""
    values = {name: value for name, value, _ in _rows(parse_settings(text, str(file)), text)}
    value = values.get(".".join(path).removeprefix("defaults."), "")
    if value == "":
        raise EcrPyError(f"{key} is not set")
    click.echo(value)


@config.command()
def edit() -> None:
    """Open the settings in your editor ($VISUAL, $EDITOR), and check them before they are saved."""
    file = paths.settings_file(os.environ)
    before = read_text(file, SettingsError)
    after = _edited(before or "", file)
    while after is not None:
        try:
            parse_settings(after, str(file))
            break
        except SettingsError as error:
            if not can_ask():
                raise
            click.echo(str(error), err=True)
            if not click.confirm("Edit it again", default=True, err=True):
                after = None
                break
            after = _edited(after, file, require_save=False)
    if after is None or after == (before or ""):
        click.echo(f"{file} is unchanged")
        return
    file_edits.write(file, before, after)
    click.echo(f"saved {file}")
    if _stored_in(before or "") != _stored_in(after):
        _take_over()


def _stored_in(text: str) -> object:
    """Return where settings have credentials stored; None if that is the default, or unknown."""
    with suppress(ValueError):
        return settings_edit.value_at(text, _STORE)
    return None


@config.command("set")
@click.argument("key", shell_complete=SETTINGS)
@click.argument("value", shell_complete=VALUES)
@_DRY_RUN
def set_value(key: str, value: str, dry_run: bool) -> None:
    """Set KEY to VALUE. A value that is invalid or has no effect is refused.

    \b
    ecr-py config set login never
    ecr-py config set login_timeout 600
    ecr-py config set registries.images.example.com.alias \\
        642976147714.dkr.ecr.eu-west-1.amazonaws.com
    """
    path = _path(key)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadInput(f"{key}: the value is not UTF-8 text") from None
    if not value.strip():
        raise BadInput(f"{key}: the value is empty", hint=f"run `ecr-py config unset {key}`")
    chosen = _typed(path, value)
    _check(path, chosen)
    file, before = _file()
    after = settings_edit.with_value(before or "", path, chosen)
    _check_here(path, chosen, after)
    _save(file, before, after, f"{key} is {value} in {file}", dry_run=dry_run)
    if path == _STORE and not dry_run:
        _take_over()
    if missing := _missing(path, chosen):
        click.echo(f"ecr-py: {missing}", err=True)


@config.command()
@click.argument("key", shell_complete=SETTINGS)
@_DRY_RUN
def unset(key: str, dry_run: bool) -> None:
    """Remove KEY from the file, so that the default applies again."""
    path = _path(key)
    file, before = _file()
    after = settings_edit.without_value(before or "", path)
    if after == (before or ""):
        click.echo(f"{key} is not set in {file}")
    else:
        _save(file, before, after, f"{key} is unset in {file}", dry_run=dry_run)
    if path == _STORE and not dry_run:
        _take_over()


@config.command("path")
def show_path() -> None:
    """Print the path of the settings file, whether or not it exists."""
    click.echo(paths.settings_file(os.environ))


def _edited(text: str, file: Path, *, require_save: bool = True) -> str | None:
    """Return what the user's editor makes of a text, or None if it is not saved.

    Raises EcrPyError if the editor cannot be run.
    """
    is_dos = sys.platform == "win32" and "\r\n" in text  # click makes \r\n of each \n there
    shown = text.replace("\r\n", "\n") if is_dos else text
    try:
        after = click.edit(shown, _editor(), extension=file.suffix, require_save=require_save)
    except (click.ClickException, ValueError) as error:
        what = getattr(error, "message", f"the editor cannot be run: {error}")
        raise EcrPyError(what, hint="set EDITOR to the command of an editor") from None
    return after.replace("\n", "\r\n") if after and is_dos else after


def _editor() -> str | None:
    """Return the command of the editor for click; None leaves it to click to find it.

    click splits the command as sh does, without backslashes, and on Windows the system finds no
    program but an .exe: VS Code's `code` is code.cmd.
    """
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if sys.platform != "win32" or not named:
        return None
    words = [word.strip('"') for word in shlex.split(named, posix=False)]
    return shlex.join([find_program(words[0]) or words[0], *words[1:]])


def _take_over() -> None:
    """Move what the previous store kept into the new one, or remove it."""
    App(may_log_in=False).store.take_over_leftovers()


def _missing(path: tuple[str, ...], value: object) -> str:
    """Return what a value needs and this machine does not have, or ""."""
    if path == _STORE and value == "memory" and find_daemon(os.environ) is None:
        return f"this store needs the daemon, which is not running: {START}"
    if value == KEYRING and path in (_STORE, settings_edit.FALLBACK):
        from docker_credential_ecr_py.store.seal import Seal

        try:
            Seal(None).key()
        except EcrPyError as error:
            return f"{error.what}, so nothing can be kept"
    return ""


def _rows(settings: Settings, text: str) -> list[tuple[str, Any, str]]:
    """Return key, value and origin of each setting."""
    document = tomllib.loads(text.removeprefix(BYTE_ORDER_MARK))
    overruled = {
        "login": ("ECR_PY_LOGIN", os.environ.get("ECR_PY_LOGIN")),
        "store": ("AWS_ECR_DISABLE_CACHE", os.environ.get("AWS_ECR_DISABLE_CACHE") and "none"),
    }
    found: list[tuple[str, Any, str]] = []
    for key in defaults():
        variable, value = overruled.get(key, ("", None))
        origin = "file" if key in document.get("defaults", {}) else "default"
        found.append((key, value or getattr(settings, key), variable if value else origin))
    return found + [
        (f"registries.{host}.{key}", value, "file")
        for host, values in document.get("registries", {}).items()
        for key, value in values.items()
    ]


def _path(key: str) -> tuple[str, ...]:
    """Return the tables and the key of a setting. Raises BadInput if there is no such setting."""
    table, _, rest = key.partition(".")
    host, _, name = rest.rpartition(".")
    if table == "registries" and name in REGISTRY and host:
        return table, host.strip("\"'"), name
    short = key.removeprefix("defaults.")
    if short not in defaults():
        known = [*defaults(), *(f"registries.HOST.{name}" for name in REGISTRY)]
        near = nearest(short, known) or f"; settings are {', '.join(known)}"
        raise BadInput(f"{key} is not a setting{near}")
    return "defaults", short


def _typed(path: tuple[str, ...], value: str) -> Any:
    """Parse `value` as TOML, unless the setting is a string. Invalid values are found later."""
    if isinstance(defaults().get(path[-1], ""), str):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        return value


def _check(path: tuple[str, ...], value: Any) -> None:
    """Check that a setting can have a value. Raises BadInput."""
    try:
        parse_settings(settings_edit.with_value("", path, value), "")
    except SettingsError as error:
        _, _, what = error.what.partition(
            ": "
        )  # it begins with a line number, which would be wrong
        raise BadInput(f"{what}{nearest(str(value), CHOICES.get(path[-1], ()))}") from None


def _check_here(path: tuple[str, ...], value: Any, after: str) -> None:
    """Check that a setting would have an effect on this machine. Raises BadInput, AwsConfigError.

    `after` is the text of the settings with the value.
    """
    if sys.platform == "win32" and path == _STORE and value == "memory":
        raise BadInput(f"this store needs the daemon: {NOT_RUNNING}")
    if path == settings_edit.FALLBACK and value != KEYRING:
        try:
            find_helper(str(value).removeprefix("docker-credential-"))
        except EcrPyError as error:
            hint = "install it first; `ecr-py config set fallback keyring` needs no other helper"
            raise BadInput(error.what, hint=hint) from None
    if path[-1] != "profile":
        return
    host = path[1].lower()
    with suppress(SettingsError):  # a mistake elsewhere in the file is reported when it is saved
        if not may_be_used(host, parse_settings(after, "")):
            raise BadInput(
                f"{host} matches no registry: a registry is like {_EXAMPLE}, a glob of all of an "
                f"account like {_EXAMPLE.partition('.')[0]}.*",
                hint=""
                if set(host) & set("*?[")
                else f"if {host} is your own name for a registry, run "
                f"`ecr-py config set registries.{host}.alias {_EXAMPLE}` first",
            )
    aws = App().aws_config
    if value not in aws.profiles:
        near = aws.nearest(value)
        if aws.profiles and not near:
            near = f"; profiles are {some(list(aws.profiles))}"
        raise BadInput(
            f"{value} is not a profile in {aws.source}{near}", hint="" if near else LOG_IN_FIRST
        )


def _file() -> tuple[Path, str | None]:
    """Return the settings file and its text. Raises SettingsError if that is not TOML."""
    file = paths.settings_file(os.environ)
    text = read_text(file, SettingsError)
    try:
        tomllib.loads((text or "").removeprefix(BYTE_ORDER_MARK))
    except ValueError:
        parse_settings(text or "", str(file))  # raises, with the line
    return file, text


def _save(file: Path, before: str | None, after: str, done: str, *, dry_run: bool) -> None:
    """Write the file if all of it is valid; else raise SettingsError."""
    if after == (before or ""):
        click.echo(f"{file} already has this value")
        return
    try:
        parse_settings(after, str(file))
    except SettingsError:
        parse_settings(before or "", str(file))  # reports errors of the existing lines first
        raise
    if dry_run:
        show_change(str(file), before or "", after)
        return
    file_edits.write(file, before, after)
    click.echo(done)
