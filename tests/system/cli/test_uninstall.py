"""ecr-py uninstall: after it, a home is as it was before ecr-py came, to the byte."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from docker_credential_ecr_py.cli.commands import uninstall
from docker_credential_ecr_py.cli.installation import reinstall, removal, with_extra
from docker_credential_ecr_py.kubelet.check import Kubelet
from tests.support import keyring_backends as backends
from tests.support.daemon import daemon_of, processes_of
from tests.support.home import DEV, REGISTRIES, registry
from tests.support.stores import set_store, store
from tests.support.user import User, eventually

HUB = "https://index.docker.io/v1/"
PASSWORD = "QVdTOmh1bnRlcjI="
ODD = b'{\r\n\t"auths": { "ghcr.io": {} },  "zz": [1.50, null],\r\n\t"credsStore": ""\n}'
# Each file that configure edits, as its owner may have it.
FILES: dict[str, dict[str, bytes]] = {
    "nothing": {},
    "all": {
        ".docker/config.json": ODD,
        ".config/containers/registries.conf": b'# mine\nunqualified-search-registries = ["q"]\r\n',
        ".config/containers/auth.json": b"{}",
        ".singularity/docker-config.json": b'{"auths": {}}\n',
        ".apptainer/docker-config.json": b"",
        ".bashrc": b"alias d=docker\n",
    },
}


def snapshot(home: Path) -> dict[str, bytes | None]:
    """Return the content of each file in a home, and None for each folder.

    Without the SSO cache, which the AWS CLI shares.
    """
    return {
        str(path.relative_to(home)): path.read_bytes() if path.is_file() else None
        for path in home.rglob("*")
        if "sso" not in path.parts
    }


@pytest.fixture
def user(user: User) -> User:
    """A user who has used no program of ours; only the folders of every desktop are there."""
    for folder in (".cache", ".config", ".local/share", ".local/state"):
        (user.home.path / folder).mkdir(parents=True)
    return user


def use_everything(user: User) -> None:
    clients = ("docker", "podman", "singularity", "apptainer")
    user.invoke_ok("configure", *(part for client in clients for part in ("--for", client)))
    user.invoke_ok("config", "set", "login", "never")
    assert user.home.get(registry(DEV)).password


@pytest.mark.parametrize("files", FILES)
def test_a_home_is_as_it_was(user: User, files: str) -> None:
    for name, content in FILES[files].items():
        user.write_config(content, user.home.path / name)
    before = snapshot(user.home.path)
    use_everything(user)
    with daemon_of(user.home) as daemon:
        shown = user.invoke_ok("uninstall", "--yes").stdout
        assert f"pid {daemon.pid}" in shown
        eventually(lambda: not processes_of(user.home))
    assert "uninstall docker-credential-ecr-py" in shown
    assert snapshot(user.home.path) == before

    again = user.invoke_ok("uninstall")
    assert again.stdout.startswith(
        "ecr-py has set up and stored nothing here\nNow remove the package:\n"
    )
    assert snapshot(user.home.path) == before


def test_without_daemon_or_changes_there_is_nothing(user: User) -> None:
    before = snapshot(user.home.path)
    user.invoke_ok("uninstall")
    assert snapshot(user.home.path) == before


def test_dry_run_shows_all_of_it_and_removes_nothing(user: User) -> None:
    user.write_docker_config({"HttpHeaders": {"X-Meta": PASSWORD}, "credsStore": "desktop"})
    use_everything(user)
    before = snapshot(user.home.path)
    shown = user.invoke_ok("uninstall", "--dry-run").stdout
    assert snapshot(user.home.path).keys() == before.keys()
    assert user.docker_config.read_bytes() == before[".docker/config.json"]
    assert f'-\t\t"{REGISTRIES[0]}": "ecr-py"' in shown or f'"{REGISTRIES[0]}": "ecr-py"' in shown
    assert PASSWORD not in shown
    for place in (user.docker_config, user.home.settings, user.home.cache):
        assert str(place) in shown


@pytest.mark.parametrize(("typed", "code"), [("n\r", 1), ("\x03", 130), ("\r", 1)])
def test_it_asks(user: User, typed: str, code: int) -> None:
    user.invoke_ok("configure")
    before = snapshot(user.home.path)
    with user.at_terminal("ecr-py uninstall") as terminal:
        terminal.wait_for("Continue")
        terminal.type(typed)
        assert terminal.wait() == code
    assert snapshot(user.home.path) == before


def test_without_a_terminal_it_wants_yes(user: User) -> None:
    user.invoke_ok("configure")
    done = user.invoke("uninstall")
    assert done.code == 2
    assert "--yes" in done.stderr
    assert user.docker_config.exists()


# Entries of others


def test_what_others_wrote_meanwhile_stays(user: User) -> None:
    user.write_config(json.dumps({"credsStore": "desktop"}))
    user.invoke_ok("configure")
    theirs = user.read_config()
    theirs |= {"auths": {HUB: {}}, "credHelpers": {**theirs["credHelpers"], "gcr.io": "gcloud"}}
    user.write_docker_config(theirs)
    user.invoke_ok("uninstall", "--yes")
    assert user.read_config() == {
        "credsStore": "desktop",
        "credHelpers": {"gcr.io": "gcloud"},
        "auths": {HUB: {}},
    }


def test_entries_by_hand_go_too(user: User) -> None:
    """As README of older versions had them: configure knows nothing of them."""
    user.write_docker_config({"credHelpers": {registry(DEV): "ecr-py", "gcr.io": "gcloud"}, "a": 1})
    drop_in = user.home.path / ".config/containers/registries.conf.d/mine.conf"
    user.write_config('credential-helpers = ["pass", "ecr-py"] # both\n', drop_in)
    user.invoke_ok("uninstall", "--yes")
    assert user.read_config() == {"credHelpers": {"gcr.io": "gcloud"}, "a": 1}
    assert drop_in.read_text() == 'credential-helpers = ["pass"] # both\n'


def test_the_only_entries_go_with_their_table(user: User) -> None:
    user.write_config(json.dumps({"credHelpers": {registry(DEV): "ecr-py"}}) + "\n")
    user.invoke_ok("uninstall", "--yes")
    assert user.docker_config.read_text() == "{}\n"


@pytest.mark.parametrize("by", ["configure", "hand"])
def test_the_fallback_is_the_credsstore_again(user: User, by: str) -> None:
    """Docker's logins since then are there."""
    helper = user.home.write(user.home.path / "bin" / "docker-credential-theirs", "#!/bin/sh\n")
    helper.chmod(0o755)
    path = f"{helper.parent}:{user.environment['PATH']}"
    user.invoke_ok("config", "set", "fallback", "theirs", PATH=path)
    if by == "configure":
        user.invoke_ok("configure", "--creds-store")
        user.write_docker_config(user.read_config() | {"auths": {HUB: {}}})
    else:
        user.write_docker_config({"credsStore": "ecr-py", "auths": {HUB: {}}})
    user.invoke_ok("uninstall", "--yes")
    assert user.read_config() == {"credsStore": "theirs", "auths": {HUB: {}}}


def test_a_config_elsewhere(user: User, tmp_path: Path) -> None:
    """DOCKER_CONFIG was set when configure ran, and is not any more."""
    elsewhere = user.write_config("{}", tmp_path / "elsewhere" / "config.json")
    user.invoke_ok("configure", DOCKER_CONFIG=str(tmp_path / "elsewhere"))
    user.invoke_ok("uninstall", "--yes")
    assert (tmp_path / "elsewhere" / "config.json").read_bytes() == elsewhere
    assert [file.name for file in (tmp_path / "elsewhere").iterdir()] == ["config.json"]


def test_settings_elsewhere_are_the_users(user: User, tmp_path: Path) -> None:
    named = user.home.write(tmp_path / "team.toml", '[defaults]\nlogin = "never"\n')
    user.invoke_ok("uninstall", "--yes", ECR_PY_CONFIG=str(named))
    assert named.exists()


def test_a_backup_of_the_users_own_stays(user: User) -> None:
    user.write_config("{}")
    user.invoke_ok("configure")
    backup = user.docker_config.with_name("config.json.bak")
    backup.write_text("mine")
    user.docker_config.write_text(user.docker_config.read_text())
    user.invoke_ok("uninstall", "--yes")
    assert user.docker_config.read_text() == "{}"


def test_lines_of_shells_are_named_and_left(user: User) -> None:
    line = 'eval "$(ecr-py completion bash)"'
    bashrc = user.home.write(user.home.path / ".bashrc", f"# ecr-py completion\nx=1\n  {line}\n")
    fish = user.home.path / ".config/fish/completions/ecr-py.fish"
    user.home.write(fish, "complete")
    shown = user.invoke_ok("uninstall").stdout
    assert f"from {bashrc}:\n  {line}\n" in shown
    assert f"  rm -r {fish}\n" in shown
    assert fish.exists()


def test_changes_of_the_units_are_named_and_left(user: User, tmp_path: Path) -> None:
    changed = [
        tmp_path / "systemd" / "user" / f"ecr-py.{kind}.d" / "override.conf"
        for kind in ("service", "socket")
    ]
    for file in changed:
        user.home.write(file, "[Service]\n")
    shown = user.invoke_ok("uninstall", XDG_CONFIG_HOME=str(tmp_path)).stdout
    for file in changed:
        assert f"  rm -r {file.parent}\n" in shown
        assert file.exists()


def test_lines_of_ssh_are_named_and_left(user: User) -> None:
    line = "RemoteForward /run/user/1/ecr-py-tunnel.sock /run/user/2/ecr-py/forward/forward.sock"
    text = f"Host build.example.com\n    {line}\n    User ann\n"
    config = user.home.write(user.home.path / ".ssh" / "config", text)
    shown = user.invoke_ok("uninstall").stdout
    assert f"from {config}:\n  {line}\n" in shown
    assert config.read_text() == text


def test_the_config_of_a_kubelet_is_named_and_left(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = user.home.path / "credential-provider.yaml"
    user.home.write(config, user.invoke_ok("kubelet", "config").stdout)
    monkeypatch.setattr(uninstall, "find_kubelet", lambda: Kubelet(1, config))
    shown = user.invoke_ok("uninstall").stdout
    assert f"remove ecr-credential-provider-py from {config}, and restart the kubelet\n" in shown
    config.write_text("providers: []\n")
    assert "kubelet" not in user.invoke_ok("uninstall").stdout


# Logins and the key


@pytest.mark.parametrize("keyring", ["works", "refuses"])
def test_other_registries_logins_are_lost_and_named(user: User, keyring: str) -> None:
    before = snapshot(user.home.path)
    backends.use_backend(user.home, backends.NAMED)
    there = snapshot(user.home.path).keys() - before.keys()
    set_store(user.home, "keyring", fallback="keyring")
    store(user.home, "ghcr.io", "me", "secret")
    assert user.home.get(registry(DEV)).password
    if keyring == "refuses":
        backends.use_backend(user.home, backends.BREAKS)
    done = user.ecr_py("uninstall", "--yes")
    names = "" if keyring == "refuses" else " to ghcr.io"
    assert f"1 login{names}, lost until the next `docker login`" in done.stdout
    if keyring == "refuses":
        assert done.code == 1
        assert "keyring" in done.stderr
        backends.use_backend(user.home, backends.NAMED)
        done = user.ecr_py("uninstall", "--yes")
    assert done.code == 0, done
    left = snapshot(user.home.path).keys() - before.keys() - there
    assert not [name for name in left if "ecr-py" in name]
    assert "sealing key" not in user.ecr_py("uninstall").stdout


# Interrupted


def test_a_config_that_cannot_be_written_stops_it(user: User) -> None:
    before = user.write_config(json.dumps({"credsStore": "desktop"}))
    use_everything(user)
    user.docker_config.chmod(0o444)
    done = user.invoke("uninstall", "--yes")
    assert done.code == 1
    assert done.stderr.endswith("it is read-only: run `ecr-py uninstall` again\n")
    assert user.home.settings.exists()  # the next run needs the fallback
    user.docker_config.chmod(0o644)
    user.invoke_ok("uninstall", "--yes")
    assert user.docker_config.read_bytes() == before
    assert not [*user.home.path.rglob("*ecr-py*")]


def test_a_config_that_cannot_be_read_is_one_line(user: User) -> None:
    user.write_config("{")
    assert "not JSON" in user.ecr_py("uninstall", "--yes").line


def test_settings_that_cannot_be_read_are_removed(user: User) -> None:
    user.home.write(user.home.settings, "{")
    user.invoke_ok("uninstall", "--yes")
    assert not user.home.settings.exists()


# The package


@pytest.mark.parametrize(
    ("mark", "wanted"),
    [
        ("pipx_metadata.json", "pipx uninstall docker-credential-ecr-py"),
        ("uv-receipt.toml", "uv tool uninstall docker-credential-ecr-py"),
        ("", f"{sys.executable} -m pip uninstall docker-credential-ecr-py"),
    ],
)
def test_the_command_is_that_of_this_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str, wanted: str
) -> None:
    if mark:
        (tmp_path / mark).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert removal() == [wanted]


@pytest.mark.parametrize(
    ("mark", "again", "extra"),
    [
        (
            "pipx_metadata.json",
            "pipx reinstall docker-credential-ecr-py",
            "pipx install --force '{clone}[kubernetes]'",
        ),
        (
            "uv-receipt.toml",
            "uv tool install --reinstall {clone}",
            "uv tool install --reinstall '{clone}[kubernetes]'",
        ),
        (
            "",
            f"{sys.executable} -m pip install --force-reinstall {{clone}}",
            f"{sys.executable} -m pip install '{{clone}}[kubernetes]'",
        ),
    ],
)
def test_what_is_installed_again_is_what_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str, again: str, extra: str
) -> None:
    """The package is on no index, so its name alone would be not enough."""
    if mark:
        (tmp_path / mark).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    clone = tmp_path / "clone"
    (tmp_path / "docker_credential_ecr_py-1.dist-info").mkdir()
    recorded = tmp_path / "docker_credential_ecr_py-1.dist-info" / "direct_url.json"
    recorded.with_name("METADATA").write_text("Name: docker-credential-ecr-py\nVersion: 1\n")
    recorded.write_text(json.dumps({"url": clone.as_uri(), "dir_info": {}}))
    monkeypatch.syspath_prepend(tmp_path)
    for there in (True, False):  # a clone may be gone
        if there:
            clone.mkdir()
        else:
            clone.rmdir()
        source = clone if there else "docker-credential-ecr-py"
        assert reinstall() == f"run `{again.format(clone=source)}`"
        assert with_extra("kubernetes") == f"run `{extra.format(clone=source)}`"


def test_links_of_the_user_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "docker-credential-ecr-py"
    link.symlink_to(Path(sys.executable).with_name(link.name))
    (tmp_path / "ecr-py").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tmp_path}:relative")
    assert removal()[0] == f"rm {link}"
