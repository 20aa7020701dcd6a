"""Builds what is uploaded: a wheel for each platform, one for all others, and the source.

`make release` runs it, on Linux. The front is compiled for each platform by ziglang, which is on
PyPI and has the libraries and headers of them all. Every file is built twice, in two folders, and
it is an error if the two differ: the same source, at the time of its commit, gives the same bytes.
"""

from __future__ import annotations

import filecmp
import os
import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

PROJECT = Path(__file__).resolve().parent.parent
# What is in a wheel's tag, and what ziglang calls it. Static on Linux, so for any C library there;
# signed ad hoc on macOS, which runs no program on ARM otherwise. One for every Python on Windows,
# since no other wheel has a program that docker can start there; Windows on ARM emulates it.
TARGETS = {
    "manylinux_2_17_x86_64.musllinux_1_1_x86_64": "x86_64-linux-musl",
    "manylinux_2_17_aarch64.musllinux_1_1_aarch64": "aarch64-linux-musl",
    "macosx_11_0_x86_64": "x86_64-macos.11.0",
    "macosx_11_0_arm64": "aarch64-macos.11.0",
    "win32.win_amd64.win_arm64": "x86_64-windows-gnu",
}


def main() -> None:
    """Build into the folder that is the argument. It keeps no other file of ours."""
    folder = Path(sys.argv[1])
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or _time_of_commit()
    with TemporaryDirectory() as once, TemporaryDirectory() as again:
        for out in (once, again):
            _build_all(out, {**os.environ, "SOURCE_DATE_EPOCH": epoch})
        names = sorted(os.listdir(once))
        _, different, missing = filecmp.cmpfiles(once, again, names, shallow=False)
        if different or missing:
            raise SystemExit(f"built twice, and not the same: {', '.join(different + missing)}")
        _run("twine", "check", "--strict", *(str(Path(once, name)) for name in names))
        folder.mkdir(exist_ok=True)
        for old in folder.glob("docker_credential_ecr_py-*"):
            old.unlink()
        for name in names:
            (folder / name).write_bytes(Path(once, name).read_bytes())
            sys.stdout.write(f"{folder / name}\n")


def _build_all(out: str, environment: dict[str, str]) -> None:
    build = ("build", "--no-isolation", "--outdir", out, str(PROJECT))
    _run(*build, "--sdist", environment=environment)
    for tag, target in TARGETS.items():
        compiler = shlex.join([sys.executable, "-m", "ziglang", "cc", "-target", target])
        native = {"ECR_PY_FRONT": tag, "CC": compiler}
        _run(*build, "--wheel", environment={**environment, **native})
    _run(*build, "--wheel", environment={**environment, "ECR_PY_FRONT": "0"})


def _run(module: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}{module} failed")


def _time_of_commit() -> str:
    log = ["git", "-C", str(PROJECT), "log", "-1", "--format=%ct"]
    return subprocess.run(log, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
