"""ecr-py config: our own settings, shown and changed where they stand."""

import os
import tomllib
from pathlib import Path
from typing import Any

import click

from docker_credential_ecr_py.atomic_file import BYTE_ORDER_MARK
from docker_credential_ecr_py.cli.output import (
    Group,
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
    parse_settings,
)
from docker_credential_ecr_py.config.text_file import read_text
from docker_credential_ecr_py.daemon.discovery import find_daemon
from docker_credential_ecr_py.errors import BadInput, EcrPyError, SettingsError, nearest
from docker_credential_ecr_py.other_registries import find_helper

_STORE = ("defaults", "store")
_DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Show what would change, and write nothing."
)


@click.group(cls=Group)
def config() -> None:
    """Show and change the settings of ecr-py.

    \b
    ecr-py config show                      what holds, and where it comes from
    ecr-py config set store none            keep nothing on disk
    ecr-py config set 'registries.998135273239.*.profile' stage
    ecr-py config unset store               the default again
    ecr-py config path                      where the settings are
    """


@config.command()
@json_option
def show(as_json: bool) -> None:
    """Every setting, and whether the file or the default has it so."""
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


@config.command("set")
@click.argument("key")
@click.argument("value")
@_DRY_RUN
def set_value(key: str, value: str, dry_run: bool) -> None:
    """Set KEY to VALUE, once it is known to be right.

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
    _save(file, before, after, f"{key} is {value} in {file}", dry_run=dry_run)
    if path == _STORE and not dry_run:
        _take_over()
    if lack := _lack(path, chosen):
        click.echo(f"ecr-py: {lack}", err=True)


@config.command()
@click.argument("key")
@_DRY_RUN
def unset(key: str, dry_run: bool) -> None:
    """Take KEY out of the file, so that the default holds again."""
    path = _path(key)
    file, before = _file()
    after = settings_edit.without_value(before or "", path)
    _save(file, before, after, f"{key} is unset in {file}", dry_run=dry_run)
    if path == _STORE and not dry_run:
        _take_over()


@config.command("path")
def show_path() -> None:
    """Where the settings are, whether or not there is a file yet."""
    click.echo(paths.settings_file(os.environ))


def _take_over() -> None:
    """What the store before kept is moved into the new one, or removed."""
    from docker_credential_ecr_py.app import App

    App(may_log_in=False).store.take_over_leftovers()


def _lack(path: tuple[str, ...], value: object) -> str:
    """What a value needs and is not here, or ""."""
    if path == _STORE and value == "memory" and find_daemon(os.environ) is None:
        return "this store needs the daemon, which is not running: run `ecr-py daemon start`"
    if value == KEYRING and path in (_STORE, settings_edit.FALLBACK):
        from docker_credential_ecr_py.store.seal import Seal

        try:
            Seal(None).key()
        except EcrPyError as error:
            return f"{error.what}, so nothing can be kept"
    elif path == settings_edit.FALLBACK:
        try:
            find_helper(str(value))
        except EcrPyError as error:
            return error.what
    return ""


def _rows(settings: Settings, text: str) -> list[tuple[str, Any, str]]:
    """Key, value and origin of each setting."""
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
    """The tables and the key that a person means. Raises BadInput."""
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
    """`value` as TOML has it where the setting is no text; what it cannot be is checked later."""
    if isinstance(defaults().get(path[-1], ""), str):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        return value


def _check(path: tuple[str, ...], value: Any) -> None:
    """Raises BadInput where the setting cannot have that value."""
    try:
        parse_settings(settings_edit.with_value("", path, value), "")
    except SettingsError as error:
        _, _, what = error.what.partition(": ")  # it begins with a line, and there is none yet
        raise BadInput(f"{what}{nearest(str(value), CHOICES.get(path[-1], ()))}") from None


def _file() -> tuple[Path, str | None]:
    """The file and its text, which is TOML. Raises SettingsError."""
    file = paths.settings_file(os.environ)
    text = read_text(file, SettingsError)
    try:
        tomllib.loads((text or "").removeprefix(BYTE_ORDER_MARK))
    except ValueError:
        parse_settings(text or "", str(file))  # raises, and says where
    return file, text


def _save(file: Path, before: str | None, after: str, done: str, *, dry_run: bool) -> None:
    """Writes what is right as a whole. Raises SettingsError where something else is wrong."""
    if after == (before or ""):
        click.echo(f"{file} already has this value")
        return
    try:
        parse_settings(after, str(file))
    except SettingsError:
        parse_settings(before or "", str(file))  # says it of the lines that are there
        raise
    if dry_run:
        show_change(str(file), before or "", after)
        return
    file_edits.write(file, before, after)
    click.echo(done)
