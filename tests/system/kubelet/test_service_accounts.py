"""Service accounts' tokens: each has a credential of its own, and the token is written nowhere."""

from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.home import DEV, STAGE, Home, registry
from tests.support.kubelet import InProcess, Kubelet, node, request, service_account_token
from tests.support.records import DAY, HALF_LIFE, LIFE, files, let_pass, only

IMAGE = f"{registry(STAGE)}/team/app"
ROLE, OTHER_ROLE = (f"arn:aws:iam::{STAGE}:role/{name}" for name in ("pull", "other"))
ECR_ROLE, EKS_ROLE = "eks.amazonaws.com/ecr-role-arn", "eks.amazonaws.com/role-arn"
WEB_IDENTITY, TOKEN = "AssumeRoleWithWebIdentity", "GetAuthorizationToken"


class Pods:
    """Pods whose images this node pulls, each with a token of its service account."""

    def __init__(self, kubelet: Kubelet, aws: Aws) -> None:
        self.kubelet, self.aws = kubelet, aws
        aws.allow_role(ROLE)
        aws.allow_role(OTHER_ROLE)
        self._serial = 0

    def token(self, **about: str) -> str:
        self._serial += 1
        token = service_account_token(serial=str(self._serial), **about)
        self.aws.web_identity_tokens.add(token)
        return token

    def pull(self, role: str = ROLE, annotation: str = ECR_ROLE, **about: str) -> str:
        """Return the password that a new pod's image is pulled with."""
        return self.kubelet.pull(
            IMAGE, token=self.token(**about), annotations={annotation: role}
        ).password

    def role_of(self, password: str) -> str:
        return self.aws.issued[password].principal_arn.split("/")[1]


@pytest.fixture
def pods(home: Home, aws: Aws) -> Pods:
    return Pods(node(home, InProcess), aws)


def test_by_the_installed_plugin(home: Home, pods: Pods, aws: Aws) -> None:
    pods.kubelet = node(home)
    passwords = {pods.pull(), pods.pull()}
    assert len(passwords) == 1
    assert (aws.count(WEB_IDENTITY), aws.count(TOKEN)) == (1, 1)


@pytest.mark.parametrize("annotation", [ECR_ROLE, EKS_ROLE])
def test_a_role_by_annotation(pods: Pods, annotation: str) -> None:
    assert pods.role_of(pods.pull(annotation=annotation)) == "pull"


def test_the_annotation_for_pulls_goes_first(pods: Pods) -> None:
    annotations = {EKS_ROLE: OTHER_ROLE, ECR_ROLE: ROLE}
    pulled = pods.kubelet.pull(IMAGE, token=pods.token(), annotations=annotations)
    assert pods.role_of(pulled.password) == "pull"


def test_a_role_for_all_others_and_none(home: Home, pods: Pods) -> None:
    pods.kubelet, token = node(home), pods.token()
    assert "Administrator" in pods.role_of(pods.kubelet.pull(IMAGE, token=token).password)
    pods.kubelet.environment["AWS_ECR_ROLE_ARN"] = OTHER_ROLE
    assert pods.role_of(pods.kubelet.pull(IMAGE, token=token).password) == "other"


def test_nobody_else_has_it(home: Home, pods: Pods, aws: Aws) -> None:
    first = pods.pull()
    others = [
        pods.pull(namespace="other"),
        pods.pull(name="other"),
        pods.pull(uid="another"),
        pods.pull(audience="other"),
        pods.pull(issuer="https://other.example.com"),
        pods.pull(role=OTHER_ROLE),
        # docker on the node, and pods without a token
        home.get(registry(STAGE)).password,
        pods.kubelet.pull(IMAGE).password,
    ]
    assert first not in others
    assert len(set(others)) == 7  # the node's own is one
    assert pods.pull() == first


@pytest.mark.parametrize("token", ["opaque" * 10, "e30.e30.e30"])
def test_a_token_that_does_not_say_whose_it_is(pods: Pods, aws: Aws, token: str) -> None:
    passwords = []
    for each in (token, token, f"{token}2"):
        aws.web_identity_tokens.add(each)
        pulled = pods.kubelet.pull(IMAGE, token=each, annotations={ECR_ROLE: ROLE})
        passwords.append(pulled.password)
    assert passwords[0] == passwords[1] != passwords[2]


def test_it_is_fetched_again_after_half_its_life(home: Home, pods: Pods, aws: Aws) -> None:
    """No process can renew it in the background: the token is not kept."""
    first = pods.pull()
    let_pass(home, HALF_LIFE - 60)
    assert pods.pull() == first
    let_pass(home, 120)
    aws.fault(WEB_IDENTITY, "error", status=500, code="InternalFailure", times=4)
    pulled = pods.kubelet.pull(IMAGE, token=pods.token(), annotations={ECR_ROLE: ROLE})
    assert (pulled.password, pulled.kept) == (first, 60)
    assert pods.pull() == first  # AWS is not asked again at once
    for lock in files(home, "locks"):
        lock.unlink()
    assert pods.pull() != first


def test_old_ones_are_swept(home: Home, pods: Pods) -> None:
    pods.pull()
    let_pass(home, LIFE + DAY + 60)
    (home.cache / "locks" / ".swept").unlink()
    pods.pull(name="other")
    only(home, "credentials")


def test_the_token_is_written_nowhere(home: Home, pods: Pods) -> None:
    home.environment["ECR_PY_LOG"] = pods.kubelet.environment["ECR_PY_LOG"] = "debug"
    tokens = [pods.token(), pods.token(name="denied")]
    pods.kubelet.pull(IMAGE, token=tokens[0], annotations={ECR_ROLE: ROLE})
    denied = {ECR_ROLE: f"{ROLE}2"}
    line = pods.kubelet.failure(request(IMAGE, token=tokens[1], annotations=denied))
    for token in tokens:
        for secret in (token, token.split(".")[1], token.split(".")[2]):
            assert secret not in line
            assert [path for path in written(home) if secret.encode() in path.read_bytes()] == []
    assert len(files(home, "credentials")) == 1


def written(home: Home) -> list[Path]:
    return [path for path in home.path.rglob("*") if path.is_file()]


def test_a_role_that_may_not_be_assumed(pods: Pods) -> None:
    annotations = {ECR_ROLE: f"arn:aws:iam::{DEV}:role/theirs"}
    line = pods.kubelet.failure(request(IMAGE, token=pods.token(), annotations=annotations))
    assert f"service account team/app may not assume arn:aws:iam::{DEV}:role/theirs" in line
    assert "system:serviceaccount:team:app" in line


def test_a_token_that_aws_does_not_accept(pods: Pods) -> None:
    token = service_account_token()
    line = pods.kubelet.failure(request(IMAGE, token=token, annotations={ECR_ROLE: ROLE}))
    assert "AWS rejected the token of service account team/app" in line
    assert "OIDC provider" in line


def test_an_annotation_that_is_not_a_role(pods: Pods, aws: Aws) -> None:
    annotations = {ECR_ROLE: f"arn:aws:iam::{DEV}:user/root"}
    line = pods.kubelet.failure(request(IMAGE, token=pods.token(), annotations=annotations))
    assert f"the annotation {ECR_ROLE} is not the ARN of a role" in line
    assert aws.count() == 0


def test_ecr_public_without_permission(pods: Pods, aws: Aws) -> None:
    aws.deny_ecr("*")
    image = "public.ecr.aws/nginx/nginx"
    pulled = pods.kubelet.pull(image, token=pods.token(), annotations={ECR_ROLE: ROLE})
    assert pulled.auth_key == ""


def test_a_login_of_docker_on_the_node_is_not_the_pods(home: Home, pods: Pods) -> None:
    password = pods.pull(name="other")
    document = b'{"ServerURL":"%s","Username":"AWS","Secret":"%s"}'
    login = document % (registry(STAGE).encode(), password.encode())
    assert home.call("store", stdin=login).code == 0
    assert pods.pull() != password
