"""ECR's repositories and images: moto's server, behind what it lacks of ECR's manners.

The stand-in for AWS knows who asks, counts the calls and breaks what a test wants broken; what
concerns repositories it hands to moto, and cuts moto's answers into pages as ECR does.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from moto.ecr.models import ECRBackend, Image, ecr_backends
from moto.server import ThreadedMotoServer

from tests.standin import server
from tests.standin.aws import AMZ_JSON, Aws, Operation
from tests.standin.principals import AwsError
from tests.standin.server import Reply
from tests.support.home import DEV, PROD, STAGE, Home
from tests.support.user import User

TARGET = "AmazonEC2ContainerRegistry_V20150921"
REGION = "eu-west-1"
# What comes in pages, and what names single ones instead. Limits: ECR's API reference.
_LISTS = {
    "DescribeRepositories": ("repositories", "repositoryNames"),
    "DescribeImages": ("imageDetails", "imageIds"),
}
_USUAL_PAGE, _LARGEST_PAGE, _MOST_NAMED = 100, 1000, 100
_OPENER = build_opener(ProxyHandler({}))
# "reader" is another profile for stage's account.
ACCOUNTS = {"dev": DEV, "stage": STAGE, "prod": PROD, "reader": STAGE}


class AwsWithRepositories(Aws):
    """`refused` are reasons not to remove an image, by its tag or digest.

    After `refuse_after` calls that remove images, there is no right to any more.
    """

    def __init__(self, moto: ThreadedMotoServer) -> None:
        super().__init__()
        self.refused: dict[str, str] = {}
        self.refuse_after: int | None = None
        self._pages: dict[str, list[Any]] = {}
        host, port = moto.get_host_and_port()
        self._moto = f"http://{host}:{port}/"

    def operation(self, request: server.Request) -> Operation:
        service, _, name = (request.headers.get("X-Amz-Target") or "").partition(".")
        if service == TARGET and name != "GetAuthorizationToken":
            return Operation(name, "json", self._answer_of_moto)
        return super().operation(request)

    def has_no_right_to(self, action: str, principal: str, resource: str) -> None:
        """In the words of IAM."""
        message = (
            f"User: {principal} is not authorized to perform: ecr:{action} on resource: "
            f"{resource} because no identity-based policy allows the ecr:{action} action"
        )
        self.fault(action, "error", status=400, code="AccessDeniedException", message=message)

    def _answer_of_moto(self, request: server.Request) -> Reply:
        name = (request.headers["X-Amz-Target"] or "").partition(".")[2]
        _, principal = self._caller(request, f"ecr:{name}")
        asked = request.json()
        key, named = _LISTS.get(name, ("", ""))
        items = asked.get(named or "imageIds", ())
        if len(items) > _MOST_NAMED or (items and "maxResults" in asked):
            raise AwsError(400, "InvalidParameterException", f"{name}: {sorted(asked)}")
        if name == "BatchDeleteImage":
            if self.refuse_after is not None and self.count(name) > self.refuse_after:
                raise AwsError(400, "AccessDeniedException", f"{principal.arn} may no more")
            asked["imageIds"] = [item for item in items if not self._reason(item)]
        headers = {
            "X-Amz-Target": request.headers["X-Amz-Target"],
            "Authorization": request.headers["Authorization"],
            "Content-Type": AMZ_JSON["Content-Type"],
            "x-moto-account-id": asked.get("registryId") or principal.account,
        }
        if page := self._pages.get(asked.get("nextToken", "")):
            return Reply.json(self._a_page(key, page, asked), headers=AMZ_JSON)
        status, answer = _post(self._moto, headers, asked) if items != [] else (200, {})
        if status == 200 and key and not items:
            answer = self._a_page(key, _of_status(answer[key], asked), asked)
        if name == "BatchDeleteImage":
            answer["failures"] += [
                {"imageId": item, "failureCode": "Refused", "failureReason": reason}
                for item in items
                if (reason := self._reason(item))
            ]
        return Reply.json(answer, status, AMZ_JSON)

    def _a_page(self, key: str, items: list[Any], asked: dict[str, Any]) -> dict[str, Any]:
        """The first of these; the rest is for whoever comes with the token."""
        size = min(asked.get("maxResults", _USUAL_PAGE), _LARGEST_PAGE)
        if len(items) <= size:
            return {key: items}
        token = secrets.token_urlsafe()
        self._pages[token] = items[size:]
        return {key: items[:size], "nextToken": token}

    def _reason(self, image_id: dict[str, str]) -> str:
        return next((self.refused[part] for part in image_id.values() if part in self.refused), "")


def _post(url: str, headers: dict[str, str], document: dict[str, Any]) -> tuple[int, Any]:
    request = Request(url, json.dumps(document).encode(), headers)
    try:
        with _OPENER.open(request, timeout=30) as reply:
            return reply.status, json.load(reply)
    except OSError as error:
        if not hasattr(error, "code"):
            raise
        return error.code, json.load(error)  # type: ignore[arg-type]


def _of_status(items: list[Any], asked: dict[str, Any]) -> list[Any]:
    """moto does not know this filter of DescribeImages."""
    if asked.get("filter", {}).get("tagStatus") == "TAGGED":
        return [item for item in items if item.get("imageTags")]
    return items


def backend(account: str = DEV, region: str = REGION) -> ECRBackend:
    found: ECRBackend = ecr_backends[account][region]
    return found


def there_is(repository: str, *images: Image, account: str = DEV, region: str = REGION) -> None:
    """A repository with these images."""
    backend(account, region).create_repository(repository, account, {}, None, "MUTABLE", [])
    backend(account, region).repositories[repository].images.extend(images)


def an_image(*tags: str, size: int = 12_345_678, days: float = 3, name: str = "") -> Image:
    """`days` old. Its digest is made from `name`, else from its tags."""
    manifest = json.dumps({"layers": [], "config": {"size": size}})
    made = Image(DEV, "", manifest, "", digest=digest_of(name or " ".join(tags)))
    made.image_tags = list(tags)
    made.image_tag = tags[-1] if tags else ""
    made.image_pushed_at = int(time.time() - days * 86400)
    return made


def digest_of(name: str) -> str:
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def repositories(account: str = DEV, region: str = REGION) -> list[str]:
    return sorted(backend(account, region).repositories)


def tags(repository: str) -> list[str]:
    images = backend().repositories[repository].images
    return sorted(tag for image in images for tag in image.image_tags)


def key_of(profile: str) -> str:
    """The ID of the access key that a profile has."""
    return f"AKIA{profile.upper():0>16}"


# Fixtures: a test module that imports them speaks to moto's repositories.


@pytest.fixture(scope="session")
def moto() -> Iterator[ThreadedMotoServer]:
    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def aws(moto: ThreadedMotoServer) -> Iterator[AwsWithRepositories]:
    ecr_backends.reset()
    with AwsWithRepositories(moto) as running:
        yield running


@pytest.fixture
def builder(home: Home, aws: AwsWithRepositories) -> User:
    """Return somebody with an access key for each account, and dev the usual one.

    botocore looks for sessions in the home that it was imported in: tests that want their command
    in this process want keys.
    """
    user = User(home, aws)
    config, credentials = "", ""
    for name, account in ACCOUNTS.items():
        secret = aws.add_key(key_of(name), f"arn:aws:iam::{account}:user/{name}")
        config += f"[profile {name}]\naws_account_id = {account}\nregion = eu-west-1\n"
        credentials += (
            f"[{name}]\naws_access_key_id = {key_of(name)}\naws_secret_access_key = {secret}\n"
        )
    user.home.write(user.home.aws_config, config)
    user.home.write(user.home.path / ".aws" / "credentials", credentials)
    user.home.environment["AWS_PROFILE"] = "dev"
    return user
