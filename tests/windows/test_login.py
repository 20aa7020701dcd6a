"""A login on Windows: with a code for any device, and by the browser's redirect."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from urllib.request import url2pathname

from tests.standin.aws import Aws
from tests.support.user import CODE, User, eventually, visit
from tests.windows.wine import WindowsPython, windows_path

# What the browser is started with.
BROWSER = "import pathlib, sys; pathlib.Path(__file__).with_name('opened').write_text(sys.argv[1])"


def set_browser(user: User, windows: WindowsPython) -> Path:
    """Set a browser that only notes its address; return that note."""
    browser = user.home.write(user.home.path / "browser.py", BROWSER)
    command = [windows_path(windows.python), windows_path(browser), "%s"]
    user.environment["BROWSER"] = " ".join(command).replace("\\", "/")
    return browser.with_name("opened")


def test_with_a_code(user: User, aws: Aws, windows: WindowsPython) -> None:
    user.end_session()
    set_browser(user, windows)
    aws.auto_approve = True
    done = user.ecr_py("login", "dev", "--device")
    assert done.code == 0, done
    assert re.search(CODE, done.said)
    assert user.token_files()


def test_by_redirect(user: User, aws: Aws, windows: WindowsPython) -> None:
    user.use_session_profiles()
    user.end_session()
    opened = set_browser(user, windows)
    with _logging_in(user) as login:
        link = eventually(lambda: opened.exists() and opened.read_text(), seconds=120)
        assert re.match(r"file:///[A-Z]:/", str(link))
        page = _local_file(str(link)).read_text()
        found = re.search(r'href="([^"]+)"', page)
        assert found, page
        status, _ = visit(found[1].replace("&amp;", "&"), "allow")
        assert status == 200
        assert login.wait(120) == 0, login
    assert user.token_files()


def _local_file(link: str) -> Path:
    """Return the file that a link leads to; under wine it is on drive Z:, which is our `/`."""
    return Path(
        url2pathname(link.removeprefix("file:" if sys.platform == "win32" else "file:///Z:"))
    )


@contextmanager
def _logging_in(user: User) -> Iterator[Popen[bytes]]:
    command = [str(user.program), "login", "dev"]
    login = Popen(command, env=user.environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    try:
        yield login
    finally:
        login.kill()
        login.communicate()
