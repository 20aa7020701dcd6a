"""What hatchling runs while it builds a wheel: adds man pages, and the compiled front if it can.

The kubelet's plugin, ecr-credential-provider-py, is the launcher in each wheel but Windows'.

With a C compiler the wheel is for this platform: its docker-credential-ecr-py is front/front.c,
and the launcher goes to libexec, for the front to run on a miss. Without one the wheel is for every
platform, and its docker-credential-ecr-py is the launcher. ECR_PY_FRONT=0 asks for that one,
ECR_PY_FRONT=1 for the other: then it is an error if it cannot be built. CC names the compiler. If
it compiles for another platform, ECR_PY_FRONT is that one's tag, such as macosx_11_0_arm64.

On Windows docker starts nothing but an .exe, so the launcher, a shell script, is of no use there:
the front runs ecr-py.exe, and without a front the installer makes an .exe of an entry point.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGING = Path(__file__).resolve().parent
SOURCE = PACKAGING / "front" / "front.c"
NAME = "docker-credential-ecr-py"
PLUGIN = "ecr-credential-provider-py"
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-fstack-protector-strong", "-s")
# A program that has no library to find starts in half the time. Not every system can link one.
LINKED = (("-static-pie", "-fPIE"), ())
LINKED_ON_WINDOWS = (("-static",),)
ENTRY_POINT = "docker_credential_ecr_py.cli.entry_point:helper"


class CannotBuild(Exception):
    """The front cannot be compiled here. The text says why."""


class Build(BuildHookInterface[Any]):
    """What hatchling calls before it writes the wheel, and after."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self.folder = Path(mkdtemp(prefix="build-"))
        sys.path[:0] = [str(PACKAGING), str(PACKAGING / "front")]
        try:
            import constants
            import man
        finally:
            del sys.path[:2]
        for page in man.write_pages(self.folder, self.metadata.version):
            build_data["shared_data"][str(page)] = f"share/man/man1/{page.name}"
        launcher = str(PACKAGING / NAME)
        tag = platform()
        is_for_windows = tag.startswith("win")
        if not is_for_windows:
            build_data["shared_scripts"][str(self._plugin())] = PLUGIN
        front = self._front(version, constants.header(), is_for_windows)
        if front is not None:
            build_data["shared_scripts"][str(front)] = front.name
        elif is_for_windows:
            self.metadata.core.scripts[NAME] = ENTRY_POINT
        else:
            build_data["shared_scripts"][launcher] = NAME
            return
        if not is_for_windows:
            build_data["shared_data"][launcher] = constants.LAUNCHER
        if version != "editable":
            build_data["tag"] = f"py3-none-{tag}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        rmtree(self.folder)

    def _plugin(self) -> Path:
        """Write the launcher of the kubelet's plugin: the same, for another module."""
        launcher = (PACKAGING / NAME).read_text(encoding="utf-8")
        program = self.folder / PLUGIN
        program.write_text(launcher.replace(".helper import", ".kubelet.plugin import"), "utf-8")
        program.chmod(0o755)
        return program

    def _front(self, version: str, constants: str, is_for_windows: bool) -> Path | None:
        """Return the compiled front, or None for a wheel without it. Raises CannotBuild."""
        wanted = os.environ.get("ECR_PY_FRONT", "")
        # An editable installation runs the source as it is now; hatchling takes no tag for it.
        if wanted == "0" or version == "editable":
            return None
        try:
            return compiled(self.folder, constants, is_for_windows)
        except CannotBuild as error:
            if wanted:
                raise
            self.app.display_warning(f"The wheel is without the compiled front: {error}")
            return None


def compiled(folder: Path, constants: str, is_for_windows: bool) -> Path:
    """Compile the front in `folder`; return the program. Raises CannotBuild."""
    (folder / "constants.h").write_text(constants)
    program = folder / (f"{NAME}.exe" if is_for_windows else NAME)
    given = shlex.split(os.environ.get("CC", ""), posix=os.name == "posix")
    compiler = given or ["gcc" if os.name == "nt" else "cc"]
    said = ""
    for linked in LINKED_ON_WINDOWS if is_for_windows else LINKED:
        command = [*compiler, *FLAGS, *linked, f"-I{folder}", "-o", str(program), str(SOURCE)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        except OSError as error:
            raise CannotBuild(f"{compiler[0]}: {error.strerror}") from None
        if done.returncode == 0:
            return program
        said = done.stderr.strip()
    raise CannotBuild(f"{shlex.join(compiler)} failed:\n{said}")


def platform() -> str:
    """Return the platform's part of the tag of a wheel with the front. Raises CannotBuild."""
    wanted = os.environ.get("ECR_PY_FRONT", "")
    if wanted in ("", "0", "1"):
        return re.sub("[-.]", "_", sysconfig.get_platform())
    if not re.fullmatch(r"(win32|[a-z]+_\w+)(\.[a-z]+_\w+)*", wanted):
        raise CannotBuild(f"ECR_PY_FRONT is {wanted!r}: it can be 0, 1, a platform's tag or empty")
    return wanted
