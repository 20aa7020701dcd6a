"""A hit's reading of requests is as the JSON parser's, or none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_credential_ecr_py.kubelet.messages import plain_request, response, seconds_kept
from docker_credential_ecr_py.kubelet.protocol import Request
from tests.support.home import DEV, registry
from tests.support.kubelet import VERSION, VERSIONS, checked, request

IMAGE = f"{registry(DEV)}/team/app"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_kubelets_request(version: str) -> None:
    found = plain_request(request(IMAGE, version))
    assert found == (version.partition("/")[2].encode(), registry(DEV).encode())


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"{}",
        request(IMAGE, VERSION.replace("v1", "v2")),
        request(IMAGE, token="x"),
        request(IMAGE, annotations={"a": "b"}),
        request(f"{registry(DEV)}:443/app"),
        request(f"https://{registry(DEV)}/app"),
        request('a"b'),
        request(IMAGE)[:-3],
        request(IMAGE) + request(IMAGE),
        json.dumps(json.loads(request(IMAGE))).encode(),
    ],
)
def test_any_other_takes_the_parser(given: bytes) -> None:
    assert plain_request(given) is None


@given(st.text(max_size=60), st.sampled_from(VERSIONS))
def test_what_is_plain_is_read_as_the_parser_does(image: str, version: str) -> None:
    given = request(image, version)
    found = plain_request(given)
    if found is not None:
        parsed = Request.parse(given)
        assert found == (parsed.version.encode(), parsed.image.partition("/")[0].encode())


@pytest.mark.parametrize(
    ("renew_at", "ends", "kept"),
    [
        (1600, 2000, 600),
        (1001, 2000, 60),  # fresh for a second more
        (1000, 2000, 60),
        (500, 2000, 60),
        (500, 1030, 30),
        (500, 1000, 1),
        (500, 600, 1),
        (10**9, 10**9, 6 * 3600),  # a record that was written with another clock
    ],
)
def test_how_long_it_is_kept(renew_at: int, ends: int, kept: int) -> None:
    assert seconds_kept(renew_at, ends, 1000.5) in (kept, kept - 1)


@given(*[st.integers(0, 10**10)] * 3)
def test_it_is_kept_for_a_second_to_six_hours(renew_at: int, ends: int, now: int) -> None:
    assert 1 <= seconds_kept(renew_at, ends, now) <= 6 * 3600


def test_the_response_is_the_kubelets_schema() -> None:
    answer = response(b"v1", registry(DEV).encode(), b'"AWS"', b'"secret"', 300)
    pulled = checked(answer, IMAGE)
    assert (pulled.kept, pulled.username, pulled.password) == (300, "AWS", "secret")
