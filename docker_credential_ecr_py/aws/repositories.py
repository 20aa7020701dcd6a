"""A registry's repositories and images: the calls to ECR behind `ecr-py repo` and `ecr-py image`.

As in ecr.py, errors of botocore are translated into those of errors.py, and each call has a limit.
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
# The actions that `ecr-py policy create` allows, besides pushing.
_OF_POLICY_CREATE = ("describe_repositories", "create_repository")
_NEVER = datetime.fromtimestamp(0, UTC)

# Called with how many items have arrived so far.
Counter = Callable[[int], object]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Repository:
    """A repository, as ECR describes it."""

    name: str
    uri: str
    arn: str
    created: datetime
    immutable: bool
    scan_on_push: bool


@dataclass(frozen=True)
class Image:
    """An image. `size` is in bytes, as the registry stores it (compressed)."""

    digest: str
    tags: tuple[str, ...]
    size: int
    pushed: datetime


@dataclass(frozen=True)
class Removed:
    """Tags and digests that were removed, and those that were not, each with the reason."""

    gone: list[str]
    refused: dict[str, str]


def _for_nobody(count: int) -> None:
    """A Counter that ignores the count."""


def connect(registry: Registry, selection: Selection, mfa_code: str = "") -> "Repositories":
    """Return a private registry's repositories, as the selected identity.

    ECR Public has another API. Raises as ecr.fetch.
    """
    try:
        client = in_time(lambda: client_for(registry, selection, mfa_code))
    except EcrPyError:
        raise
    except Exception as error:
        raise translate(error, registry, selection) from error
    return Repositories(client, registry, selection)


class Repositories:
    """The repositories and images of a registry.

    Every method may raise AccessDenied, Throttled, Unreachable, BadAnswer and others of errors.py.
    """

    def __init__(self, client: Any, registry: Registry, selection: Selection) -> None:
        self._client = client
        self._registry = registry
        self._selection = selection

    @property
    def host(self) -> str:
        return self._registry.host

    def all(self, counter: Counter = _for_nobody) -> list[Repository]:
        """Return every repository, sorted by name."""
        items = self._pages("describe_repositories", "repositories", counter)
        return sorted(map(_repository, items), key=lambda repository: repository.name)

    def named(self, names: Sequence[str]) -> list[Repository]:
        """Return the repositories of these names, in their order. Raises NotThere."""
        repositories = {}
        for batch in _batches(names):
            try:
                answer = self._call("describe_repositories", "repositories", repositoryNames=batch)
            except NotThere as error:
                raise self._without(names, error) from None
            for repository in map(_repository, answer["repositories"]):
                repositories[repository.name] = repository
        if missing := [name for name in names if name not in repositories]:
            raise NotThere(f"no such repository: {some(missing)}", registry=self.host)
        return [repositories[name] for name in names]

    def create(self, name: str, *, immutable: bool, scan_on_push: bool) -> Repository:
        """Create a repository. Raises AlreadyThere."""
        answer = self._call(
            "create_repository",
            "repository",
            repositoryName=name,
            imageTagMutability="IMMUTABLE" if immutable else "MUTABLE",
            imageScanningConfiguration={"scanOnPush": scan_on_push},
        )
        return _repository(answer["repository"])

    def remove(self, name: str, *, with_images: bool) -> None:
        """Delete a repository; without `with_images`, only an empty one. Raises NotThere."""
        self._call("delete_repository", "repository", repositoryName=name, force=with_images)

    def images(
        self, repository: str, counter: Counter = _for_nobody, *, tagged: bool = False
    ) -> list[Image]:
        """Return every image, or every tagged one. Raises NotThere if there is no repository."""
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
        """Return the images of these tags and digests, each once.

        Raises NotThere if one of them, or the repository, does not exist.
        """
        by_digest = {}
        for batch in _batches(_image_ids(tags, digests)):
            try:
                answer = self._call(
                    "describe_images", "imageDetails", repositoryName=repository, imageIds=batch
                )
            except NotThere:
                raise self._lacking(repository, tags, digests) from None
            for image in map(_image, answer["imageDetails"]):
                by_digest[image.digest] = image
        images = list(by_digest.values())
        if _missing(images, tags, digests):
            raise self._lacking(repository, tags, digests)
        return images

    def remove_images(
        self, repository: str, tags: Sequence[str], digests: Sequence[str]
    ) -> Iterator[Removed]:
        """Remove tags from their images, and images by digest, in batches; yield what is done.

        An image is removed with its last tag.
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
            names = map(_name_in, batch)
            yield Removed([name for name in names if name not in refused], refused)

    def _without(self, names: Sequence[str], error: NotThere) -> NotThere:
        """Return the error for a repository that does not exist, with similar names."""
        with suppress(EcrPyError):
            there = [repository.name for repository in self.all()]
            if missing := [name for name in names if name not in there]:
                error.what = f"no such repository: {_and_nearest(missing, there)}"
        return error

    def _lacking(self, repository: str, tags: Sequence[str], digests: Sequence[str]) -> EcrPyError:
        """Return the error for an image that does not exist, with similar tags."""
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
        """Return an answer that has the key: a proxy's page, with status 200, has not."""
        method = getattr(self._client, operation)
        try:
            answer: dict[str, Any] = in_time(
                lambda: method(registryId=self._registry.account, **parameters)
            )
        except Exception as error:
            ours = self._as_ours(error, operation, parameters)
            ours.add_context(registry=self.host, profile=self._selection.profile)
            raise ours from error
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
    """Return the names of the first thousand repositories of a registry.

    Raises Unreachable after `seconds`, and what botocore raises.
    """

    def ask() -> list[str]:
        answer = client_for(registry, selection).describe_repositories(maxResults=_PAGE)
        return [repository["repositoryName"] for repository in answer["repositories"]]

    return call_with_deadline(
        seconds, ask, Unreachable(f"AWS gave no answer within {seconds:g} seconds")
    )
