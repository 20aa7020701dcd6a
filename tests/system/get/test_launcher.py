"""The helper finds the interpreter that an installer chose, in whatever way it wrote it down.

Both the launcher and the compiled front do.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docker_credential_ecr_py import __version__
from tests.support.front import SOURCE, build_front
from tests.support.home import HELPER, LAUNCHER

VENV = HELPER.parent.parent
HEADS = {
    "pip, uv": "#!{python}\n# -*- coding: utf-8 -*-\n",
    "pipx, with a flag": "#!{python} -E\n# -*- coding: utf-8 -*-\n",
    "pip, a long path": "#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n",
    "pip, spaces": "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n",
    "uv, spaces": "#!/bin/sh\n'''exec' '{python}' \"$0\" \"$@\"\n' '''\n",
    "uv venv --relocatable": (
        "#!/bin/sh\n"
        "'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python' \"$0\" \"$@\"\n' '''\n"
    ),
}


@pytest.fixture(scope="module", params=["launcher", "front"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "launcher":
        return LAUNCHER
    return build_front(tmp_path_factory.mktemp("front"), SOURCE / "front.c")


@pytest.mark.parametrize("called", ["by its path", "by a link", "by a link, beside ecr-py's"])
@pytest.mark.parametrize("how", list(HEADS))
def test_an_installer_s_head(tmp_path: Path, program: Path, how: str, called: str) -> None:
    prefix = tmp_path / ("with spaces" if "spaces" in how or "relocatable" in how else "plain")
    ours, elsewhere = prefix / "bin", tmp_path / "elsewhere"
    ours.mkdir(parents=True)
    elsewhere.mkdir()
    (prefix / "lib").symlink_to(VENV / "lib")
    shutil.copy(VENV / "pyvenv.cfg", prefix)
    (ours / "python").symlink_to(sys.executable)
    (ours / "ecr-py").write_text(HEADS[how].format(python=ours / "python"))
    helper = Path(shutil.copy(program, ours / HELPER.name))
    (prefix / "libexec").mkdir()
    shutil.copy(LAUNCHER, prefix / "libexec" / HELPER.name)
    if "link" in called:
        helper = elsewhere / helper.name
        helper.symlink_to(ours / helper.name)
    if "beside" in called:
        (elsewhere / "ecr-py").symlink_to(ours / "ecr-py")
    done = subprocess.run([helper, "version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert __version__ in done.stdout
