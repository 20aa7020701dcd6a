"""A login on Windows: with a code for any device, and by the browser's redirect."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from urllib.request import url2pathname

from tests.standin.aws import Aws
from tests.support.user import CODE, User, eventually, visit
from tests.windows.wine import WinePython, windows_path

# What the browser is started with.
BROWSER = "import pathlib, sys; pathlib.Path(__file__).with_name('opened').write_text(sys.argv[1])"


def set_browser(user: User, wine: WinePython) -> Path:
    """Set a browser that only notes its address; return that note. wine's is that of Linux."""
    browser = user.home.write(user.home.path / "browser.py", BROWSER)
    command = [windows_path(wine.python), windows_path(browser), "%s"]
    user.environment["BROWSER"] = " ".join(command).replace("\\", "/")
    return browser.with_name("opened")


def test_with_a_code(user: User, aws: Aws, wine: WinePython) -> None:
    user.end_session()
    set_browser(user, wine)
    aws.auto_approve = True
    done = user.ecr_py("login", "dev", "--device")
    assert done.code == 0, done
    assert re.search(CODE, done.said)
    assert user.token_files()


def test_by_redirect(user: User, aws: Aws, wine: WinePython) -> None:
    user.use_session_profiles()
    user.end_session()
    opened = set_browser(user, wine)
    with _logging_in(user) as login:
        link = eventually(lambda: opened.exists() and opened.read_text(), seconds=120)
        assert str(link).startswith("file:///Z:/")
        page = Path(url2pathname(str(link).removeprefix("file:///Z:"))).read_text()
        found = re.search(r'href="([^"]+)"', page)
        assert found, page
        status, _ = visit(found[1].replace("&amp;", "&"), "allow")
        assert status == 200
        assert login.wait(120) == 0, login
    assert user.token_files()


@contextmanager
def _logging_in(user: User) -> Iterator[Popen[bytes]]:
    command = [str(user.program), "login", "dev"]
    login = Popen(command, env=user.environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    try:
        yield login
    finally:
        login.kill()
        login.communicate()
