"""The docker client, asking the installed helper by its name in ~/.docker/config.json."""

from __future__ import annotations

import json
import time

import pytest

from tests.standin.aws import Aws
from tests.standin.engine import Engine
from tests.standin.proxy import Proxy
from tests.standin.registry import RegistryFront
from tests.support.docker_user import image, secrets_in
from tests.support.home import ACCOUNTS, DEV, PROD, REGISTRIES, STAGE, START_URL, registry
from tests.support.user import User


@pytest.mark.usefixtures("images")
def test_pull_from_three_accounts_with_nothing_to_type(
    docker_user: User, docker: str, aws: Aws, engine: Engine
) -> None:
    for account in ACCOUNTS:
        done = docker_user.run(docker, "pull", image(account))
        assert "Downloaded newer image" in done.stdout
        assert done.stderr == ""
    assert [aws.issued[asked.auth["password"]].account for asked in engine.asked] == [*ACCOUNTS]
    assert aws.count("GetAuthorizationToken") == aws.count("GetRoleCredentials") == 3

    aws.reset_calls()
    first = [asked.auth["password"] for asked in engine.asked]
    for account in ACCOUNTS:
        docker_user.run(docker, "pull", image(account))
    assert aws.calls == []
    assert [asked.auth["password"] for asked in engine.asked[3:]] == first
    assert secrets_in(docker_user.docker_config) == []


@pytest.mark.usefixtures("images")
def test_manifest_inspect_asks_the_registry_itself(
    docker_user: User, docker: str, front: RegistryFront, proxy: Proxy
) -> None:
    for account in ACCOUNTS:
        done = docker_user.run(docker, "manifest", "inspect", image(account))
        assert json.loads(done.stdout)["schemaVersion"] == 2
        assert done.stderr == ""
        assert proxy.connects[registry(account)] > 0
    admitted = {r.host: r.principal for r in front.requests if r.principal}
    for account in ACCOUNTS:
        assert f":{account}:assumed-role/AWSReservedSSO_" in admitted[registry(account)]


def test_push_then_pull(docker_user: User, docker: str, aws: Aws, engine: Engine) -> None:
    docker_user.run(docker, "push", image(PROD, "2"))
    docker_user.run(docker, "pull", image(PROD, "2"))
    pushed, pulled = engine.asked
    assert pushed.auth == pulled.auth
    assert aws.issued[pushed.auth["password"]].account == PROD
    assert aws.count("GetAuthorizationToken") == 1


@pytest.mark.usefixtures("images")
def test_a_role_of_another_account_is_refused_by_the_registry(
    docker_user: User, docker: str, aws: Aws
) -> None:
    """Were the stand-ins to let anyone in, the tests above would show nothing."""
    said = docker_user.run(docker, "pull", image(DEV), fails=True, AWS_PROFILE="stage").said
    assert "is not authorized to perform: ecr:BatchGetImage" in said
    assert {call.account for call in aws.calls} == {STAGE}


# docker login and logout.


def issue(aws: Aws, docker_user: User, account: str) -> str:
    """A password from AWS, as `aws ecr get-login-password` would print it."""
    return docker_user.home.get(registry(account), AWS_ECR_DISABLE_CACHE="1").password


@pytest.mark.usefixtures("images")
def test_login_keeps_the_password_until_its_end(
    docker_user: User, docker: str, aws: Aws, engine: Engine
) -> None:
    aws.token_lifetime = 5
    password = issue(aws, docker_user, DEV)
    aws.token_lifetime = 12 * 3600
    ends = time.time() + 5
    login = ("login", "-u", "AWS", "--password-stdin", registry(DEV))
    assert "Login Succeeded" in docker_user.run(docker, *login, stdin=password).said
    assert secrets_in(docker_user.docker_config) == []
    aws.reset_calls()

    docker_user.run(docker, "pull", image(DEV))
    assert engine.asked[-1].auth["password"] == password
    assert aws.calls == []

    time.sleep(max(0.0, ends + 1 - time.time()))
    docker_user.run(docker, "pull", image(DEV))
    assert engine.asked[-1].auth["password"] != password
    assert aws.count("GetAuthorizationToken") == 1


@pytest.mark.usefixtures("images")
def test_logout_forgets_that_registry_alone(
    docker_user: User, docker: str, aws: Aws, engine: Engine
) -> None:
    password = issue(aws, docker_user, DEV)
    login = ("login", "-u", "AWS", "--password-stdin", registry(DEV))
    docker_user.run(docker, *login, stdin=password)
    stage = docker_user.home.get(registry(STAGE)).password
    assert set(docker_user.home.cached()) == {registry(DEV), registry(STAGE)}
    assert "Removing login credentials" in docker_user.run(docker, "logout", registry(DEV)).said
    assert docker_user.home.cached() == [registry(STAGE)]

    docker_user.run(docker, "pull", image(DEV))
    assert engine.asked[-1].auth["password"] not in (password, stage)
    docker_user.run(docker, "logout", registry(DEV))
    docker_user.run(docker, "logout", registry(DEV))


def test_login_as_somebody_else_is_refused_in_one_line(docker_user: User, docker: str) -> None:
    answer = docker_user.home.call(
        "store",
        stdin=json.dumps(
            {"ServerURL": registry(DEV), "Username": "bob", "Secret": "hunter2"}
        ).encode(),
    )
    assert "AWS" in answer.line
    assert registry(DEV) in answer.line
    assert "hunter2" not in answer.line


# What goes wrong, as docker shows it.


@pytest.mark.usefixtures("images")
def test_an_ended_session_is_explained_on_the_terminal(
    docker_user: User, docker: str, aws: Aws
) -> None:
    aws.end_session(START_URL)
    done = docker_user.run(docker, "pull", image(STAGE), fails=True)
    assert "no basic auth credentials" in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("ecr-py: ")]
    for wanted in (registry(STAGE), "profile stage", "ecr-py login stage"):
        assert wanted in line


def test_manifest_inspect_shows_what_is_wrong(docker_user: User, docker: str, aws: Aws) -> None:
    aws.end_session(START_URL)
    done = docker_user.run(docker, "manifest", "inspect", image(PROD), fails=True)
    assert "ecr-py login prod" in done.stderr


# credsStore: docker asks us about every registry there is.


@pytest.fixture
def store_user(docker_user: User) -> User:
    docker_user.write_docker_config({"credsStore": "ecr-py"})
    return docker_user


@pytest.mark.usefixtures("images")
def test_as_creds_store_other_registries_go_without(
    store_user: User, docker: str, engine: Engine, aws: Aws
) -> None:
    docker_user = store_user
    for name in ("alpine:3", "ghcr.io/team/app:1"):
        done = docker_user.run(docker, "pull", name, fails=True)
        assert "ecr-py" not in done.said
        assert engine.asked[-1].auth == {}
    assert aws.calls == []
    docker_user.run(docker, "pull", image(DEV))
    assert aws.issued[engine.asked[-1].auth["password"]].account == DEV


OTHER_HELPER = """\
#!/bin/sh
printf '%s\\n' "$1" >>"$HOME/asked"
case $1 in
get) url=$(cat); printf '%s\\n' "$url" >>"$HOME/asked"
  case $url in
  *ghcr.io*) echo '{"ServerURL":"ghcr.io","Username":"octocat","Secret":"meow"}' ;;
  *) echo 'credentials not found in native keychain'; exit 1 ;;
  esac ;;
store | erase) cat >>"$HOME/asked"; echo >>"$HOME/asked" ;;
list) echo '{"ghcr.io":"octocat"}' ;;
esac
"""


@pytest.fixture
def fallback_user(store_user: User) -> User:
    docker_user, folder = store_user, store_user.home.path / "bin"
    docker_user.home.write(folder / "docker-credential-other", OTHER_HELPER).chmod(0o755)
    docker_user.environment["PATH"] = f"{folder}:{docker_user.environment['PATH']}"
    docker_user.home.write(docker_user.home.settings, '[defaults]\nfallback = "other"\n')
    return docker_user


@pytest.mark.usefixtures("images")
def test_the_fallback_helper_answers_for_other_registries(
    fallback_user: User, docker: str, engine: Engine
) -> None:
    docker_user = fallback_user
    asked = docker_user.home.path / "asked"
    docker_user.run(docker, "pull", "ghcr.io/team/app:1", fails=True)
    assert engine.asked[-1].auth["username"] == "octocat"
    assert engine.asked[-1].auth["password"] == "meow"
    assert asked.read_text().splitlines() == ["get", "ghcr.io"]

    docker_user.run(docker, "pull", image(DEV))
    assert asked.read_text().splitlines() == ["get", "ghcr.io"]
    assert docker_user.home.call("list").json == {
        "ghcr.io": "octocat",
        **{f"https://{host}": "AWS" for host in REGISTRIES},
    }
    asked.write_text("")
    document = '{"ServerURL":"ghcr.io","Username":"octocat","Secret":"purr"}'
    assert docker_user.home.call("store", stdin=document.encode()).code == 0
    assert docker_user.home.call("erase", stdin=b"ghcr.io").code == 0
    assert asked.read_text().splitlines() == ["store", document, "erase", "ghcr.io"]


@pytest.mark.parametrize(
    "key", ["oci://ghcr.io", "https://me@ghcr.io", "<token>", "bücher.ghcr.io"]
)
def test_the_fallback_helper_gets_keys_of_its_own_as_they_are(
    fallback_user: User, key: str
) -> None:
    asked = fallback_user.home.path / "asked"
    answer = fallback_user.home.get(key)
    assert answer.code == (0 if "ghcr.io" in key else 1)
    document = json.dumps({"ServerURL": key, "Username": "octocat", "Secret": "purr"})
    assert fallback_user.home.call("store", stdin=document.encode()).code == 0
    assert fallback_user.home.call("erase", stdin=key.encode()).code == 0
    assert asked.read_text().splitlines() == ["get", key, "store", document, "erase", key]


def test_what_the_fallback_helper_refuses_is_passed_on_as_it_is(fallback_user: User) -> None:
    answer = fallback_user.home.get("https://index.docker.io/v1/")
    assert answer.line == "credentials not found in native keychain"
    assert answer.stderr == b""


@pytest.mark.parametrize("says", ["echo no keychain here; exit 1", "echo null"])
def test_a_fallback_helper_that_lists_nothing_hides_none_of_ours(
    fallback_user: User, says: str
) -> None:
    helper = fallback_user.home.path / "bin" / "docker-credential-other"
    helper.write_text(f"#!/bin/sh\n{says}\n")
    fallback_user.home.get(registry(DEV))
    listed = fallback_user.home.call("list").json
    assert list(listed) == [f"https://{host}" for host in REGISTRIES]


def test_login_to_another_registry_says_how_to_set_a_fallback(store_user: User) -> None:
    document = b'{"ServerURL":"ghcr.io","Username":"octocat","Secret":"purr-purr"}'
    line = store_user.home.call("store", stdin=document).line
    assert 'fallback = "keyring"' in line
    assert str(store_user.home.settings) in line
    assert "purr" not in line
