"""Every interpreter of this machine that we support runs what was installed for it.

Docker shows what a helper writes to standard error, so on success nothing may be there: neither
a warning of Python about our code, nor one about a library.
"""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

from docker_credential_ecr_py import __version__
from tests.standin.aws import Aws
from tests.support.environments import PROJECT, run
from tests.support.home import DEV, REGISTRIES, STAGE, Answer, Home, registry
from tests.support.records import HALF_LIFE, let_pass
from tests.support.user import eventually

HOST = registry(DEV)


@pytest.fixture
def home(home: Home, installed: Path) -> Home:
    """A home whose executables are those of the interpreter in turn."""
    others = home.environment["PATH"].partition(":")[2]
    home.environment["PATH"] = f"{installed}:{others}"
    home.helper = installed / "docker-credential-ecr-py"
    return home


def quiet(answer: Answer) -> Answer:
    assert (answer.code, answer.stderr) == (0, b"")
    return answer


def test_success_writes_nothing_to_stderr(home: Home, aws: Aws) -> None:
    assert __version__ in quiet(home.call("version")).stdout.decode()
    fetched = quiet(home.get(HOST))
    assert fetched.password in aws.issued
    assert quiet(home.get(HOST)) == fetched
    assert aws.count("GetAuthorizationToken") == 1
    assert set(quiet(home.call("list")).json) == {f"https://{host}" for host in REGISTRIES}
    login = {"ServerURL": registry(STAGE), "Username": "AWS", "Secret": fetched.password}
    assert quiet(home.call("store", stdin=json.dumps(login).encode())).stdout == b""
    assert quiet(home.get(registry(STAGE))).password == fetched.password
    assert quiet(home.call("erase", stdin=HOST.encode())).stdout == b""
    assert quiet(home.get(HOST)).password != fetched.password


def test_a_background_renewal_works(home: Home, aws: Aws) -> None:
    first = home.get(HOST).password
    let_pass(home, HALF_LIFE + 60)
    assert quiet(home.get(HOST)).password == first
    eventually(lambda: home.get(HOST).password != first)


def test_a_failure_is_one_line(home: Home, aws: Aws) -> None:
    aws.end_session("https://teliacompany.awsapps.com/start")
    answer = home.get(HOST)
    assert "run `ecr-py login dev`" in answer.line
    assert answer.stderr == answer.stdout
    assert home.get("ghcr.io") == Answer(1, b"credentials not found in native keychain\n", b"")


def test_warnings_as_errors_change_nothing(home: Home, installed: Path) -> None:
    """PYTHONWARNINGS does not reach the helper, so the option is given to its interpreter too."""
    fetched = quiet(home.get(HOST, PYTHONWARNINGS="error"))
    assert quiet(home.get(HOST, PYTHONWARNINGS="error")) == fetched
    strict: list[str | Path] = [
        installed / "python",
        "-IS",
        "-W",
        "error",
        "-X",
        "utf8",
        home.helper,
    ]
    for arguments in (("get", HOST), ("version",)):
        done = subprocess.run(
            [*strict, *arguments], env=home.environment, capture_output=True, timeout=60
        )
        answer = quiet(Answer(done.returncode, done.stdout, done.stderr))
        assert answer == home.call(*arguments)


def test_ecr_py_writes_nothing_to_stderr(home: Home, installed: Path) -> None:
    home.get(HOST)
    for command in ("version", "status", "explain dev", "token dev --format header", "cache ls"):
        done = subprocess.run(
            [installed / "ecr-py", *command.split()],
            env=home.environment,
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout, command


def test_readme_names_the_versions_that_were_tested() -> None:
    """They are the classifiers', to which a version is added once `make test` has passed on it."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: 3."
    found = [line.removeprefix(prefix) for line in project["classifiers"] if prefix in line]
    *some, last = [f"3.{minor}" for minor in found]
    readme = (PROJECT / "README.md").read_text()
    assert f"with Python {', '.join(some)} or {last};" in readme
    assert f"Python {', '.join(some)} and {last}, with docker" in readme


def test_our_code_compiles_without_a_warning(installed: Path) -> None:
    """Python warns when it compiles; pip compiles modules, but nothing keeps a script's code."""
    script = """
import sys, tokenize
for name in sys.argv[1:]:
    with tokenize.open(name) as file:
        compile(file.read(), name, "exec")
"""
    (package,) = installed.parent.glob("lib/python3.*/site-packages/docker_credential_ecr_py")
    files = [installed / "docker-credential-ecr-py", *sorted(package.rglob("*.py"))]
    files += [PROJECT / "packaging" / "man.py", *sorted((PROJECT / "tests").rglob("*.py"))]
    run(installed / "python", "-I", "-W", "error", "-c", script, *files)
