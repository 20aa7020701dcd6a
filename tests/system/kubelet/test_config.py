"""ecr-py kubelet config: what it prints is what the kubelet and the API server accept."""

from typing import Any

import pytest
import yaml

from docker_credential_ecr_py.kubelet.provider_config import ECR_PATTERNS, Provider
from docker_credential_ecr_py.registry import SUFFIXES
from tests.support.home import DEV, registry
from tests.support.kubelet import VERSIONS
from tests.support.user import User

# k8s.io/kubelet/config/v1, CredentialProvider: the kubelet refuses other fields.
PROVIDER = {"name", "matchImages", "defaultCacheDuration", "apiVersion", "args", "env"}
TOKENS = {"serviceAccountTokenAudience", "cacheType", "requireServiceAccount"}
KEYS = ("requiredServiceAccountAnnotationKeys", "optionalServiceAccountAnnotationKeys")


def printed(user: User, *words: str) -> str:
    done = user.invoke_ok("kubelet", "config", *words)
    assert done.stderr == ""
    return done.stdout


def provider(user: User, *words: str) -> dict[str, Any]:
    """The one provider of a configuration that the kubelet accepts (config.go, validate…)."""
    document = yaml.safe_load(printed(user, *words))
    assert document.keys() == {"apiVersion", "kind", "providers"}
    assert document["apiVersion"] == "kubelet.config.k8s.io/v1"
    assert document["kind"] == "CredentialProviderConfig"
    (found,) = document["providers"]
    assert found.keys() - {"tokenAttributes"} <= PROVIDER
    assert found["apiVersion"] in VERSIONS
    assert found["defaultCacheDuration"] == "1m0s"
    tokens = found.get("tokenAttributes")
    if tokens:
        assert found["apiVersion"] == VERSIONS[0]
        assert tokens.keys() - set(KEYS) == TOKENS
        assert tokens["cacheType"] in ("ServiceAccount", "Token")
        assert tokens["requireServiceAccount"] is True or KEYS[0] not in tokens
    return dict(found)


def test_it_is_for_every_registry_of_ecrs(user: User) -> None:
    found = provider(user)
    assert found["name"] == "ecr-credential-provider-py"
    assert "env" not in found
    fits = Provider(patterns=tuple(found["matchImages"])).pattern_for
    for suffix in SUFFIXES:
        between = "dkr-ecr" if suffix.startswith("on.") else "dkr.ecr"
        for fips in ("", "-fips"):
            assert fits(f"{DEV}.{between}{fips}.eu-west-1.{suffix}/team/app")
    assert fits("public.ecr.aws/nginx/nginx")
    assert not fits("docker.io/library/nginx")
    assert not fits(f"{registry(DEV)}.example.com/app")


def test_aliases_are_in_it(user: User) -> None:
    user.home.write(user.home.settings, f'[registries."ecr.corp"]\nalias = "{registry(DEV)}"\n')
    assert provider(user)["matchImages"] == [*ECR_PATTERNS, "ecr.corp"]


def test_variables(user: User) -> None:
    found = provider(user, "--env", "AWS_CONFIG_FILE=/etc/ecr-py/aws", "--env", 'A="b": #')
    assert found["env"] == [
        {"name": "AWS_CONFIG_FILE", "value": "/etc/ecr-py/aws"},
        {"name": "A", "value": '"b": #'},
    ]


def test_service_accounts(user: User) -> None:
    assert provider(user, "--service-accounts")["tokenAttributes"] == {
        "serviceAccountTokenAudience": "sts.amazonaws.com",
        "cacheType": "ServiceAccount",
        "requireServiceAccount": False,
        "optionalServiceAccountAnnotationKeys": ["eks.amazonaws.com/ecr-role-arn"],
    }


def test_another_audience_under_another_name(user: User) -> None:
    irsa = "eks.amazonaws.com/role-arn"
    words = ("--name", "ecr-second", "--audience", "other", "--annotation", irsa)
    found = provider(user, *words)
    assert found["name"] == "ecr-second"
    assert found["tokenAttributes"]["serviceAccountTokenAudience"] == "other"
    assert found["tokenAttributes"]["optionalServiceAccountAnnotationKeys"] == [irsa]


def test_an_audience_that_nothing_is_for(user: User) -> None:
    done = user.invoke("kubelet", "config", "--audience", "other")
    assert (done.code, done.stdout) == (2, "")
    assert "--audience needs --service-accounts, --annotation or --rbac" in done.stderr


def test_a_name_that_yaml_takes_for_something_else(user: User) -> None:
    (found,) = yaml.safe_load(printed(user, "--name", "1.5", "--env", "true=1"))["providers"]
    assert (found["name"], found["env"]) == ("1.5", [{"name": "true", "value": "1"}])


def test_rbac(user: User) -> None:
    role, binding = yaml.safe_load_all(printed(user, "--rbac", "--audience", "other"))
    for document in (role, binding):
        assert document["apiVersion"] == "rbac.authorization.k8s.io/v1"
    assert (role["kind"], binding["kind"]) == ("ClusterRole", "ClusterRoleBinding")
    # The audience is the resource (noderestriction, validateNodeServiceAccountAudience).
    (rule,) = role["rules"]
    assert rule == {
        "apiGroups": [""],
        "resources": ["other"],
        "verbs": ["request-serviceaccounts-token-audience"],
    }
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": role["metadata"]["name"],
    }
    (subject,) = binding["subjects"]
    assert (subject["kind"], subject["name"]) == ("Group", "system:nodes")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--env", "NOVALUE"), "--env takes NAME=VALUE"),
        (("--env", "=x"), "--env takes NAME=VALUE"),
        (("--annotation", "team/role"), "not from 'team/role'"),
        (("--env", "A B=x"), "--env: 'A B' is not the name of a variable"),
        (("--env", "A=x\ny"), "--env: the value of A is not a line of text"),
        (("--env", "A=\udcff"), "--env: the value of A is not a line of text"),
        (("--name", "a/b"), "--name: 'a/b' is not the name of a provider's program"),
        (("--name", "*a"), "--name: '*a' is not"),
        (("--name", "a\nb"), "--name: 'a\\nb' is not"),
        (("--name", ".."), "--name: '..' is not"),
    ],
)
def test_mistakes(user: User, words: tuple[str, ...], said: str) -> None:
    assert said in user.invoke("kubelet", "config", *words).line
