"""ecr-py image: the aliases ecr_ls_tags and ecr_rm_tags, and what goes with a tag."""

from __future__ import annotations

import json

import pytest

from tests.support.home import DEV, STAGE, registry
from tests.support.repositories import (
    AwsWithRepositories,
    an_image,
    aws,
    backend,
    builder,
    digest_of,
    moto,
    tags,
    there_is,
)
from tests.support.user import User

__all__ = ["aws", "builder", "moto"]

HOST = registry(DEV)
REPOSITORY = "hc-devcon-cpp-arm64"
VERSIONS = ["1.0.0", "1.0.1", "1.0.10", "1.0.11", "1.0.12"]


@pytest.fixture
def dev(builder: User) -> User:
    there_is(
        REPOSITORY,
        *(an_image(tag, days=400 - 100 * n) for n, tag in enumerate(["1.0.12", "1.0.1", "1.0.11"])),
        an_image("1.0.10", "latest", size=1_234_567_890, days=0.1),
        an_image("1.0.0", days=1000),
        an_image(name="first", days=1200),
    )
    there_is("nats", an_image("2.9"))
    return builder


# ls


def test_ecr_ls_tags(dev: User) -> None:
    done = dev.ecr_py("image", "ls", REPOSITORY, "--tags")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.split() == ["latest", *VERSIONS]
    assert json.loads(dev.invoke("image", "ls", REPOSITORY, "--tags", "--json").stdout) == [
        "latest",
        *VERSIONS,
    ]


def test_a_table_for_people(dev: User) -> None:
    lines = dev.ecr_py("image", "ls", f"{HOST}/{REPOSITORY}").stdout.splitlines()
    assert lines[0].split() == ["TAG", "DIGEST", "SIZE", "PUSHED"]
    assert lines[1].split() == [
        "<untagged>",
        digest_of("first")[7:19],
        "12.3",
        "MB",
        "3",
        "years",
        "ago",
    ]
    assert [line.split()[0] for line in lines[2:]] == ["latest", *VERSIONS]
    latest = digest_of("1.0.10 latest")[7:19]
    assert lines[2].split() == ["latest", latest, "1.23", "GB", "2", "hours", "ago"]
    assert latest in lines[5]
    assert not any(line.endswith(" ") for line in lines)


def test_digests_are_whole(dev: User) -> None:
    shown = dev.invoke("image", "ls", REPOSITORY, "--digests").stdout
    assert digest_of("first") in shown
    assert digest_of("1.0.0") in shown


def test_json_has_the_same(dev: User) -> None:
    found = json.loads(dev.invoke("image", "ls", REPOSITORY, "--json").stdout)
    assert [row["tag"] for row in found] == [None, "latest", *VERSIONS]
    assert found[1].pop("pushed").endswith("+00:00")
    assert found[1] == {
        "repository": REPOSITORY,
        "tag": "latest",
        "digest": digest_of("1.0.10 latest"),
        "size": 1_234_567_890,
    }


def test_one_image_by_tag_or_digest(dev: User) -> None:
    by_tag = dev.invoke("image", "ls", f"{REPOSITORY}:latest", "--tags").stdout
    assert by_tag == "latest\n"
    reference = f"{HOST}/{REPOSITORY}@{digest_of('1.0.10 latest')}"
    assert dev.invoke("image", "ls", reference, "--tags").stdout == "latest\n1.0.10\n"


def test_several_repositories(dev: User) -> None:
    shown = dev.invoke("image", "ls", "nats", f"{REPOSITORY}:1.0.0").stdout.splitlines()
    assert [line.split()[:2] for line in shown] == [
        ["REPOSITORY", "TAG"],
        [REPOSITORY, "1.0.0"],
        ["nats", "2.9"],
    ]
    lines = dev.invoke("image", "ls", "nats", f"{REPOSITORY}:1.0.0", "--tags").stdout
    assert lines == f"{REPOSITORY}:1.0.0\nnats:2.9\n"


def test_what_is_not_there(dev: User) -> None:
    line = dev.invoke("image", "ls", "hc-devcon-cpp-amd64").line
    assert f"no such repository: hc-devcon-cpp-amd64; nearest: {REPOSITORY}" in line
    line = dev.invoke("image", "ls", f"{REPOSITORY}:1.0.13").line
    assert f"{REPOSITORY} does not have 1.0.13; nearest: 1.0.1" in line
    there_is("empty")
    done = dev.invoke("image", "ls", "empty")
    assert (done.code, done.stdout, done.stderr) == (0, "", "ecr-py: no images in empty\n")
    assert dev.invoke("image", "ls", "empty", "--tags").stdout == ""
    assert json.loads(dev.invoke("image", "ls", "empty", "--json").stdout) == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 2),
        ((REPOSITORY, "--tags", "--digests"), 2),
        ((REPOSITORY.upper(),), 1),
        ((f"{REPOSITORY}:",), 1),
        ((f"{REPOSITORY}@sha256:12",), 1),
        ((HOST,), 1),
        ((f"{HOST}/nats", f"{registry(STAGE)}/nats"), 1),
        (("public.ecr.aws/nginx/nginx",), 1),
    ],
)
def test_bad_input_is_said_before_the_call(
    dev: User, aws: AwsWithRepositories, words: tuple[str, ...], code: int
) -> None:
    done = dev.invoke("image", "ls", *words)
    assert done.code == code
    assert done.stdout == ""
    assert aws.calls == []


def test_thousands_come_in_pages(dev: User, aws: AwsWithRepositories) -> None:
    versions = [f"1.{number // 100}.{number % 100}" for number in range(2500)]
    there_is("big", *map(an_image, reversed(versions)), *(an_image(name=f"u{n}") for n in range(9)))
    done = dev.invoke("image", "ls", "big")
    assert [line.split()[0] for line in done.stdout.splitlines()[10:]] == versions
    assert aws.count("DescribeImages") == 3
    assert dev.invoke("image", "ls", "big", "--tags").stdout.split() == versions


def test_head_has_enough(dev: User) -> None:
    there_is("big", *(an_image(f"1.0.{number}") for number in range(2000)))
    done = dev.try_run("sh", "-c", "ecr-py image ls big | head -1")
    assert done.stdout.split() == ["TAG", "DIGEST", "SIZE", "PUSHED"]
    assert done.stderr == ""


# rm


def test_ecr_rm_tags(dev: User) -> None:
    done = dev.ecr_py("image", "rm", REPOSITORY, "1.0.0", "--yes")
    assert done.code == 0
    assert done.stdout == (
        f"Untagged: {REPOSITORY}:1.0.0\nDeleted: {REPOSITORY}@{digest_of('1.0.0')}\n"
    )
    assert done.stderr == ""
    assert tags(REPOSITORY) == ["1.0.1", "1.0.10", "1.0.11", "1.0.12", "latest"]


def test_an_image_stays_while_it_has_a_tag(dev: User) -> None:
    done = dev.invoke("image", "rm", f"{HOST}/{REPOSITORY}:latest", "--yes")
    assert done.stdout == f"Untagged: {REPOSITORY}:latest\n"
    assert "1.0.10" in tags(REPOSITORY)


def test_an_image_goes_with_all_its_tags(dev: User) -> None:
    for words in (
        (REPOSITORY, digest_of("1.0.10 latest")),
        (REPOSITORY, digest_of("first")),
        ("nats:2.9", f"{REPOSITORY}:1.0.0", "1.0.1"),
    ):
        assert dev.invoke("image", "rm", *words, "--yes").code == 0, words
    assert tags(REPOSITORY) == ["1.0.11", "1.0.12"]
    assert backend().repositories["nats"].images == []


def test_a_tag_named_beside_its_image_goes_once(dev: User, aws: AwsWithRepositories) -> None:
    words = (REPOSITORY, "latest", digest_of("1.0.10 latest"), "latest")
    done = dev.invoke("image", "rm", *words, "--yes")
    assert done.code == 0
    assert done.stdout.splitlines() == [
        f"Untagged: {REPOSITORY}:latest",
        f"Untagged: {REPOSITORY}:1.0.10",
        f"Deleted: {REPOSITORY}@{digest_of('1.0.10 latest')}",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((REPOSITORY, "1.0.0", "1.0.13"), f"{REPOSITORY} does not have 1.0.13; nearest: 1.0.1"),
        ((REPOSITORY, "1.0.0", "nope", "2"), f"{REPOSITORY} does not have nope, 2"),
        ((REPOSITORY, "1.0.0", digest_of("none")), "does not have sha256:"),
        ((REPOSITORY, "1.0.0", "nats:1"), "nats does not have 1"),
        ((REPOSITORY, "1.0.0", "nast:2.9"), "no such repository: nast; nearest: nats"),
    ],
)
def test_nothing_goes_on_a_partial_match(
    dev: User, aws: AwsWithRepositories, words: tuple[str, ...], said: str
) -> None:
    assert said in dev.invoke("image", "rm", *words, "--yes").line
    assert aws.count("BatchDeleteImage") == 0


def test_hundreds_at_once(dev: User, aws: AwsWithRepositories) -> None:
    there_is("big", *(an_image(f"1.0.{number}") for number in range(350)))
    done = dev.invoke("image", "rm", "big", *(f"1.0.{number}" for number in range(250)), "--yes")
    assert done.stdout.count("Deleted: ") == 250
    assert len(tags("big")) == 100
    assert aws.count("BatchDeleteImage") == aws.count("DescribeImages") == 3


def test_what_aws_keeps_is_said(dev: User, aws: AwsWithRepositories) -> None:
    aws.refused["1.0.1"] = "Requested image referenced by manifest list"
    done = dev.invoke("image", "rm", REPOSITORY, "1.0.0", "1.0.1", "--yes")
    assert done.code == 1
    assert done.stdout.startswith(f"Untagged: {REPOSITORY}:1.0.0\nDeleted: ")
    assert f"not removed: {REPOSITORY} 1.0.1 (Requested image referenced" in done.stderr
    assert "1.0.1" in tags(REPOSITORY)


def test_what_went_is_said_when_aws_stops_halfway(dev: User, aws: AwsWithRepositories) -> None:
    there_is("big", *(an_image(f"1.0.{number}") for number in range(150)))
    aws.refuse_after = 1
    done = dev.invoke("image", "rm", "big", *(f"1.0.{number}" for number in range(150)), "--yes")
    assert done.code == 1
    assert done.stdout.count("Deleted: ") == 100
    assert "may not ecr:BatchDeleteImage" in done.stderr
    assert len(tags("big")) == 50


def test_rm_shows_what_would_go_and_refuses_where_nobody_can_be_asked(dev: User) -> None:
    done = dev.ecr_py("image", "rm", REPOSITORY, "1.0.0", "latest")
    assert done.code == 2
    shown = [
        line.split()[1] + " " + line.split("ago")[-1].strip()
        for line in done.stderr.splitlines()[1:3]
    ]
    assert sorted(shown) == ["1.0.0 removed", "latest stays as 1.0.10"]
    assert "--yes" in done.stderr
    assert len(tags(REPOSITORY)) == 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Missing argument"),
        ((REPOSITORY,), f"which images of {REPOSITORY}?"),
        ((f"{REPOSITORY}:1.0.0", "nats/x"), "which images of nats/x?"),
        ((REPOSITORY, ""), "tag is empty"),
        ((REPOSITORY, "1 0"), "does not accept the tag"),
        ((REPOSITORY, "sha256:12"), "is not a digest"),
        ((f"{REPOSITORY}:1.0.0@{digest_of('1.0.0')}",), "a tag and a digest"),
        ((f"{HOST}/nats:1", f"{registry(STAGE)}/nats:1"), "one registry at a time"),
    ],
)
def test_bad_input_to_rm(
    dev: User, aws: AwsWithRepositories, words: tuple[str, ...], said: str
) -> None:
    done = dev.invoke("image", "rm", *words, "--yes")
    assert done.code in (1, 2)
    assert said in done.stderr
    assert aws.calls == []
