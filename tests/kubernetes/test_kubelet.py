"""What the kubelet's plugin assumes of an API server: the RBAC for audiences, and its tokens."""

import yaml

from docker_credential_ecr_py.kubelet.provider_config import AUDIENCE, rbac_text
from docker_credential_ecr_py.kubelet.service_account import ServiceAccount
from tests.support.control_plane import ControlPlane
from tests.support.processes import wait_until


def may_request(control_plane: ControlPlane, audience: str, user: str, group: str) -> bool:
    """Whether RBAC allows what a node is checked for (noderestriction, admission.go)."""
    attributes = {
        "verb": "request-serviceaccounts-token-audience",
        "namespace": "team",
        "group": "",
        "version": "v1",
        "resource": audience,
        "name": "app",
    }
    review = control_plane.request(
        "POST",
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": [group], "resourceAttributes": attributes},
        },
    )
    return bool(review["status"]["allowed"])


def test_the_rbac_lets_nodes_request_tokens_for_the_audience(control_plane: ControlPlane) -> None:
    node = ("system:node:one", "system:nodes")
    assert not may_request(control_plane, AUDIENCE, *node)
    for document in yaml.safe_load_all(rbac_text(AUDIENCE)):
        control_plane.apply(document)
    wait_until(lambda: may_request(control_plane, AUDIENCE, *node))
    assert not may_request(control_plane, "other", *node)
    assert not may_request(control_plane, AUDIENCE, "somebody", "system:authenticated")


def test_a_token_tells_whose_it_is(control_plane: ControlPlane, namespace: str) -> None:
    for name in ("app", "other"):
        control_plane.apply(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": namespace},
            }
        )

    def of(name: str, audience: str = AUDIENCE) -> ServiceAccount:
        answer = control_plane.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"audiences": [audience]},
            },
        )
        return ServiceAccount.of(answer["status"]["token"])

    assert of("app").name == f"{namespace}/app"
    assert of("app") == of("app")
    assert len({of("app").key, of("other").key, of("app", "other").key}) == 3
