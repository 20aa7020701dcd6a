"""ecr-py version: shows versions and paths, for a bug report."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import click

from docker_credential_ecr_py.cli.output import command, json_option, show_json
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.programs import find_program
from docker_credential_ecr_py.protocol import NAME


@command("version")
@json_option
def show_version(as_json: bool) -> None:
    """Show versions, and the paths of settings, cache and log.

    \b
    ecr-py version                for a bug report
    ecr-py version --json         the same, for programs
    """
    environ = os.environ
    found = {
        "ecr-py": version(NAME),
        "python": f"{platform.python_version()} ({sys.executable})",
        "botocore": _version("botocore"),
        "platform": _platform(),
        "helper": find_program(NAME),
        "settings": str(paths.settings_file(environ)),
        "cache": _text(paths.cache_folder()),
        "log": _text(paths.log_file()),
        "aws_config": str(paths.aws_config_file(environ)),
        "docker_config": str(paths.docker_config_file(environ)),
    }
    if as_json:
        show_json(found)
        return
    for name, value in found.items():
        click.echo(f"{name.replace('_', ' '):15}{value or '(none)'}")


def _platform() -> str:
    """Return what platform.platform() does, without running the `uname` on the PATH."""
    libc = "".join(platform.libc_ver())
    parts = [platform.system(), platform.release(), platform.machine(), libc and f"with-{libc}"]
    return "-".join(filter(None, parts))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _text(path: object) -> str | None:
    return None if path is None else str(path)
