"""docs/instead-of.md, for repositories and images; beside the AWS CLI where it is installed."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.conftest import at_terminal, shell
from tests.acceptance.readme import Row, instead_of
from tests.support.docker_user import IMAGE, TAG, image
from tests.support.home import DEV, registry
from tests.support.programs import need
from tests.support.repositories import an_image, tags, there_is
from tests.support.repositories import repositories as names
from tests.support.user import User

HOST = registry(DEV)
pytestmark = pytest.mark.usefixtures("repositories")


def asked_and_answered(docker_user: User, command: str, question: str) -> str:
    """At a terminal, with y."""
    with at_terminal(docker_user, command) as terminal:
        terminal.wait_for(rf"{question}.*\? \[y/N\]: ")
        terminal.type("y\n")
        assert terminal.wait() == 0, terminal.shown
    return terminal.shown


@pytest.mark.usefixtures("images")
@instead_of("`docker pull $registry/")
def test_a_pull(docker_user: User, row: Row) -> None:
    assert row.new == "the same"
    [pull] = row.before
    assert "Downloaded newer image" in shell(docker_user, pull, registry=HOST)


@instead_of("`export registry=")
def test_the_registry_of_a_profile(docker_user: User, row: Row) -> None:
    need("jq")
    [by_hand] = row.before
    for command in (by_hand, row.command):
        assert shell(docker_user, f"{command}; echo $registry") == f"{HOST}\n"


@instead_of("`ecr_ls`")
def test_ecr_ls(docker_user: User, cli: str, row: Row) -> None:
    theirs = json.loads(shell(docker_user, row.before[1].replace("aws", cli, 1)))
    assert [line.split()[0] for line in shell(docker_user, row.command).splitlines()[1:]] == sorted(
        theirs
    )


LIST_TAGS = (
    "ecr list-images --query 'imageIds[?imageTag!=``null``] | sort_by(@, &imageTag)[].imageTag' "
    f"--profile dev --repository-name {IMAGE}"
)


@instead_of("`ecr_ls_tags`")
def test_ecr_ls_tags(docker_user: User, cli: str, row: Row) -> None:
    theirs = json.loads(shell(docker_user, f"{cli} {LIST_TAGS.replace('``null``', '`null`')}"))
    assert sorted(shell(docker_user, row.command).split()) == theirs


@instead_of("`ecr_create kalle`", "`aws ecr create-repository")
def test_ecr_create(docker_user: User, cli: str, row: Row) -> None:
    shell(docker_user, row.command)
    ours = names()
    theirs = row.before[-1].replace("aws", cli, 1)
    done = docker_user.run("bash", "-c", theirs, fails=True, AWS_PROFILE="dev")
    assert "RepositoryAlreadyExistsException" in done.stderr
    assert names() == ours


@instead_of("`ecr_rm kalle`")
def test_ecr_rm(docker_user: User, row: Row) -> None:
    there_is("kalle")
    asked_and_answered(docker_user, row.command, "Remove 1 repository")
    assert "kalle" not in names()


@instead_of("`ecr_rm_tags")
def test_ecr_rm_tags(docker_user: User, row: Row) -> None:
    before = tags(IMAGE)
    asked_and_answered(docker_user, row.command, "Remove 1 tag and 1 image")
    assert set(before) - set(tags(IMAGE)) == {"1.0.0"}


@instead_of("the same in a script")
def test_in_a_script(docker_user: User, row: Row) -> None:
    shell(docker_user, row.command)
    assert "1.0.0" not in tags(IMAGE)


@instead_of("`aws ecr describe-repositories")
def test_describe_or_create(docker_user: User, row: Row) -> None:
    for _ in range(2):  # as in two builds
        assert shell(docker_user, row.command, repo_name="kolla/base") == f"{HOST}/kolla/base\n"
    assert "kolla/base" in names()


@pytest.mark.usefixtures("images")
@instead_of("`docker push $myId")
def test_a_push(docker_user: User, row: Row) -> None:
    same = f"docker push {image(DEV)}"
    [or_this] = row.typed
    shell(docker_user, same)
    shell(docker_user, or_this, repo="kolla/base", tag=TAG)
    assert "kolla/base" in names()


@instead_of("attaching `AmazonEC2ContainerRegistryPowerUser`")
def test_policies(docker_user: User, row: Row) -> None:
    allowed = [json.dumps(json.loads(shell(docker_user, command))) for command in row.typed]
    push, pull = allowed
    assert "ecr:PutImage" in push
    assert "ecr:PutImage" not in pull
    assert "ecr:BatchGetImage" in pull


@instead_of("`sregistry list")
def test_sregistry_list(docker_user: User, row: Row) -> None:
    there_is("dinosaur/avocado", an_image("delicious"))
    assert shell(docker_user, row.command).splitlines()[1].startswith("delicious ")


@instead_of("`sregistry delete")
def test_sregistry_delete(docker_user: User, row: Row) -> None:
    there_is("dinosaur/tacos", an_image("delicious"), an_image("other"))
    shell(docker_user, row.command)
    assert tags("dinosaur/tacos") == ["other"]
