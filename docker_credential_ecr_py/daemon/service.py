"""Has the system run the daemon: systemd's user manager on Linux, launchd on macOS.

The templates are in units/. Files of the same name that are not ours are left alone.
"""

import os
import subprocess
import sys
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from docker_credential_ecr_py.atomic_file import make_private_folder, read_if_there, write_whole
from docker_credential_ecr_py.errors import CannotInstall
from docker_credential_ecr_py.folder import open_folder
from docker_credential_ecr_py.programs import find_program

_UNITS = Path(__file__).parent / "units"
_OURS = "Written by `ecr-py daemon install`"
# Seconds.
_LIMIT = 30
# What leads to AWS from here, and where things are (on PATH what credential_process names), which a
# service does not inherit from a shell.
_PASSED_ON = (
    "PATH",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
    "AWS_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    # The daemon renews what was asked for in its own environment alone: see daemon/boundary.py.
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "AWS_ENDPOINT_URL_SSO",
    "AWS_ENDPOINT_URL_SSO_OIDC",
    "AWS_ENDPOINT_URL_STS",
    "DOCKER_CONFIG",
    "ECR_PY_CONFIG",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
)


@dataclass(frozen=True)
class Service:
    """`files` are paths and what goes there; the commands are run after, or before they go.

    `to_make_way` ends what an earlier installation runs; it may fail, for there may be none.
    `links` are what enabling it adds; `folders` go at the end if they are empty.
    """

    manager: str
    files: Mapping[Path, str]
    to_make_way: tuple[tuple[str, ...], ...]
    to_start: tuple[tuple[str, ...], ...]
    to_stop: tuple[tuple[str, ...], ...]
    to_end: tuple[tuple[str, ...], ...]
    after_removal: tuple[tuple[str, ...], ...] = ()
    links: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()

    @property
    def installed(self) -> bool:
        return all(file.exists() for file in self.files)

    def write(self) -> None:
        """Raises CannotInstall."""
        for file in self.files:
            if os.path.lexists(file) and not _is_ours(file):
                raise CannotInstall(f"{file} was not written by ecr-py: move it away first")
        try:
            for file, text in self.files.items():
                make_private_folder(file.parent)
                # A proxy's password may be in it.
                write_whole(file, text.encode(), for_owner_of_folder=True)
        except OSError as error:
            raise CannotInstall(f"{file} cannot be written: {error.strerror}") from None

    def make_way(self) -> None:
        with suppress(CannotInstall):
            _run(self.to_make_way)

    def enable(self) -> None:
        """Runs it, now and at each login. Raises CannotInstall."""
        _run(self.to_start)

    def disable(self) -> None:
        """End it, now and at each login, while its files are there. Raises CannotInstall."""
        if any(map(_is_ours, self.files)):
            _run(self.to_end)

    def remove(self) -> list[Path]:
        """Remove its files, and the links to them. Returns those files. Raises CannotInstall."""
        ours = [file for file in self.files if _is_ours(file)]
        # A file of the same name that is not ours may be enabled too.
        names = {file.name for file in self.files if file in ours or not os.path.lexists(file)}
        links = [link for link in self.links if link.name in names and link.is_symlink()]
        try:
            for path in (*links, *ours):
                with open_folder(path.parent) as folder:
                    folder.remove(path.name)
        except OSError as error:
            raise CannotInstall(f"{path} cannot be removed: {error.strerror}") from None
        for empty in self.folders if ours else ():
            with suppress(OSError):  # there is something else in it
                empty.rmdir()
        if ours:
            with suppress(CannotInstall):  # no manager that runs has read them
                _run(self.after_removal)
        return ours

    def start(self) -> None:
        _run(self.to_start[-1:])

    def stop(self) -> None:
        _run(self.to_stop)


def service(program: str, environ: Mapping[str, str], platform: str = sys.platform) -> Service:
    """How this system runs the daemon. Raises CannotInstall where it has no way.

    Or where a value cannot be written into the files of a service.
    """
    # launchd knows no runtime folder; the helper asks where the shell says.
    names = (*_PASSED_ON, "XDG_RUNTIME_DIR") if platform == "darwin" else _PASSED_ON
    passed = {name: environ[name] for name in names if environ.get(name)}
    _check_values({"the path of ecr-py": program, **passed})
    if platform == "darwin":
        return _launchd(program, passed)
    if platform == "linux":
        return _systemd(program, passed, environ)
    raise CannotInstall("the daemon runs only on Linux and macOS")


def installed_service(environ: Mapping[str, str], platform: str = sys.platform) -> Service:
    """As service(), to start, stop or remove it: whatever else this environment holds."""
    places = {name: environ[name] for name in ("XDG_CONFIG_HOME",) if name in environ}
    return service("ecr-py", places, platform)


def _check_values(values: Mapping[str, str]) -> None:
    """Raise CannotInstall for a value that would become more than a value in a unit or a plist.

    A line break would begin another line of the unit. What else is refused is not XML, or not
    UTF-8, so the system would refuse the file or leave out the line.
    """
    for name, value in values.items():
        wrong = next(filter(_is_refused, value), None)
        if wrong is not None:
            is_byte = unicodedata.category(wrong) == "Cs"
            what = "a byte that is not UTF-8" if is_byte else f"the character U+{ord(wrong):04X}"
            raise CannotInstall(
                f"{name} contains {what}, which is not allowed in a service file",
                hint="change it, and run the command again",
            )


def _is_refused(character: str) -> bool:
    """Control characters, bytes that are not UTF-8, and what Unicode never assigns."""
    number = ord(character)
    unassigned = 0xFDD0 <= number <= 0xFDEF or number & 0xFFFE == 0xFFFE
    return unassigned or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _is_ours(file: Path) -> bool:
    """Whether `daemon install` wrote it."""
    try:
        return _OURS.encode() in (read_if_there(file) or b"")
    except OSError:
        return False


def check_systemd() -> None:
    """Raises CannotInstall where no user manager answers."""
    try:
        _run((("systemctl", "--user", "show-environment"),))
    except CannotInstall as error:
        raise CannotInstall(
            f"systemd does not run user services here ({error.what})",
            hint="run `ecr-py daemon start` (in ~/.profile, to start it at each login)",
        ) from None


def _systemd(program: str, passed: Mapping[str, str], environ: Mapping[str, str]) -> Service:
    config = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    folder = Path(config) / "systemd" / "user"
    lines = [f"Environment={_quoted(f'{name}={value}')}" for name, value in passed.items()]
    text = _template("ecr-py.service", _program(program), lines)
    systemctl = ("systemctl", "--user")
    units = ("ecr-py.socket", "ecr-py.service")
    links = (
        folder / "sockets.target.wants" / "ecr-py.socket",
        folder / "default.target.wants" / "ecr-py.service",
    )
    return Service(
        "systemd",
        {
            folder / "ecr-py.socket": _template("ecr-py.socket", "", []),
            folder / "ecr-py.service": text,
        },
        to_make_way=((*systemctl, "stop", *units),),
        to_start=(
            (*systemctl, "daemon-reload"),
            (*systemctl, "enable", *units),
            (*systemctl, "restart", *units),
        ),
        to_stop=((*systemctl, "stop", *units),),
        to_end=((*systemctl, "disable", "--now", *units),),
        # A unit that failed is listed until that is reset; one that did not cannot be.
        after_removal=((*systemctl, "daemon-reload"), (*systemctl, "reset-failed", *units)),
        links=links,
        folders=(*(link.parent for link in links), folder, folder.parent),
    )


def _launchd(program: str, passed: Mapping[str, str]) -> Service:
    file = Path(os.path.expanduser("~/Library/LaunchAgents/ecr-py.plist"))
    lines = [
        f"    <key>{escape(name)}</key>\n    <string>{escape(value)}</string>"
        for name, value in passed.items()
    ]
    user = f"gui/{os.getuid()}" if hasattr(os, "getuid") else ""
    return Service(
        "launchd",
        {file: _template("ecr-py.plist", escape(program), lines)},
        # What is loaded already cannot be bootstrapped.
        to_make_way=(("launchctl", "bootout", f"{user}/ecr-py"),),
        to_start=(
            ("launchctl", "bootstrap", user, str(file)),
            ("launchctl", "kickstart", f"{user}/ecr-py"),
        ),
        to_stop=(("launchctl", "kill", "TERM", f"{user}/ecr-py"),),
        to_end=(("launchctl", "bootout", f"{user}/ecr-py"),),
    )


def _template(name: str, program: str, environment: list[str]) -> str:
    text = (_UNITS / name).read_text()
    lines = "\n".join(environment)
    return text.replace("@PROGRAM@", program).replace("@ENVIRONMENT@\n", lines + "\n" * bool(lines))


def _program(path: str) -> str:
    """Return the beginning of a command line for systemd.

    It refuses quotes and backslashes in the path of a program, but not in an argument.
    """
    if not set(path) & set("'\"\\"):
        return _quoted(path)
    return f"""/bin/sh -c 'exec "$$0" "$$@"' {_quoted(path).replace("$", "$$")}"""


def _quoted(text: str) -> str:
    """As systemd.service(5) quotes, where % stands for something too."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{plain}"'


def _run(commands: tuple[tuple[str, ...], ...]) -> None:
    for command in commands:
        program = find_program(command[0])
        if program is None:
            raise CannotInstall(f"{command[0]} is not installed")
        try:
            done = subprocess.run(
                [program, *command[1:]],
                capture_output=True,
                text=True,
                timeout=_LIMIT,
                check=False,
            )
        except OSError as error:
            raise CannotInstall(f"{program} cannot run: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise CannotInstall(f"{command[0]} gave no answer in {_LIMIT} seconds") from None
        if done.returncode:
            said = " ".join(done.stderr.split())[:200]
            raise CannotInstall(f"`{' '.join(command)}` failed: {said}")
