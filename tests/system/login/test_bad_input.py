"""What a user, an AWS config or a disk can get wrong: one line, and nothing broken on the way."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from docker_credential_ecr_py.selection import SsoSession
from docker_credential_ecr_py.sso.token_cache import SsoFiles
from tests.standin.aws import Aws
from tests.support.home import DEV, ROLE, START_URL, registry
from tests.support.other_user import OTHER
from tests.support.programs import read_only
from tests.support.user import SESSION, Done, User, leftovers

HOST = registry(DEV)


@pytest.fixture
def approved(user: User, aws: Aws) -> User:
    aws.auto_approve = True
    return user


def last_line(done: Done) -> str:
    """What it said in the end, where the prompt of a login came before."""
    assert done.code == 1, done
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("ecr-py: ")
    return line


# The token file


def token_file(user: User, aws: Aws) -> Path:
    return aws.write_sso_token(user.home.path, START_URL)


DAMAGED = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\x00" * 4096,
    b'{"accessToken": 7}',
    b"\xff\xfe{",
    b"[" * 100000,
]


def test_a_token_file_that_is_damaged_is_no_token(user: User, aws: Aws) -> None:
    file = token_file(user, aws)
    whole = json.loads(file.read_text())
    session = SsoSession(START_URL, "eu-west-1", "", "dev")
    found = SsoFiles(file.parent).token(session)
    assert found is not None
    assert found.access_token == whole["accessToken"]
    # An expiry that is no time is none.
    for expiry in ("", "tomorrow", "0000-00-00T00:00:00Z", "9999-99-99T99:99:99Z", 7, None):
        DAMAGED.append(json.dumps(whole | {"expiresAt": expiry}).encode())
    for content in DAMAGED:
        file.write_bytes(content)
        assert SsoFiles(file.parent).token(session) is None, content[:80]


def test_a_token_file_that_is_damaged_is_replaced(approved: User, aws: Aws) -> None:
    file = token_file(approved, aws)
    file.write_text('{"accessToken": ')
    assert "ecr-py login dev" in approved.home.get(HOST).line
    assert approved.invoke("login", "dev").code == 0
    assert approved.home.get(HOST).password in aws.issued
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_folder_where_the_token_belongs(approved: User, aws: Aws) -> None:
    file = token_file(approved, aws)
    file.unlink()
    (file / "sub").mkdir(parents=True)
    assert "ecr-py login dev" in approved.home.get(HOST).line
    line = last_line(approved.invoke("login", "dev"))
    assert str(file) in line
    assert f"remove {file}" in line
    assert leftovers([approved.home.path]) == []
    line = last_line(approved.invoke("logout", "dev"))
    assert str(file) in line


def test_a_file_where_the_folder_belongs(approved: User, aws: Aws) -> None:
    sso = approved.sso_cache.parent
    shutil.rmtree(sso)
    sso.write_text("")
    assert "ecr-py login dev" in approved.home.get(HOST).line
    line = last_line(approved.invoke("login", "dev"))
    assert str(sso) in line
    # Before the user was troubled, since it could not be kept.
    assert aws.count("StartDeviceAuthorization") == 0


def test_a_token_file_that_is_a_pipe(approved: User, aws: Aws) -> None:
    """Whoever opened it for reading would wait for ever."""
    file = token_file(approved, aws)
    file.unlink()
    os.mkfifo(file, 0o600)
    assert "ecr-py login dev" in approved.home.get(HOST).line
    assert approved.invoke("login", "dev").code == 0
    assert stat.S_ISREG(file.stat().st_mode)


def test_a_token_file_that_leads_elsewhere(approved: User, aws: Aws, tmp_path: Path) -> None:
    """A link is replaced, as the AWS CLI's own writer would go through it: what it names stays."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    file = token_file(approved, aws)
    file.unlink()
    file.symlink_to(elsewhere)
    assert approved.invoke("login", "dev").code == 0
    assert elsewhere.read_text() == "precious"
    assert approved.home.get(HOST).code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_token_file_of_another_user_becomes_ours(approved: User, aws: Aws) -> None:
    file = token_file(approved, aws)
    file.write_text("{}")
    os.chown(file, OTHER, OTHER)
    file.chmod(0o644)
    assert approved.invoke("login", "dev").code == 0
    assert file.stat().st_uid == os.geteuid()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_written(approved: User, aws: Aws) -> None:
    """A login that cannot be kept is not begun: a user would click for nothing."""
    folder = approved.sso_cache
    done = approved.try_run(*read_only(folder), "ecr-py", "login", "dev")
    line = last_line(done)
    assert str(folder) in line
    assert "cannot be written: Read-only file system" in line
    assert aws.count("StartDeviceAuthorization") == 0


def test_a_second_login_that_cannot_be_kept(approved: User, aws: Aws) -> None:
    """The program is registered already, so nothing is written before the login."""
    assert approved.invoke("login", "--force", "dev").code == 0
    aws.reset_calls()
    read = read_only(approved.sso_cache)
    done = approved.try_run(*read, "ecr-py", "login", "--force", "dev")
    assert "cannot be written: Read-only file system" in last_line(done)
    assert aws.calls == []


def test_a_refresh_that_cannot_be_kept(approved: User, aws: Aws) -> None:
    """A refresh token may be good for one time: it is not used up for nothing."""
    approved.use_session_profiles()
    aws.write_sso_token(approved.home.path, START_URL, session=SESSION, lifetime=-60, refresh=True)
    folder = approved.sso_cache
    done = approved.try_run(*read_only(folder), "docker-credential-ecr-py", "get", HOST)
    assert done.code == 1
    assert str(folder) in done.stderr
    assert done.stderr.count("\n") == 1
    assert aws.count("CreateToken") == 0


def test_a_live_session_goes_on_where_its_refresh_cannot_be_kept(approved: User, aws: Aws) -> None:
    approved.use_session_profiles()
    aws.write_sso_token(approved.home.path, START_URL, session=SESSION, lifetime=600, refresh=True)
    done = approved.try_run(*read_only(approved.sso_cache), "docker-credential-ecr-py", "get", HOST)
    assert done.code == 0, done
    assert aws.count("CreateToken") == 0


# The AWS config


@pytest.mark.parametrize("lifetime", [600, -60])
@pytest.mark.parametrize("refused", ["\ufeff{}", "{}[profile dev]\noutput = json\n"])
def test_a_config_that_botocore_refuses(
    approved: User, aws: Aws, refused: str, lifetime: float
) -> None:
    """A byte-order mark, a section that stands twice: for refreshes and logins too."""
    approved.use_session_profiles()
    config = approved.home.aws_config
    config.write_text(refused.format(config.read_text()))
    aws.write_sso_token(
        approved.home.path, START_URL, session=SESSION, lifetime=lifetime, refresh=lifetime > 0
    )
    if lifetime < 0:
        assert approved.invoke("login", "dev").code == 0
    assert approved.home.get(HOST).password in aws.issued
    assert aws.count("CreateToken") > 0


def config(user: User, **session: str) -> None:
    values = {"sso_start_url": START_URL, "sso_region": "eu-west-1"} | session
    lines = [f"{key} = {value}" for key, value in values.items() if value]
    profile = f"[profile dev]\nsso_session = {SESSION}\nsso_account_id = {DEV}\n"
    profile += f"sso_role_name = {ROLE}\nregion = eu-west-1\n"
    heading = f"[sso-session {SESSION}]"
    user.home.write(user.home.aws_config, "\n".join([heading, *lines, profile]))


@pytest.mark.parametrize(
    "url",
    ["http://example.awsapps.com/start", "example.awsapps.com", "not a url"],
)
def test_a_start_url_that_is_no_https_address(approved: User, aws: Aws, url: str) -> None:
    """A session is a secret: it must not go where anyone can listen."""
    config(approved, sso_start_url=url)
    line = last_line(approved.invoke("login", SESSION))
    assert url in line
    assert "https" in line
    assert aws.calls == []


def test_a_region_that_does_not_exist(approved: User) -> None:
    config(approved, sso_region="eu-wst-1")
    approved.home.environment.pop("AWS_ENDPOINT_URL_SSO_OIDC")
    # A proxy that knows no such host, as a network that has none.
    approved.home.environment["HTTPS_PROXY"] = "http://127.0.0.1:1"
    line = approved.invoke("login", SESSION).line
    assert "sso_region" in line
    assert "eu-west-1" in line


@pytest.mark.parametrize("region", ["eu west 1", "../x"])
def test_a_region_that_cannot_be_one(approved: User, region: str) -> None:
    config(approved, sso_region=region)
    line = approved.invoke("login", SESSION).line
    assert region in line


@pytest.mark.parametrize("lacking", ["sso_start_url", "sso_region"])
def test_a_session_that_lacks_something(approved: User, lacking: str) -> None:
    config(approved, **{lacking: ""})
    for name in (SESSION, "dev"):
        line = approved.invoke("login", name).line
        assert lacking in line
        assert f"[sso-session {SESSION}]" in line


def test_a_profile_of_a_session_that_is_not_there(approved: User) -> None:
    config(approved)
    file = approved.home.aws_config
    file.write_text(file.read_text().replace(f"[sso-session {SESSION}]", "[sso-session tellia]"))
    line = approved.invoke("login", "dev").line
    assert f"[sso-session {SESSION}]" in line


def test_a_config_that_cannot_be_read(approved: User) -> None:
    approved.home.aws_config.write_text("no section\n")
    line = approved.invoke("login", "dev").line
    assert str(approved.home.aws_config) in line
    assert "line 1" in line


# What is typed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--nonsense",), "No such option"),
        (("--start-url",), "requires an argument"),
        (("--start-url", START_URL), "--sso-region"),
        (("--start-url", START_URL, "--sso-region", "eu-west-1", "dev"), "with a name"),
    ],
)
def test_options_that_do_not_go_together(
    approved: User, aws: Aws, arguments: tuple[str, ...], said: str
) -> None:
    done = approved.invoke("login", *arguments)
    assert done.code == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert aws.calls == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--dry-run", "dev"),
        ("--role", "Administrator", "dev"),
        ("--sso-region", "eu-west-1", "dev"),
        ("--region", "eu-west-1", "dev"),
        ("--session", "telia"),
    ],
)
def test_options_of_onboarding_without_it(
    approved: User, aws: Aws, arguments: tuple[str, ...]
) -> None:
    """--dry-run above all must not do what it says it does not."""
    done = approved.invoke("login", *arguments)
    assert done.code == 2, done
    assert "--start-url" in done.stderr
    assert aws.calls == []


@pytest.mark.parametrize("name", ["", "\x1b[31mred", "a\nb", "-x"])
def test_names_that_nobody_has(approved: User, name: str) -> None:
    done = approved.invoke("login", "--", name)
    assert done.code in (1, 2)
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert done.stderr.count("\n") == 1
