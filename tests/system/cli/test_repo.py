"""ecr-py repo: the aliases ecr_ls, ecr_create and ecr_rm, and the lines of a build's script."""

from __future__ import annotations

import json

import pytest

from tests.support.home import DEV, PROD, STAGE, registry
from tests.support.repositories import (
    AwsWithRepositories,
    an_image,
    aws,
    backend,
    builder,
    key_of,
    moto,
    repositories,
    there_is,
)
from tests.support.user import User

__all__ = ["aws", "builder", "moto"]

HOST = registry(DEV)
TELIA = ["hc-devcon-cpp-arm64", "lcm-backend", "nats", "mqtt-broker", "grafana/grafana"]


@pytest.fixture
def dev(builder: User) -> User:
    for name in TELIA:
        there_is(name)
    return builder


def names(table: str) -> list[str]:
    """The first column, without its heading."""
    return [line.split()[0] for line in table.splitlines()[1:]]


# ls


def test_ecr_ls(dev: User) -> None:
    done = dev.ecr_py("repo", "ls")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("REPOSITORY ")
    assert names(done.stdout) == sorted(TELIA)


def test_json_has_the_same(dev: User) -> None:
    there_is("zoo")
    backend().repositories["zoo"].image_tag_mutability = "IMMUTABLE_WITH_EXCLUSION"
    found = json.loads(dev.invoke("repo", "ls", "--json").stdout)
    assert [repository["name"] for repository in found] == sorted([*TELIA, "zoo"])
    assert found[-1].pop("created").endswith("+00:00")
    assert found[-1] == {
        "name": "zoo",
        "uri": f"{HOST}/zoo",
        "arn": f"arn:aws:ecr:eu-west-1:{DEV}:repository/zoo",
        "immutable": True,
        "scan_on_push": False,
    }


@pytest.mark.parametrize(
    "words",
    [
        ("stage",),
        (registry(STAGE),),
        (f"https://{registry(STAGE)}/",),
        (STAGE,),
        ("--registry", "stage"),
        ("--profile", "stage"),
        ("--profile", "stage", registry(STAGE)),
        ("--registry", STAGE, "--region", "eu-west-1"),
    ],
)
def test_a_registry_by_any_of_its_names(
    dev: User, aws: AwsWithRepositories, words: tuple[str, ...]
) -> None:
    there_is("theirs", account=STAGE)
    done = dev.invoke("repo", "ls", *words, AWS_PROFILE="")
    assert names(done.stdout) == ["theirs"]
    assert {call.account for call in aws.calls} == {STAGE}


def test_an_alias_of_the_settings_and_its_profile(dev: User, aws: AwsWithRepositories) -> None:
    there_is("theirs", account=STAGE)
    settings = f'[registries."docker.example.com"]\nalias = "{registry(STAGE)}"\nprofile = "prod"\n'
    dev.home.write(dev.home.settings, settings)
    done = dev.invoke("repo", "ls", "docker.example.com", AWS_PROFILE="")
    assert names(done.stdout) == ["theirs"]
    assert aws.calls[-1].account == PROD


def test_which_of_three(dev: User, aws: AwsWithRepositories) -> None:
    line = dev.invoke("repo", "ls", AWS_PROFILE="").line
    assert "there are 3 registries (dev, stage, prod): add" in line
    assert line.endswith("add `--registry dev`, or set AWS_PROFILE")
    assert "run `ecr-py token dev`" in dev.invoke("token", AWS_PROFILE="").line
    alias = f'[registries."docker.example.com"]\nalias = "{registry(STAGE)}"\n'
    dev.home.write(dev.home.settings, alias)  # another name for one of them
    line = dev.invoke("repo", "ls", AWS_PROFILE="").line
    assert "there are 3 registries (dev, stage, prod): add" in line
    assert aws.calls == []


@pytest.mark.parametrize("profile", ["stage", "reader", "prod"])
def test_whoever_is_named_asks(dev: User, aws: AwsWithRepositories, profile: str) -> None:
    """Of two profiles for an account, the one that was named; in another's registry, too."""
    there_is("theirs", account=STAGE)
    words = [[registry(STAGE), "--profile", profile]]
    if profile != "prod":
        words += [[profile], ["--profile", profile], ["--registry", profile]]
    for each in words:
        assert names(dev.invoke("repo", "ls", *each).stdout) == ["theirs"]
        assert aws.calls[-1].access_key == key_of(profile), each


def test_one_repository_or_the_nearest(dev: User) -> None:
    assert names(dev.invoke("repo", "ls", f"{HOST}/grafana/grafana").stdout) == ["grafana/grafana"]
    line = dev.invoke("repo", "ls", f"{HOST}/grafana/grafanna").line
    assert "no such repository: grafana/grafanna; nearest: grafana/grafana" in line
    assert HOST in line
    assert "profile dev" in line


def test_thousands_come_in_pages(dev: User, aws: AwsWithRepositories) -> None:
    for number in range(2500):
        there_is(f"many/{number:04}", account=STAGE)
    done = dev.invoke("repo", "ls", "stage", "--json")
    assert len(json.loads(done.stdout)) == 2500
    assert aws.count("DescribeRepositories") == 3


def test_none(dev: User) -> None:
    done = dev.invoke("repo", "ls", "prod")
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr == f"ecr-py: {registry(PROD)} has no repositories\n"
    assert json.loads(dev.invoke("repo", "ls", "prod", "--json").stdout) == []


# create


def test_ecr_create_then_ecr_ls_then_ecr_rm(dev: User) -> None:
    done = dev.ecr_py("repo", "create", "kalle")
    assert (done.code, done.stdout, done.stderr) == (0, f"{HOST}/kalle\n", "")
    assert "kalle" in names(dev.ecr_py("repo", "ls").stdout)
    done = dev.ecr_py("repo", "rm", "kalle", "--yes")
    assert (done.code, done.stdout, done.stderr) == (0, f"Deleted: {HOST}/kalle\n", "")
    assert repositories() == sorted(TELIA)


def test_create_of_one_that_is_there(dev: User) -> None:
    assert "repository nats already exists" in dev.invoke("repo", "create", "nats").line
    done = dev.invoke("repo", "create", "nats", "--if-missing")
    assert (done.code, done.stdout) == (0, f"{HOST}/nats\n")
    assert done.stderr == "ecr-py: repository nats already exists\n"


def test_describe_or_create(dev: User) -> None:
    """Seed 002's `describe-repositories … || create-repository`, twice as in two builds."""
    for _ in range(2):
        done = dev.invoke("repo", "create", "kolla/ubuntu-source-base", "--if-missing")
        assert (done.code, done.stdout) == (0, f"{HOST}/kolla/ubuntu-source-base\n")
    assert "kolla/ubuntu-source-base" in repositories()


def test_create_as_it_should_be(dev: User) -> None:
    done = dev.invoke("repo", "create", f"{HOST}/a/b", f"{HOST}/c.d", "--scan", "--immutable")
    assert done.stdout == f"{HOST}/a/b\n{HOST}/c.d\n"
    for name in ("a/b", "c.d"):
        [made] = json.loads(dev.invoke("repo", "ls", f"{HOST}/{name}", "--json").stdout)
        assert (made["name"], made["immutable"], made["scan_on_push"]) == (name, True, True)
    # What is there keeps its ways, and that is said.
    done = dev.invoke("repo", "create", "nats", "--if-missing", "--scan", "--immutable", "--json")
    assert "without --scan and --immutable" in done.stderr
    [shown] = json.loads(done.stdout)
    assert (shown["uri"], shown["immutable"]) == (f"{HOST}/nats", False)


@pytest.mark.parametrize("name", ["Kalle", "a", "team//web", "web_", "kalle:1", "", "x" * 257])
@pytest.mark.parametrize("command", ["create", "rm"])
def test_names_that_ecr_refuses(
    dev: User, aws: AwsWithRepositories, command: str, name: str
) -> None:
    for words in ([name], ["kalle", name], [f"{HOST}/{name}"]):
        line = dev.invoke("repo", command, *words).line
        assert "kalle" in line or "repository" in line
    assert aws.calls == []
    assert repositories() == sorted(TELIA)


def test_a_host_that_is_none(dev: User, aws: AwsWithRepositories) -> None:
    near = HOST.removesuffix("m")
    assert f"nearest: {HOST}" in dev.invoke("repo", "create", f"{near}/kalle").line
    assert "ghcr.io is not" in dev.invoke("repo", "rm", "ghcr.io/a/b", "--yes").line
    assert (
        "one registry at a time"
        in dev.invoke("repo", "create", f"{HOST}/kalle", f"{registry(STAGE)}/kalle").line
    )
    assert "is in eu-west-1" in dev.invoke("repo", "ls", HOST, "--region", "eu-north-1").line
    assert aws.calls == []


def test_json_has_what_was_made_before_one_that_is_there(dev: User) -> None:
    done = dev.invoke("repo", "create", "aa", "nats", "zz", "--json")
    assert done.code == 1
    assert [repository["name"] for repository in json.loads(done.stdout)] == ["aa"]
    assert "repository nats already exists" in done.stderr


def test_one_registry_by_two_names(dev: User) -> None:
    there_is("kalle")
    for words in (
        ("image", "ls", f"{HOST}/kalle", "--registry", "dev"),
        ("repo", "create", f"{HOST}/kalle", "--if-missing", "--registry", DEV),
        ("policy", "pull", HOST, "--registry", "dev"),
    ):
        assert dev.invoke(*words).code == 0
    # By its profile, where one of the names is one.
    line = dev.invoke("repo", "ls", f"{HOST}/nix", "--registry", "dev", AWS_PROFILE="stage").line
    assert "profile dev" in line


def test_a_name_without_a_host_does_not_take_its_neighbours(
    dev: User, aws: AwsWithRepositories
) -> None:
    there = f"{registry(STAGE)}/nats"
    for words in (
        ("image", "rm", "nats:2.9", f"{there}:1", "--yes"),
        ("image", "ls", there, "nats"),
        ("repo", "rm", "nats", there, "--yes"),
    ):
        assert "add --registry" in dev.invoke(*words).line
    assert aws.calls == []
    both = ("nats", f"{HOST}/mqtt-broker")
    assert dev.invoke("repo", "rm", *both, "--yes", "--registry", "dev").code == 0
    assert not {"nats", "mqtt-broker"} & set(repositories())


# rm


def test_rm_refuses_where_nobody_can_be_asked(dev: User) -> None:
    done = dev.ecr_py("repo", "rm", "nats")
    assert done.code == 2
    assert done.stderr.startswith("REPOSITORY   IMAGES   LAST PUSH\nnats         0        -\n")
    assert "--yes" in done.stderr
    assert repositories() == sorted(TELIA)


def test_rm_counts_the_images_that_would_go(dev: User) -> None:
    there_is("full", an_image("1.0", "latest"), an_image("1.1"), an_image(name="untagged"))
    line = dev.invoke("repo", "rm", "nats", "full", "--yes").line
    assert "full holds 3 images" in line
    assert "--force" in line
    assert "nats" in repositories()
    done = dev.invoke("repo", "rm", "full", "--yes", "--force")
    assert done.stdout == f"Deleted: {HOST}/full\n"
    assert "full" not in repositories()


def test_rm_removes_all_or_none(dev: User) -> None:
    line = dev.invoke("repo", "rm", "nats", "lcm-backnd", "--yes").line
    assert "no such repository: lcm-backnd; nearest: lcm-backend" in line
    assert repositories() == sorted(TELIA)


def test_ecr_public_is_not_spoken(dev: User, aws: AwsWithRepositories) -> None:
    for words in (["ls", "public.ecr.aws"], ["create", "public.ecr.aws/mine/web"]):
        line = dev.invoke("repo", *words).line
        assert "ECR Public" in line
        assert "aws ecr-public" in line
    assert aws.calls == []


def test_what_nobody_reads_is_done_all_the_same(dev: User) -> None:
    assert dev.ecr_py_into_closed_pipe("repo", "create", "a1", "b1", "c1") == (0, "")
    assert repositories()[:3] == ["a1", "b1", "c1"]
    assert dev.ecr_py_into_closed_pipe("repo", "rm", "a1", "b1", "c1", "--yes") == (0, "")
    assert not {"a1", "b1", "c1"} & set(repositories())
