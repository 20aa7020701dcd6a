"""From `helm install` to images that are pulled from two accounts, and on while AWS is away.

The controller runs here instead of in a pod, with what the chart gives a pod: its arguments,
variables, files, service account and web identity. What helm installs is in a real API server.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.kubernetes.test_chart import CHART, IMAGE, helm
from tests.standin.aws import Aws
from tests.standin.registry import RegistryFront
from tests.support.control_plane import ControlPlane
from tests.support.controller import ControllerProcess, passwords, wait_for_start
from tests.support.docker_user import POLICY, image
from tests.support.home import DEV, STAGE, registry
from tests.support.moved_clock import MovedClock
from tests.support.processes import wait_until
from tests.support.programs import need
from tests.support.user import User

RELEASE = "pulls"
SECRET = "ecr-pull"
LABEL = {"pulls": "true"}
AUDIENCE = "sts.amazonaws.com"
ROLES = {account: f"arn:aws:iam::{account}:role/pull" for account in (DEV, STAGE)}
HOUR = 3600


@pytest.fixture
def clock(tmp_path: Path) -> MovedClock:
    return MovedClock(tmp_path)


@pytest.fixture
def aws(clock: MovedClock) -> Iterator[Aws]:
    with Aws(clock) as running:
        for role in ROLES.values():
            running.allow_role(role)
        yield running


@pytest.fixture
def web_identity(tmp_path: Path) -> Path:
    """The file with the service account's token for AWS."""
    return tmp_path / "web-identity"


@pytest.fixture
def deployment(control_plane: ControlPlane, web_identity: Path) -> Iterator[dict[str, Any]]:
    """What `helm install` has installed, with values as in docs/kubernetes.md."""
    values = {
        **IMAGE,
        "awsConfig": (
            f"[profile shop]\nrole_arn = {ROLES[DEV]}\n"
            f"web_identity_token_file = {web_identity}\nregion = eu-west-1\n\n"
            f"[profile data]\nrole_arn = {ROLES[STAGE]}\n"
            "source_profile = shop\nregion = eu-west-1\n"
        ),
        "grants": {
            "grants": [
                {
                    "name": "everyone",
                    "registries": [DEV, STAGE],
                    "namespaces": [{"matchLabels": LABEL}],
                }
            ]
        },
    }
    where = (f"--namespace={RELEASE}", f"--kubeconfig={control_plane.kubeconfig}")
    done = helm("install", RELEASE, str(CHART), "--create-namespace", *where, values=values)
    assert done.returncode == 0, done.stderr
    path = f"/apis/apps/v1/namespaces/{RELEASE}/deployments/{RELEASE}"
    yield control_plane.request("GET", path)
    done = helm("uninstall", RELEASE, *where)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def namespaces(control_plane: ControlPlane) -> list[str]:
    names = [f"pulls-{uuid4().hex[:8]}" for _ in range(3)]
    for name in names:
        control_plane.add_namespace(name, **LABEL)
    return names


@pytest.fixture
def controller(
    control_plane: ControlPlane,
    deployment: dict[str, Any],
    docker_user: User,
    aws: Aws,
    clock: MovedClock,
    web_identity: Path,
    tmp_path: Path,
) -> Iterator[ControllerProcess]:
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    token = control_plane.token_of(RELEASE, pod["serviceAccountName"])
    for_aws = control_plane.token_of(RELEASE, pod["serviceAccountName"], AUDIENCE)
    web_identity.write_text(for_aws)
    aws.web_identity_tokens.add(for_aws)
    root = tmp_path / "pod"
    mount_config_maps(control_plane, pod, root)
    variables = {one["name"]: f"{root}{one['value']}" for one in container["env"]}
    # As the webhook of EKS sets them: an identity of the pod's own.
    variables |= {"AWS_ROLE_ARN": ROLES[DEV], "AWS_WEB_IDENTITY_TOKEN_FILE": str(web_identity)}
    command, subcommand, *options = container["args"]
    assert (command, subcommand) == ("controller", "run")
    running = ControllerProcess(
        docker_user.home,
        control_plane.kubeconfig_for(RELEASE, {"token": token}, RELEASE),
        grants_text=(root / "etc/ecr-py/grants.yaml").read_text(),
        options=tuple(options),
        environment=variables,
        interpreter=clock.interpreter,
    )
    with running:
        wait_for_start(running)
        yield running


def mount_config_maps(control_plane: ControlPlane, pod: dict[str, Any], root: Path) -> None:
    """Write the files of a pod's ConfigMaps where a kubelet would, below `root`."""
    maps = {one["name"]: one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one}
    for mount in pod["containers"][0]["volumeMounts"]:
        folder = root / mount["mountPath"].lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        if mount["name"] in maps:
            path = f"/api/v1/namespaces/{RELEASE}/configmaps/{maps[mount['name']]}"
            for name, text in control_plane.request("GET", path)["data"].items():
                (folder / name).write_text(text)


class Puller:
    """Pulls with the secret of a namespace and nothing else, as a pod's container runtime does."""

    def __init__(self, plane: ControlPlane, user: User, storage: str) -> None:
        self._plane = plane
        self._user = user
        self._podman = ("--root", f"{storage}/r", "--runroot", f"{storage}/s")
        user.write_docker_config({})
        user.home.write(user.home.path / ".config" / "containers" / "policy.json", POLICY)

    def skopeo(self, namespace: str) -> None:
        for account in ROLES:
            target = tempfile.mkdtemp(dir=self._user.home.path)
            self._run(namespace, "skopeo", "copy", f"docker://{image(account)}", f"dir:{target}")

    def podman(self, namespace: str) -> None:
        for account in ROLES:
            options = (*self._podman, "--storage-driver=vfs")
            self._run(namespace, "podman", *options, "pull", image(account))
            self._run(namespace, "podman", *options, "rmi", image(account))

    def _run(self, namespace: str, program: str, *arguments: str) -> None:
        secret = self._plane.secret(namespace, SECRET)
        assert secret is not None
        text = base64.b64decode(secret["data"][".dockerconfigjson"]).decode()
        file = self._user.home.write(self._user.home.path / f"{namespace}.json", text)
        self._user.run(need(program), *arguments, REGISTRY_AUTH_FILE=str(file))


@pytest.fixture
def puller(control_plane: ControlPlane, docker_user: User) -> Iterator[Puller]:
    with tempfile.TemporaryDirectory(prefix="c-") as storage:  # podman wants a short path
        yield Puller(control_plane, docker_user, storage)


@pytest.mark.usefixtures("images")
def test_namespaces_pull_from_two_accounts_and_an_outage_of_aws_expires_nothing(
    control_plane: ControlPlane,
    controller: ControllerProcess,
    namespaces: list[str],
    puller: Puller,
    front: RegistryFront,
    aws: Aws,
    clock: MovedClock,
) -> None:
    def held(namespace: str) -> dict[str, str]:
        return passwords(control_plane.secret(namespace, SECRET))

    def failures() -> float:
        return controller.metric("aws_calls_total", '{result="unreachable"}') or 0

    def uids() -> list[str]:
        secrets = [control_plane.secret(name, SECRET) for name in namespaces]
        return [one["metadata"]["uid"] for one in secrets if one is not None]

    both = {registry(account) for account in ROLES}
    wait_until(lambda: all(held(name).keys() == both for name in namespaces))
    for name in namespaces:
        puller.skopeo(name)
        puller.podman(name)
    assert aws.count("GetAuthorizationToken") == 2
    # Each registry was opened by the role of its own account.
    for account in ROLES:
        seen = {one.principal for one in front.requests if one.host == registry(account)} - {None}
        assert {str(arn).split(":")[4] for arn in seen} == {account}

    fourth = f"pulls-{uuid4().hex[:8]}"
    control_plane.add_namespace(fourth)
    assert held(fourth) == {}
    control_plane.add_namespace(fourth, **LABEL)
    wait_until(lambda: held(fourth).keys() == both)
    puller.skopeo(fourth)
    puller.podman(fourth)
    assert aws.count("GetAuthorizationToken") == 2

    namespaces.append(fourth)
    before = [held(name) for name in namespaces]
    uids_before = uids()
    aws.fault("*", "close")
    clock.move(7 * HOUR)  # every token is due, since the last moment is 57.5 % of its twelve hours
    for tries in range(1, 4):
        wait_until(lambda tries=tries: failures() >= tries * len(ROLES))  # type: ignore[misc]
        assert [held(name) for name in namespaces] == before
        puller.skopeo(fourth)
        clock.move(HOUR / 3)
    assert [held(name) for name in namespaces] == before
    for name in namespaces:
        puller.skopeo(name)
    assert (controller.metric("first_expiry_seconds") or 0) > 3.9 * HOUR
    assert controller.metric("secrets", '{state="expired"}') == 0

    aws.clear_faults()
    clock.move(HOUR / 3)  # past the longest pause after a failure
    wait_until(lambda: aws.count("GetAuthorizationToken") == 2 * len(ROLES))
    clock.move(HOUR / 3)  # a secret waits a quarter of an hour for more new tokens
    wait_until(
        lambda: (
            not any(
                set(old.values()) & set(held(name).values())
                for name, old in zip(namespaces, before, strict=True)
            )
        )
    )
    assert uids() == uids_before
    for name in namespaces:
        puller.skopeo(name)
