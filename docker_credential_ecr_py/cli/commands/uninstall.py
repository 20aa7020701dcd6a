"""ecr-py uninstall: removes what ecr-py has set up and stored; docker is then as it was before."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from docker_credential_ecr_py import shell
from docker_credential_ecr_py.cli import client_files
from docker_credential_ecr_py.cli.client_files import Restored
from docker_credential_ecr_py.cli.humanize import counted
from docker_credential_ecr_py.cli.installation import removal
from docker_credential_ecr_py.cli.output import (
    command,
    confirm,
    report,
    show_change,
    show_folded,
    yes_option,
)
from docker_credential_ecr_py.config import file_edits, paths
from docker_credential_ecr_py.config.settings import KEYRING, load_settings
from docker_credential_ecr_py.config.text_file import read_text
from docker_credential_ecr_py.daemon import cleanup
from docker_credential_ecr_py.daemon.discovery import find_daemon
from docker_credential_ecr_py.daemon.service import installed_service
from docker_credential_ecr_py.errors import (
    CannotInstall,
    EcrPyError,
    KeyringUnavailable,
    SettingsError,
    some,
)
from docker_credential_ecr_py.kubelet.check import find_kubelet
from docker_credential_ecr_py.log import stop_log
from docker_credential_ecr_py.protocol import KUBELET_PLUGIN
from docker_credential_ecr_py.sealing_key import Sealed
from docker_credential_ecr_py.store.key_rotation import has_key

# Where users call `ecr-py completion`; the last one is all of its output.
_SHELL_FILES = (
    ".bashrc",
    ".bash_profile",
    ".profile",
    ".zshrc",
    ".zprofile",
    ".config/fish/config.fish",
)
_FISH = ".config/fish/completions/ecr-py.fish"
# Where users put what `ecr-py forward config` prints, and by what its lines are found.
_SSH_FILE, _SSH_LINE = ".ssh/config", "ecr-py-tunnel.sock"


@dataclass(frozen=True)
class _Step:
    """Something that is removed: what it is, where, and how."""

    what: str
    words: str
    remove: Callable[[], None]


@command(short_help="Remove what ecr-py has set up and stored.")
@yes_option
@click.option("--dry-run", is_flag=True, help="Show what would be removed; remove nothing.")
def uninstall(yes: bool, dry_run: bool) -> None:
    """Remove what ecr-py has set up and stored. Run it before you remove the package.

    \b
    ecr-py uninstall --dry-run    show what would be removed
    ecr-py uninstall              ask, and remove it

    The configs of docker and other clients get their original content; what others wrote there
    stays. The AWS config stays too, and so do sessions, which the AWS CLI shares.
    """
    if why := paths.why_root_keeps_nothing():
        raise EcrPyError(why, hint="run it as that user")
    configs = _configs()
    # The settings and what it takes to undo a change come after the configs, which need them.
    steps = [*_daemon(), *(_config_step(*one) for one in configs), *_files(), *_sealing_key()]
    if dry_run:
        for _, one in configs:
            show_change(str(one.file), *one.shown())
    if not steps:
        click.echo("ecr-py has set up and stored nothing here")
    else:
        click.echo("Would remove:" if dry_run else "This removes:")
        for step in steps:
            show_folded(f"  {step.what:13}{step.words}", indent=15)
    if dry_run:
        return
    if steps:
        confirm("Continue", yes=yes)
    with file_edits.alone():
        for step in steps:
            _take(step)
    _remove_traces()
    if steps:
        report("Everything that ecr-py set up and stored is removed")
    _show_what_remains()


def _take(step: _Step) -> None:
    """Raises EcrPyError: what is left is removed by the next run."""
    try:
        step.remove()
    except EcrPyError as error:
        error.hint = error.hint or "run `ecr-py uninstall` again"
        raise


def _daemon() -> Iterator[_Step]:
    files = [file for file in _service_files() if file.exists()]
    running = find_daemon(os.environ)
    if files or running:
        words = [*map(str, files), *([f"pid {running.pid}"] if running else [])]
        yield _Step("daemon", ", ".join(words), _remove_daemon)


def _service_files() -> list[Path]:
    with suppress(CannotInstall):  # this system has no services
        return list(installed_service(os.environ).files)
    return []


def _remove_daemon() -> None:
    if failure := cleanup.uninstall(os.environ).failure:
        click.echo(str(failure), err=True)


def _configs() -> list[tuple[str, Restored]]:
    """Return each config that has something of ours, and whose it is. Raises EcrPyError."""
    fallback, settings = client_files.fallback(), paths.settings_file({})
    found = [
        (each.label, each.without_us(fallback))
        for each in client_files.everywhere()
        if each.file != settings  # it is removed
    ]
    return [(label, one) for label, one in found if one.after != one.now]


def _config_step(label: str, restored: Restored) -> _Step:
    def restore() -> None:
        restored.write()
        if restored.after is None or restored.is_original:
            _remove_our_copy(restored)
        if restored.after is None:
            _remove_if_empty(restored.file.parent)
            if restored.file.parent.name == "registries.conf.d":
                _remove_if_empty(restored.file.parent.parent)

    return _Step(label, restored.plan, restore)


def _remove_our_copy(restored: Restored) -> None:
    """Remove the copy beside a file that is as it was, unless the user has made it."""
    backup, record = file_edits.backup_of(restored.file), restored.record
    with suppress(EcrPyError):
        text = read_text(backup, EcrPyError)
        if record and text in (record.original, record.written, restored.now):
            backup.unlink(missing_ok=True)


def _files() -> Iterator[_Step]:
    """Yield a step for each file and folder of ours, but those that are still in use."""
    settings = paths.settings_file({})
    for what, place in (
        ("settings", settings),
        ("settings", file_edits.backup_of(settings)),
        ("logins", paths.logins_folder()),
        ("cache", paths.cache_folder()),
    ):
        if place is not None and os.path.lexists(place):
            lost = _lost_logins() if what == "logins" else ""
            yield _Step(what, f"{place}{lost}", partial(_remove, place))


def _lost_logins() -> str:
    logins = Sealed().logins
    if not logins.count():
        return ""
    urls: list[str] = []
    with suppress(KeyringUnavailable):
        urls = logins.server_urls()
    names = f" to {some(urls)}" if urls else ""
    return f": {counted(logins.count(), 'login')}{names}, lost until the next `docker login`"


def _sealing_key() -> Iterator[_Step]:
    sealed, uses_keyring = Sealed(), bool(Sealed().logins.count())
    with suppress(SettingsError):
        settings = load_settings(paths.settings_file(os.environ))
        uses_keyring |= KEYRING in (settings.store, settings.fallback)

    def remove() -> None:
        sealed.remove_key()

    try:
        if has_key():
            yield _Step("sealing key", "in the keyring", remove)
    except KeyringUnavailable as error:
        if uses_keyring:
            yield _Step("sealing key", f"if there is one: {error.what}", remove)


def _remove(place: Path) -> None:
    """Remove a file, a link or a folder. Raises EcrPyError."""
    try:
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    except OSError as error:
        raise EcrPyError(f"{place} cannot be removed: {error.strerror}") from None
    if place.parent.name == "ecr-py":
        _remove_if_empty(place.parent)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _remove_traces() -> None:
    """Remove what was in use until now: the locks, the records of changes, and the log."""
    state, log = paths.state_folder(), paths.log_file()
    stop_log()
    for place in (paths.cache_folder(), state and state / "undo", log and log.parent):
        if place is not None and place.exists():
            _remove(place)


def _show_what_remains() -> None:
    """Print the commands that remove the package, and what the user has added by hand."""
    report("Now remove the package:")
    # What `systemctl --user edit` writes is beside the unit.
    edited = [file.with_name(f"{file.name}.d") for file in _service_files()]
    by_hand = [path for path in (paths.home() / _FISH, *edited) if path.exists()]
    commands = [shell.remove_folder(path) for path in by_hand]
    for line in [*removal(), *commands]:
        report(f"  {line}")
    for place, line in _lines_of_the_user():
        report(f"Then remove this line from {place}:\n  {line}")
    kubelet = find_kubelet().config
    if kubelet and KUBELET_PLUGIN in _text(kubelet):
        report(f"Then remove {KUBELET_PLUGIN} from {kubelet}, and restart the kubelet")


def _lines_of_the_user() -> Iterator[tuple[Path, str]]:
    """Yield each line for ecr-py in the files of the user's shells and of ssh, and its file."""
    searched = {**dict.fromkeys(_SHELL_FILES, "ecr-py "), _SSH_FILE: _SSH_LINE}
    for name, sign in searched.items():
        file = paths.home() / name
        for line in _text(file).splitlines():
            if sign in line and not line.lstrip().startswith("#"):
                yield file, line.strip()


def _text(file: Path) -> str:
    """Return what is in a file, or "" if it cannot be read."""
    with suppress(EcrPyError):
        return read_text(file, EcrPyError) or ""
    return ""
