"""ecr-py token, and the programs that take what it prints: curl, kubectl, skopeo, sregistry."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.standin.aws import Aws
from tests.standin.image import Image
from tests.standin.registry import RegistryFront
from tests.support.docker_user import IMAGE, TAG
from tests.support.home import DEV, PROD, STAGE, START_URL, registry
from tests.support.kubernetes import ApiServer
from tests.support.programs import need
from tests.support.user import ECR_PY, User

HOST = registry(DEV)
TAGS = f"https://{HOST}/v2/{IMAGE}/tags/list"
FORMATS = ("password", "basic", "header", "json", "docker-config", "netrc", "powershell")


def password(aws: Aws, account: str = DEV) -> str:
    """The one that AWS handed out to an account."""
    [issued] = [secret for secret, to in aws.issued.items() if to.account == account]
    return issued


# Whose, and from where


@pytest.mark.parametrize("name", ["dev", DEV, HOST, f"https://{HOST}/v2/", f"{HOST}/{IMAGE}:1"])
def test_a_registry_by_any_name(user: User, aws: Aws, name: str) -> None:
    done = user.ecr_py("token", name)
    assert done.stdout == password(aws) + "\n"
    assert done.stderr == ""


def test_the_helpers_cache_is_its_own(user: User, aws: Aws) -> None:
    kept = user.home.get(HOST).password
    assert user.ecr_py("token", "dev").stdout == kept + "\n"
    assert aws.count("GetAuthorizationToken") == 1
    assert user.ecr_py("token", "prod").code == 0
    asked = len(aws.calls)
    assert user.home.get(registry(PROD)).password == password(aws, PROD)
    assert len(aws.calls) == asked


def test_an_alias_is_the_host_that_clients_name(user: User) -> None:
    user.home.write(user.home.settings, f'[registries."images.corp.se"]\nalias = "{HOST}"\n')
    document = json.loads(user.ecr_py("token", "images.corp.se", "--format", "json").stdout)
    assert document["registry"] == "images.corp.se"
    netrc = user.ecr_py("token", "images.corp.se", "--format", "netrc").stdout
    assert netrc.startswith("machine images.corp.se\n")


def test_a_profile_on_the_command_line_goes_before_every_rule(user: User, aws: Aws) -> None:
    user.home.write(user.home.settings, '[registries."*"]\nprofile = "stage"\n')
    done = user.ecr_py("token", HOST, "--profile", "prod", AWS_PROFILE="dev")
    assert aws.issued[done.stdout.strip()].account == PROD
    # And it was for this once: docker still gets what the rules say.
    helper = user.home.get(HOST, AWS_PROFILE="dev").password
    assert aws.issued[helper].account not in (PROD, DEV)


def test_another_region(user: User, aws: Aws) -> None:
    done = user.ecr_py("token", "dev", "--region", "eu-central-1", "--format", "json")
    document = json.loads(done.stdout)
    assert document["registry"] == registry(DEV, "eu-central-1")
    assert aws.issued[document["password"]].region == "eu-central-1"


def test_the_only_registry_needs_no_name(user: User, aws: Aws) -> None:
    profile = f"[profile only]\nsso_start_url={START_URL}\nsso_region=eu-west-1\n"
    role = f"sso_account_id={DEV}\nsso_role_name=Administrator\nregion=eu-west-1\n"
    user.home.write(user.home.aws_config, profile + role)
    assert user.ecr_py("token").stdout == password(aws) + "\n"


def test_a_session_that_has_ended_is_exit_3(user: User, aws: Aws) -> None:
    user.end_session()
    done = user.ecr_py("token", "dev", CI="true")
    assert done.code == 3
    assert done.stdout == ""
    assert "run `ecr-py login dev`" in done.stderr


# What goes wrong


def test_public_without_credentials_says_why_in_a_persons_words(user: User) -> None:
    line = user.ecr_py("token", "public.ecr.aws").line
    assert "no AWS credentials here (registry public.ecr.aws)" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "dev, stage, prod"),
        (("prd",), "nearest: prod"),
        (("64297614771",), "twelve digits"),
        (("docker.io",), "not an Amazon ECR registry"),
        (("dev", "--profile", "stage"), "leave out --profile stage"),
        (("dev", "--region", "mars"), "not a region (such as eu-west-1)"),
        ((HOST, "--profile", "nix"), "profile nix"),
        (("dev", "--format", "kubernetes-secret", "--name", "A_b"), "cannot be called"),
        (("public.ecr.aws", "--for", "sregistry"), "no AWS credentials"),
    ],
)
def test_wrong_in_one_line(user: User, aws: Aws, arguments: tuple[str, ...], says: str) -> None:
    assert says in user.invoke("token", *arguments).line
    assert aws.calls == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--format", "env"),
        ("--format", "json", "--for", "apptainer"),
        ("--for", "docker"),
        ("--export",),
        ("--name", "x"),
        ("--format", "bas"),
        ("stage",),
    ],
)
def test_wrong_usage_is_exit_2(user: User, aws: Aws, arguments: tuple[str, ...]) -> None:
    done = user.invoke("token", "dev", *arguments)
    assert done.code == 2
    assert done.stdout == ""
    assert aws.calls == []


def test_a_terminal_is_warned_and_a_pipe_is_not(user: User) -> None:
    with user.at_terminal("ecr-py token dev") as terminal:
        assert terminal.wait() == 0
        assert "this is a secret" in terminal.shown
    with user.at_terminal("ecr-py token dev | wc -l") as terminal:
        assert terminal.wait() == 0
        assert "secret" not in terminal.shown


@pytest.mark.parametrize("format", [*FORMATS, "kubernetes-secret"])
def test_no_format_is_a_docker_login_or_stays_in_the_log(user: User, aws: Aws, format: str) -> None:
    shown = user.ecr_py("token", "dev", "--format", format, ECR_PY_LOG="debug").stdout
    assert "docker login" not in shown
    log = user.home.log.read_text()
    assert password(aws) not in log
    assert base64.b64encode(f"AWS:{password(aws)}".encode()).decode() not in log


# curl


@pytest.mark.usefixtures("images")
def test_curl_reads_the_header_from_a_pipe(docker_user: User, front: RegistryFront) -> None:
    """Where no other process can see it."""
    command = f"{ECR_PY} token dev --format header | curl -fsS -H @- {TAGS}"
    done = docker_user.run(need("bash"), "-c", command)
    assert json.loads(done.stdout) == {"name": IMAGE, "tags": [TAG]}
    assert front.requests[-1].principal is not None


@pytest.mark.usefixtures("images")
def test_curl_with_the_token_of_seeds_and_blogs(docker_user: User) -> None:
    token = f'"Authorization: Basic $({ECR_PY} token dev --format basic)"'
    done = docker_user.run(need("bash"), "-c", f"curl -fsS -H {token} {TAGS}")
    assert json.loads(done.stdout)["tags"] == [TAG]


@pytest.mark.usefixtures("images")
def test_curl_reads_the_netrc(docker_user: User) -> None:
    command = f"curl -fsS --netrc-file <({ECR_PY} token dev --format netrc) {TAGS}"
    done = docker_user.run(need("bash"), "-c", command)
    assert json.loads(done.stdout)["tags"] == [TAG]


# skopeo, as one of many that read docker's format


@pytest.mark.usefixtures("images")
def test_skopeo_reads_the_auths(docker_user: User) -> None:
    auth = docker_user.home.path / "auth.json"
    auth.write_text(
        docker_user.run(str(ECR_PY), "token", "dev", "--format", "docker-config").stdout
    )
    docker_user.docker_config.unlink()
    image = f"docker://{HOST}/{IMAGE}:{TAG}"
    done = docker_user.run(need("skopeo"), "inspect", "--authfile", str(auth), image)
    assert json.loads(done.stdout)["Name"] == f"{HOST}/{IMAGE}"


# Kubernetes


def kubectl(user: User, *arguments: str, stdin: str = "") -> dict[str, Any]:
    """What kubectl would create, as JSON."""
    done = subprocess.run(
        [need("kubectl"), "create", *arguments, "--dry-run=client", "-o", "json"],
        input=stdin,
        env=user.home.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def taken_by_kubectl(user: User, secret: str) -> dict[str, Any]:
    """Validation by the cluster's schema is left to a cluster."""
    with ApiServer() as server:
        options = ("--server", server.url, "--validate=false", "-f", "-")
        return kubectl(user, *options, stdin=secret)


@pytest.mark.parametrize("name", ["ecr", "1e3", "on"])
def test_kubectl_takes_the_secret(user: User, name: str) -> None:
    options = ("--format", "kubernetes-secret", "--name", name, "--namespace", "build")
    secret = user.ecr_py("token", "dev", *options).stdout
    taken = taken_by_kubectl(user, secret)
    assert taken["metadata"]["name"] == name
    assert taken["metadata"]["namespace"] == "build"


def test_the_secret_is_what_kubectl_itself_would_make(user: User, aws: Aws) -> None:
    secret = user.ecr_py("token", "dev", "--format", "kubernetes-secret").stdout
    taken = taken_by_kubectl(user, secret)
    login = (f"--docker-server={HOST}", "--docker-username=AWS")
    theirs = kubectl(
        user,
        *("secret", "docker-registry", taken["metadata"]["name"]),
        *(*login, f"--docker-password={password(aws)}"),
    )
    assert taken["type"] == theirs["type"]
    assert decoded(taken) == decoded(theirs)


def decoded(secret: dict[str, Any]) -> object:
    return json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))


# Singularity, Apptainer, sregistry


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_evaluates_the_variables(user: User, aws: Aws, shell: str) -> None:
    ours = f"{ECR_PY} token dev --for apptainer --export"
    take = f"{ours} | source" if shell == "fish" else f'eval "$({ours})"'
    done = user.try_run(need(shell), "-c", f"{take}; exec env")
    assert f"APPTAINER_DOCKER_PASSWORD={password(aws)}\n" in done.stdout
    assert "APPTAINER_DOCKER_USERNAME=AWS\n" in done.stdout


# sregistry 0.2.39 forgets the registry's address when it has made its client, and its `pull` asks
# https://None/. To make an image of the layers it would need Singularity, which Debian has not.
DOWNLOAD = f"""
from sregistry.main import get_client
client = get_client(quiet=True)
client._set_base()
client._download_layers("{IMAGE}", "{TAG}")
"""


@pytest.mark.usefixtures("images")
def test_sregistry_downloads_the_layers(docker_user: User, aws: Aws, front: RegistryFront) -> None:
    """It asks AWS itself, as the profile that was chosen."""
    python = Path(need("sregistry")).resolve().with_name("python")
    ecr = "AmazonEC2ContainerRegistry_V20150921"
    details = {"imageDigest": "sha256:1", "imageTags": [TAG]}
    aws.fault(f"{ecr}.DescribeImages", "answer", document={"imageDetails": [details]})
    manifest = {"imageManifest": Image().manifest.decode()}
    aws.fault(f"{ecr}.BatchGetImage", "answer", document={"images": [manifest]})
    cache = docker_user.home.path / "layers"
    cache.mkdir()
    variables = f'eval "$({ECR_PY} token stage --for sregistry --export)"'
    done = docker_user.run(
        *(need("bash"), "-c", f"{variables}; exec {python} -c '{DOWNLOAD}'"),
        SINGULARITY_CACHEDIR=str(cache),
        SREGISTRY_DISABLE="true",
    )
    [layer] = cache.rglob("sha256:*.tar.gz")
    assert layer.read_bytes() == Image().layer, done.said
    [blob] = [request for request in front.requests if "/blobs/" in request.path]
    assert (blob.host, blob.status) == (registry(STAGE), 200)
