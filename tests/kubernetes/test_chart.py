"""The chart and the plain manifests: what helm makes of them, and what an API server says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from lightkube.codecs import resource_registry

from docker_credential_ecr_py import __version__
from docker_credential_ecr_py.controller.api_server import ApiServer
from docker_credential_ecr_py.controller.cluster import WatchedCluster
from docker_credential_ecr_py.controller.grants import parse_grants
from docker_credential_ecr_py.controller.leader import Leader
from docker_credential_ecr_py.controller.observed import ServiceAccount
from docker_credential_ecr_py.errors import Forbidden
from tests.support.control_plane import ControlPlane, path_of
from tests.support.processes import wait_until
from tests.support.programs import need

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "packaging/helm/ecr-py-controller"
PLAIN = ROOT / "packaging/kubernetes"
GUIDE = ROOT / "docs/kubernetes.md"
IMAGE = {"image": {"repository": "registry.example.com/ecr-py-controller"}}
LABEL = {"matchLabels": {"ecr-pull": "true"}}
GRANTS = {
    "grants": [
        {"name": "all", "registries": ["642976147714"], "namespaces": ["*"]},
        {
            "name": "builders",
            "secret": "ecr-push",
            "registries": ["642976147714"],
            "namespaces": [LABEL],
            "serviceAccounts": ["default"],
        },
    ]
}
EVERYTHING = {
    **IMAGE,
    "grants": GRANTS,
    "awsConfig": "[default]\nregion = eu-west-1\n",
    "awsCredentialsSecret": "aws-keys",
    "imagePullSecrets": [{"name": "own"}],
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}},
    "admissionPolicy": {"enabled": True, "namespaceSelector": LABEL},
    "networkPolicy": {
        "from": [{"namespaceSelector": LABEL}],
        "extraEgress": [{"ports": [{"port": 3128}]}],
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
}

Manifest = dict[str, Any]


def one_grant(**keys: Any) -> dict[str, Any]:
    """Values with a grant that has `keys`, too."""
    usual = {"name": "shop", "registries": ["642976147714"], "namespaces": ["shop"]}
    return {**IMAGE, "grants": {"grants": [{**usual, **keys}]}}


def helm(
    *arguments: str, values: Mapping[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [need("helm"), *arguments, *([] if values is None else ["--values", "-"])],
        input=json.dumps(values),
        capture_output=True,
        text=True,
    )


def rendered(values: Mapping[str, Any]) -> list[Manifest]:
    done = helm("template", "ecr-py", str(CHART), "--namespace", "ecr-py", values=values)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def documents(text: str) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(manifests: list[Manifest], kind: str) -> Manifest:
    return next(one for one in manifests if one["kind"] == kind)


@pytest.mark.parametrize("values", [IMAGE, EVERYTHING], ids=["least", "everything"])
def test_helm_lint(values: Mapping[str, Any]) -> None:
    done = helm("lint", "--strict", str(CHART), values=values)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("values", [IMAGE, EVERYTHING], ids=["least", "everything"])
def test_each_field_is_one_of_kubernetes(values: Mapping[str, Any]) -> None:
    for manifest in rendered(values):
        if manifest["kind"] != "ServiceMonitor":  # not Kubernetes' own
            assert not unknown_fields(manifest)


def unknown_fields(manifest: Manifest) -> list[str]:
    kind = resource_registry.load(manifest["apiVersion"], manifest["kind"])
    known = msgspec.to_builtins(msgspec.convert(manifest, kind))
    return list(lost(manifest, known, manifest["kind"]))


def lost(before: Any, after: Any, at: str) -> Iterator[str]:
    """The fields that a schema does not know, which decoding has dropped."""
    if isinstance(before, dict):
        for key, value in before.items():
            if value not in (None, [], {}) and key not in after:
                yield f"{at}.{key}"
            elif key in after:
                yield from lost(value, after[key], f"{at}.{key}")
    elif isinstance(before, list):
        for number, value in enumerate(before):
            yield from lost(value, after[number], f"{at}[{number}]")


def test_the_plain_manifests_are_those_of_the_chart() -> None:
    """If not: `make manifests`."""
    values = yaml.safe_load((PLAIN / "values.yaml").read_text())
    assert documents((PLAIN / "controller.yaml").read_text()) == rendered(values)


def test_the_controller_accepts_the_grants_of_the_chart() -> None:
    (grants,) = [
        one["data"]["grants.yaml"]
        for one in documents((PLAIN / "controller.yaml").read_text())
        if one["kind"] == "ConfigMap" and "grants.yaml" in one["data"]
    ]
    found, mistakes = parse_grants(grants, "grants.yaml")
    assert not mistakes
    assert found.secret_names == ("ecr-pull",)


def test_what_the_guide_tells_to_write_can_be_used() -> None:
    blocks = re.findall(r"(?ms)^( *)```yaml\n(.*?)^\1```$", GUIDE.read_text())
    values, pod, grants, builder = (yaml.safe_load(textwrap.dedent(text)) for _, text in blocks)
    made = rendered(values)
    installed = [one["data"] for one in made if one["kind"] == "ConfigMap"]
    assert any(data.get("config") == values["awsConfig"] for data in installed)
    for document in (values["grants"], grants):
        found, mistakes = parse_grants(yaml.safe_dump(document), "grants.yaml")
        assert (len(found.grants), mistakes) == (len(document["grants"]), [])
    meta = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "builder"}}
    for manifest in (*made, pod, {**meta, **builder}):
        assert not unknown_fields(manifest)


def test_versions_are_those_of_the_package() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "image.repository: set it"),
        ({**IMAGE, "existingGrants": "mine"}, "secretNames: name the secrets"),
        ({**IMAGE, "admissionPolicy": {"enabled": True}}, "admissionPolicy.namespaceSelector"),
        (
            {
                **IMAGE,
                "admissionPolicy": {
                    "enabled": True,
                    "secret": "other",
                    "namespaceSelector": LABEL,
                },
            },
            "admissionPolicy.secret: other is none of the secrets of the grants: ecr-pull",
        ),
        # What values.schema.json knows.
        ({"awsconfig": ""}, "additional properties 'awsconfig' not allowed"),
        ({"image": {"tag": 1.1}}, "at '/image/tag': got number, want null or string"),
        ({"image": {"digest": "latest"}}, "at '/image/digest': 'latest' does not match"),
        ({"replicas": "two"}, "at '/replicas': got string, want integer"),
        ({"pace": -1}, "at '/pace': minimum: got -1, want 0"),
        ({"log": "xml"}, "at '/log': value must be one of 'text', 'json'"),
        ({"grants": None}, "missing property 'grants'"),
        ({"grants": []}, "at '/grants': got array, want object"),
        ({"grants": {"grants": ["shop"]}}, "at '/grants/grants/0': got string, want object"),
        (one_grant(name=None), "at '/grants/grants/0/name': got null, want string"),
        (one_grant(namespace="a"), "additional properties 'namespace' not allowed"),
        (one_grant(secret="A_b"), "at '/grants/grants/0/secret': 'A_b' does not match"),
        # Which helm 3 would write as 6.42976147714e+11.
        (one_grant(registries=[642976147714]), "/registries/0': got number, want string"),
        (
            one_grant(namespaces=[{"matchLabels": {"ecr-pull": True}}]),
            "/namespaces/0/matchLabels/ecr-pull': got boolean, want string",
        ),
        (
            one_grant(namespaces=[{"matchLabel": {"a": "b"}}]),
            "/namespaces/0': additional properties 'matchLabel' not allowed",
        ),
        ({"existingGrants": "mine", "secretNames": "ecr-pull"}, "at '/secretNames': got string"),
    ],
)
def test_values_that_cannot_be_used(values: Mapping[str, Any], said: str) -> None:
    done = helm("template", "ecr-py", str(CHART), values=values)
    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (IMAGE, ["ecr-pull"]),
        (EVERYTHING, ["ecr-pull", "ecr-push"]),
        ({**IMAGE, "grants": {"secret": "mine", "grants": []}}, ["mine"]),
        ({**IMAGE, "existingGrants": "map", "secretNames": ["a", "b"]}, ["a", "b"]),
    ],
)
def test_rbac_names_each_secret(values: Mapping[str, Any], names: list[str]) -> None:
    rules = of_kind(rendered(values), "ClusterRole")["rules"]
    (secrets,) = [rule for rule in rules if "secrets" in rule["resources"]]
    assert secrets["resourceNames"] == names


def test_service_accounts_can_be_patched_only_if_a_grant_names_some() -> None:
    for values, can in ((IMAGE, False), (EVERYTHING, True)):
        rules = of_kind(rendered(values), "ClusterRole")["rules"]
        assert any("serviceaccounts" in rule["resources"] for rule in rules) == can


def test_profiles_go_before_an_identity_of_the_pod() -> None:
    """Or else a pod with IRSA or Pod Identity would never assume the roles of its profiles."""
    maps = [one["data"] for one in rendered(EVERYTHING) if one["kind"] == "ConfigMap"]
    (text,) = [data["settings.toml"] for data in maps if "settings.toml" in data]
    assert tomllib.loads(text) == {"defaults": {"prefer": "account"}}


def test_pods_can_do_nothing_but_their_work() -> None:
    pod = of_kind(rendered(IMAGE), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not any("subPath" in mount for mount in container["volumeMounts"])


# On a real API server


@pytest.fixture
def installed(control_plane: ControlPlane) -> list[Manifest]:
    """The chart with everything, but for what needs the Prometheus operator."""
    control_plane.add_namespace("ecr-py")
    manifests = [one for one in rendered(EVERYTHING) if one["kind"] != "ServiceMonitor"]
    for manifest in manifests:
        control_plane.request(
            "PATCH",
            path_of(manifest),
            manifest,
            params={"fieldManager": "helm", "force": "true", "fieldValidation": "Strict"},
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
    return manifests


@pytest.fixture
def as_controller(
    control_plane: ControlPlane, installed: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> ApiServer:
    """The API server as the chart's service account may use it."""
    token = control_plane.token_of("ecr-py", "ecr-py")
    kubeconfig = control_plane.kubeconfig_for("controller", {"token": token}, "ecr-py")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    return ApiServer.connect()


def test_the_chart_allows_what_the_controller_does_and_no_more(
    control_plane: ControlPlane, as_controller: ApiServer, namespace: str
) -> None:
    control_plane.apply(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": namespace},
        }
    )
    cluster = WatchedCluster(as_controller, lambda name: None)
    cluster.watch(["ecr-pull", "ecr-push"], service_accounts=True)
    wait_until(lambda: cluster.synced)
    document = b'{"auths":{}}'
    written = cluster.apply_secret(namespace, "ecr-pull", document, {})
    written = cluster.apply_secret(namespace, "ecr-pull", document, {}, uid=written.uid)
    assert cluster.read_secret(namespace, "ecr-pull") == document
    wait_until(lambda: cluster.service_accounts(namespace))
    (account,) = cluster.service_accounts(namespace)
    assert isinstance(account, ServiceAccount)
    cluster.set_pull_secrets(account, ["ecr-pull"])
    cluster.event(namespace, "ecr-pull", "Test", "an event")
    events = control_plane.request("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
    assert len(events) == 1
    cluster.delete_secret(written)
    leader = Leader(as_controller, "ecr-py", "one")
    leader.turn()
    leader.turn()
    assert leader.leads()
    leader.stop()
    with pytest.raises(Forbidden):
        cluster.apply_secret(namespace, "other", document, {})
    with pytest.raises(Forbidden):
        cluster.read_secret(namespace, "other")
    with pytest.raises(Forbidden):
        as_controller.send("GET", "/api/v1/secrets")
    with pytest.raises(Forbidden):
        as_controller.send("GET", f"/api/v1/namespaces/{namespace}/configmaps")


def test_a_name_that_the_chart_does_not_allow_stops_only_itself(as_controller: ApiServer) -> None:
    cluster = WatchedCluster(as_controller, lambda name: None)
    cluster.watch(["ecr-pull", "other"], service_accounts=False)
    wait_until(lambda: cluster.settled and cluster.knows("ecr-pull"))
    assert not cluster.knows("other")
    assert "forbidden" in cluster.problem
    cluster.stop()


@pytest.mark.parametrize(
    ("own", "becomes"),
    [
        ([], ["ecr-pull"]),
        (["mine"], ["mine", "ecr-pull"]),
        (["ecr-pull", "mine"], ["ecr-pull", "mine"]),
    ],
)
def test_the_admission_policy_adds_the_secret_to_pods(
    control_plane: ControlPlane,
    installed: list[Manifest],
    namespace: str,
    own: list[str],
    becomes: list[str],
) -> None:
    control_plane.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": LABEL["matchLabels"]},
        }
    )
    wait_until(lambda: pull_secrets_of_new_pod(control_plane, namespace, own) == becomes)


def test_pods_elsewhere_stay_as_they_are(
    control_plane: ControlPlane, installed: list[Manifest], namespace: str
) -> None:
    assert pull_secrets_of_new_pod(control_plane, namespace, ["mine"]) == ["mine"]


def pull_secrets_of_new_pod(
    control_plane: ControlPlane, namespace: str, names: list[str]
) -> list[str]:
    pod = control_plane.request(
        "POST",
        f"/api/v1/namespaces/{namespace}/pods",
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "pod-"},
            "spec": {
                "containers": [{"name": "one", "image": "example.com/one"}],
                **({"imagePullSecrets": [{"name": name} for name in names]} if names else {}),
            },
        },
        params={"dryRun": "All"},
    )
    return [one["name"] for one in pod["spec"].get("imagePullSecrets", [])]


def test_kubectl_accepts_the_plain_manifests(control_plane: ControlPlane, tmp_path: Path) -> None:
    control_plane.add_namespace("ecr-py")
    done = subprocess.run(
        [
            need("kubectl"),
            f"--kubeconfig={control_plane.kubeconfig}",
            "apply",
            "--dry-run=server",
            f"--filename={PLAIN / 'controller.yaml'}",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
