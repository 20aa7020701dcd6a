"""`ecr-py controller check`, `plan` and `status`."""

import json

import pytest

from tests.standin.kubernetes import KubernetesApi
from tests.support.controller import GRANTS, ControllerProcess, passwords
from tests.support.home import DEV, PROD, STAGE, registry
from tests.support.processes import wait_until


def test_check_shows_registries_and_identities(stopped: ControllerProcess) -> None:
    file = stopped.home.write(stopped.home.path / "grants.yaml", GRANTS)
    found = stopped.run("check", file)
    assert (found.returncode, found.stderr) == (0, "")
    assert [line.split() for line in found.stdout.splitlines()] == [
        ["GRANT", "SECRET", "REGISTRY", "IDENTITY"],
        ["shop", "ecr-pull", registry(DEV), "dev"],
        ["shop", "ecr-pull", registry(STAGE), "stage"],
    ]


def test_check_tells_every_mistake(stopped: ControllerProcess) -> None:
    text = GRANTS.replace(f'"{STAGE}"', '"111111111111"') + (
        f"  - name: prod\n    registries: ['{PROD}', ghcr.io]\n    namespaces: [a, B]\n"
    )
    file = stopped.home.write(stopped.home.path / "grants.yaml", text)
    found = stopped.run("check", file)
    assert found.returncode == 1
    first, second, third = found.stderr.splitlines()
    assert first.startswith(f"ecr-py: {file}, line 9: grants[1].registries[1]: ghcr.io is not an")
    assert second.startswith(f"ecr-py: {file}, line 10: grants[1].namespaces[1]: must be a name")
    assert third.startswith(f"ecr-py: {file}, line 4: grants[0].registries: 111111111111 means no")
    assert len(json.loads(stopped.run("check", file, "--json").stdout)["problems"]) == 3


def test_check_of_a_file_that_grants_nothing(stopped: ControllerProcess) -> None:
    file = stopped.home.write(stopped.home.path / "grants.yaml", "grants: []\n")
    found = stopped.run("check", file)
    assert (found.returncode, found.stdout) == (0, "")
    assert found.stderr == f"ecr-py: {file} grants nothing\n"


def test_check_of_a_file_that_does_not_exist_is_one_line(stopped: ControllerProcess) -> None:
    found = stopped.run("check", "/nowhere.yaml")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "ecr-py: /nowhere.yaml does not exist\n"


def test_plan_and_status_without_a_cluster_are_one_line(stopped: ControllerProcess) -> None:
    file = stopped.home.write(stopped.home.path / "grants.yaml", GRANTS)
    stopped.environment = {"KUBECONFIG": "/nowhere"}
    for arguments in (("plan", "--grants", str(file)), ("status",)):
        found = stopped.run(*arguments)
        assert (found.returncode, found.stdout) == (1, "")
        assert found.stderr.startswith("ecr-py: no cluster to talk to")
        assert found.stderr.count("\n") == 1


def test_plan_shows_what_would_change_and_changes_nothing(
    stopped: ControllerProcess, server: KubernetesApi
) -> None:
    file = stopped.home.write(stopped.home.path / "grants.yaml", GRANTS)
    server.add_namespace("shop-1")
    server.add_namespace("shop-2")
    server.put("secrets", {"metadata": {"name": "ecr-pull", "namespace": "shop-2"}})
    found = stopped.run("plan", "--grants", file)
    assert [line.split(maxsplit=3) for line in found.stdout.splitlines()[1:]] == [
        ["shop-1", "ecr-pull", "create", "it is missing"],
        ["shop-2", "ecr-pull", "leave", "alone   ecr-py did not create it"],
    ]
    assert server.secret("shop-1", "ecr-pull") is None
    as_json = json.loads(stopped.run("plan", "--grants", file, "--json").stdout)
    assert [one["action"] for one in as_json] == ["create", "leave alone"]


def test_status_shows_who_leads_and_what_is_wrong(
    controller: ControllerProcess, server: KubernetesApi
) -> None:
    server.add_namespace("shop-1")
    server.add_namespace("shop-2")
    server.put("secrets", {"metadata": {"name": "ecr-pull", "namespace": "shop-2"}})
    wait_until(lambda: passwords(server.secret("shop-1", "ecr-pull")))
    wait_until(lambda: any(kind == "events" for kind, *_ in server.objects))
    found = controller.run("status")
    assert found.returncode == 0
    assert "which renewed its lease" in found.stdout
    assert "1 secret in 1 namespace; the first token expires in 11h59m" in found.stdout
    assert "PullSecretLeftAlone" in found.stdout
    controller.stop()
    found = controller.run("status")
    assert found.returncode == 1
    assert found.stderr == "ecr-py: no replica leads\n"
    assert json.loads(controller.run("status", "--json").stdout)["leader"] is None


def test_status_names_the_lease_that_it_looked_for(
    controller: ControllerProcess, server: KubernetesApi
) -> None:
    found = controller.run("status", "--lease", "other", "-n", "elsewhere")
    assert found.returncode == 1
    assert found.stderr == (
        "ecr-py: no replica leads: namespace elsewhere has no lease other: no replica has "
        "started, or --lease and -n name another controller\n"
    )


@pytest.mark.parametrize(
    ("holder", "renewed", "said"),
    [
        ("x", "yesterday", "ecr-py: the API server's answer is not what Kubernetes answers\n"),
        ("\x1b[2Jx", "2001-02-03T04:05:06Z", r"ecr-py: \x1b[2Jx has not renewed its lease"),
    ],
)
def test_status_of_a_lease_that_somebody_else_wrote(
    stopped: ControllerProcess, server: KubernetesApi, holder: str, renewed: str, said: str
) -> None:
    meta = {"name": "ecr-py-controller", "namespace": "default"}
    spec = {"holderIdentity": holder, "renewTime": renewed}
    server.put("leases", {"metadata": meta, "spec": spec})
    found = stopped.run("status")
    assert found.returncode == 1
    assert found.stderr.startswith(said)
    assert "\x1b" not in found.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("status", "--lease", "a/../b"), "--lease: 'a/../b' is not a name in Kubernetes"),
        (("status", "-n", ".."), "--namespace: '..' is not a name in Kubernetes"),
        (("run", "--lease", "A B"), "--lease: 'A B' is not a name in Kubernetes"),
        (("run", "--pace", "nan"), "--pace: nan is not a number of writes; 0 is no limit"),
    ],
)
def test_options_that_cannot_be_meant(
    stopped: ControllerProcess, arguments: tuple[str, ...], said: str
) -> None:
    found = stopped.run(*arguments)
    assert (found.returncode, found.stderr) == (1, f"ecr-py: {said}\n")
