"""ecr-py kubelet check: what the kubelet would get, with the kubelet's own settings."""

import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from docker_credential_ecr_py.kubelet.check import find_kubelet
from tests.standin.aws import Aws
from tests.support.home import DEV, STAGE, registry
from tests.support.kubelet import VERSION, service_account_token
from tests.support.user import User

IMAGE = f"{registry(DEV)}/team/app:1"
ROLE = f"arn:aws:iam::{DEV}:role/pull"
ECR_ROLE = "eks.amazonaws.com/ecr-role-arn"


def write_config(user: User, *words: str) -> str:
    """The configuration of a kubelet whose plugin reaches the servers of the tests."""
    variables = {
        name: value
        for name, value in user.environment.items()
        if name.startswith("AWS_") or name in ("HOME", "XDG_RUNTIME_DIR")
    }
    env = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    text = user.invoke_ok("kubelet", "config", *env, *words).stdout
    return str(user.home.write(user.home.path / "kubelet" / "provider.yaml", text))


def checked(user: User, *words: str) -> dict[str, str]:
    """What each line says."""
    done = user.invoke_ok("kubelet", "check", *words)
    return parsed(done.stdout)


def parsed(stdout: str) -> dict[str, str]:
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in stdout.splitlines()}


def test_a_pull_that_works(docker_user: User, aws: Aws) -> None:
    config = write_config(docker_user)
    found = checked(docker_user, IMAGE, "--config", config)
    assert list(found) == ["kubelet", "provider", "identity", "answer", "registry"]
    assert found["kubelet"].endswith(config)
    assert found["provider"].endswith("by the pattern *.dkr.ecr.*.amazonaws.com")
    assert "profile dev is for account" in found["identity"]
    assert found["answer"].startswith("user AWS and a token; the kubelet keeps them for ")
    assert found["registry"] == "accepts the token"
    assert not [password for password in aws.issued if password in str(found)]


def test_a_service_account(docker_user: User, aws: Aws) -> None:
    aws.allow_role(ROLE)
    token = service_account_token()
    aws.web_identity_tokens.add(token)
    file = docker_user.home.write(docker_user.home.path / "token", f"{token}\n")
    words = ("--token-file", str(file), "--annotation", f"{ECR_ROLE}={ROLE}")
    config = write_config(docker_user, "--service-accounts")
    found = checked(docker_user, IMAGE, "--config", config, *words)
    assert found["identity"] == f"service account team/app has the role {ROLE}"
    assert found["registry"] == "accepts the token"
    config = write_config(docker_user)
    found = checked(docker_user, IMAGE, "--config", config, *words)
    assert found["token"] == "is not sent: the configuration has no tokenAttributes"
    assert "profile dev" in found["identity"]


def test_a_token_that_the_registry_rejects(docker_user: User) -> None:
    plugin = Plugin(docker_user)
    plugin.answers(auth={registry(DEV): {"username": "AWS", "password": "wrong"}})
    done = plugin.check()
    assert done.code == 1
    assert parsed(done.stdout)["registry"].startswith("rejects the token (4")


class Plugin:
    """Another program in the kubelet's folder, which answers what a test says."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.file = user.home.path / "bin" / "plugin"
        provider = {
            "name": "plugin",
            "apiVersion": VERSION,
            "matchImages": ["*.dkr.ecr.*.amazonaws.com/team"],
            "defaultCacheDuration": "0s",
            "args": ["one", "two words"],
        }
        config = {"kind": "CredentialProviderConfig", "providers": [provider]}
        self.config = user.home.write(user.home.path / "config.json", json.dumps(config))

    def script(self, text: str) -> None:
        self.user.home.write(self.file, f"#!/bin/sh\n{text}\n").chmod(stat.S_IRWXU)

    def answers(self, **changed: Any) -> None:
        document = {
            "kind": "CredentialProviderResponse",
            "apiVersion": VERSION,
            "cacheKeyType": "Registry",
            "cacheDuration": "1h0m5s",
            **changed,
        }
        text = json.dumps({name: value for name, value in document.items() if value is not None})
        self.script(f"cat >/dev/null; echo '{text}'")

    def check(self, image: str = IMAGE) -> Any:
        words = ("--config", str(self.config), "--bin-dir", str(self.file.parent))
        return self.user.invoke("kubelet", "check", image, *words)


@pytest.fixture
def plugin(user: User) -> Plugin:
    return Plugin(user)


def test_no_credentials(plugin: Plugin) -> None:
    plugin.answers()
    done = plugin.check()
    assert done.code == 1
    assert parsed(done.stdout)["answer"] == "no credentials: the kubelet pulls without"


def test_credentials_for_another_registry(plugin: Plugin) -> None:
    plugin.answers(auth={registry(STAGE): {"username": "AWS", "password": "x"}})
    assert "no credentials" in plugin.check().stdout


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"more": 1}, "has an unknown field: 'more'"),
        ({"kind": "Other"}, "is not a CredentialProviderResponse of"),
        ({"apiVersion": f"{VERSION}beta1"}, "is not a CredentialProviderResponse of"),
        ({"cacheKeyType": None}, "has no valid cacheKeyType"),
        ({"cacheDuration": 5}, "is not a duration"),
        ({"cacheDuration": "9" * 5000 + "s"}, "is not a duration"),
        ({"auth": {"x": {"username": "AWS"}}}, "cannot be decoded"),
        ({"auth": ["x"]}, "cannot be decoded"),
        ({"auth": {registry(DEV): {"username": "AWS", "password": 5}}}, "cannot be decoded"),
    ],
)
def test_what_the_kubelet_refuses(plugin: Plugin, changed: Mapping[str, Any], said: str) -> None:
    plugin.answers(**changed)
    done = plugin.check()
    assert done.code == 1
    assert said in done.stderr


def test_it_is_called_as_the_kubelet_does(plugin: Plugin) -> None:
    plugin.script('{ cat; env; echo "$2"; } >"$(dirname "$0")/seen"; echo no >&2; exit 3')
    done = plugin.check()
    assert "plugin failed (exit code 3): no" in done.stderr
    request, *others = (plugin.file.parent / "seen").read_text().splitlines()
    assert json.loads(request)["image"] == IMAGE.removesuffix(":1")
    assert "two words" in others
    assert not [line for line in others if line.startswith("AWS_")]


# As text, the last list would be nine to the tenth power of words.
ALIASES = "\n".join(
    ["kind: CredentialProviderConfig", "a0: &a0 x"]
    + [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(10)]
    + [f"providers: [{{name: x, apiVersion: {VERSION}, matchImages: *a10}}]"]
)


def one_provider(**keys: Any) -> str:
    """A configuration with one provider that has `keys`, too."""
    usual = {"name": "plugin", "apiVersion": VERSION, "matchImages": [registry(DEV)]}
    return json.dumps({"kind": "CredentialProviderConfig", "providers": [{**usual, **keys}]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1 is not YAML"),
        ("kind: Pod", "is not a CredentialProviderConfig"),
        ("kind: CredentialProviderConfig", "has no providers"),
        ("kind: CredentialProviderConfig\nproviders: [{name: x}]", "'matchImages' is missing"),
        ("kind: CredentialProviderConfig\nproviders: [5]", "is not valid"),
        (ALIASES, "is not valid"),
        (one_provider(name="../x"), "is not valid"),
        (one_provider(name="x\0y"), "is not valid"),
        (one_provider(args=["x\0y"]), "cannot be run: embedded null byte"),
        (one_provider(env=[{"name": "A=B", "value": "x"}]), "cannot be run: illegal environment"),
    ],
)
def test_a_configuration_with_a_mistake(plugin: Plugin, text: str, said: str) -> None:
    plugin.config.write_text(text)
    done = plugin.check()
    assert said in done.stderr
    assert (done.code, done.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("/dev/zero", "cannot be read: File too large"),
        ("/proc/self/mem", "cannot be read"),
        ("/dev/null", "is not a CredentialProviderConfig"),
    ],
)
def test_a_file_that_is_not_a_configuration(plugin: Plugin, file: str, said: str) -> None:
    plugin.config.unlink()
    plugin.config.symlink_to(file)
    assert said in plugin.check().stderr


@pytest.mark.parametrize("token", [b"", b"\n", b"a\nb", b"\xff"])
def test_a_file_without_a_token(user: User, tmp_path: Path, token: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(token)
    done = user.invoke("kubelet", "check", f"{registry(DEV)}/app", "--token-file", str(file))
    assert done.line == "ecr-py: --token-file: there is no token in it"


def test_yaml_without_its_module(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    config = tmp_path / "config.yaml"
    config.write_text("kind: CredentialProviderConfig\n")
    done = user.invoke("kubelet", "check", "--config", str(config), f"{registry(DEV)}/app")
    assert f"{config} is YAML, and the module yaml is not installed: run `" in done.stderr
    assert done.stderr.endswith("[kubernetes]'`\n")


def test_a_registry_that_is_not_ecrs_is_not_asked(plugin: Plugin) -> None:
    config = json.loads(plugin.config.read_text())
    config["providers"][0]["matchImages"] = ["*.gcr.io"]
    other = {**config["providers"][0], "name": "broken"}
    config["providers"].insert(0, other)
    plugin.config.write_text(json.dumps(config))
    plugin.answers(auth={"eu.gcr.io": {"username": "u", "password": "p"}})
    done = plugin.check("eu.gcr.io/app")
    assert done.code == 0
    assert "broken cannot be run" in done.stderr  # the kubelet goes on, too
    assert "registry" not in parsed(done.stdout)


def test_what_is_missing(plugin: Plugin) -> None:
    assert "cannot be run: No such file" in plugin.check().stderr
    assert "matchImages of no provider matches" in plugin.check(f"{registry(DEV)}/other").stderr
    plugin.config.unlink()
    assert f"{plugin.config} does not exist" in plugin.check().stderr


def test_a_name_that_is_not_an_images(user: User) -> None:
    assert user.invoke("kubelet", "check", "..").line == "ecr-py: not the name of an image: '..'"


# The kubelet that runs on the node.


def process(
    proc: Path,
    pid: int,
    command: list[str],
    environ: str = "PATH=/bin\0A=b=c\0",
    *,
    uids: str = "0\t0\t0\t0",
    namespaces: str = "",
) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "cmdline").write_bytes(b"\0".join(map(os.fsencode, command)) + b"\0")
    (folder / "environ").write_text(environ)
    status = f"Name:\tkubelet\nUid:\t{uids}\nNSpid:\t{pid}{namespaces}\n"
    (folder / "status").write_text(status)


def test_its_flags_and_environment(tmp_path: Path) -> None:
    process(tmp_path, 7, ["/sbin/init"])
    flags = ["--image-credential-provider-config=/a", "--image-credential-provider-bin-dir", "/b"]
    process(tmp_path, 812, ["/usr/bin/kubelet", "--v=2", *flags])
    found = find_kubelet(tmp_path)
    assert (found.pid, found.config, found.bin_dir) == (812, Path("/a"), Path("/b"))
    assert found.environment == {"PATH": "/bin", "A": "b=c"}


def test_k3s(tmp_path: Path) -> None:
    process(tmp_path, 9, ["/usr/local/bin/k3s server"], environ="")
    found = find_kubelet(tmp_path)
    assert (found.pid, found.hidden) == (9, True)
    assert "PATH" in found.environment


def test_no_kubelet(tmp_path: Path) -> None:
    found = find_kubelet(tmp_path)
    assert (found.pid, found.config) == (0, None)


FLAGS = ("--image-credential-provider-config=/a", "--image-credential-provider-bin-dir=/b")


@pytest.mark.parametrize(
    "of_another",
    [
        {"uids": "4711\t4711\t4711\t4711"},
        {"uids": "4711\t0\t0\t0"},  # a set-user-ID program, started under that name
        {"namespaces": "\t1"},
        {"namespaces": "\t1\x80"},
    ],
)
def test_a_process_that_only_calls_itself_kubelet(
    tmp_path: Path, of_another: dict[str, Any]
) -> None:
    """Root would run the programs that it names."""
    process(tmp_path, 812, ["kubelet", *FLAGS], **of_another)
    assert find_kubelet(tmp_path).pid == 0


def test_a_kubelet_behind_one_that_only_calls_itself_so(tmp_path: Path) -> None:
    process(tmp_path, 812, ["kubelet", "--v=9"], uids="4711\t4711\t4711\t4711")
    process(tmp_path, 90, ["kubelet", *FLAGS])
    assert find_kubelet(tmp_path).pid == 90


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_root_runs_nothing_that_another_user_controls(tmp_path: Path) -> None:
    """Whatever process names it: a set-user-ID program can be root's under any name."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 4711, 4711)
    process(tmp_path, 812, ["kubelet", FLAGS[0], f"--image-credential-provider-bin-dir={theirs}"])
    assert find_kubelet(tmp_path).pid == 0
