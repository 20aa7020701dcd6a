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
from tests.support.desk import IMAGE, TAG, Desk, image, secrets_in
from tests.support.home import DEV, PROD, STAGE, registry
from tests.support.private_registry import Guarded
from tests.support.programs import need
from tests.system.cli.conftest import THREE
from tests.system.clients.test_containers import POLICY

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
def desk(desk: Desk) -> Desk:
    desk.docker_config.unlink()
    desk.home.write(desk.home.path / ".config" / "containers" / "policy.json", POLICY)
    return desk


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_docker_pulls_and_then_its_config_is_as_it_was(
    desk: Desk, docker: str, aws: Aws, engine: Engine, layout: str
) -> None:
    before = LAYOUTS[layout]
    if before is not None:
        desk.docker_config.write_bytes(before)
    desk.run("ecr-py", "configure")
    for account in (DEV, STAGE):
        desk.run(docker, "pull", image(account))
        assert aws.issued[engine.asked[-1].auth["password"]].account == account
    desk.run("ecr-py", "configure", "--undo")
    assert desk.docker_config.exists() == (before is not None)
    assert before is None or desk.docker_config.read_bytes() == before
    assert "nothing to put back" in desk.run("ecr-py", "configure", "--undo").said
    desk.run(docker, "pull", image(PROD), fails=True)


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_a_link_stays_one_and_the_mode_too(desk: Desk, docker: str, mode: int) -> None:
    """As people have it who keep their dotfiles elsewhere."""
    real = desk.home.write(desk.home.path / "dotfiles" / "docker.json", '{"auths": {}}')
    real.chmod(mode)
    desk.docker_config.symlink_to(Path("..") / "dotfiles" / "docker.json")
    desk.run("ecr-py", "configure")
    desk.run(docker, "pull", image(DEV))
    for _ in range(2):
        assert desk.docker_config.is_symlink()
        assert stat.S_IMODE(real.stat().st_mode) == mode
        desk.run("ecr-py", "configure", "--undo")
    assert real.read_text() == '{"auths": {}}'


OTHER_HELPER = """\
#!/bin/sh
case $1 in
get) printf '{"ServerURL":"%s","Username":"octocat","Secret":"meow"}' "$(cat)" ;;
esac
"""


@pytest.mark.usefixtures("images")
def test_as_creds_store_what_docker_had_goes_on_to_work(
    desk: Desk, docker: str, aws: Aws, engine: Engine
) -> None:
    folder = desk.home.path / "bin"
    desk.home.write(folder / "docker-credential-other", OTHER_HELPER).chmod(0o755)
    desk.environment["PATH"] = f"{folder}:{desk.environment['PATH']}"
    before = b'{\n\t"credsStore": "other",\n\t"auths": {"ghcr.io": {}}\n}'
    desk.docker_config.write_bytes(before)

    desk.run("ecr-py", "configure", "--creds-store")
    desk.run(docker, "pull", image(STAGE))
    assert aws.issued[engine.asked[-1].auth["password"]].account == STAGE
    desk.run(docker, "pull", "ghcr.io/team/app:1", fails=True)
    assert engine.asked[-1].auth["password"] == "meow"
    assert json.loads(desk.docker_config.read_bytes())["credsStore"] == "ecr-py"

    desk.run("ecr-py", "configure", "--undo")
    assert desk.docker_config.read_bytes() == before
    assert not desk.home.settings.exists()
    desk.run(docker, "pull", "ghcr.io/team/app:1", fails=True)
    assert engine.asked[-1].auth["password"] == "meow"


@pytest.mark.parametrize("how", ["--cred-helpers", "--creds-store"])
def test_the_store_that_docker_uses_unsaid_is_kept(desk: Desk, docker: str, how: str) -> None:
    """Docker takes `pass` by itself, but not once its config has a helper: then it writes clear."""
    folder, kept = desk.home.path / "bin", desk.home.path / "kept"
    keeps = f'#!/bin/sh\n[ "$1" = store ] && cat >{kept} || exit 1\n'
    for program in ("pass", "docker-credential-pass"):
        desk.home.write(folder / program, keeps).chmod(0o755)
    desk.environment["PATH"] = f"{folder}:{desk.environment['PATH']}"
    desk.environment["DOCKER_HOST"] = f"unix://{desk.home.path}/no-engine"  # docker goes by itself
    desk.docker_config.write_text("{}")

    desk.run("ecr-py", "configure", how)
    with Guarded() as guarded:
        guarded.users["octocat"] = "meow-meow"
        login = ("login", guarded.name, "--username", "octocat", "--password-stdin")
        desk.run(docker, *login, stdin="meow-meow")
    assert json.loads(kept.read_text())["Secret"] == "meow-meow"
    assert secrets_in(desk.docker_config) == []

    desk.run("ecr-py", "configure", "--undo")
    after = json.loads(desk.docker_config.read_text())
    assert after.get("credHelpers", {}) == {}
    assert after.get("credsStore") == ("pass" if how == "--cred-helpers" else None)


def test_a_fallback_goes_before_the_store_that_docker_uses_unsaid(desk: Desk) -> None:
    folder = desk.home.path / "bin"
    for program in ("pass", "docker-credential-pass"):
        desk.home.write(folder / program, "#!/bin/sh\n").chmod(0o755)
    desk.environment["PATH"] = f"{folder}:{desk.environment['PATH']}"
    desk.docker_config.write_text("{}")
    desk.run("ecr-py", "config", "set", "fallback", "keyring")
    desk.run("ecr-py", "configure", "--creds-store")
    assert "keyring" in desk.home.settings.read_text()
    assert json.loads(desk.docker_config.read_text()) == {"credsStore": "ecr-py"}


def test_what_is_said_of_passwords_in_clear_is_so(desk: Desk, docker: str, engine: Engine) -> None:
    """Docker does not read them where it has a credsStore."""
    config = '{"auths": {"ghcr.io": {"auth": "bWU6bWVvdw=="}}}'
    desk.docker_config.write_text(config)
    desk.run(docker, "pull", "ghcr.io/team/app:1", fails=True)
    assert engine.asked[-1].auth["password"] == "meow"

    said = desk.run("ecr-py", "configure", "--creds-store", fails=True).said
    assert "no longer reads the passwords" in said
    assert "ghcr.io" in said
    assert desk.docker_config.read_text() == config

    desk.run("ecr-py", "configure", "--creds-store", "--yes")
    desk.run(docker, "pull", "ghcr.io/team/app:1", fails=True)
    assert engine.asked[-1].auth == {}
    desk.run("ecr-py", "configure", "--undo")
    desk.run("ecr-py", "configure")
    desk.run(docker, "pull", "ghcr.io/team/app:1", fails=True)
    assert engine.asked[-1].auth["password"] == "meow"


@pytest.fixture
def storage() -> Iterator[tuple[str, ...]]:
    """Podman refuses a path over 50 characters."""
    with tempfile.TemporaryDirectory(prefix="c-") as root:
        yield ("--root", f"{root}/root", "--runroot", f"{root}/run", "--storage-driver", "vfs")


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("layout", ["absent", "empty", "tabs", "minified", "byte-order mark"])
def test_podman_and_skopeo_read_their_own_file(
    desk: Desk, storage: tuple[str, ...], layout: str
) -> None:
    podman, skopeo = (need("podman"), *storage), need("skopeo")
    auth_file = desk.home.path / ".config" / "containers" / "auth.json"
    before = LAYOUTS[layout]
    if before is not None:
        auth_file.write_bytes(before)
    desk.run("ecr-py", "configure", "--for", "podman")
    assert not desk.docker_config.exists()
    done = desk.run(skopeo, "inspect", "--raw", f"docker://{image(STAGE)}")
    assert json.loads(done.stdout)["schemaVersion"] == 2
    desk.run(*podman, "pull", image(DEV))
    assert IMAGE in desk.run(*podman, "images").stdout

    desk.run("ecr-py", "configure", "--undo")
    assert auth_file.exists() == (before is not None)
    assert before is None or auth_file.read_bytes() == before
    desk.run(skopeo, "inspect", "--raw", f"docker://{image(STAGE)}", fails=True)


@pytest.mark.usefixtures("images")
def test_skopeo_reads_the_file_that_the_environment_names(desk: Desk) -> None:
    file = desk.home.path / "elsewhere" / "auth.json"
    desk.environment["REGISTRY_AUTH_FILE"] = str(file)
    desk.run("ecr-py", "configure", "--for", "podman", "--registry", registry(PROD))
    done = desk.run(need("skopeo"), "list-tags", f"docker://{registry(PROD)}/{IMAGE}")
    assert json.loads(done.stdout)["Tags"] == [TAG]
    desk.run("ecr-py", "configure", "--undo")
    assert not file.exists()


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("client", ["singularity", "apptainer"])
def test_singularitys_file_is_one_that_its_library_reads(desk: Desk, client: str) -> None:
    """They are not installed here: skopeo reads it by the library that they were built on."""
    desk.run("ecr-py", "configure", "--for", client)
    file = desk.home.path / f".{client}" / "docker-config.json"
    assert list(json.loads(file.read_bytes())["credHelpers"]) == THREE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    inspect = (need("skopeo"), "inspect", "--raw", "--authfile", str(file))
    desk.run(*inspect, f"docker://{image(DEV)}")


@pytest.mark.usefixtures("images")
def test_a_podman_login_goes_first_and_that_is_said(desk: Desk) -> None:
    login_file = Path(desk.environment["XDG_RUNTIME_DIR"], "containers", "auth.json")
    stale = {"auths": {registry(DEV): {"auth": "QVdTOmVuZGVk"}}}
    desk.home.write(login_file, json.dumps(stale))
    said = desk.run("ecr-py", "configure", "--for", "podman").stderr
    assert f"podman logout {registry(DEV)}" in said
    inspect = (need("skopeo"), "inspect", "--raw", f"docker://{image(DEV)}")
    desk.run(*inspect, fails=True)
    desk.run(need("podman"), "logout", registry(DEV))
    desk.run(*inspect)
