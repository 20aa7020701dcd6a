"""A repository or an image as people write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_credential_ecr_py.errors import BadInput
from docker_credential_ecr_py.reference import Reference, check_repository

HOST = "642976147714.dkr.ecr.eu-west-1.amazonaws.com"
DIGEST = "sha256:173416b4350dbfdc92de39e051f68572be4722cc5ed46ec60acb91af369a280a"

parts = st.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,8}){0,2}", fullmatch=True)
repositories = (
    st.lists(parts, min_size=1, max_size=4).map("/".join).filter(lambda name: len(name) > 1)
)
hosts = st.sampled_from(["", HOST, "docker.example.com", "public.ecr.aws"])
tags = st.just("") | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)
digests = st.just("") | st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)


@given(hosts, repositories, tags, digests)
def test_what_is_put_together_comes_apart(
    host: str, repository: str, tag: str, digest: str
) -> None:
    text = repository + (tag and f":{tag}") + (digest and f"@{digest}")
    if host:
        text = f"{host}/{text}"
    elif "." in repository.partition("/")[0] and "/" in repository:
        return  # a host, by docker's rule
    assert Reference.parse(text) == Reference(repository, host, tag, digest)


@given(st.text() | st.from_regex(r"[A-Za-z0-9./:@_*-]+", fullmatch=True))
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    try:
        found = Reference.parse(text)
    except BadInput as error:
        assert str(error).isprintable()
    else:
        check_repository(found.repository)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nats", Reference("nats")),
        ("nats:2.9", Reference("nats", tag="2.9")),
        ("grafana/grafana", Reference("grafana/grafana")),
        ("my.app", Reference("my.app")),
        (f"nats@{DIGEST}", Reference("nats", digest=DIGEST)),
        (f"https://{HOST}/nats", Reference("nats", HOST)),
        (f"docker://{HOST}/nats:2.9", Reference("nats", HOST, "2.9")),
        (f"{HOST.upper()}:443/nats", Reference("nats", HOST)),
        (f"{HOST}/docker.io/library/nginx:1", Reference("docker.io/library/nginx", HOST, "1")),
        ("localhost/nats", Reference("nats", "localhost")),
    ],
)
def test_forms_that_people_write(text: str, expected: Reference) -> None:
    assert Reference.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a", "2 to 256 characters"),
        ("a" * 257, "2 to 256 characters"),
        ("Kalle", "must be lower case"),
        ("team//web", "use 2 to 256"),
        ("web__app", "use 2 to 256"),
        ("-web", "use 2 to 256"),
        ("web-", "use 2 to 256"),
        ("team/web/", "use 2 to 256"),
        ("web app", "use 2 to 256"),
        ("wéb", "use 2 to 256"),
        ("nats:", "tag is empty"),
        ("nats:.1", "does not accept the tag"),
        ("nats:" + "1" * 129, "does not accept the tag"),
        ("nats:1:2", "does not accept the tag"),
        ("nats@sha256:12", "is not a digest"),
        ("nats@", "is not a digest"),
        (f"nats@{DIGEST.upper()}", "is not a digest"),
        (HOST, "names a registry but no repository"),
        (f"{HOST}/", "names a registry but no repository"),
        ("nats:2.9/web", "neither a registry nor"),
        ("a" * 5000, "5000 characters"),
    ],
)
def test_what_ecr_refuses_is_said(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Reference.parse(text)


@pytest.mark.parametrize("name", ["nats:1", f"nats@{DIGEST}"])
def test_an_image_is_no_repository(name: str) -> None:
    with pytest.raises(BadInput, match="the repository is nats"):
        Reference.parse(name).without_image()
    assert Reference.parse("nats").without_image() == Reference("nats")
