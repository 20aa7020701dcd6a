"""What `ecr-py token` prints, from values; what is for a shell is read back by that shell."""

from __future__ import annotations

import base64
import json
import netrc
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docker_credential_ecr_py.cli import token_formats
from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.errors import BadInput
from docker_credential_ecr_py.registry import Registry
from tests.support.programs import need

DEV = Registry.of_account("642976147714", "eu-west-1")
PUBLIC = Registry.parse("public.ecr.aws")
EXPIRES = 1_800_000_000
# None of these is in a password of ECR's today; nothing says that none ever will be.
NASTY = (
    "plain+/=",
    "it's",
    "'",
    "''",
    '"double"',
    "back\\slash",
    "\\",
    "\\\\'\\",
    "$HOME `id` $(id) !! %1",
    "~ =ls {a,b} * ? [a-z] # ; & | < >",
    "\u2019s",
    "größe",
    "-n",
    " space ",
)


def credential(password: str = "secret") -> Credential:
    return Credential("AWS", password, 0, 0, 0, EXPIRES)


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("password", "secret"),
        ("basic", "QVdTOnNlY3JldA=="),
        ("header", "Authorization: Basic QVdTOnNlY3JldA=="),
        ("netrc", f"machine {DEV.host}\nlogin AWS\npassword secret"),
    ],
)
def test_as_others_write_it(format: str, text: str) -> None:
    assert token_formats.SIMPLE[format](credential(), DEV) == text


def test_json_says_when_it_ends_in_utc() -> None:
    assert json.loads(token_formats.as_json(credential(), DEV)) == {
        "username": "AWS",
        "password": "secret",
        "registry": DEV.host,
        "expiresAt": "2027-01-15T08:00:00Z",
    }


def test_docker_config_holds_user_and_password() -> None:
    document = json.loads(token_formats.docker_config(credential("a:b"), DEV))
    assert base64.b64decode(document["auths"][DEV.host]["auth"]) == b"AWS:a:b"


@pytest.mark.parametrize("password", NASTY)
def test_netrc_is_read_back(tmp_path: Path, password: str) -> None:
    file = tmp_path / "netrc"
    file.write_text(token_formats.netrc(credential(password), DEV) + "\n", encoding="utf-8")
    assert netrc.netrc(str(file)).hosts[DEV.host] == ("AWS", "", password)


@pytest.mark.parametrize(
    ("password", "quoted"),
    [
        ("a'b", "'a''b'"),
        ("a\u2019b\u201bc", "'a\u2019\u2019b\u201b\u201bc'"),
        ('$a"`b', "'$a\"`b'"),
    ],
)
def test_powershell_doubles_what_it_takes_for_a_quote(password: str, quoted: str) -> None:
    assert f"; Password = {quoted}; " in token_formats.powershell(credential(password), DEV)


# For shells

OF_POSIX = pytest.mark.posix_only("these shells are not those of Windows")


@OF_POSIX
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "dash"])
def test_what_a_shell_evaluates_is_what_was_meant(shell: str) -> None:
    variables = {f"V{number}": value for number, value in enumerate(NASTY)}
    script = token_formats.lines(variables, export=True) + "\nexec env -0\n"
    assert evaluated(shell, script, variables) == variables


@OF_POSIX
@given(st.lists(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])), max_size=20))
@settings(max_examples=25)
@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_so_it_is_whatever_the_value(shell: str, values: list[str]) -> None:
    variables = {f"V{number}": value for number, value in enumerate(values)}
    script = token_formats.lines(variables, export=True) + "\nexec env -0\n"
    assert evaluated(shell, script, variables) == variables


def evaluated(shell: str, script: str, variables: dict[str, str]) -> dict[str, str]:
    """The variables as the shell's children see them."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [need(shell), "-c", script],
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": home},
            capture_output=True,
            check=True,
        )
    seen = dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)
    return {name: seen[name] for name in variables}


@pytest.mark.parametrize("tool", ["singularity", "apptainer"])
def test_the_variables_of_singularity_and_apptainer(tool: str) -> None:
    variables = token_formats.environment(credential(), DEV, tool=tool, profile="dev")
    prefix = f"{tool.upper()}_DOCKER"
    assert variables == {f"{prefix}_USERNAME": "AWS", f"{prefix}_PASSWORD": "secret"}
    text = f"{prefix}_USERNAME=AWS\n{prefix}_PASSWORD=secret"
    assert token_formats.lines(variables, export=False) == text


def test_the_variables_of_sregistry() -> None:
    variables = token_formats.environment(credential(), DEV, tool="sregistry", profile="")
    assert "AWS_PROFILE" not in variables
    assert variables["SREGISTRY_AWS_ID"] == DEV.account
    with pytest.raises(BadInput, match="Public"):
        token_formats.environment(credential(), PUBLIC, tool="sregistry", profile="")


# For Kubernetes


@pytest.mark.parametrize("name", ["ecr", "a", "1e3", "on", "ecr.example.com", "a" * 63])
def test_names_that_kubernetes_takes(name: str) -> None:
    token_formats.check_kubernetes_names(name, "")
    assert f'  name: "{name}"\n' in token_formats.kubernetes_secret(
        credential(), DEV, name=name, namespace=""
    )


@pytest.mark.parametrize(
    "name", ["A", "a_b", "-a", "a-", ".a", "a..b", "a" * 254, 'a"\nb: c', "a\n"]
)
def test_names_that_it_does_not(name: str) -> None:
    with pytest.raises(BadInput, match="cannot be called"):
        token_formats.check_kubernetes_names(name, "")
    with pytest.raises(BadInput, match="cannot be called"):
        token_formats.check_kubernetes_names("", name)


def test_a_namespace_is_one_label() -> None:
    token_formats.check_kubernetes_names("a.b", "ab")
    with pytest.raises(BadInput):
        token_formats.check_kubernetes_names("", "a.b")


def test_a_secret_without_a_name_is_called_for_its_registry() -> None:
    def named(registry: Registry) -> str:
        return token_formats.kubernetes_secret(credential(), registry, name="", namespace="")

    assert 'name: "ecr-642976147714-eu-west-1"\n' in named(DEV)
    assert 'name: "ecr-public-us-east-1"\n' in named(PUBLIC)
