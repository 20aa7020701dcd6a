"""docker, podman and skopeo read what configure wrote, and --undo leaves no trace of it."""

from __future__ import annotations

import json
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standin.aws import Aws
from tests.standin.engine import Engine
from tests.support.docker_user import IMAGE, POLICY, TAG, image, secrets_in
from tests.support.home import DEV, PROD, REGISTRIES, STAGE, registry
from tests.support.private_registry import Guarded
from tests.support.programs import need
from tests.support.user import User

UNKNOWN = {"zz": [1.50, None], "HttpHeaders": {"X-Meta": "é"}, "auths": {"ghcr.io": {}}}
LAYOUTS = {
    "absent": None,
    "empty": b"",
    "no keys": b"{}",
    "tabs": json.dumps(UNKNOWN, indent="\t").encode(),
    "two spaces": json.dumps(UNKNOWN, indent=2).encode() + b"\n",
    "four spaces": json.dumps(UNKNOWN, indent=4, ensure_ascii=False).encode() + b"\n",
    "CRLF": json.dumps(UNKNOWN, indent=4).replace("\n", "\r\n").encode(),
    "byte-order mark": b"\xef\xbb\xbf" + json.dumps(UNKNOWN, indent=2).encode(),
    "minified": json.dumps(UNKNOWN, separators=(",", ":")).encode(),
    "entries": b'{"credHelpers": { "gcr.io": "gcloud" }, "auths": { }  }\n\n',
}


@pytest.fixture
def docker_user(docker_user: User) -> User:
    docker_user.docker_config.unlink()
    docker_user.home.write(docker_user.home.path / ".config" / "containers" / "policy.json", POLICY)
    return docker_user


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_docker_pulls_and_then_its_config_is_as_it_was(
    docker_user: User, docker: str, aws: Aws, engine: Engine, layout: str
) -> None:
    before = LAYOUTS[layout]
    if before is not None:
        docker_user.docker_config.write_bytes(before)
    docker_user.run("ecr-py", "configure")
    for account in (DEV, STAGE):
        docker_user.run(docker, "pull", image(account))
        assert aws.issued[engine.asked[-1].auth["password"]].account == account
    docker_user.run("ecr-py", "configure", "--undo")
    assert docker_user.docker_config.exists() == (before is not None)
    assert before is None or docker_user.docker_config.read_bytes() == before
    assert "nothing to undo" in docker_user.run("ecr-py", "configure", "--undo").said
    docker_user.run(docker, "pull", image(PROD), fails=True)


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_a_link_stays_one_and_the_mode_too(docker_user: User, docker: str, mode: int) -> None:
    """As people have it who keep their dotfiles elsewhere."""
    real = docker_user.home.write(
        docker_user.home.path / "dotfiles" / "docker.json", '{"auths": {}}'
    )
    real.chmod(mode)
    docker_user.docker_config.symlink_to(Path("..") / "dotfiles" / "docker.json")
    docker_user.run("ecr-py", "configure")
    docker_user.run(docker, "pull", image(DEV))
    for _ in range(2):
        assert docker_user.docker_config.is_symlink()
        assert stat.S_IMODE(real.stat().st_mode) == mode
        docker_user.run("ecr-py", "configure", "--undo")
    assert real.read_text() == '{"auths": {}}'


OTHER_HELPER = """\
#!/bin/sh
case $1 in
get) printf '{"ServerURL":"%s","Username":"octocat","Secret":"meow"}' "$(cat)" ;;
esac
"""


@pytest.mark.usefixtures("images")
def test_as_creds_store_what_docker_had_goes_on_to_work(
    docker_user: User, docker: str, aws: Aws, engine: Engine
) -> None:
    folder = docker_user.home.path / "bin"
    docker_user.home.write(folder / "docker-credential-other", OTHER_HELPER).chmod(0o755)
    docker_user.environment["PATH"] = f"{folder}:{docker_user.environment['PATH']}"
    before = b'{\n\t"credsStore": "other",\n\t"auths": {"ghcr.io": {}}\n}'
    docker_user.docker_config.write_bytes(before)

    docker_user.run("ecr-py", "configure", "--creds-store")
    docker_user.run(docker, "pull", image(STAGE))
    assert aws.issued[engine.asked[-1].auth["password"]].account == STAGE
    docker_user.run(docker, "pull", "ghcr.io/team/app:1", fails=True)
    assert engine.asked[-1].auth["password"] == "meow"
    assert json.loads(docker_user.docker_config.read_bytes())["credsStore"] == "ecr-py"

    docker_user.run("ecr-py", "configure", "--undo")
    assert docker_user.docker_config.read_bytes() == before
    assert not docker_user.home.settings.exists()
    docker_user.run(docker, "pull", "ghcr.io/team/app:1", fails=True)
    assert engine.asked[-1].auth["password"] == "meow"


@pytest.mark.parametrize("how", ["--cred-helpers", "--creds-store"])
def test_the_store_that_docker_uses_unsaid_is_kept(
    docker_user: User, docker: str, how: str
) -> None:
    """Docker takes `pass` by itself, but not once its config has a helper: then it writes clear."""
    folder, kept = docker_user.home.path / "bin", docker_user.home.path / "kept"
    keeps = f'#!/bin/sh\n[ "$1" = store ] && cat >{kept} || exit 1\n'
    for program in ("pass", "docker-credential-pass"):
        docker_user.home.write(folder / program, keeps).chmod(0o755)
    docker_user.environment["PATH"] = f"{folder}:{docker_user.environment['PATH']}"
    docker_user.environment["DOCKER_HOST"] = (
        f"unix://{docker_user.home.path}/no-engine"  # docker goes by itself
    )
    docker_user.docker_config.write_text("{}")

    docker_user.run("ecr-py", "configure", how)
    with Guarded() as guarded:
        guarded.users["octocat"] = "meow-meow"
        login = ("login", guarded.name, "--username", "octocat", "--password-stdin")
        docker_user.run(docker, *login, stdin="meow-meow")
    assert json.loads(kept.read_text())["Secret"] == "meow-meow"
    assert secrets_in(docker_user.docker_config) == []

    docker_user.run("ecr-py", "configure", "--undo")
    after = json.loads(docker_user.docker_config.read_text())
    assert after.get("credHelpers", {}) == {}
    assert after["credsStore"] == "pass"  # docker has a login there now


def test_a_fallback_goes_before_the_store_that_docker_uses_unsaid(docker_user: User) -> None:
    folder = docker_user.home.path / "bin"
    for program in ("pass", "docker-credential-pass"):
        docker_user.home.write(folder / program, "#!/bin/sh\n").chmod(0o755)
    docker_user.environment["PATH"] = f"{folder}:{docker_user.environment['PATH']}"
    docker_user.docker_config.write_text("{}")
    docker_user.run("ecr-py", "config", "set", "fallback", "keyring")
    docker_user.run("ecr-py", "configure", "--creds-store")
    assert "keyring" in docker_user.home.settings.read_text()
    assert json.loads(docker_user.docker_config.read_text()) == {"credsStore": "ecr-py"}


def test_what_is_said_of_passwords_in_clear_is_so(
    docker_user: User, docker: str, engine: Engine
) -> None:
    """Docker does not read them where it has a credsStore."""
    config = '{"auths": {"ghcr.io": {"auth": "bWU6bWVvdw=="}}}'
    docker_user.docker_config.write_text(config)
    docker_user.run(docker, "pull", "ghcr.io/team/app:1", fails=True)
    assert engine.asked[-1].auth["password"] == "meow"

    said = docker_user.run("ecr-py", "configure", "--creds-store", fails=True).said
    assert "no longer reads the passwords" in said
    assert "ghcr.io" in said
    assert docker_user.docker_config.read_text() == config

    docker_user.run("ecr-py", "configure", "--creds-store", "--yes")
    docker_user.run(docker, "pull", "ghcr.io/team/app:1", fails=True)
    assert engine.asked[-1].auth == {}
    docker_user.run("ecr-py", "configure", "--undo")
    docker_user.run("ecr-py", "configure")
    docker_user.run(docker, "pull", "ghcr.io/team/app:1", fails=True)
    assert engine.asked[-1].auth["password"] == "meow"


@pytest.fixture
def storage() -> Iterator[tuple[str, ...]]:
    """Podman refuses a path over 50 characters."""
    with tempfile.TemporaryDirectory(prefix="c-") as root:
        yield ("--root", f"{root}/root", "--runroot", f"{root}/run", "--storage-driver", "vfs")


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("layout", ["absent", "empty", "tabs", "minified", "byte-order mark"])
def test_podman_and_skopeo_read_their_own_file(
    docker_user: User, storage: tuple[str, ...], layout: str
) -> None:
    podman, skopeo = (need("podman"), *storage), need("skopeo")
    auth_file = docker_user.home.path / ".config" / "containers" / "auth.json"
    before = LAYOUTS[layout]
    if before is not None:
        auth_file.write_bytes(before)
    docker_user.run("ecr-py", "configure", "--for", "podman")
    assert not docker_user.docker_config.exists()
    done = docker_user.run(skopeo, "inspect", "--raw", f"docker://{image(STAGE)}")
    assert json.loads(done.stdout)["schemaVersion"] == 2
    docker_user.run(*podman, "pull", image(DEV))
    assert IMAGE in docker_user.run(*podman, "images").stdout

    docker_user.run("ecr-py", "configure", "--undo")
    assert auth_file.exists() == (before is not None)
    assert before is None or auth_file.read_bytes() == before
    docker_user.run(skopeo, "inspect", "--raw", f"docker://{image(STAGE)}", fails=True)


@pytest.mark.usefixtures("images")
def test_skopeo_reads_the_file_that_the_environment_names(docker_user: User) -> None:
    file = docker_user.home.path / "elsewhere" / "auth.json"
    docker_user.environment["REGISTRY_AUTH_FILE"] = str(file)
    docker_user.run("ecr-py", "configure", "--for", "podman", "--registry", registry(PROD))
    done = docker_user.run(need("skopeo"), "list-tags", f"docker://{registry(PROD)}/{IMAGE}")
    assert json.loads(done.stdout)["Tags"] == [TAG]
    docker_user.run("ecr-py", "configure", "--undo")
    assert not file.exists()


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("client", ["singularity", "apptainer"])
def test_singularitys_file_is_one_that_its_library_reads(docker_user: User, client: str) -> None:
    """They are not installed here: skopeo reads it by the library that they were built on."""
    docker_user.run("ecr-py", "configure", "--for", client)
    file = docker_user.home.path / f".{client}" / "docker-config.json"
    assert list(json.loads(file.read_bytes())["credHelpers"]) == REGISTRIES
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    inspect = (need("skopeo"), "inspect", "--raw", "--authfile", str(file))
    docker_user.run(*inspect, f"docker://{image(DEV)}")


@pytest.mark.usefixtures("images")
def test_a_podman_login_goes_first_and_that_is_said(docker_user: User) -> None:
    login_file = Path(docker_user.environment["XDG_RUNTIME_DIR"], "containers", "auth.json")
    stale = {"auths": {registry(DEV): {"auth": "QVdTOmVuZGVk"}}}
    docker_user.home.write(login_file, json.dumps(stale))
    said = docker_user.run("ecr-py", "configure", "--for", "podman").stderr
    assert f"podman logout {registry(DEV)}" in said
    inspect = (need("skopeo"), "inspect", "--raw", f"docker://{image(DEV)}")
    docker_user.run(*inspect, fails=True)
    docker_user.run(need("podman"), "logout", registry(DEV))
    docker_user.run(*inspect)
