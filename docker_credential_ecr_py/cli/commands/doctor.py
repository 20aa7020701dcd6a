"""ecr-py doctor: diagnoses problems and suggests fixes; --fix applies the safe ones."""

import os
from collections.abc import Callable, Iterator

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.cli import client_files, doctor_checks
from docker_credential_ecr_py.cli.doctor_checks import LOG_IN, NOTE, OK, WRONG, Finding, Scene
from docker_credential_ecr_py.cli.output import (
    FAILED,
    LOGIN_NEEDED,
    command,
    console,
    folded,
    json_option,
    show_json,
)
from docker_credential_ecr_py.cli.registry_state import Row, all_registries, read_files, rows_of
from docker_credential_ecr_py.config import docker_edit, file_edits, paths
from docker_credential_ecr_py.config.docker_plan import stale_auths
from docker_credential_ecr_py.config.text_file import read_text
from docker_credential_ecr_py.environment import as_given
from docker_credential_ecr_py.errors import DockerConfigError
from docker_credential_ecr_py.folder import close_file_to_others, close_folder_to_others
from docker_credential_ecr_py.printable import printable

# In the order in which they depend on each other: the first problem is to be fixed first.
_CHECKS: tuple[Callable[[Scene], Iterator[Finding]], ...] = (
    doctor_checks.executable,
    doctor_checks.settings,
    doctor_checks.fallback_helper,
    doctor_checks.aws_config,
    doctor_checks.registries,
    doctor_checks.sessions,
    doctor_checks.docker_config,
    doctor_checks.podman_config,
    doctor_checks.ecr_login,
    doctor_checks.passwords,
    doctor_checks.folders,
    doctor_checks.keyring,
    doctor_checks.leftovers,
    doctor_checks.daemon,
    doctor_checks.forwarding,
    doctor_checks.tunnel,
    doctor_checks.network,
)
_COLOURS = {OK: "green", NOTE: "yellow", LOG_IN: "bold red", WRONG: "bold red"}


@command()
@click.option("--fix", is_flag=True, help="Apply the fixes that are safe, and report them.")
@click.option("--deep", is_flag=True, help="Also ask AWS for tokens.")
@json_option
def doctor(fix: bool, deep: bool, as_json: bool) -> None:
    """Diagnose problems and suggest fixes. Exit 0 only if a pull would work.

    \b
    ecr-py doctor                 files, sessions, folders, endpoints, clock
    ecr-py doctor --deep          also a token from AWS for each identity
    ecr-py doctor --fix           make files and folders private, remove stale passwords
    ecr-py doctor --json          for programs
    """
    if fix:
        for done in fix_problems():
            click.echo(done, err=True)
    scene = inspect_scene()
    every = (*_CHECKS, doctor_checks.deep) if deep else _CHECKS
    found = []
    for check in every:
        for finding in check(scene):
            found.append(finding)
            if not as_json:
                _show(finding)
    states = {finding.state for finding in found}
    works = states <= {OK, NOTE}
    if as_json:
        show_json({"works": works, "checks": [vars(finding) for finding in found]})
    if not works:
        raise SystemExit(FAILED if WRONG in states else LOGIN_NEEDED)


def inspect_scene() -> Scene:
    """Read all files; if one cannot be read, the others are checked without it."""
    app = App(may_log_in=False)
    files = read_files(app)
    rows: list[Row] = []
    if "settings" not in files.failures:
        rows = rows_of(app, files, all_registries(app, files))
    tunnel = app.tunnel
    is_alive = tunnel.is_alive() if tunnel.is_set_up else None
    return Scene(as_given(), files, tuple(rows), tunnel, is_alive)


def fix_problems() -> Iterator[str]:
    """Make files and folders private, and remove ECR passwords from docker's config.

    Yields what was done.
    """
    for paths_found, close in (
        (doctor_checks.open_folders(), close_folder_to_others),
        (doctor_checks.open_files(), close_file_to_others),
    ):
        for path in paths_found:
            try:
                close(path)
            except OSError as error:
                yield f"ecr-py: {path} could not be closed to other users: {error.strerror}"
            else:
                yield f"ecr-py: closed {path} to other users"
    scene = inspect_scene()
    if stale := stale_auths(scene.files.docker, scene.files.settings):
        file = paths.docker_config_file(os.environ)
        text = read_text(file, DockerConfigError) or ""
        after = docker_edit.edited(text, helpers={}, drop_auths=stale)
        file_edits.apply([file_edits.Edit(file, text, after, client_files.DOCKER_CONFIG)])
        yield f"ecr-py: removed ECR passwords from {file}: {', '.join(stale)}"
        if hint := file_edits.hint_of_copies(file):
            yield hint


def _show(finding: Finding) -> None:
    """Print a finding as one line; on a terminal, wrap it under its text if there is room."""
    from rich.text import Text

    screen = console()
    hint = f": {finding.hint}" if finding.hint else ""
    line = printable(f"{finding.state:8}{finding.name:15}{finding.words}{hint}")
    if screen.is_terminal:
        line = folded(line, screen.width, 23 if screen.width >= 80 else 8)
    text = Text(line)
    text.stylize(_COLOURS[finding.state], 0, len(finding.state))
    screen.print(text, soft_wrap=True)
