"""Requests that are not right: one line each, and no part of a token in it."""

import json

import pytest

from docker_credential_ecr_py.errors import BadInput
from docker_credential_ecr_py.kubelet.protocol import Request
from docker_credential_ecr_py.kubelet.service_account import ROLE_ANNOTATIONS
from tests.support.home import DEV, registry
from tests.support.kubelet import VERSION, request, service_account_token

IMAGE = f"{registry(DEV)}/team/app"


def document(**fields: object) -> bytes:
    return json.dumps({**json.loads(request(IMAGE)), **fields}).encode()


def test_a_whole_request() -> None:
    given = request(IMAGE, VERSION, "token", {"a": "b"})
    assert Request.parse(given) == Request("v1", IMAGE, "token", {"a": "b"})


def test_fields_of_a_newer_kubelet_are_ignored() -> None:
    assert Request.parse(document(podName="app-1", serviceAccountAnnotations=None)).image == IMAGE


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "not a JSON object"),
        (b"\xff\xfe", "not a JSON object"),
        (b"[" * 100_000, "not a JSON object"),
        (b"null", "not a JSON object"),
        (document(kind="Pod"), "of kind 'Pod'"),
        (document(kind=["x" * 500]), "of kind"),
        (document(apiVersion="v1"), "apiVersion of the request is 'v1'"),
        (document(apiVersion=f"{VERSION}gamma"), "has v1, v1beta1, v1alpha1"),
        (document(image=5), "'image' in the request is not a string"),
        (document(serviceAccountToken={}), "'serviceAccountToken' in the request"),
        (document(serviceAccountAnnotations=[1]), "is not an object"),
        (document(serviceAccountAnnotations={"a\x1b": 1}), "in the request is not a string"),
        (b'"' + b"x" * 1024 * 1024 + b'"', "more than 1048576 bytes"),
    ],
)
def test_not_a_request(given: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said) as raised:
        Request.parse(given)
    line = str(raised.value)
    assert len(line) < 250
    assert line.isprintable()


@pytest.mark.parametrize("image", ["", "/app", "a b/c", "x\x1b[31m/y", "-" * 3000, "é/app"])
def test_not_an_image(image: str) -> None:
    with pytest.raises(BadInput, match="not the name of an image") as raised:
        _ = Request.parse(document(image=image)).registry_host
    assert str(raised.value).isprintable()


def test_a_request_shows_no_token() -> None:
    token = service_account_token()
    assert token not in repr(Request.parse(request(IMAGE, token=token)))


@pytest.mark.parametrize(
    "role",
    [
        f"arn:aws:iam::{DEV}:user/a",
        f"arn:aws:iam::{DEV}:role/",
        f"arn:aws:iam::{DEV}:role/a\nb",
        f"arn:aws:iam::{DEV}:role/\x1b[2J",
        f"arn:aws:iam::{DEV}:role/a\ud800",
        f"arn:aws:iam::{DEV}:role/{'a' * 65}",
        f"arn:aws:iam::{DEV}:role/a by team/other",
        "arn:aws:iam::x:role/a",
        f"arn:aws:sts::{DEV}:role/a",
    ],
)
def test_an_annotation_that_is_no_role(role: str) -> None:
    asked = Request("v1", IMAGE, "token", {ROLE_ANNOTATIONS[0]: role})
    with pytest.raises(BadInput, match="is not the ARN of a role") as raised:
        _ = asked.role
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov", "aws-iso-b", "aws-eusc"])
@pytest.mark.parametrize("name", ["pull", "team/app/pull", "a/+=,.@-_Z9"])
def test_an_annotation_that_is_a_role(partition: str, name: str) -> None:
    role = f"arn:{partition}:iam::{DEV}:role/{name}"
    assert Request("v1", IMAGE, "token", {ROLE_ANNOTATIONS[0]: f" {role} "}).role == role
