"""Builds CPython for Windows, with our package and what it depends on.

The libraries are the Python Software Foundation's: a wheel on PyPI carries them. The Python files
of the standard library are those of the Python that runs the tests, so it is of the same minor
version. Three small programs that no wheel has are compiled with mingw.

`python -m tests.windows.build_python` builds it, or finds it built.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock
from zipfile import ZipFile

from tests.support.environments import PROJECT, build_wheel
from tests.support.surroundings import machine_path
from tests.windows.wine import FOLDER, WinePython, windows_path

HERE = Path(__file__).parent
COMPILER = "x86_64-w64-mingw32-gcc"
PROGRAMS = ("wine", "wineserver", COMPILER, "x86_64-w64-mingw32-objdump")
_VERSION = sys.version_info[:2]
_NUMBER = "".join(map(str, _VERSION))
_LIBRARIES = "panda3d==1.10.16"
_CHECKSUMS = {
    (3, 11): "37acfb92655c4226879f95c988e2ef1449a53c54486d6c1ebc00e2772429af82",
    (3, 12): "f6493e2ecc0d1b7c1556a999556e5278cbc9484fe5fe1e159a1ccc02b870b18f",
    (3, 13): "0e505261bb58d8402d0099c291f1a3459acfdd38f3e7d666e72aa2e1ea5dc46f",
}
# What our dependencies need on Windows alone: pip on Linux would leave it out.
_ON_WINDOWS = ("colorama", "pywin32-ctypes")
# What tests/unit needs besides.
_FOR_TESTS = ("freezegun", "hypothesis", "pytest", "pytest-timeout", "pyyaml", "trustme")
_NOT_ON_WINDOWS = re.compile(r"api-ms-win-crt-|_wmi\.pyd|.*\.cp313t-")
_BESIDE_PROGRAM = re.compile(r"python\d+\.dll|VCRUNTIME140")
_NOT_OF_LIB = shutil.ignore_patterns(
    "site-packages", "test", "tests", "lib-dynload", "_sysconfigdata*", "__pycache__", "ensurepip"
)
_MANIFEST = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<assembly xmlns="urn:schemas-microsoft-com:asm.v1" manifestVersion="1.0">
  <compatibility xmlns="urn:schemas-microsoft-com:compatibility.v1"><application>
    <supportedOS Id="{8e0f7a12-bfb3-4fe8-b9a5-48fd50a15a9a}"/>
  </application></compatibility>
</assembly>
"""


def missing() -> str:
    """Return why there can be no Windows Python here, or "" if there can."""
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=machine_path())]
    if lacking:
        return f"{', '.join(lacking)} not installed"
    if _VERSION not in _CHECKSUMS:
        return "no Windows libraries are known for Python {}.{}".format(*_VERSION)
    return ""


def built() -> WinePython:
    """Return the Windows Python with our package as it is now. Builds what is missing."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with _alone():
        # A new folder for each set of parts, so that an old one is never taken for it.
        parts = (Path(__file__).read_bytes(), *(file.read_bytes() for file in HERE.glob("*.c")))
        digest = hashlib.sha256(b"".join(parts)).hexdigest()[:12]
        wine = WinePython(FOLDER / f"python{_NUMBER}-{digest}")
        wine.start_server()
        if not wine.python.exists():
            for old in FOLDER.glob("python*"):
                shutil.rmtree(old)
            _make_python(wine.folder)
        _install_ours(wine)
    return wine


@contextmanager
def _alone() -> Iterator[None]:
    """Let one process of this machine build at a time."""
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_python(folder: Path) -> None:
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    (new / "DLLs").mkdir(parents=True)
    with ZipFile(_download_libraries()) as wheel:
        for member in wheel.namelist():
            place, _, name = member.rpartition("/")
            if place == "deploy_libs" and not _NOT_ON_WINDOWS.match(name):
                into = new if _BESIDE_PROGRAM.match(name) else new / "DLLs"
                (into / name).write_bytes(wheel.read(member))
    shutil.copytree(sysconfig.get_path("stdlib"), new / "Lib", ignore=_NOT_OF_LIB)
    _compile(new)
    (new / "python.exe.manifest").write_text(_MANIFEST)
    _install_dependencies(new / "Lib" / "site-packages")
    new.rename(folder)


def _download_libraries() -> Path:
    """Return the wheel that the libraries are in; its checksum is right."""
    folder = FOLDER / "wheels"
    found = list(folder.glob(f"panda3d-*-cp{_NUMBER}-*.whl"))
    if not found:
        _pip("download", *_for_windows(), "--no-deps", "--dest", folder, _LIBRARIES)
        found = list(folder.glob(f"panda3d-*-cp{_NUMBER}-*.whl"))
    (wheel,) = found
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == _CHECKSUMS[_VERSION], wheel
    return wheel


def _compile(folder: Path) -> None:
    dll = f"python{_NUMBER}.dll"
    name = f'-DPYTHON_DLL=L"{dll}"'
    _gcc("-municode", name, HERE / "python.c", "-o", folder / "python.exe")
    library = HERE / "bcryptprimitives.c"
    _gcc("-shared", library, "-ladvapi32", "-o", folder / "DLLs" / "bcryptprimitives.dll")
    shutil.copy(folder / "DLLs" / "bcryptprimitives.dll", folder)
    # python3.dll, for extension modules of any version, has nothing but references to the other.
    listed = _output("x86_64-w64-mingw32-objdump", "-p", folder / dll)
    names = re.findall(r"^\s*\[ *\d+\] (\w+)$", listed, re.MULTILINE)
    references = folder / "python3.def"
    lines = (f"{name}=python{_NUMBER}.{name}" for name in names)
    references.write_text("LIBRARY python3\nEXPORTS\n" + "\n".join(lines) + "\n")
    _gcc("-shared", "-nostdlib", "-Wl,-e,0", references, "-o", folder / "python3.dll")


def _install_dependencies(site_packages: Path) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    ours = (*project["dependencies"], *project["optional-dependencies"]["kubernetes"])
    packages = (*ours, *_ON_WINDOWS, *_FOR_TESTS, "pip")
    _pip("install", *_for_windows(), "--no-compile", "--target", site_packages, *packages)


def _install_ours(wine: WinePython) -> None:
    """Install our wheel as a user does, if the one that is there is of another source."""
    now, note = _source_digest(), wine.folder / "installed"
    if note.exists() and note.read_text() == now:
        return
    folder = FOLDER / "wheels" / "ours"
    shutil.rmtree(folder, ignore_errors=True)
    compiler = shutil.which(COMPILER, path=machine_path()) or COMPILER
    with mock.patch.dict(os.environ, {"ECR_PY_FRONT": "win_amd64", "CC": compiler}):
        wheel = build_wheel(folder)
    pip = (wine.python, "-m", "pip", "install", "--no-index", "--force-reinstall", "--no-deps")
    wine.run(*pip, windows_path(wheel))
    wine.run(wine.python, "-m", "pip", "check")  # all that it needs on Windows is there
    note.write_text(now)


def _source_digest() -> str:
    files = [PROJECT / "pyproject.toml"]
    for folder in ("docker_credential_ecr_py", "packaging"):
        files += sorted((PROJECT / folder).rglob("*.*"))
    content = (file.read_bytes() for file in files if file.suffix != ".pyc" and file.is_file())
    return hashlib.sha256(b"".join(content)).hexdigest()


def _for_windows() -> tuple[str, ...]:
    version = ".".join(map(str, _VERSION))
    return ("--platform=win_amd64", f"--python-version={version}", "--only-binary=:all:")


def _pip(*arguments: str | Path) -> None:
    _output(sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments)


def _gcc(*arguments: str | Path) -> None:
    _output(COMPILER, "-O1", "-s", *arguments)


def _output(*command: str | Path) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": machine_path()},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


if __name__ == "__main__":
    sys.exit(missing() or print(built().folder))  # noqa: T201
