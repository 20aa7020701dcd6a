"""The compiled front (packaging/front), built for a test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.environments import PROJECT
from tests.support.programs import lacking
from tests.support.surroundings import machine_path

SOURCE = PROJECT / "packaging" / "front"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror")


def build_front(folder: Path, source: Path, *options: str, for_windows: Sequence[str] = ()) -> Path:
    """Compile `source` with the front's constants; return the program.

    `for_windows` is the command of a compiler for Windows. The test is skipped without
    a C compiler, and in CI it fails.
    """
    name = f"{source.stem}.exe" if for_windows else source.stem
    cc = shutil.which("cc", path=machine_path())
    compiler = for_windows or [cc or lacking("cc is not installed")]
    constants = (SOURCE / "constants.py", folder / "constants.h")
    subprocess.run([sys.executable, *constants], check=True)
    program = folder / name
    command = [*compiler, "-std=c11", "-O2", *_WARNINGS, *options, f"-I{folder}", f"-I{SOURCE}"]
    built = subprocess.run(
        [*command, "-o", program, source],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": machine_path()},
    )
    if options and built.returncode and "cannot find" in built.stderr:
        lacking(f"cc has no {options[0]}")
    assert built.returncode == 0, built.stderr
    return program
