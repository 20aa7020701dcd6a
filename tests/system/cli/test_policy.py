"""ecr-py policy: seed 002's three kinds of users, as documents that IAM takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from docker_credential_ecr_py.cli.commands.policy import least_policy
from docker_credential_ecr_py.registry import Registry
from tests.support.home import DEV, STAGE, registry
from tests.support.repositories import AwsWithRepositories, aws, moto
from tests.support.user import User

__all__ = ["aws", "moto"]

# AWS's documents: "IAM permissions for pushing an image to an Amazon ECR private repository" in
# ECR's user guide, and the managed policy AmazonEC2ContainerRegistryPullOnly.
PULL = {"BatchGetImage", "GetDownloadUrlForLayer"}
PUSH = {
    "CompleteLayerUpload",
    "UploadLayerPart",
    "InitiateLayerUpload",
    "BatchCheckLayerAvailability",
    "PutImage",
    "BatchGetImage",
}


def printed(user: User, *words: str) -> dict[str, Any]:
    done = user.invoke("policy", *words)
    assert (done.code, done.stderr) == (0, "")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def allowed(document: dict[str, Any]) -> dict[str, set[str]]:
    """The actions on each resource."""
    assert document["Version"] == "2012-10-17"
    found: dict[str, set[str]] = {}
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow"
        assert statement["Sid"].isalnum()
        for resource in statement["Resource"]:
            actions = {action.removeprefix("ecr:") for action in statement["Action"]}
            found.setdefault(resource, set()).update(actions)
    return found


def test_each_is_the_least_that_aws_documents() -> None:
    place = Registry.of_account(DEV, "eu-west-1")
    pull, push, create = (
        allowed(least_policy(task, place, ["nats"])) for task in ("pull", "push", "create")
    )
    assert pull["*"] == push["*"] == create["*"] == {"GetAuthorizationToken"}
    arn = f"arn:aws:ecr:eu-west-1:{DEV}:repository/nats"
    assert set(pull) == set(push) == set(create) == {"*", arn}
    # A layer is looked for before it is loaded.
    assert pull[arn] == PULL | {"BatchCheckLayerAvailability"}
    assert push[arn] == PUSH | pull[arn]
    assert create[arn] == push[arn] | {"CreateRepository", "DescribeRepositories"}


def test_of_a_registry_and_its_repositories(user: User, aws: AwsWithRepositories) -> None:
    assert f"arn:aws:ecr:eu-west-1:{STAGE}:repository/*" in allowed(printed(user, "pull", "stage"))
    place = f"arn:aws:ecr:eu-west-1:{DEV}:repository"
    words = ("--repository", "nats", "--repository", "team/*", "--repository", "nats")
    assert set(allowed(printed(user, "push", "--registry", "dev", *words))) == {
        "*",
        f"{place}/nats",
        f"{place}/team/*",
    }
    assert aws.calls == []


@pytest.mark.parametrize(
    "words",
    [(f"{registry(DEV)}/nats",), ("--repository", f"{registry(DEV)}/nats")],
)
def test_a_reference_narrows_it(user: User, words: tuple[str, ...]) -> None:
    found = allowed(printed(user, "pull", *words))
    assert set(found) == {"*", f"arn:aws:ecr:eu-west-1:{DEV}:repository/nats"}


@pytest.mark.parametrize(
    ("region", "partition"),
    [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eusc-de-east-1", "aws-eusc")],
)
def test_of_other_partitions(user: User, region: str, partition: str) -> None:
    found = allowed(printed(user, "pull", "dev", "--region", region))
    assert f"arn:{partition}:ecr:{region}:{DEV}:repository/*" in found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "there are 3 registries (dev, "),
        (("dve",), "nearest: dev"),
        (("dev", "--repository", "Nats"), "must be lower case"),
        (("dev", "--repository", "nats:1"), "the repository is nats"),
        (("dev", "--repository", f"{registry(STAGE)}/nats"), "one registry at a time"),
        (("--repository", f"{registry(STAGE)}/team/*"), "wildcard"),
        (("public.ecr.aws",), "ECR Public"),
    ],
)
def test_bad_input(user: User, words: tuple[str, ...], said: str) -> None:
    assert said in user.invoke("policy", "pull", *words).line
