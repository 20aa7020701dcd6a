"""Where this installation is, and the commands that install it again or remove it."""

import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from docker_credential_ecr_py.environment import as_given
from docker_credential_ecr_py.protocol import NAME as HELPER

_PACKAGE = "docker-credential-ecr-py"
_PROGRAMS = (HELPER, "ecr-py")


def installed_in() -> Path | None:
    """Return the folder of the executable as the user knows it, for example that of a pipx link."""
    folders = (Path(sys.argv[0]).absolute().parent, Path(sys.executable).parent)
    return next((folder for folder in folders if os.path.exists(folder / HELPER)), None)


def reinstall() -> str:
    """Return the hint that installs ecr-py again, by what installed it."""
    if _by_pipx():
        return f"run `pipx reinstall {_PACKAGE}`"
    if _by_uv_tool():
        return f"run `uv tool install --reinstall {_PACKAGE}`"
    return f"run `{quote(sys.executable)} -m pip install --force-reinstall {_PACKAGE}`"


def removal() -> list[str]:
    """Return the commands that remove the package, and the links to it that the user made."""
    if _by_pipx():
        return [f"pipx uninstall {_PACKAGE}"]
    if _by_uv_tool():
        return [f"uv tool uninstall {_PACKAGE}"]
    links = [quote(str(link)) for link in _links()]
    return [*[f"rm {' '.join(links)}"] * bool(links), _pip_uninstall()]


def _pip_uninstall() -> str:
    python = quote(sys.executable)
    if not any(os.path.exists(os.path.join(folder, "pip")) for folder in sys.path):
        return f"uv pip uninstall --python {python} {_PACKAGE}"
    is_system = sys.prefix == sys.base_prefix
    managed = is_system and (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").exists()
    return f"{python} -m pip uninstall {'--break-system-packages ' * managed}{_PACKAGE}"


def _by_pipx() -> bool:
    return Path(sys.prefix, "pipx_metadata.json").exists()


def _by_uv_tool() -> bool:
    return Path(sys.prefix, "uv-receipt.toml").exists()


def _links() -> Iterator[Path]:
    """Yield each link on the PATH that leads to one of our programs."""
    ours = {os.path.realpath(Path(sys.executable).parent / name) for name in _PROGRAMS}
    for folder in dict.fromkeys(as_given().get("PATH", os.defpath).split(os.pathsep)):
        for name in _PROGRAMS:
            link = Path(folder, name)
            if os.path.isabs(folder) and link.is_symlink() and os.path.realpath(link) in ours:
                yield link
