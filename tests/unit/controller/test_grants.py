from pathlib import Path

import pytest

from docker_credential_ecr_py.controller.grants import (
    Grant,
    Requirement,
    check_grants,
    load_grants,
    parse_grants,
    registries_of,
)
from docker_credential_ecr_py.errors import GrantsError
from docker_credential_ecr_py.registry import Registry
from tests.support.home import DEV, PROD, STAGE, registry

FULL = f"""
secret: pull
grants:
  - name: shop
    registries: [{registry(DEV)}, {STAGE}, "*.dkr.ecr.us-east-1.amazonaws.com"]
    regions: [eu-west-1, eu-north-1]
    namespaces:
      - shop
      - shop-*
      - matchLabels: {{team: shop, ecr: yes}}
        matchExpressions:
          - {{key: env, operator: NotIn, values: [test]}}
    profile: puller
    serviceAccounts: [default]
  - name: builders
    secret: push
    registries: ["{PROD}"]
    namespaces:
      - matchExpressions: [{{key: builds, operator: Exists}}]
"""


def mistakes(text: str) -> list[str]:
    try:
        _, found = parse_grants(text, "grants.yaml")
    except GrantsError as error:
        found = [error]
    return [str(error).removeprefix("ecr-py: grants.yaml") for error in found]


def one_grant(lines: str) -> str:
    return f"grants:\n- name: a\n  registries: [{registry(DEV)}]\n  namespaces: [a]\n{lines}"


def test_all_of_it() -> None:
    grants, found = parse_grants(FULL, "grants.yaml")
    assert found == []
    shop, builders = grants.grants
    assert shop.registries == (registry(DEV), STAGE, "*.dkr.ecr.us-east-1.amazonaws.com")
    assert (shop.secret, shop.profile, shop.line) == ("pull", "puller", 4)
    assert (shop.namespaces, shop.service_accounts) == (("shop", "shop-*"), ("default",))
    assert shop.selectors == (
        (
            Requirement("team", "In", ("shop",)),
            Requirement("ecr", "In", ("yes",)),
            Requirement("env", "NotIn", ("test",)),
        ),
    )
    assert builders.registries == (PROD,)
    assert grants.secret_names == ("pull", "push")
    assert grants.patch_service_accounts


@pytest.mark.parametrize(
    ("name", "labels", "fits"),
    [
        ("shop", {}, True),
        ("shop-blue", {}, True),
        ("workshop", {}, False),
        ("any", {"team": "shop", "ecr": "yes"}, True),
        ("any", {"team": "shop", "ecr": "yes", "env": "test"}, False),
        ("any", {"team": "shop"}, False),
    ],
)
def test_which_namespaces_get_it(name: str, labels: dict[str, str], fits: bool) -> None:
    grants, _ = parse_grants(FULL, "grants.yaml")
    assert grants.grants[0].fits(name, labels) == fits


@pytest.mark.parametrize(
    ("operator", "values", "fits"),
    [
        ("In", ("a", "b"), [True, False, False]),
        ("NotIn", ("a",), [False, True, True]),
        ("Exists", (), [True, True, False]),
        ("DoesNotExist", (), [False, False, True]),
    ],
)
def test_operators_are_those_of_kubernetes(
    operator: str, values: tuple[str, ...], fits: list[bool]
) -> None:
    requirement = Requirement("x", operator, values)
    assert [requirement.fits(labels) for labels in ({"x": "a"}, {"x": "c"}, {})] == fits


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ", line 1: grants: is missing: the file is empty"),
        ("[]", ", line 1: the file: must have keys under it"),
        ("grants: {}", ", line 1: grants: must be a list: each item on a line that begins with -"),
        ("a: 1\ngrants: []", ", line 1: a: is unknown; allowed: secret, grants"),
        ("grants: [a", ", line 1: not YAML: expected ',' or ']', but got '<stream end>'"),
        ("grants:\n\tx", ", line 2: not YAML: found character '\\t' that cannot start any token"),
        ("secret: A_b\ngrants: []", ", line 1: secret: must be the name of a secret, not 'A_b'"),
        ("grants:\n- name: a", ", line 2: grants[0].registries: is missing"),
        (
            one_grant("  namespace: [b]\n"),
            ", line 5: grants[0].namespace: is unknown; nearest: namespaces, name",
        ),
        (one_grant("  name: b\n"), ", line 5: grants[0].name: is given twice"),
        (
            one_grant("  regions: [eu]\n"),
            ", line 5: grants[0].regions[0]: 'eu' is not a region (such as eu-west-1)",
        ),
        (
            one_grant("  serviceAccounts: default\n"),
            ", line 5: grants[0].serviceAccounts: must be a list: each item on a line that "
            "begins with -",
        ),
        (one_grant("  profile:\n"), ", line 5: grants[0].profile: must be a text"),
        (
            "grants:\n- name: a\n  namespaces: [a]\n  registries: [64297614771]\n",
            ", line 4: grants[0].registries[0]: 64297614771 is not an account: it has twelve "
            "digits",
        ),
        (
            "grants:\n- name: a\n  namespaces: [a]\n  registries: [docker.io]\n",
            ", line 4: grants[0].registries[0]: docker.io is not an Amazon ECR registry",
        ),
        (
            "grants:\n- name: a\n  namespaces: [a]\n  registries:\n  - '*.io'\n",
            ", line 5: grants[0].registries[0]: '*.io' matches no registry of ECR's",
        ),
        (
            f"grants:\n- name: a\n  namespaces: [a]\n  registries: [{registry(DEV)}/team/app]\n",
            f", line 4: grants[0].registries[0]: '{registry(DEV)}/team/app' is a repository; a "
            "token is for a registry",
        ),
        (
            "grants:\n- name: a\n  namespaces: [a]\n  registries: []\n",
            ", line 4: grants[0].registries: names no registry",
        ),
        (
            f"grants:\n- name: a\n  registries: ['{DEV}']\n  namespaces:\n  - matchLabels: {{}}\n",
            ", line 5: grants[0].namespaces[0]: selects by no label; all namespaces are written "
            '"*"',
        ),
        (
            f"grants:\n- name: a\n  registries: ['{DEV}']\n  namespaces:\n"
            "  - matchExpressions: [{key: a, operator: In}]\n",
            ", line 5: grants[0].namespaces[0].matchExpressions[0].values: In needs values",
        ),
        (
            f"grants:\n- name: a\n  registries: ['{DEV}']\n  namespaces:\n"
            "  - matchExpressions: [{key: a, operator: Has}]\n",
            ", line 5: grants[0].namespaces[0].matchExpressions[0].operator: 'Has' is not one of "
            "In, NotIn, Exists, DoesNotExist",
        ),
        (
            f"grants:\n- name: a\n  registries: ['{DEV}']\n  namespaces: [A B]\n",
            ", line 4: grants[0].namespaces[0]: must be a name of Kubernetes, or a glob of them, "
            "not 'A B'",
        ),
    ],
)
def test_a_mistake_is_told_by_line_and_key(text: str, said: str) -> None:
    assert mistakes(text)[0] == said


def test_every_mistake_is_told_and_the_other_grants_are_read() -> None:
    text = FULL.replace("shop-*", "SHOP").replace("eu-north-1", "north")
    grants, found = parse_grants(text, "grants.yaml")
    keys = [str(error).split(": ")[2] for error in found]
    assert keys == ["grants[0].regions[1]", "grants[0].namespaces[1]"]
    assert [grant.name for grant in grants.grants] == ["builders"]


def test_a_mistake_hides_no_other_in_its_grant() -> None:
    text = "grants:\n- secret: A_B\n  registries: x\n  regions: [eu]\n  serviceAccounts: all\n"
    keys = [mistake.split(": ")[1] for mistake in mistakes(text)]
    assert keys == [
        "grants[0].name",
        "grants[0].namespaces",
        "grants[0].secret",
        "grants[0].registries",
        "grants[0].regions[0]",
        "grants[0].serviceAccounts",
    ]


def test_two_grants_of_one_name() -> None:
    text = FULL.replace("name: builders", "name: shop")
    assert mistakes(text) == [", line 15: grants[1].name: is that of line 4 too"]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000,
        "a: &a [*a]",
        "grants: &g\n- *g",
        "x: !!python/object/apply:os.system [ls]",
        "\x00",
        "grants: []\n---\ngrants: []",
        "? [a]\n: b",
        "a" * (1024 * 1024 + 1),
    ],
)
def test_hostile_yaml_is_one_line(text: str) -> None:
    found = mistakes(text)
    assert found
    assert not any("\n" in line for line in found)


def test_an_alias_of_yaml_is_followed() -> None:
    text = (
        f"grants:\n- name: a\n  registries: &r ['{DEV}']\n  namespaces: [a]\n"
        "- name: b\n  registries: *r\n  namespaces: [b]\n"
    )
    grants, found = parse_grants(text, "grants.yaml")
    assert found == []
    assert [grant.registries for grant in grants.grants] == [(DEV,), (DEV,)]


def test_aliases_without_end() -> None:
    """A small file, whose registries are 4,000 for each of 100 grants."""
    for account in ("x", DEV):
        many = ", ".join([f"'{account}'"] * 4_000)
        first = f"grants:\n- {{name: a, registries: &r [{many}], namespaces: [a]}}\n"
        more = (f"- {{name: b{n}, registries: *r, namespaces: [a]}}\n" for n in range(100))
        grants, found = parse_grants(first + "".join(more), "grants.yaml")
        assert len(found) == (100 if account == "x" else 1)
        assert len(grants.grants) < 30
    assert "grants[24].registries: is one item too many" in str(found[0])


@pytest.mark.parametrize("name", ["n" * 201, '"a\\nb"', '"\\x1b[2J"'])
def test_a_name_that_is_no_line(name: str) -> None:
    text = f"grants:\n- {{name: {name}, registries: ['{DEV}'], namespaces: [a]}}\n"
    (mistake,) = parse_grants(text, "grants.yaml")[1]
    assert "line 2: grants[0].name: must be a line of 200 characters at most" in str(mistake)


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "grants.yaml"
    with pytest.raises(GrantsError, match="does not exist"):
        load_grants(file)
    file.write_bytes(b"\xff")
    with pytest.raises(GrantsError, match="is not UTF-8 text"):
        load_grants(file)
    file.write_text(FULL.replace("eu-north-1", "north"))
    assert len(check_grants(file)[1]) == 1
    with pytest.raises(GrantsError, match=r"line 6: grants\[0\]\.regions\[1\]"):
        load_grants(file)


def test_registries_of_a_grant() -> None:
    known = [Registry.of_host(registry(account)) for account in (DEV, STAGE)]

    def hosts(text: str, *regions: str) -> list[str]:
        (found,) = registries_of(Grant("a", (text,), regions=regions), known).values()
        return [one.host for one in found]

    assert hosts(registry(PROD)) == [registry(PROD)]
    assert hosts("public.ecr.aws") == ["public.ecr.aws"]
    assert hosts(STAGE) == [registry(STAGE)]
    assert hosts(PROD) == []
    assert hosts(STAGE, "us-east-1", "cn-north-1") == [
        registry(STAGE, "us-east-1"),
        f"{STAGE}.dkr.ecr.cn-north-1.amazonaws.com.cn",
    ]
    assert hosts("*.eu-west-1.amazonaws.com") == [registry(DEV), registry(STAGE)]
