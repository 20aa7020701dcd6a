"""Where this installation is, and the commands that install it again or remove it."""

import json
import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from docker_credential_ecr_py.environment import as_given
from docker_credential_ecr_py.protocol import NAME as HELPER
from docker_credential_ecr_py.shell import program, put_first_on_path, quote

_PACKAGE = "docker-credential-ecr-py"
_PROGRAMS = (HELPER, "ecr-py")


def installed_in() -> Path | None:
    """Return the folder of the executable as the user knows it, for example that of a pipx link."""
    folders = (Path(sys.argv[0]).absolute().parent, Path(sys.executable).parent)
    name = f"{HELPER}.exe" if sys.platform == "win32" else HELPER
    return next((folder for folder in folders if os.path.exists(folder / name)), None)


def how_to_find(folder: Path | None) -> str:
    """Return the hint that puts the helper, which is in `folder`, on the PATH; "" for None."""
    if folder is None:
        return ""
    if sys.platform == "win32":
        return f"add {folder} to it, or run `{put_first_on_path(folder)}`"
    return f"add {folder} to it, or run `ln -s {folder / HELPER} /usr/local/bin/`"


def reinstall() -> str:
    """Return the hint that installs ecr-py again, by what installed it and from where."""
    if _by_pipx():
        return f"run `pipx reinstall {_PACKAGE}`"
    return _install(quote(_source()), again=True)


def with_extra(extra: str) -> str:
    """Return the hint that installs an extra as well, by what installed ecr-py and from where."""
    wanted = quote(f"{_source()}[{extra}]")
    if _by_pipx():
        return f"run `pipx install --force {wanted}`"
    return _install(wanted, again=False)


def _install(wanted: str, *, again: bool) -> str:
    """Return the hint that installs `wanted` where pipx did not; `again` if it is there."""
    if _by_uv_tool():
        return f"run `uv tool install --reinstall {wanted}`"
    if not _has_pip():
        option = "--reinstall " * again
        return f"run `uv pip install --python {quote(sys.executable)} {option}{wanted}`"
    options = _break_system() + "--force-reinstall " * again
    return f"run `{program(sys.executable)} -m pip install {options}{wanted}`"


def _source() -> str:
    """Return what was installed: the folder or wheel, if it is still there, or the package."""
    with suppress(PackageNotFoundError, ValueError, AttributeError):
        recorded = json.loads(distribution(_PACKAGE).read_text("direct_url.json") or "{}")
        url = urlsplit(recorded.get("url", ""))
        path = url2pathname(url.path)
        if url.scheme == "file" and os.path.exists(path):
            return path
    return _PACKAGE


def removal() -> list[str]:
    """Return the commands that remove the package, and the links to it that the user made."""
    if _by_pipx():
        return [f"pipx uninstall {_PACKAGE}"]
    if _by_uv_tool():
        return [f"uv tool uninstall {_PACKAGE}"]
    links = [quote(str(link)) for link in _links()]
    return [*[f"rm {' '.join(links)}"] * bool(links), _pip_uninstall()]


def _pip_uninstall() -> str:
    if not _has_pip():
        return f"uv pip uninstall --python {quote(sys.executable)} {_PACKAGE}"
    return f"{program(sys.executable)} -m pip uninstall {_break_system()}{_PACKAGE}"


def _has_pip() -> bool:
    return any(os.path.exists(os.path.join(folder, "pip")) for folder in sys.path)


def _break_system() -> str:
    """Return pip's option for a Python that the system manages, or ""."""
    is_system = sys.prefix == sys.base_prefix
    managed = is_system and (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").exists()
    return "--break-system-packages " * managed


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
