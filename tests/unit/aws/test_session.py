"""What stood between us and AWS is told without a word that may be a secret."""

import base64
import os
from unittest import mock
from urllib.parse import quote

import pytest
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session
from hypothesis import given, settings
from hypothesis import strategies as st

from docker_credential_ecr_py.aws.session import Session, first_line, network_error
from docker_credential_ecr_py.shell import unset

# The characters that an address is divided by, and those that it cannot have.
AWKWARD = st.text("aB3/#@: ?%&=+\"'\\<>[]{}|^`~!$*(),;é\t", max_size=6)
PASSWORDS = st.tuples(st.sampled_from(["hunter", "12345"]), AWKWARD, st.sampled_from(["", "qxyz"]))


def error_through(proxy: str) -> str:
    """What is said of a request through a proxy that does not answer, or is none."""
    request = AWSRequest("GET", "https://ecr.eu-west-1.amazonaws.com/").prepare()
    with mock.patch.dict(os.environ, {"HTTPS_PROXY": proxy}, clear=True):
        with pytest.raises(Exception) as raised:
            URLLib3Session(proxies={"https": proxy}, timeout=1).send(request)
        return str(network_error(raised.value))


def test_the_file_of_cas_that_the_user_names(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"HOME": "/home/ann", "USERPROFILE": "/home/ann", "AWS_CONFIG_FILE": os.devnull}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    for name, value in (
        ("REQUESTS_CA_BUNDLE", ""),  # as if it were not set
        ("REQUESTS_CA_BUNDLE", "~/requests.pem"),
        ("AWS_CA_BUNDLE", "~/aws.pem"),
    ):
        monkeypatch.setenv(name, value)
        expected = value.replace("~", "/home/ann") or True
        assert Session().ca_bundle == expected


@settings(max_examples=200, deadline=None)
@given(PASSWORDS.map("".join))
def test_no_part_of_a_proxy_s_password_is_shown(password: str) -> None:
    """Not even if its parts are taken for a host and a port, because it is not encoded."""
    for written in (password, quote(password, safe="")):
        said = error_through(f"http://127.0.0.1:{written}@127.0.0.1:1")
        shown = said.replace("127.0.0.1", "")
        pieces = [written[start : start + 4] for start in range(len(written) - 3)]
        assert [piece for piece in pieces if piece in shown] == []


@pytest.mark.parametrize(
    "proxy", ["http://127.0.0.1:1", "http://[::1]:1/", "http://user:pass%2Fword@127.0.0.1:1/"]
)
def test_a_proxy_that_is_well_formed_is_named(proxy: str) -> None:
    said = error_through(proxy)
    host = "[::1]" if "::" in proxy else "127.0.0.1"
    assert f"the proxy {host}:1 cannot be reached (connection refused)" in said
    assert said.endswith(f"correct HTTPS_PROXY, or run `{unset('HTTPS_PROXY')}`")


def test_a_token_that_is_cut_is_not_shown() -> None:
    token = base64.b64encode(bytes(range(256))).decode()
    assert first_line("the agent said  no\n" * 14 + token) == (
        "the agent said no " * 14 + "[secret]"
    )
