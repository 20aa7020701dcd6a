"""Noise on standard input and in files, through the installed executable: one line, 0 or 1."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.home import DEV, Answer, Home, registry
from tests.support.records import KINDS, only, write_sealed

few = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def in_order(answer: Answer) -> None:
    if answer.code == 0:
        assert answer.stderr == b""
        assert answer.stdout == b"" or isinstance(answer.json, dict)
    else:
        assert answer.line
        assert "ecr-py: unexpected" not in answer.line


@pytest.mark.parametrize("action", ["get", "store", "erase"])
@few
@given(
    noise=st.one_of(
        st.binary(max_size=200),
        st.text(max_size=100).map(lambda text: f"https://{registry(DEV)}/{text}".encode()),
        st.sampled_from([b"\0", b"[" * 100_000, b"9" * 5000, b"x" * 1_100_000, b'"\\ud800"']),
    )
)
def test_standard_input(home: Home, action: str, noise: bytes) -> None:
    in_order(home.call(action, stdin=noise))


@pytest.mark.parametrize("file", [".aws/config", ".aws/credentials", ".config/ecr-py/config.toml"])
@few
@given(noise=st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode)))
def test_a_file_of_the_users(home: Home, file: str, noise: bytes) -> None:
    path = home.path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(noise)
    in_order(home.get(registry(DEV)))


ODD = [b"x", b"\xff\n", b"[" * 50_000, b"\0"]
INPUTS = {"credentials": range(2, 6), "selections": range(3, 6)}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_record_with_an_odd_field_and_the_right_fingerprint(
    home: Home, kind: str, odd: bytes
) -> None:
    home.get(registry(DEV))
    path = only(home, kind)
    whole = path.read_bytes()
    fields = whole.split(b"\0")[1:]
    for n in INPUTS[kind]:
        write_sealed(path, [*fields[:n], *odd.split(b"\0"), *fields[n + 1 :]])
        in_order(home.get(registry(DEV)) if kind == "credentials" else home.call("list"))
    write_sealed(path, fields[:5])
    in_order(home.call("list"))
    in_order(home.call("erase", stdin=registry(DEV).encode()))


def test_what_is_answered_on_a_hit_is_one_json_document(home: Home) -> None:
    home.get(registry(DEV))
    for url in (registry(DEV), f"https://{registry(DEV)}", f"https://{registry(DEV)}/v2/\n"):
        answer = home.get(url)
        assert json.loads(answer.stdout)["ServerURL"] == url.strip()
        assert answer.stdout.count(b"\n") == 1
