"""What a running installation loses while it is upgraded, for each way to upgrade it.

Gets run in loops, some from the cache and some that ask AWS, while a newer version is installed.
pipx and uv are measured if they are on the PATH. `python -m benchmarks.upgrade` prints a table.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.standin.aws import Aws
from tests.support.home import DEV, Home, new_home, registry

PROJECT = Path(__file__).parent.parent
NAME, HELPER = "docker-credential-ecr-py", "docker-credential-ecr-py"
COMMANDS = (HELPER, "ecr-py")
NEW_VERSION = "99.0.0"
ROUNDS = 3
PAUSE = 0.02  # seconds between two gets of a loop


@dataclass
class Way:
    """A way to upgrade. Both functions run in an empty folder; `bin` has the executables."""

    title: str
    bin: Path
    install: Callable[[], None]
    upgrade: Callable[[], None]


@dataclass
class Count:
    """Gets while an upgrade ran, and when and why some failed."""

    gets: int = 0
    failures: list[str] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)

    def fails(self, why: str) -> None:
        self.failures.append(why)
        self.moments.append(time.monotonic())

    def __str__(self) -> str:
        lasted = self.moments[-1] - self.moments[0] if self.moments else 0.0
        return f"{self.gets:10} {len(self.failures):7} {lasted:6.1f} s"


def run(*command: str | Path, **environment: str) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stdout}")


def wheels(folder: Path) -> tuple[Path, Path]:
    """Two folders of wheels with all that we depend on: one with this version, one with a newer."""
    old, new, source = folder / "old", folder / "new", folder / "source"
    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "wheel")
    run(*pip, "--wheel-dir", old, PROJECT)
    kept = shutil.ignore_patterns(".*", "build", "dist", "__pycache__")
    shutil.copytree(PROJECT, source, ignore=kept)
    module = source / "docker_credential_ecr_py" / "__init__.py"
    first, *_ = module.read_text().partition("__version__")
    module.write_text(f'{first}__version__ = "{NEW_VERSION}"\n')
    run(*pip, "--no-deps", "--wheel-dir", new, source)
    for wheel in old.iterdir():
        if not wheel.name.startswith("docker_credential_ecr_py"):
            os.link(wheel, new / wheel.name)
    return old, new


def ways(folder: Path, old: Path, new: Path) -> list[Way]:
    """Each in a folder of its own under `folder`."""
    makers = [pip_in_place, new_environment_and_links]
    makers += [maker for program, maker in TOOLS.items() if shutil.which(program)]
    found = []
    for maker in makers:
        own = folder / maker.__name__
        own.mkdir(parents=True)
        found.append(maker(own, old, new))
    return found


def pip_in_place(folder: Path, old: Path, new: Path) -> Way:
    venv = folder / "venv"
    pip = (venv / "bin" / "pip", "-q", "install", "--no-index", "--find-links")

    def install() -> None:
        run(sys.executable, "-m", "venv", venv)
        run(*pip, old, NAME)

    return Way(
        "pip install --force-reinstall",
        venv / "bin",
        install,
        lambda: run(*pip, new, "--force-reinstall", "--no-deps", NAME),
    )


def with_pipx(folder: Path, old: Path, new: Path) -> Way:
    places = {"PIPX_HOME": str(folder / "home"), "PIPX_BIN_DIR": str(folder / "bin")}
    index = folder / "index"
    pip_args = f"--no-index --find-links {index}"

    def upgrade() -> None:
        offer(index, new)
        run("pipx", "upgrade", "--pip-args", pip_args, NAME, **places)

    def install() -> None:
        offer(index, old)
        run("pipx", "install", "--pip-args", pip_args, NAME, **places)

    return Way("pipx upgrade", folder / "bin", install, upgrade)


def with_uv(folder: Path, old: Path, new: Path) -> Way:
    places = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "bin")}
    places |= {"UV_OFFLINE": "1", "UV_NO_CACHE": "1"}
    index = folder / "index"
    offline = ("--no-index", "--find-links", index)

    def install() -> None:
        offer(index, old)
        run("uv", "tool", "install", "-q", "--python", sys.executable, *offline, NAME, **places)

    def upgrade() -> None:
        offer(index, new)
        run("uv", "tool", "upgrade", "-q", *offline, NAME, **places)

    return Way("uv tool upgrade", folder / "bin", install, upgrade)


TOOLS = {"pipx": with_pipx, "uv": with_uv}


def offer(index: Path, wheels: Path) -> None:
    shutil.rmtree(index, ignore_errors=True)
    shutil.copytree(wheels, index)


def new_environment_and_links(folder: Path, old: Path, new: Path) -> Way:
    """As docs/configuration.md says: the old environment stays until nothing runs from it."""
    links = folder / "bin"
    links.mkdir(exist_ok=True)

    def install_into(venv: Path, wheels: Path) -> None:
        run(sys.executable, "-m", "venv", venv)
        run(venv / "bin" / "pip", "-q", "install", "--no-index", "--find-links", wheels, NAME)
        for name in COMMANDS:
            (links / f"{name}.new").symlink_to(venv / "bin" / name)
            os.replace(links / f"{name}.new", links / name)

    return Way(
        "a new environment, then links",
        links,
        lambda: install_into(folder / "1", old),
        lambda: install_into(folder / "2", new),
    )


def gets(home: Home, helper: Path, more: dict[str, str], ends: threading.Event) -> Count:
    """Asks again and again until the event."""
    count = Count()
    while not ends.is_set():
        count.gets += 1
        try:
            done = subprocess.run(
                [helper, "get"],
                input=registry(DEV).encode(),
                capture_output=True,
                env=home.environment | more,
            )
        except OSError as error:
            count.fails(error.strerror or str(error))
            continue
        finally:
            time.sleep(PAUSE)
        if done.returncode or done.stderr:
            said = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
            count.fails(said[-1][:100] if said else f"exit {done.returncode}")
    return count


def measured(home: Home, way: Way) -> tuple[float, Count, Count]:
    """Seconds that the upgrade took; cached gets, and those that asked AWS."""
    way.install()
    subprocess.run(
        [way.bin / HELPER, "get", registry(DEV)],
        env=home.environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    ends = threading.Event()
    counts: dict[str, Count] = {}

    def loop(name: str, **more: str) -> None:
        counts[name] = gets(home, way.bin / HELPER, more, ends)

    threads = [
        threading.Thread(target=loop, args=("cached",)),
        threading.Thread(target=loop, args=("asking",), kwargs={"AWS_ECR_DISABLE_CACHE": "1"}),
    ]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    way.upgrade()
    took = time.monotonic() - began
    ends.set()
    for thread in threads:
        thread.join()
    version = subprocess.run([way.bin / HELPER, "version"], capture_output=True, text=True).stdout
    assert NEW_VERSION in version, version
    return took, counts["cached"], counts["asking"]


def main() -> None:
    """Print, for each way, how many gets failed, and for how long."""
    columns = f"{'cached':>10} {'failed':>7} {'for':>8}{'asking':>10} {'failed':>7} {'for':>8}"
    print(f"{'':34}{'seconds':>8}{columns}")
    with TemporaryDirectory() as top, Aws() as aws:
        old, new = wheels(Path(top))
        for number in range(ROUNDS):
            for way in ways(Path(top, f"round{number}"), old, new):
                home = new_home(Path(top, "home"), aws)
                took, cached, asking = measured(home, way)
                print(f"{way.title:34}{took:8.1f}{cached}{asking}", flush=True)
                for said in sorted({*cached.failures, *asking.failures}):
                    print(f"    {said}")


if __name__ == "__main__":
    main()
