"""A registry's repositories and images: the calls to ECR behind `ecr-py repo` and `ecr-py image`.

As in ecr.py, whatever botocore raises leaves here as one of our errors, and each call has a limit.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import botocore.exceptions as aws_errors

from docker_credential_ecr_py.aws.ecr import client_for, in_time, translate
from docker_credential_ecr_py.deadline import call_with_deadline
from docker_credential_ecr_py.errors import (
    AccessDenied,
    AlreadyThere,
    BadAnswer,
    EcrPyError,
    NotThere,
    Unreachable,
    nearest,
    some,
)
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import Selection

# The most that ECR gives in one answer, and takes in one call.
_PAGE = 1000
_BATCH = 100
# What `ecr-py policy create` allows, beside the pushing.
_OF_POLICY_CREATE = ("describe_repositories", "create_repository")
_NEVER = datetime.fromtimestamp(0, UTC)

# Is told how many have come so far.
Counter = Callable[[int], object]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Repository:
    name: str
    uri: str
    arn: str
    created: datetime
    immutable: bool
    scan_on_push: bool


@dataclass(frozen=True)
class Image:
    """`size` is in bytes, as the registry keeps it (compressed)."""

    digest: str
    tags: tuple[str, ...]
    size: int
    pushed: datetime


@dataclass(frozen=True)
class Removed:
    """Tags and digests that went, and those that did not: each with the reason."""

    gone: list[str]
    refused: dict[str, str]


def _for_nobody(count: int) -> None:
    """Where nobody wants to know how many have come."""


def connect(registry: Registry, selection: Selection, mfa_code: str = "") -> "Repositories":
    """The registry's repositories, as the identity that was selected.

    A private registry: ECR Public has an API of its own. Raises as ecr.fetch.
    """
    try:
        client = in_time(lambda: client_for(registry, selection, mfa_code))
    except EcrPyError:
        raise
    except Exception as error:
        raise translate(error, registry, selection) from error
    return Repositories(client, registry, selection)


class Repositories:
    """Every method may raise AccessDenied, Throttled, Unreachable, BadAnswer and their like."""

    def __init__(self, client: Any, registry: Registry, selection: Selection) -> None:
        self._client = client
        self._registry = registry
        self._selection = selection

    @property
    def host(self) -> str:
        return self._registry.host

    def all(self, counter: Counter = _for_nobody) -> list[Repository]:
        """Every repository, by name."""
        found = map(_repository, self._pages("describe_repositories", "repositories", counter))
        return sorted(found, key=lambda repository: repository.name)

    def named(self, names: Sequence[str]) -> list[Repository]:
        """Those of the names, in their order. Raises NotThere if one of them is not there."""
        found = {}
        for batch in _batches(names):
            try:
                answer = self._call("describe_repositories", "repositories", repositoryNames=batch)
            except NotThere as error:
                raise self._without(names, error) from None
            for repository in map(_repository, answer["repositories"]):
                found[repository.name] = repository
        if missing := [name for name in names if name not in found]:
            raise NotThere(f"no such repository: {some(missing)}", registry=self.host)
        return [found[name] for name in names]

    def create(self, name: str, *, immutable: bool, scan_on_push: bool) -> Repository:
        """Raises AlreadyThere."""
        answer = self._call(
            "create_repository",
            "repository",
            repositoryName=name,
            imageTagMutability="IMMUTABLE" if immutable else "MUTABLE",
            imageScanningConfiguration={"scanOnPush": scan_on_push},
        )
        return _repository(answer["repository"])

    def remove(self, name: str, *, with_images: bool) -> None:
        """Raises NotThere."""
        self._call("delete_repository", "repository", repositoryName=name, force=with_images)

    def images(
        self, repository: str, counter: Counter = _for_nobody, *, tagged: bool = False
    ) -> list[Image]:
        """Every image, or every tagged one. Raises NotThere where there is no such repository."""
        status = {"filter": {"tagStatus": "TAGGED"}} if tagged else {}
        try:
            return [
                _image(values)
                for values in self._pages(
                    "describe_images", "imageDetails", counter, repositoryName=repository, **status
                )
            ]
        except NotThere as error:
            raise self._without([repository], error) from None

    def images_of(
        self, repository: str, tags: Sequence[str], digests: Sequence[str]
    ) -> list[Image]:
        """The images of these tags and digests, each once.

        Raises NotThere if one of them, or the repository, is not there.
        """
        found = {}
        for batch in _batches(_image_ids(tags, digests)):
            try:
                answer = self._call(
                    "describe_images", "imageDetails", repositoryName=repository, imageIds=batch
                )
            except NotThere:
                raise self._lacking(repository, tags, digests) from None
            for image in map(_image, answer["imageDetails"]):
                found[image.digest] = image
        images = list(found.values())
        if _missing(images, tags, digests):
            raise self._lacking(repository, tags, digests)
        return images

    def remove_images(
        self, repository: str, tags: Sequence[str], digests: Sequence[str]
    ) -> Iterator[Removed]:
        """Takes tags off their images, and removes images by digest: some at a time.

        An image goes with its last tag.
        """
        for batch in _batches(_image_ids(tags, digests)):
            answer = self._call(
                "batch_delete_image", "failures", repositoryName=repository, imageIds=batch
            )
            refused = {
                _name_in(failure.get("imageId", {})): (
                    failure.get("failureReason") or failure.get("failureCode", "")
                )
                for failure in answer["failures"]
            }
            asked = map(_name_in, batch)
            yield Removed([name for name in asked if name not in refused], refused)

    def _without(self, names: Sequence[str], error: NotThere) -> NotThere:
        """The error for repositories of which one is not there, with the names that are near."""
        with suppress(EcrPyError):
            there = [repository.name for repository in self.all()]
            if missing := [name for name in names if name not in there]:
                error.what = f"no such repository: {_and_nearest(missing, there)}"
        return error

    def _lacking(self, repository: str, tags: Sequence[str], digests: Sequence[str]) -> EcrPyError:
        """The error for images of which one is not there, or no repository."""
        images = self.images(repository)
        missing = _missing(images, tags, digests) or [*tags, *digests]
        near = _and_nearest(missing, [tag for image in images for tag in image.tags])
        return NotThere(
            f"{repository} does not have {near}",
            registry=self.host,
            profile=self._selection.profile,
        )

    def _pages(
        self, operation: str, key: str, counter: Counter, **parameters: Any
    ) -> Iterator[dict[str, Any]]:
        count, token, before = 0, "", ""
        while True:
            answer = self._call(operation, key, maxResults=_PAGE, **parameters)
            items = answer[key]
            yield from items
            count += len(items)
            counter(count)
            before, token = token, answer.get("nextToken", "")
            if not token:
                return
            if token == before:
                raise BadAnswer(
                    f"ECR returned the same page of {operation} twice", registry=self.host
                )
            parameters["nextToken"] = token

    def _call(self, operation: str, key: str, **parameters: Any) -> dict[str, Any]:
        """An answer that has the key: a page of somebody in between, with status 200, has not."""
        method = getattr(self._client, operation)
        try:
            answer: dict[str, Any] = in_time(
                lambda: method(registryId=self._registry.account, **parameters)
            )
        except Exception as error:
            found = self._as_ours(error, operation, parameters)
            found.add_context(registry=self.host, profile=self._selection.profile)
            raise found from error
        if key not in answer:
            raise BadAnswer(f"the server that answered {operation} is not ECR", registry=self.host)
        return answer

    def _as_ours(self, error: Exception, operation: str, parameters: dict[str, Any]) -> EcrPyError:
        if isinstance(error, EcrPyError):
            return error
        name = parameters.get("repositoryName", "")
        if isinstance(error, aws_errors.ClientError):
            match error.response.get("Error", {}).get("Code"):
                case "RepositoryNotFoundException":
                    names = parameters.get("repositoryNames") or [name]
                    return NotThere(f"no such repository: {some(names)}")
                case "ImageNotFoundException":
                    return NotThere(f"{name} does not have all of these images")
                case "RepositoryAlreadyExistsException":
                    return AlreadyThere(f"repository {name} already exists")
        ours = translate(error, self._registry, self._selection)
        if isinstance(ours, AccessDenied):
            policy = "create" if operation in _OF_POLICY_CREATE else "pull"
            beside = "" if policy == "create" else "; add that action to it"
            repository = f" --repository {name}" if name else ""
            command = f"ecr-py policy {policy}{repository} --registry {self.host}"
            ours.hint = f"`{command}` prints a policy{beside}"
        return ours


def _repository(values: dict[str, Any]) -> Repository:
    return Repository(
        values.get("repositoryName", ""),
        values.get("repositoryUri", ""),
        values.get("repositoryArn", ""),
        values.get("createdAt", _NEVER),
        str(values.get("imageTagMutability", "")).startswith("IMMUTABLE"),
        bool(values.get("imageScanningConfiguration", {}).get("scanOnPush")),
    )


def _image(values: dict[str, Any]) -> Image:
    return Image(
        values.get("imageDigest", ""),
        tuple(values.get("imageTags", ())),
        values.get("imageSizeInBytes", 0),
        values.get("imagePushedAt", _NEVER),
    )


def _missing(images: Sequence[Image], tags: Sequence[str], digests: Sequence[str]) -> list[str]:
    there = {tag for image in images for tag in image.tags} | {image.digest for image in images}
    return [name for name in (*tags, *digests) if name not in there]


def _image_ids(tags: Sequence[str], digests: Sequence[str]) -> list[dict[str, str]]:
    return [{"imageTag": tag} for tag in tags] + [{"imageDigest": digest} for digest in digests]


def _name_in(image_id: dict[str, str]) -> str:
    return image_id.get("imageTag") or image_id.get("imageDigest", "")


def _batches(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _and_nearest(missing: Sequence[str], there: Sequence[str]) -> str:
    near = nearest(missing[0], there) if len(missing) == 1 else ""
    return f"{some(missing)}{near}"


def repository_names(registry: Registry, selection: Selection, *, seconds: float) -> list[str]:
    """The first thousand repositories of a registry, for somebody who waits `seconds` for them.

    Raises Unreachable after that, and what botocore raises.
    """

    def ask() -> list[str]:
        answer = client_for(registry, selection).describe_repositories(maxResults=_PAGE)
        return [repository["repositoryName"] for repository in answer["repositories"]]

    return call_with_deadline(
        seconds, ask, Unreachable(f"AWS gave no answer within {seconds:g} seconds")
    )
