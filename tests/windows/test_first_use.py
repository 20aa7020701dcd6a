"""From an installation to the first pull: nothing is configured, nobody is logged in."""

import shutil
from dataclasses import replace
from pathlib import Path

from tests.standin.aws import Aws
from tests.support.home import HELPER, REGISTRIES
from tests.support.stores import passwords_of_all
from tests.support.user import User
from tests.windows.conftest import program_of
from tests.windows.test_login import set_browser
from tests.windows.wine import WindowsPython


def test_two_commands_lead_to_credentials_for_three_accounts(
    user: User, aws: Aws, windows: WindowsPython
) -> None:
    user.end_session()
    set_browser(user, windows)
    aws.auto_approve = True
    for command in (("login", "dev", "--device"), ("configure", "--yes")):
        done = user.ecr_py(*command)
        assert done.code == 0, done
    assert user.read_config()["credHelpers"] == dict.fromkeys(REGISTRIES, "ecr-py")
    passwords_of_all(user.home, aws)
    done = user.ecr_py("doctor")
    assert done.code == 0, done
    assert "no user but you and administrators can write to it" in done.stdout
    assert "none on Windows" in done.stdout


def test_programs_that_are_copied_elsewhere(
    user: User, aws: Aws, windows: WindowsPython, tmp_path: Path
) -> None:
    """As pipx does; the front finds the other program beside it, and that one its Python."""
    folder = tmp_path / "l o c a l" / "bin"
    folder.mkdir(parents=True)
    for name in (HELPER.stem, "ecr-py"):
        shutil.copy(windows.scripts / f"{name}.exe", folder)
    program = program_of(user.home, windows, folder / f"{HELPER.stem}.exe")
    passwords_of_all(replace(user.home, helper=program), aws)
