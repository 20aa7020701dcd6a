"""A cached hit that Python answers loads, opens and asks nothing that it can do without.

test_front.py has the same for the compiled front. If that is installed, Python is run here as the
front runs it.
"""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.home import DEV, HELPER, LAUNCHER, Home, registry
from tests.support.imports import BARE, MODULES, imported
from tests.support.programs import need
from tests.support.records import only

OTHER = "registry.example.com"
IS_PURE = LAUNCHER == HELPER
COMMAND = [HELPER] if IS_PURE else [*BARE, LAUNCHER]
# Those that the shell or Python opens before anything is imported.
PROGRAMS = {HELPER, HELPER.with_name("ecr-py")} if IS_PURE else {LAUNCHER}


@pytest.fixture(params=[registry(DEV), OTHER])
def host(request: pytest.FixtureRequest, home: Home) -> str:
    """A registry that the store can answer for: with a credential, or with "not found"."""
    home.get(str(request.param))
    return str(request.param)


def test_it_imports_nothing_but_the_module_that_reads_an_entry(home: Home, host: str) -> None:
    assert imported(home, LAUNCHER, "get", host) - imported(home, "-c", "pass") == MODULES


def test_a_miss_imports_more(home: Home) -> None:
    """Or else the tests here would see nothing."""
    assert imported(home, LAUNCHER, "get", registry(DEV)) > MODULES | {"json", "botocore"}


def trace(home: Home, host: str, calls: str) -> list[str]:
    """The system calls of a get by that name or class, its shell and interpreter together."""
    log = home.path / "strace"
    subprocess.run(
        [
            need("strace"),
            "-f",
            "-y",
            "-s",
            "4096",
            "-o",
            log,
            "-e",
            f"trace={calls}",
            *COMMAND,
            "get",
        ],
        input=host.encode(),
        env=home.environment,
        capture_output=True,
        check=False,
    )
    return log.read_text().splitlines()


def opened(lines: list[str]) -> set[Path]:
    """The files, not folders, that were opened and are none of the interpreter's own."""
    found = {
        Path(path)
        for line in lines
        for path in re.findall(r' open(?:at)?\(.*"([^"]+)", (?!.*O_DIRECTORY).*\) = \d', line)
    }
    system = [Path(sys.base_prefix) / "lib"]
    system += map(Path, ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/locale"))
    system += map(Path, ("/etc", "/dev", "/proc"))
    own = [path for path in found if any(path.is_relative_to(folder) for folder in system)]
    return {path for path in found.difference(own) if path.name != "pyvenv.cfg"}


def package_files() -> set[Path]:
    package = Path(sysconfig.get_path("purelib")) / "docker_credential_ecr_py"
    tag = f"{sys.implementation.cache_tag}.pyc"
    names = (package / "__init__", package / "helper", package / "store" / "__init__")
    modules = (*names, package / "store" / "record")
    return {module.parent / "__pycache__" / f"{module.name}.{tag}" for module in modules}


def test_it_opens_its_own_files_and_one_of_each_record(home: Home) -> None:
    home.get(registry(DEV))
    records = {only(home, "selections"), only(home, "credentials")}
    lines = trace(home, registry(DEV), "open,openat")
    assert opened(lines) == {*records, *PROGRAMS, *package_files()}


def test_a_registry_of_somebody_else_costs_one_record(home: Home) -> None:
    home.get(OTHER)
    lines = trace(home, OTHER, "open,openat")
    assert opened(lines) == {only(home, "selections"), *PROGRAMS, *package_files()}


def test_it_opens_no_socket_and_starts_nothing(home: Home, host: str) -> None:
    lines = [line for line in trace(home, host, "%network,%process") if "exited with" not in line]
    calls = [re.split(r"[\s(]+", line)[1] for line in lines]
    assert set(calls) <= {"execve", "exit_group", "exit", "wait4", "arch_prctl"}
    assert len([call for call in calls if call == "execve"]) >= 1 + IS_PURE


def test_it_looks_at_a_handful_of_files_in_the_home(home: Home) -> None:
    home.get(registry(DEV))
    lines = trace(home, registry(DEV), "%stat,%lstat,statx,newfstatat,access,readlink")
    looked_at = {
        path
        for line in lines
        for path in re.findall(r'"([^"]+)"', line)
        if path.startswith(str(home.path) + os.sep)
    }
    (token,) = (home.path / ".aws" / "sso" / "cache").iterdir()
    inputs = {home.settings, home.aws_config, home.path / ".aws" / "credentials", token}
    tunnel = home.path / "runtime" / "ecr-py-tunnel.sock"
    assert looked_at == {str(path) for path in {*inputs, home.cache, tunnel}}


def test_it_writes_nothing(home: Home, host: str) -> None:
    lines = trace(home, host, "write,pwrite64,rename,unlink,mkdir,utimensat,fchmod,chmod")
    written = [line for line in lines if "exited with" not in line and " write(1<" not in line]
    assert written == []
