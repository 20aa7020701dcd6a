"""The kubelet's plugin: what the kubelet gets for an image, and how often AWS is called."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.support.home import DEV, Home, registry
from tests.support.kubelet import (
    PLUGIN,
    VERSION,
    VERSIONS,
    InProcess,
    Kubelet,
    Pulled,
    checked,
    node,
    request,
)
from tests.support.processes import wait_until
from tests.support.programs import own_mounts, read_only
from tests.support.records import HALF_LIFE, LIFE, let_pass

IMAGE = f"{registry(DEV)}/team/app"
TOKEN = "GetAuthorizationToken"
PUBLIC = "public.ecr.aws/nginx/nginx"


@pytest.fixture
def kubelet(home: Home) -> Kubelet:
    return node(home)


@pytest.fixture
def in_process(home: Home, aws: Aws) -> Kubelet:
    """Its identity is a key: botocore looks for sessions in the home that it was imported in."""
    kubelet = node(home, InProcess)
    key = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"}
    secret = aws.add_key(key["AWS_ACCESS_KEY_ID"], f"arn:aws:iam::{DEV}:user/node")
    kubelet.environment |= {**key, "AWS_SECRET_ACCESS_KEY": secret}
    return kubelet


@pytest.mark.parametrize("version", VERSIONS)
def test_a_miss_and_a_hit(kubelet: Kubelet, aws: Aws, version: str) -> None:
    first = kubelet.pull(IMAGE, version=version)
    assert (first.auth_key, first.username) == (registry(DEV), "AWS")
    assert aws.issued[first.password].account == DEV
    calls = aws.count()
    # Other images of the registry, with a tag, and a kubelet that was started again.
    for image in (IMAGE, f"{registry(DEV)}/other:1", registry(DEV)):
        again = kubelet.pull(image, version=version)
        assert (again.auth_key, again.password) == (first.auth_key, first.password)
    assert aws.count() == calls


def test_an_image_that_is_not_on_ecr(in_process: Kubelet, aws: Aws) -> None:
    for image in ("docker.io/library/nginx", "ghcr.io/org/app", "nginx", "localhost:5000/app"):
        assert in_process.pull(image) == Pulled(600)
    assert aws.count() == 0


def test_ecr_public_without_credentials(home: Home, in_process: Kubelet, aws: Aws) -> None:
    home.aws_config.unlink()
    del in_process.environment["AWS_ACCESS_KEY_ID"]
    assert in_process.pull(PUBLIC) == Pulled(600)


def test_an_alias_with_a_port(home: Home, in_process: Kubelet, aws: Aws) -> None:
    home.write(home.settings, f'[registries."ecr.example.com"]\nalias = "{registry(DEV)}"\n')
    pulled = in_process.pull("ecr.example.com:8443/app")
    assert pulled.auth_key == "ecr.example.com:8443"
    assert aws.issued[pulled.password].account == DEV


# How long the kubelet keeps it.


def test_the_kubelet_keeps_it_while_it_is_fresh(home: Home, kubelet: Kubelet) -> None:
    assert HALF_LIFE - 60 < kubelet.pull(IMAGE).kept <= HALF_LIFE
    let_pass(home, 3600)
    assert HALF_LIFE - 3660 < kubelet.pull(IMAGE).kept <= HALF_LIFE - 3600


def test_an_ageing_one_is_kept_for_a_minute_and_renewed(
    home: Home, kubelet: Kubelet, aws: Aws
) -> None:
    first = kubelet.pull(IMAGE)
    let_pass(home, HALF_LIFE + 60)
    assert kubelet.pull(IMAGE) == Pulled(60, first.auth_key, "AWS", first.password)
    wait_until(lambda: aws.count(TOKEN) == 2)
    wait_until(lambda: kubelet.pull(IMAGE).password != first.password)
    assert kubelet.pull(IMAGE).kept > HALF_LIFE - 60


def test_in_its_last_minutes_if_aws_fails(home: Home, in_process: Kubelet, aws: Aws) -> None:
    first = in_process.pull(IMAGE)
    let_pass(home, LIFE - 40)
    aws.fault("*", "error", status=500, code="InternalFailure")
    last = in_process.pull(IMAGE)
    assert last.password == first.password
    assert 0 < last.kept <= 40


@pytest.mark.parametrize(
    ("lifetime", "kept"), [(14 * 3600, HALF_LIFE), (12 * 3600, HALF_LIFE), (600, 300), (50, 50)]
)
def test_a_clock_that_is_not_awss(in_process: Kubelet, aws: Aws, lifetime: int, kept: int) -> None:
    """By a clock that is late or ahead, a token seems to live longer or shorter."""
    aws.token_lifetime = lifetime
    assert kept - 30 < in_process.pull(IMAGE).kept <= kept


def test_a_clock_that_is_half_a_day_ahead(in_process: Kubelet, aws: Aws) -> None:
    aws.token_lifetime = -60
    assert "check the clock" in in_process.failure(request(IMAGE))


def test_a_clock_that_was_set_back(home: Home, in_process: Kubelet) -> None:
    first = in_process.pull(IMAGE)
    let_pass(home, -86400)
    second = in_process.pull(IMAGE)
    assert second.password != first.password
    assert second.kept <= HALF_LIFE


# Many at once.


def test_ten_images_by_five_pods_each_cold_make_one_call(kubelet: Kubelet, aws: Aws) -> None:
    aws.latency = 0.3
    images = [f"{registry(DEV)}/image-{number % 10}" for number in range(50)]
    pulled = kubelet.pull_at_once(images)
    assert len({one.password for one in pulled}) == 1
    assert aws.count(TOKEN) == 1


# A node's environment.


def test_without_home_it_is_that_of_the_user(home: Home, kubelet: Kubelet, aws: Aws) -> None:
    """As under systemd. Root's home is this one, by a passwd that the plugin alone sees."""
    passwd = home.write(home.path / "passwd", f"root:x:0:0::{home.path}:/bin/sh\n")
    mount = 'mount --bind "$0" /etc/passwd && exec "$@"'
    alone = [*own_mounts(home.path), "sh", "-c", mount, str(passwd)]
    del kubelet.environment["HOME"]
    for _ in range(2):
        done = subprocess.run(
            [*alone, PLUGIN],
            input=request(IMAGE),
            env=kubelet.environment,
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert aws.issued[checked(done.stdout, IMAGE).password].account == DEV
    assert aws.count(TOKEN) == 1
    assert home.cached() == [registry(DEV)]


@pytest.mark.parametrize("cache", ["read-only", "full", "off"])
def test_without_a_cache_it_answers(home: Home, kubelet: Kubelet, aws: Aws, cache: str) -> None:
    folder = home.path / ".cache"
    folder.mkdir()
    full = 'mount -t tmpfs -o size=4k none "$0" && exec "$@"'
    by = {
        "read-only": lambda: read_only(folder),
        "full": lambda: [*own_mounts(folder), "sh", "-c", full, str(folder)],
        "off": lambda: ["env", "AWS_ECR_DISABLE_CACHE=1"],
    }[cache]()
    for _ in range(2):
        done = subprocess.run(
            [*by, PLUGIN], input=request(IMAGE), env=kubelet.environment, capture_output=True
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert aws.issued[checked(done.stdout, IMAGE).password].account == DEV
    assert aws.count(TOKEN) == 2


def test_an_environment_with_nothing_in_it(kubelet: Kubelet) -> None:
    done = kubelet.exec(request("docker.io/library/nginx"), env={})
    assert (done.returncode, done.stderr) == (0, b"")
    assert checked(done.stdout, "docker.io/library/nginx") == Pulled(600)


@pytest.mark.parametrize("store", ["memory", "none"])
def test_with_another_store(home: Home, in_process: Kubelet, aws: Aws, store: str) -> None:
    home.write(home.settings, f'[defaults]\nstore = "{store}"\n')
    assert aws.issued[in_process.pull(IMAGE).password].account == DEV


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Path]:
    """A folder for plugins, as --image-credential-provider-bin-dir has it."""
    folder = tmp_path / "bin dir"
    folder.mkdir()
    link = folder / "ecr-second-audience"
    link.symlink_to(PLUGIN)
    yield link


def test_by_a_link_with_any_name(kubelet: Kubelet, aws: Aws, link: Path) -> None:
    by_link = Kubelet(kubelet.environment, link)
    assert by_link.pull(IMAGE, arguments=["get-credentials"]).password
    del by_link.environment["PATH"]
    assert by_link.pull(IMAGE).password == kubelet.pull(IMAGE).password
    assert aws.count(TOKEN) == 1


# What else may happen.


def test_killed_midway(home: Home, kubelet: Kubelet, aws: Aws) -> None:
    aws.fault(TOKEN, "hang", times=1)
    reader, writer = os.pipe()
    os.write(writer, request(IMAGE))
    os.close(writer)
    process = subprocess.Popen(
        [kubelet.plugin],
        stdin=reader,
        stdout=subprocess.PIPE,
        env=kubelet.environment,
        start_new_session=True,
    )
    os.close(reader)
    wait_until(lambda: aws.count(TOKEN) == 1)
    process.kill()
    assert process.communicate()[0] == b""
    assert kubelet.pull(IMAGE).password == home.get(registry(DEV)).password


def test_a_kubelet_that_has_gone(kubelet: Kubelet) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [kubelet.plugin], input=request(IMAGE), env=kubelet.environment, stdout=writer
    )
    os.close(writer)
    assert done.returncode == 1


def test_an_error_is_one_line_without_a_secret(home: Home, in_process: Kubelet, aws: Aws) -> None:
    secret = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY+/"
    aws.fault(TOKEN, "error", code="Weird", message=f"secretKey={secret}\nand\x1b[31m more")
    line = in_process.failure(request(IMAGE))
    assert registry(DEV) in line
    assert secret not in line
    assert "\x1b" not in line
    assert secret not in home.log.read_text()


def test_a_node_without_credentials(home: Home, in_process: Kubelet) -> None:
    home.aws_config.unlink()
    del in_process.environment["AWS_ACCESS_KEY_ID"]
    line = in_process.failure(request(IMAGE))
    assert line.endswith("give the node a role, or an AWS config that names one")


def test_no_login_is_started(home: Home, kubelet: Kubelet, aws: Aws) -> None:
    aws.end_session()
    assert "ecr-py login dev" in kubelet.failure(request(IMAGE))
    assert aws.count("StartDeviceAuthorization") == aws.count("RegisterClient") == 0


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        (b"", "standard input is empty"),
        (b"[]", "not a JSON object"),
        (b"{}", "standard input has no kind: the kubelet sends a CredentialProviderRequest"),
        (request(IMAGE, f"{VERSION}2"), "apiVersion"),
        (b" " * (1024 * 1024 + 1), "more than 1048576 bytes"),
    ],
)
def test_bad_input_is_one_line(kubelet: Kubelet, stdin: bytes, said: str) -> None:
    assert said in kubelet.failure(stdin)


def test_arguments(kubelet: Kubelet) -> None:
    assert "takes no arguments" in kubelet.failure(request(IMAGE), "get")
    assert kubelet.exec(b"", "--version").stdout.startswith(b"ecr-credential-provider-py ")
    assert b"kubelet check" in kubelet.exec(b"", "--help").stdout


# Docker's helper in its place, which users do try.


@pytest.mark.parametrize("arguments", [[], ["get"], ["get-credentials"]])
def test_dockers_helper_names_the_right_program(home: Home, arguments: list[str]) -> None:
    token = "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0c2VjcmV0c2VjcmV0.c2VjcmV0"
    line = home.call(*arguments, stdin=request(IMAGE, token=token)).line
    assert "ecr-credential-provider-py" in line
    assert "c2Vj" not in line
    assert len(list(home.cache.rglob("*/*"))) == 0


def test_dockers_helper_without_a_request_is_as_before(home: Home) -> None:
    assert home.call().line.startswith("Usage: ")
