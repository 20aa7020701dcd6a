"""A `get` on Windows: from AWS, from the store, and many at once."""

import subprocess
import sys
from pathlib import Path

from tests.standin.aws import Aws
from tests.support.home import ACCOUNTS, DEV, access_key_id, registry
from tests.support.processes import at_once, wait_until
from tests.support.records import HALF_LIFE, let_pass, only
from tests.support.stores import passwords_of_all, right
from tests.support.user import User
from tests.windows.conftest import WindowsHome, windows_home
from tests.windows.wine import WindowsPython


def tokens(aws: Aws) -> int:
    return sum(call.operation == "GetAuthorizationToken" for call in aws.calls)


def test_three_accounts_through_sso_and_then_hits(home: WindowsHome, aws: Aws) -> None:
    first = passwords_of_all(home, aws)
    assert tokens(aws) == len(ACCOUNTS)
    assert passwords_of_all(home, aws) == first
    assert tokens(aws) == len(ACCOUNTS)


def test_static_keys(home: WindowsHome, aws: Aws) -> None:
    home.aws_config.unlink()
    secret = aws.add_key(access_key_id(DEV), f"arn:aws:iam::{DEV}:user/ci")
    keys = {"AWS_ACCESS_KEY_ID": access_key_id(DEV), "AWS_SECRET_ACCESS_KEY": secret}
    home.environment |= keys
    right(aws, home.get(registry(DEV)))


def test_many_at_once_call_aws_once(home: WindowsHome, aws: Aws) -> None:
    answers = at_once(home, [registry(DEV)] * 8)
    assert len({one.answer.password for one in answers}) == 1
    assert tokens(aws) == 1


def test_many_that_are_refused_share_the_error(home: WindowsHome, aws: Aws) -> None:
    aws.fault("GetAuthorizationToken", "error", status=400, code="AccessDeniedException")
    lines = {one.answer.line for one in at_once(home, [registry(DEV)] * 6)}
    assert len(lines) == 1
    assert "this identity may not ecr:GetAuthorizationToken" in lines.pop()
    assert tokens(aws) < 6


def test_an_ageing_credential_is_renewed_in_the_background(home: WindowsHome, aws: Aws) -> None:
    old = home.get(registry(DEV)).password
    let_pass(home, HALF_LIFE)
    assert home.get(registry(DEV)).password == old
    wait_until(lambda: tokens(aws) == 2, seconds=60)
    wait_until(lambda: home.get(registry(DEV)).password != old, seconds=60)
    assert tokens(aws) == 2


def test_a_path_with_spaces_and_other_letters(
    tmp_path: Path, aws: Aws, windows: WindowsPython
) -> None:
    home = windows_home(tmp_path / "Jürgen Łoś 東", aws, windows)
    first = passwords_of_all(home, aws)
    assert passwords_of_all(home, aws) == first
    assert tokens(aws) == len(ACCOUNTS)


def test_a_network_share_is_not_used(home: WindowsHome, aws: Aws, windows: WindowsPython) -> None:
    share = windows.on_a_share(home.local.parent)
    home.environment |= {"LOCALAPPDATA": share, "WIN_PD_OVERRIDE_LOCAL_APPDATA": share}
    for _ in range(2):
        right(aws, home.get(registry(DEV)))
    assert tokens(aws) == 2
    assert not list(home.path.rglob("credentials/*"))


def test_a_folder_that_others_can_write_to_is_not_used(
    user: User, home: WindowsHome, aws: Aws
) -> None:
    home.cache.mkdir(parents=True)
    if sys.platform == "win32":
        everyone_may_write = ("icacls", home.cache, "/grant", "*S-1-1-0:(OI)(CI)W")
        subprocess.run(everyone_may_write, stdout=subprocess.DEVNULL, check=True)
    else:
        home.cache.chmod(0o777)
    for _ in range(2):
        right(aws, home.get(registry(DEV)))
    assert tokens(aws) == 2
    assert not list(home.cache.rglob("credentials/*"))
    assert "other users (S-1-1-0) can write to" in home.log.read_text()
    assert "not used: other users (S-1-1-0) can write to" in user.ecr_py("doctor").stdout


def test_a_file_that_another_program_has_open(
    home: WindowsHome, aws: Aws, windows: WindowsPython
) -> None:
    home.get(registry(DEV))
    let_pass(home, HALF_LIFE * 2)
    with windows.holding_open(only(home, "credentials"), home.environment):
        renewed = right(aws, home.get(registry(DEV)))
        assert right(aws, home.get(registry(DEV))) != renewed  # it could not be stored
    stored = right(aws, home.get(registry(DEV)))
    assert home.get(registry(DEV)).password == stored
