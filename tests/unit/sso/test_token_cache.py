"""The SSO token files: written as botocore reads them, for their owner alone."""

from __future__ import annotations

import json
import time
from pathlib import Path

import botocore.utils
import pytest

from docker_credential_ecr_py.errors import UnwritableSsoCache
from docker_credential_ecr_py.selection import SsoSession
from docker_credential_ecr_py.sso.token_cache import Registration, SsoFiles, Token
from tests.support.programs import NO_MODES

START_URL = "https://example.awsapps.com/start"
SESSION = SsoSession(START_URL, "eu-west-1", "work", "dev", ("sso:account:access",))
EXPIRES = float(int(time.time()) + 3600)


@pytest.fixture
def files(tmp_path: Path) -> SsoFiles:
    return SsoFiles(tmp_path / "cache")


def token(refresh_token: str = "refresh") -> Token:
    registration = Registration("client", "secret", EXPIRES + 3600)
    return Token(START_URL, "eu-west-1", "access", EXPIRES, registration, refresh_token)


@pytest.mark.parametrize("refresh_token", ["refresh", ""])
def test_a_token_is_read_as_it_was_written(files: SsoFiles, refresh_token: str) -> None:
    files.keep_token(SESSION, token(refresh_token))
    assert files.token(SESSION) == token(refresh_token)


def test_botocore_reads_it(files: SsoFiles) -> None:
    files.keep_token(SESSION, token())
    loader = botocore.utils.SSOTokenLoader(cache=botocore.utils.JSONFileCache(str(files.folder)))
    assert loader(START_URL, session_name="work")["accessToken"] == "access"


@NO_MODES
def test_it_is_for_its_owner_alone(files: SsoFiles) -> None:
    files.keep_token(SESSION, token())
    assert files.token_path(SESSION).stat().st_mode & 0o777 == 0o600
    assert files.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"accessToken": 1}', "\x00"])
def test_a_file_that_is_no_token_is_none_and_is_replaced(files: SsoFiles, text: str) -> None:
    files.folder.mkdir(mode=0o700)
    files.token_path(SESSION).write_text(text)
    assert files.token(SESSION) is None
    files.keep_token(SESSION, token())
    assert files.token(SESSION) == token()


def test_a_token_is_dropped_once(files: SsoFiles) -> None:
    files.keep_token(SESSION, token())
    assert files.drop_token(SESSION)
    assert not files.drop_token(SESSION)
    assert files.token(SESSION) is None


def test_a_folder_that_cannot_be_made_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in its place")
    with pytest.raises(UnwritableSsoCache) as raised:
        SsoFiles(tmp_path / "cache").keep_token(SESSION, token())
    assert "\n" not in str(raised.value)


def test_no_secret_is_in_what_a_token_shows_of_itself(files: SsoFiles) -> None:
    shown = repr(token())
    assert not {"access", "refresh", "secret"} & set(shown.replace("'", " ").split())
    files.keep_token(SESSION, token())
    assert json.loads(files.token_path(SESSION).read_text())["refreshToken"] == "refresh"
