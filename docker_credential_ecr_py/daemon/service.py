"""Installs the daemon as a service of systemd's user manager on Linux, or of launchd on macOS.

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
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.errors import CannotInstall
from docker_credential_ecr_py.folder import open_folder
from docker_credential_ecr_py.programs import find_program

_UNITS = Path(__file__).parent / "units"
_OURS = "Written by `ecr-py daemon install`"
# Seconds.
_LIMIT = 30
# Variables that decide how AWS is reached and where files and programs are (PATH, for
# credential_process), which a service does not inherit from a shell.
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
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    # The daemon renews only selections of its own environment: see daemon/boundary.py.
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
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
    """The files of a service, and the manager's commands.

    `files` are paths and their content. `to_make_way` ends the service of an earlier installation;
    it may fail, for there may be none. `links` are added by enabling it; `folders` are removed at
    the end if they are empty.
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
        """Write the files. Raises CannotInstall."""
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
        """Start it, now and at each login. Raises CannotInstall."""
        _run(self.to_start)

    def disable(self) -> None:
        """End it, and start it no more at logins; before `remove`. Raises CannotInstall."""
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
    """Return the service for this system. Raises CannotInstall if it has no service manager.

    Or if a value cannot be written into the files of a service.
    """
    # launchd sets no runtime folder; the helper uses the shell's.
    names = (*_PASSED_ON, "XDG_RUNTIME_DIR") if platform == "darwin" else _PASSED_ON
    passed = {name: environ[name] for name in names if environ.get(name)}
    _check_values({"the path of ecr-py": program, **passed})
    if platform == "darwin":
        return _launchd(program, passed)
    if platform == "linux":
        return _systemd(program, passed, environ)
    raise CannotInstall("the daemon runs only on Linux and macOS")


def installed_service(environ: Mapping[str, str], platform: str = sys.platform) -> Service:
    """As service(), to start, stop or remove it; no other variable of the environment counts."""
    places = {name: environ[name] for name in ("XDG_CONFIG_HOME",) if name in environ}
    return service("ecr-py", places, platform)


def _check_values(values: Mapping[str, str]) -> None:
    """Raise CannotInstall for a value that would be more than a value in a unit or a plist.

    A line break would begin another line of the unit. Other characters are not valid in XML or
    UTF-8, so the system would refuse the file or skip the line.
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
    """Whether it is a control character, a byte that is not UTF-8, or never assigned."""
    number = ord(character)
    unassigned = 0xFDD0 <= number <= 0xFDEF or number & 0xFFFE == 0xFFFE
    return unassigned or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _is_ours(file: Path) -> bool:
    """Whether `ecr-py daemon install` wrote a file."""
    try:
        return _OURS.encode() in (read_if_there(file) or b"")
    except OSError:
        return False


def check_systemd() -> None:
    """Raise CannotInstall if no user manager answers."""
    try:
        _run((("systemctl", "--user", "show-environment"),))
    except CannotInstall as error:
        raise CannotInstall(
            f"systemd does not run user services here ({error.what})",
            hint="run `ecr-py daemon start` (in ~/.profile, to start it at each login)",
        ) from None


def _systemd(program: str, passed: Mapping[str, str], environ: Mapping[str, str]) -> Service:
    folder = paths.config_home(environ) / "systemd" / "user"
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
        # A unit that failed is listed until that is reset; for one that did not, reset fails.
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
        # A service that is loaded already cannot be bootstrapped.
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
    """Quote as systemd.service(5), where % is special too."""
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
                errors="replace",
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
