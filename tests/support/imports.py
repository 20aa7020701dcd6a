"""Which modules an interpreter imports."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.home import Home

BARE = [sys.executable, "-IS", "-X", "utf8"]
# Those of ours that a cached hit imports.
MODULES = {f"docker_credential_ecr_py{name}" for name in ("", ".helper", ".store", ".store.record")}


def imported(home: Home, *arguments: str | Path) -> set[str]:
    """Every module that an interpreter loads, its own start-up included."""
    done = subprocess.run(
        [*BARE, "-X", "importtime", *arguments],
        env=home.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE)) - {"package"}
