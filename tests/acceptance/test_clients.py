"""Each client of docs/clients.md, in each way of setting it up, with an empty cache and a full one.

The cells are read from the document: one that changes is run as changed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.acceptance.readme import PROJECT
from tests.acceptance.test_tables import Table, tables
from tests.standin.aws import Aws
from tests.support.docker_user import HELPER_NAME, IMAGE, POLICY, TAG, image
from tests.support.home import DEV, HELPER, registry
from tests.support.programs import lacking, need
from tests.support.user import Done, User

HOST = registry(DEV)
WAYS = ("credHelpers", "credsStore", "registries.conf")
WORKS, FAILS, NOT_READ = "yes", "no", "-"
CONFIGS: Mapping[str, Mapping[str, object]] = {
    "credHelpers": {"credHelpers": {HOST: HELPER_NAME}},
    "credsStore": {"credsStore": HELPER_NAME},
}
# Where .ci/run installs it.
TESTCONTAINERS = PROJECT / ".ci" / "programs" / "testcontainers"

Client = Callable[[User], Done]


def python(script: str, *programs: str) -> Client:
    """A client that is a Python library: the script gets the image, its tag, and programs."""

    def run(user: User) -> Done:
        paths = [need(program) for program in programs]
        return user.try_run(sys.executable, "-c", script, f"{HOST}/{IMAGE}", TAG, *paths)

    return run


def command(*words: str) -> Client:
    """A client that is a program, with its arguments."""

    def run(user: User) -> Done:
        return user.try_run(need(words[0]), *words[1:])

    return run


def builder(*first: str, **environment: str) -> Client:
    """A client that builds on the image, in a folder with a Dockerfile."""

    def run(user: User) -> Done:
        user.home.write(user.home.path / "context" / "Dockerfile", f"FROM {image(DEV)}\n")
        return user.try_run(need(first[0]), *first[1:], "context", **environment)

    return run


def podman_compose(user: User) -> Done:
    compose = f"services:\n  one:\n    image: {image(DEV)}\n"
    file = user.home.write(user.home.path / "compose.yaml", compose)
    program = HELPER.with_name("podman-compose")
    return user.try_run(str(program), "-f", str(file), "--podman-path", need("podman"), "pull")


def node_testcontainers(user: User) -> Done:
    if not (TESTCONTAINERS / "node_modules").is_dir():
        lacking("testcontainers is not installed")
    script = f"""
        const {{ getContainerRuntimeClient, ImageName }} = require("testcontainers");
        getContainerRuntimeClient()
          .then(client => client.image.pull(ImageName.fromString("{image(DEV)}"), {{force: true}}))
          .catch(error => {{ console.error(error); process.exit(1); }});
    """
    environment = {
        "NODE_PATH": str(TESTCONTAINERS / "node_modules"),
        "TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1",  # or it looks for the engine's network
    }
    return user.try_run(need("node"), "-e", script, **environment)


DOCKER_PY_PULL = """\
import sys, docker
docker.from_env().images.pull(sys.argv[1], tag=sys.argv[2])
"""
DOCKER_PY_BUILD = """\
import io, sys, docker
dockerfile = io.BytesIO(f"FROM {sys.argv[1]}:{sys.argv[2]}".encode())
docker.from_env().images.build(fileobj=dockerfile)
"""
PYTHON_ON_WHALES = """\
import sys
import tempfile
from python_on_whales import DockerClient
client = DockerClient(client_call=[sys.argv[3]])
client.image.pull(f"{sys.argv[1]}:{sys.argv[2]}", quiet=True)
"""
ORAS_PY = """\
import sys
import tempfile
from oras.client import OrasClient
client = OrasClient(auth_backend="basic")
client.auth.load_configs(client.get_container(sys.argv[1]))
assert client.get_tags(sys.argv[1]) == [sys.argv[2]]
"""

CLIENTS: Mapping[str, Client] = {
    "docker pull": command("docker", "pull", image(DEV)),
    "docker build, legacy builder": builder("docker", "build", DOCKER_BUILDKIT="0"),
    "docker-py, images.pull": python(DOCKER_PY_PULL),
    "docker-py, images.build": python(DOCKER_PY_BUILD),
    "python-on-whales": python(PYTHON_ON_WHALES, "docker"),
    "testcontainers for node": node_testcontainers,
    "oras-py": python(ORAS_PY),
    "podman": command("podman", "pull", image(DEV)),
    "podman-compose": podman_compose,
    "buildah": command("buildah", "pull", image(DEV)),
    "skopeo": command("skopeo", "inspect", "--raw", f"docker://{image(DEV)}"),
}
# They ask for every registry that `list` names.
BUILDERS = ("docker build, legacy builder", "docker-py, images.build")


def table() -> Table:
    document = (PROJECT / "docs" / "clients.md").read_text()
    [found] = [one for one in tables(document) if one.columns[0] == "client"]
    return found


def cells() -> list[tuple[str, str, str]]:
    """Return the client, the way and the result of each cell."""
    columns = table().columns
    return [(row[0], way, row[columns.index(way)]) for row in table().rows for way in WAYS]


def test_the_table_has_each_client_once() -> None:
    assert [row[0] for row in table().rows] == list(CLIENTS)
    assert {result for _, _, result in cells()} <= {WORKS, FAILS, NOT_READ}


@pytest.fixture
def storage(docker_user: User) -> Iterator[None]:
    """Where podman and buildah keep images, in a path that is short enough for podman."""
    folder = docker_user.home.path / ".config" / "containers"
    docker_user.home.write(folder / "policy.json", POLICY)
    with tempfile.TemporaryDirectory(prefix="c-") as root:
        text = f'[storage]\ndriver = "vfs"\ngraphroot = "{root}/g"\nrunroot = "{root}/r"\n'
        file = docker_user.home.write(docker_user.home.path / "storage.conf", text)
        docker_user.environment["CONTAINERS_STORAGE_CONF"] = str(file)
        yield


@pytest.mark.usefixtures("images", "storage")
@pytest.mark.parametrize(
    ("client", "way", "result"),
    [cell for cell in cells() if cell[2] != NOT_READ],
)
def test_what_the_table_says(
    docker_user: User, aws: Aws, client: str, way: str, result: str
) -> None:
    if way in CONFIGS:
        docker_user.write_docker_config(CONFIGS[way])
    else:
        docker_user.docker_config.unlink()
        docker_user.invoke_ok("configure", "--for", "podman")
    run = CLIENTS[client]
    first = run(docker_user)
    assert (first.code == 0) == (result == WORKS), first
    if result == WORKS:
        # A build asks for every registry of the profiles.
        asks_all = client in BUILDERS and way == "credsStore"
        assert aws.count("GetAuthorizationToken") == (3 if asks_all else 1)
        aws.reset_calls()
        again = run(docker_user)
        assert again.code == 0, again
        assert aws.calls == []
