"""What the portal names to log in at is a web page, or is neither shown nor opened."""

from __future__ import annotations

from typing import Any

import pytest

from docker_credential_ecr_py.sso.web_address import is_web_address, may_be_opened
from tests.standin.aws import Aws
from tests.support.user import SESSION, User

NO_WEB_PAGES = [
    "file:///etc/passwd",
    "file://server/share/x.hta",
    "javascript:alert(1)",
    "vscode://file/etc/passwd",
    "ms-msdt:/id PCWDiagnostic",
    "\\\\server\\share\\x.exe",
    "//example.com/",
    "/usr/bin/xterm",
    "--version",
    "data:text/html,x",
    "http://example.com/",
    "http://127.0.0.1.example.com/",
    "http://127.0.0.1@example.com/",
    "http://127.0.0.1:1/device",
    "http://localhost/",
    "https://",
    "https:///device",
    "https://?user_code=x",
    "https:example.com",
    "https:\\\\example.com",
    "https://device.sso.eu-west-1.amazonaws.com@example.com/",
    "https://user:password@example.com/",
    "https://example.com\\@example.org/",
    "https://exa mple.com/",
    "https://example.com/\nfile:///etc/passwd",
    "https://example.com/\x1b]0;owned\x07",
    "https://example.com/\u202e",
    " https://example.com/",
    "https://-example.com/",
    "https://example.com:port/",
    "HTTPS://example.com/",
    "",
]
WEB_PAGES = [
    "https://device.sso.eu-west-1.amazonaws.com/?user_code=SBKF-HRGQ",
    "https://example.awsapps.com/start/#/device?user_code=SBKF-HRGQ",
    "https://oidc.eu-west-1.amazonaws.com/authorize?state=a&scopes=sso%3Aaccount%3Aaccess",
    "https://localstack.localhost:4566/device",
    "https://example.com",
    "https://example.com?x",
]


@pytest.mark.parametrize("address", NO_WEB_PAGES)
def test_no_web_page(address: str) -> None:
    assert not may_be_opened(address)
    assert not may_be_opened(address, "https://oidc.eu-west-1.amazonaws.com")
    assert not may_be_opened(address, "http://127.0.0.1:8080")


@pytest.mark.parametrize("address", WEB_PAGES)
def test_a_web_page(address: str) -> None:
    assert may_be_opened(address, "https://oidc.eu-west-1.amazonaws.com")
    assert is_web_address(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_http_where_an_endpoint_override_is(host: str) -> None:
    override = f"http://{host}:8080"
    for endpoint in (override, f"{override}/", f"{override}/prefix"):
        assert may_be_opened(f"{override}/device?user_code=x", endpoint)
    assert is_web_address(f"{override}/device")
    for endpoint in ("", "https://oidc.eu-west-1.amazonaws.com", f"http://{host}:80801"):
        assert not may_be_opened(f"{override}/device", endpoint)
    # An override that is elsewhere does not let it go there.
    assert not may_be_opened("http://example.com/device", "http://example.com")
    assert not is_web_address("http://example.com/device")


@pytest.mark.parametrize("value", [None, 7, [], {"a": 1}, True])
def test_what_is_no_text(value: object) -> None:
    assert not may_be_opened(value)


# A login


def answer(aws: Aws, **given: Any) -> None:
    """The portal answers StartDeviceAuthorization so."""
    document = {
        "deviceCode": "x",
        "userCode": "ABCD-EFGH",
        "verificationUri": f"{aws.url}/device",
        "verificationUriComplete": f"{aws.url}/device?user_code=ABCD-EFGH",
        "expiresIn": 600,
        "interval": 1,
    }
    aws.fault("StartDeviceAuthorization", "answer", document=document | given)


@pytest.mark.parametrize("address", NO_WEB_PAGES)
def test_it_is_neither_shown_nor_opened(user: User, aws: Aws, address: str) -> None:
    user.add_browser()
    answer(aws, verificationUriComplete=address)
    with user.at_terminal("ecr-py login dev", NO_COLOR="1") as terminal:
        assert terminal.wait() == 1
        shown = terminal.shown
    assert shown.startswith("ecr-py: ")
    assert shown.count("\n") == 1
    assert "log in to" not in shown
    assert "Open" not in shown
    assert "\x1b" not in shown
    assert user.opened == []
    assert aws.count("CreateToken") == 0


def test_a_get_says_so_too(user: User, aws: Aws) -> None:
    user.add_browser()
    answer(aws, verificationUriComplete="file:///etc/passwd")
    line = user.home.get("642976147714.dkr.ecr.eu-west-1.amazonaws.com").line
    assert "'file:///etc/passwd'" in line
    assert "not an https:// URL" in line
    assert user.opened == []


def test_the_page_of_an_endpoint_that_is_no_page(user: User, aws: Aws) -> None:
    """The address of a login by redirect is the endpoint's own."""
    user.use_session_profiles()
    user.add_browser()
    endpoint = aws.url.replace("127.0.0.1", "127.0.0.2")
    done = user.ecr_py("login", SESSION, AWS_ENDPOINT_URL_SSO_OIDC=endpoint)
    assert done.code == 1
    assert "state=" not in done.stderr
    assert user.opened == []


@pytest.mark.parametrize(
    "given",
    [
        {"interval": float("nan")},
        {"interval": float("-inf")},
        {"interval": "often"},
        {"expiresIn": float("nan")},
        {"expiresIn": 10**400},
        {"userCode": {"a": 1}},
        {"userCode": "X" * 100_000},
        {"userCode": ""},
        {"deviceCode": 7},
        {"verificationUriComplete": None},
        {"verificationUriComplete": ["https://example.com"]},
    ],
    ids=str,
)
def test_an_answer_that_is_none(user: User, aws: Aws, given: dict[str, Any]) -> None:
    """Such an interval had us poll without a pause and without an end."""
    answer(aws, **given)
    user.portal_fails_with("AuthorizationPendingException")
    done = user.ecr_py("login", "dev", "--no-browser")
    assert done.code == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be read" in done.stderr
    assert aws.count("CreateToken") == 0


@pytest.mark.parametrize("given", [{"interval": -5}, {"interval": 0}], ids=str)
def test_an_interval_that_is_too_short(user: User, aws: Aws, given: dict[str, Any]) -> None:
    answer(aws, expiresIn=3, **given)
    user.portal_fails_with("AuthorizationPendingException")
    done = user.ecr_py("login", "dev", "--no-browser")
    assert "the login was not approved" in done.stderr
    assert aws.count("CreateToken") <= 4


@pytest.mark.parametrize(
    "given",
    [
        {"expiresIn": float("nan")},
        {"expiresIn": 10**400},
        {"accessToken": None},
        {"accessToken": 7},
        {"refreshToken": {"a": 1}},
    ],
    ids=str,
)
def test_a_token_that_is_none(user: User, aws: Aws, given: dict[str, Any]) -> None:
    token = {"accessToken": "aoa", "expiresIn": 3600, "tokenType": "Bearer"}
    aws.fault("CreateToken", "answer", document=token | given)
    done = user.ecr_py("login", "dev", "--no-browser")
    assert done.code == 1
    assert "Traceback" not in done.stderr
    assert "cannot be read" in done.stderr.splitlines()[-1]
    assert user.token_files() == []


def test_a_token_that_lasts_for_ever_lasts_for_a_year(user: User, aws: Aws) -> None:
    token = {"accessToken": "aoa" * 30, "expiresIn": 1e18, "tokenType": "Bearer"}
    aws.fault("CreateToken", "answer", document=token)
    assert user.ecr_py("login", "dev", "--no-browser").code == 0
    assert len(user.token_files()) == 1
