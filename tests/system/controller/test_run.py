"""`ecr-py controller run`, as a pod runs it."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.standin.kubernetes import KubernetesApi
from tests.support.controller import ControllerProcess, passwords, wait_for_start
from tests.support.home import DEV, STAGE, registry
from tests.support.processes import wait_until

BOTH = [registry(DEV), registry(STAGE)]


def held(server: KubernetesApi, namespace: str) -> dict[str, str]:
    return passwords(server.secret(namespace, "ecr-pull"))


def test_namespaces_get_their_secrets_from_aws(
    controller: ControllerProcess, server: KubernetesApi, aws: Aws
) -> None:
    server.add_namespace("shop-1")
    server.add_namespace("other")
    wait_until(lambda: held(server, "shop-1"))
    assert sorted(held(server, "shop-1")) == BOTH
    assert set(held(server, "shop-1").values()) <= set(aws.issued)
    for number in range(2, 8):
        server.add_namespace(f"shop-{number}")
    server.add_namespace("other", ecr="pull")
    wait_until(lambda: held(server, "shop-7") and held(server, "other"))
    assert aws.count("GetAuthorizationToken") == 2
    wait_until(lambda: controller.metric("secrets", '{state="current"}') == 8)
    assert 11 * 3600 < (controller.metric("first_expiry_seconds") or 0) <= 12 * 3600
    assert controller.metric("aws_calls_total", '{result="ok"}') == 2


def test_no_secret_is_in_the_log_the_arguments_or_a_file(
    controller: ControllerProcess, server: KubernetesApi, aws: Aws
) -> None:
    server.add_namespace("shop-1")
    wait_until(lambda: held(server, "shop-1"))
    (token, *_) = held(server, "shop-1").values()
    assert token not in controller.log
    assert token not in controller.get("/metrics")[1]
    command = Path(f"/proc/{controller.process.pid}/cmdline").read_text()
    assert token not in command
    written = [file for file in controller.home.path.rglob("*") if file.is_file()]
    assert not any(token in file.read_text(errors="replace") for file in written)


def test_botocore_is_not_resident(controller: ControllerProcess, server: KubernetesApi) -> None:
    server.add_namespace("shop-1")
    wait_until(lambda: held(server, "shop-1"))
    maps = Path(f"/proc/{controller.process.pid}/maps")
    if os.geteuid():
        pytest.skip("only root may look at a process that forbids dumps")
    assert "rust" not in maps.read_text()  # cryptography's library
    assert controller.resident() < 90 * 1024 * 1024


def test_sigterm_releases_the_lease(controller: ControllerProcess, server: KubernetesApi) -> None:
    server.add_namespace("shop-1")
    wait_until(lambda: held(server, "shop-1"))
    assert controller.stop() == 0
    (lease,) = [made for (kind, _, _), made in server.objects.items() if kind == "leases"]
    assert lease["spec"]["holderIdentity"] == ""
    assert "controller ended" in controller.log


def test_a_kill_at_any_moment_leaves_nothing_that_the_next_one_cannot_mend(
    controller: ControllerProcess, server: KubernetesApi, aws: Aws
) -> None:
    for number in range(5):
        server.add_namespace(f"shop-{number}")
        time.sleep(number * 0.15)  # another moment each time: starting, asking, writing
        controller.kill()
        lease = next(
            (made for (kind, *_), made in server.objects.items() if kind == "leases"), None
        )
        if lease is not None:  # so that the next one need not wait until it ends
            server.put("leases", {**lease, "spec": {**lease["spec"], "holderIdentity": ""}})
        controller.start()
    wait_until(lambda: all(held(server, f"shop-{number}") for number in range(5)))
    for number in range(5):
        assert sorted(held(server, f"shop-{number}")) == BOTH


def test_grants_that_are_broken_at_run_time_are_told_and_not_used(
    controller: ControllerProcess, server: KubernetesApi
) -> None:
    controller.grants.write_text("grants:\n- name: x\n")
    wait_until(lambda: controller.metric("grants_valid") == 0)
    assert "line 2: grants[0].registries: is missing; the grants that were read before" in (
        controller.log
    )
    server.add_namespace("shop-1")
    wait_until(lambda: held(server, "shop-1"))
    controller.grants.write_text(controller.grants_text.replace("shop-*", "cart-*"))
    server.add_namespace("cart-1")
    wait_until(lambda: held(server, "cart-1"))


def test_a_name_of_secrets_that_rbac_does_not_allow(
    controller: ControllerProcess, server: KubernetesApi
) -> None:
    """As if somebody had given a grant another secret, and the ClusterRole not."""
    server.fail("fieldSelector=metadata.name%3Decr-push", 403, times=10_000)
    more = f'  - {{name: push, secret: ecr-push, registries: ["{DEV}"], namespaces: ["*"]}}\n'
    controller.grants.write_text(controller.grants_text + more)
    wait_until(lambda: "secrets named ecr-push are not current" in controller.log)
    server.add_namespace("shop-1")
    wait_until(lambda: held(server, "shop-1"))
    assert controller.metric("cluster_current") == 0


def test_aws_refuses_and_the_event_says_why(
    controller: ControllerProcess, server: KubernetesApi, aws: Aws
) -> None:
    aws.deny_ecr(f"*{STAGE}*")
    server.add_namespace("shop-1")
    wait_until(lambda: held(server, "shop-1"))
    assert list(held(server, "shop-1")) == [registry(DEV)]
    wait_until(lambda: [one for (kind, *_), one in server.objects.items() if kind == "events"])
    (event,) = [one for (kind, *_), one in server.objects.items() if kind == "events"]
    assert event["reason"] == "NoEcrToken"
    assert f"no token for {registry(STAGE)}: " in event["message"]
    assert "may not ecr:GetAuthorizationToken" in event["message"]


def test_the_log_can_be_json(stopped: ControllerProcess, server: KubernetesApi) -> None:
    stopped.options = ("--log", "json")
    with stopped:
        wait_for_start(stopped)
        lines = [json.loads(line) for line in stopped.log.splitlines()]
    assert {line["level"] for line in lines} == {"info"}
    assert lines[0]["message"].startswith("read 1 grants from ")


@pytest.mark.parametrize(
    ("grants", "line"),
    [
        ("", "line 1: grants: is missing: the file is empty"),
        ("grants: [", "not YAML"),
        ("grants:\n- name: a\n  registries: [docker.io]\n  namespaces: [a]", "line 3: grants[0]"),
    ],
)
def test_it_does_not_start_without_grants(
    stopped: ControllerProcess, grants: str, line: str
) -> None:
    stopped.grants_text = grants
    with stopped:
        assert stopped.process.wait(20) == 1
        assert stopped.log.count("\n") == 1
        assert line in stopped.log


def test_an_address_that_is_taken_is_one_line(
    controller: ControllerProcess, home: object, kubeconfig: Path
) -> None:
    found = controller.run(
        "run", "--grants", controller.grants, "--listen", f"127.0.0.1:{controller.port}"
    )
    assert found.returncode == 1
    assert "cannot listen at 127.0.0.1" in found.stderr
    assert "Traceback" not in found.stderr
