"""README: what it tells a newcomer to type works as written, and its pictures show what is so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from email import message_from_bytes
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import pytest

from tests.acceptance.pictures import DOCTOR, PULL, STATUS, text_of
from tests.acceptance.readme import PROJECT, README, consoles, section
from tests.standin.aws import Aws
from tests.standin.proxy import Proxy
from tests.support.docker_user import image
from tests.support.environments import build_wheel
from tests.support.home import DEV, PROD, STAGE, START_URL
from tests.support.programs import lacking, need
from tests.support.user import SESSION, User

PICTURES = [PULL, STATUS, DOCTOR]
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)]+)\)")
_RECT = "{http://www.w3.org/2000/svg}rect"
_NO_INDEX = re.compile(r"No matching distribution|NewConnectionError|name resolution|ProxyError")


def test_it_is_short() -> None:
    assert len(README.read_text().splitlines()) < 120


@pytest.mark.usefixtures("images")
@pytest.mark.timeout(600)  # pip may have to fetch what the package depends on
def test_the_first_commands(docker_user: User, proxy: Proxy, tmp_path: Path) -> None:
    """In a clone and a home that has nothing, each command under "Install" to the first pull."""
    install, ensure_path, configure, login = consoles(section(README.read_text(), "Install"))
    assert (install, ensure_path) == ("pipx install .", "pipx ensurepath")
    clone, home = tmp_path / "clone", tmp_path / "newcomer"
    not_cloned = shutil.ignore_patterns(".*", "__pycache__", "build", "dist")
    shutil.copytree(PROJECT, clone, ignore=not_cloned)
    home.mkdir()
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "pipx").symlink_to(need("pipx"))  # and no browser: the login is by a code
    path = f"{os.environ['PATH']}:{programs}"
    newcomer = docker_user.environment | {"HOME": str(home), "PATH": path}

    def types(*bash: str, in_folder: Path) -> str:
        done = subprocess.run(
            ["bash", *bash],
            env=newcomer,
            cwd=in_folder,
            capture_output=True,
            text=True,
            timeout=500,
            start_new_session=True,
            check=False,
        )
        if _NO_INDEX.search(done.stderr):
            lacking(f"the package index cannot be reached: {done.stderr}")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # The index is the real one, without the stand-ins' proxy and certificates.
    types("-c", f"unset {' '.join(proxy.environment())}; {install}", in_folder=clone)
    types("-c", ensure_path, in_folder=clone)
    # A new terminal: the PATH is that of the machine, and what .bashrc adds to it.
    docker_user.aws.auto_approve = True
    docker_user.aws.account_names = {DEV: "dev", STAGE: "stage", PROD: "prod"}
    lines = f"{login} && {configure} && docker pull {image(DEV)} && ecr-py doctor"
    shown = types("-ic", lines, in_folder=home)
    assert "Downloaded newer image" in shown
    assert f"{home}/.local/bin/docker-credential-ecr-py" in shown


# The index page


@pytest.fixture(scope="module")
def on_an_index(tmp_path_factory: pytest.TempPathFactory) -> str:
    """README as the wheel has it, which is what an index shows."""
    with ZipFile(build_wheel(tmp_path_factory.mktemp("wheel"))) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(wheel.read(name))
    assert metadata["Description-Content-Type"] == "text/markdown"
    payload = metadata.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def test_no_link_on_an_index_page_leads_nowhere(on_an_index: str) -> None:
    """There are no files beside that page: links are absolute, or only their text is there."""
    assert len(_LINK.findall(README.read_text())) > 10
    assert [target for target in _LINK.findall(on_an_index) if ":" not in target] == []


def test_nothing_else_is_lost_on_an_index_page(on_an_index: str) -> None:
    def without_links(text: str) -> str:
        return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", re.sub(r"!\[.*\)\n\n", "", text))

    assert without_links(on_an_index).split() == without_links(README.read_text()).split()


# The pictures


@pytest.mark.parametrize("picture", PICTURES, ids=lambda file: file.name)
def test_a_picture_loads_nothing_and_names_no_machine(picture: Path) -> None:
    svg = picture.read_text()
    assert len(svg) < 12_000
    assert set(re.findall(r"https?://[^\"<]*\"", svg)) == {'http://www.w3.org/2000/svg"'}
    assert not re.search(r"url\((?!#)|@import|<script|<image|/tmp/|/root", svg)
    # It has its own background, so it can be read on a light and on a dark page.
    drawing = ElementTree.fromstring(svg)
    [window] = [rect for rect in drawing.iter(_RECT) if rect.get("fill") == "#292929"]
    for name, size in zip(("width", "height"), drawing.attrib["viewBox"].split()[2:], strict=True):
        assert float(window.attrib[name]) > 0.95 * float(size)
    assert f"]({picture.relative_to(PROJECT)})" in README.read_text()


def words(shown: str) -> set[str]:
    """Return the cells of the columns that have no number, path or name in them."""
    cells = (cell for line in shown.splitlines() for cell in re.split(r" {2,}", line))
    return {cell for cell in cells if re.fullmatch(r"[A-Za-z ]+", cell)}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("picture", [STATUS, DOCTOR], ids=lambda file: file.name)
def test_a_picture_shows_what_the_command_shows(docker_user: User, picture: Path) -> None:
    """A wider screen may show more columns."""
    command, _, shown = text_of(picture).partition("\n")
    assert command == f"$ ecr-py {picture.stem}"
    docker_user.use_session_profiles()
    docker_user.aws.write_sso_token(docker_user.home.path, START_URL, session=SESSION, refresh=True)
    done = docker_user.invoke_ok(picture.stem)
    assert words(shown) <= words(done.stdout), "run `python -m tests.acceptance.capture`"


@pytest.mark.usefixtures("images")
def test_the_picture_of_a_pull(docker_user: User, aws: Aws) -> None:
    """What it says is what the helper says on a terminal when the session has expired."""
    aws.auto_approve = True
    shutil.rmtree(docker_user.home.path / ".aws" / "sso")
    command, _, shown = text_of(PULL).removeprefix("$ ").partition("\n")
    with docker_user.at_terminal(command, BROWSER="true") as terminal:
        assert terminal.wait() == 0, terminal.shown
    for line in re.findall(r"^ecr-py: .*", shown, re.MULTILINE):
        words = line.partition("http")[0].partition("SBKF")[0]
        assert words in terminal.shown
    assert shown.splitlines()[-1] in terminal.shown
