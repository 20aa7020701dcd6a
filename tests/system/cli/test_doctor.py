"""ecr-py doctor, in a home where all is well and then one thing is not."""

from __future__ import annotations

import json
import os
import shutil
import socketserver
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from docker_credential_ecr_py.cli import doctor_checks
from docker_credential_ecr_py.cli.doctor_checks import Finding
from docker_credential_ecr_py.folder import close_file_to_others
from tests.standin.aws import Aws
from tests.standin.proxy import Proxy
from tests.support.home import DEV, HELPER, PROD, STAGE, START_URL, registry
from tests.support.other_user import folder_of_theirs, repeated_by_other
from tests.support.user import User, session_config

HOST = registry(DEV)
ONE_PROFILE = session_config().partition("[profile stage]")[0]
CONFIG = {"credHelpers": {registry(account): "ecr-py" for account in (DEV, STAGE, PROD)}}


@pytest.fixture
def well(user: User) -> User:
    """Docker asks us for all three registries."""
    docker(user, CONFIG)
    return user


def docker(user: User, config: object) -> Path:
    return user.home.write(
        user.home.path / ".docker" / "config.json",
        config if isinstance(config, str) else json.dumps(config),
    )


def findings(
    user: User, *options: str, code: int = 0, **environment: str
) -> dict[str, list[Finding]]:
    """By name. A pull would work where the exit code is 0, and nowhere else."""
    run = user.ecr_py if "--deep" in options else user.invoke
    done = run("doctor", "--json", *options, **environment)
    assert done.code == code, done
    document = json.loads(done.stdout)
    assert document["works"] is (code == 0)
    found: dict[str, list[Finding]] = {}
    for check in document["checks"]:
        found.setdefault(check["name"], []).append(Finding(**check))
        assert check["state"] == "ok" or ends_with_command(check), check
    return found


def ends_with_command(check: dict[str, str]) -> bool:
    """As README promises."""
    return f"{check['words']}: {check['hint']}".rstrip(": ").endswith("`")


def not_ok(found: dict[str, list[Finding]]) -> Finding:
    """The one that is not as it should be."""
    [finding] = [one for every in found.values() for one in every if one.state != "ok"]
    return finding


def test_all_is_well(well: User, aws: Aws) -> None:
    found = findings(well)
    assert {one.state for every in found.values() for one in every} == {"ok"}
    assert list(found) == [
        *("executable", "settings", "AWS config", "registries", "session", "docker config"),
        *("cache", "log", "SSO cache", "endpoints", "clock"),
    ]
    assert aws.count("GetAuthorizationToken") == 0
    # And so it is: a pull works.
    assert well.home.get(HOST).code == 0


def test_a_line_for_each(well: User) -> None:
    done = well.ecr_py("doctor")
    assert done.code == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 11
    assert lines[0] == f"ok      executable     {HELPER} 0.1.0"


# The executable


def test_not_on_the_path_that_docker_has(well: User) -> None:
    finding = not_ok(findings(well, code=1, PATH="/usr/bin:/bin"))
    assert finding.name == "executable"
    assert f"ln -s {HELPER}" in finding.hint


def test_another_version_before_ours(well: User) -> None:
    other = well.home.path / "bin" / HELPER.name
    well.home.write(other, f"#!/bin/sh\necho '{HELPER.name} ({HELPER.name}) 0.0.1'\n").chmod(0o755)
    path = f"{other.parent}:{well.home.environment['PATH']}"
    assert f"{other} has version 0.0.1" in not_ok(findings(well, code=1, PATH=path)).words


def test_another_program_of_this_name_that_prints_no_text(well: User) -> None:
    other = well.home.path / "bin" / HELPER.name
    well.home.write(other, "#!/bin/sh\nprintf '\\377\\033[2J'\n").chmod(0o755)
    path = f"{other.parent}:{well.home.environment['PATH']}"
    assert f"{other} has version \ufffd" in not_ok(findings(well, code=1, PATH=path)).words


def test_one_that_does_not_run(well: User) -> None:
    other = well.home.path / "bin" / HELPER.name
    well.home.write(other, "#!/nonexistent/python\n").chmod(0o755)
    path = f"{other.parent}:{well.home.environment['PATH']}"
    finding = not_ok(findings(well, code=1, PATH=path))
    assert "does not run" in finding.words


# Docker's config


def test_docker_does_not_ask_us(well: User) -> None:
    docker(well, {"credsStore": "desktop"})
    assert not_ok(findings(well, code=1)).hint == "run `ecr-py configure`"
    docker(well, {"credHelpers": {HOST: "ecr-py"}})
    assert registry(STAGE) in not_ok(findings(well)).words
    docker(well, {"credsStore": "ecr-py"})
    findings(well)


@pytest.mark.parametrize("text", ["{", "[]", '{"credHelpers": ["ecr-py"]}'])
def test_a_docker_config_that_docker_would_not_take(well: User, text: str) -> None:
    docker(well, text)
    assert not_ok(findings(well, code=1)).name == "docker config"


def test_a_host_that_is_no_registry_of_ecrs(well: User) -> None:
    docker(well, {"credHelpers": CONFIG["credHelpers"] | {"docker.io": "ecr-py"}})
    found = [one for one in findings(well)["docker config"] if one.state == "note"]
    assert "docker.io" in found[0].words


def test_a_password_that_docker_login_left(well: User) -> None:
    docker(
        well, {**CONFIG, "auths": {f"https://{HOST}": {"auth": "eDp5"}, "x.io": {"auth": "eDp5"}}}
    )
    finding = not_ok(findings(well))
    assert finding.name == "auths"
    assert f"https://{HOST}" in finding.words
    assert "eDp5" not in finding.words


def test_a_password_that_docker_needs_stays(well: User) -> None:
    elsewhere, theirs = registry("112233445566"), registry(STAGE)
    auths = {host: {"auth": "eDp5"} for host in (HOST, elsewhere, theirs, "x.io")}
    helpers = {HOST: "ecr-py", theirs: "desktop"}
    file = docker(well, {"auths": auths, "credHelpers": helpers})
    found = findings(well, "--fix", code=1)  # docker's helper for STAGE is not installed
    assert "auths" not in found
    assert json.loads(file.read_text())["auths"].keys() == auths.keys() - {HOST}
    # Where docker asks us for all, we answer for any account.
    docker(well, {"auths": auths, "credHelpers": {theirs: "desktop"}, "credsStore": "ecr-py"})
    assert "auths" not in findings(well, "--fix", code=1)
    assert json.loads(file.read_text())["auths"].keys() == {theirs, "x.io"}


def test_what_it_says_of_a_password_mends_it(well: User) -> None:
    elsewhere = registry("112233445566")
    helpers = CONFIG["credHelpers"] | {elsewhere: "ecr-py"}
    file = docker(well, {"credHelpers": helpers, "auths": {elsewhere: {"auth": "eDp5"}}})
    [finding] = findings(well, code=1)["auths"]
    assert finding.hint == "run `ecr-py configure --remove-auths`"
    assert well.invoke("configure", "--remove-auths").code == 0
    assert json.loads(file.read_text())["auths"] == {}
    assert "auths" not in findings(well, code=1)


# Settings and the AWS config


def test_files_that_cannot_be_read(well: User) -> None:
    well.home.aws_config.write_text("x\n")
    well.home.write(well.home.settings, "x")
    docker(well, "{")
    found = findings(well, code=1)
    for name in ("settings", "AWS config", "docker config"):
        assert [one.state for one in found[name]] == ["wrong"]
    assert "registries" not in found


def test_a_profile_that_is_not_complete(well: User) -> None:
    with well.home.aws_config.open("a") as config:
        config.write("[profile half]\nsso_account_id = 112233445566\nregion = eu-west-1\n")
    found = findings(well)
    assert [one.state for one in found["registries"]] == ["note"]
    assert "profile half" in found["registries"][0].words
    assert "AWS config" not in found  # one cause is one line
    docker(well, {"credHelpers": {registry("112233445566"): "ecr-py"}})
    found = findings(well, code=1)
    assert [one.state for one in found["registries"]] == ["wrong"]


def test_a_profile_that_is_nowhere_and_not_complete(well: User) -> None:
    with well.home.aws_config.open("a") as config:
        config.write("[profile half]\nsso_start_url = https://example.awsapps.com/start\n")
    found = not_ok(findings(well))
    assert (found.name, found.state) == ("AWS config", "note")
    assert "profile half" in found.words


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[dev]\nregion = eu-west-1\n", "has no profiles; [dev] has to be [profile dev]"),
        (ONE_PROFILE.replace("\nregion = eu-west-1", "\nregion = Ireland"), "not a region"),
        (ONE_PROFILE.replace(DEV, "6429761"), "an account has twelve digits: '6429761'"),
    ],
)
def test_a_config_with_a_mistake_in_each_profile(user: User, text: str, says: str) -> None:
    user.home.aws_config.write_text(text)
    found = not_ok(findings(user, code=1))
    assert found.name == "registries"
    assert says in found.words
    assert str(user.home.aws_config) in found.hint
    assert says in user.invoke("configure").line
    assert says in user.invoke("token").line


def test_a_profile_without_the_word(user: User) -> None:
    text = user.home.aws_config.read_text().replace("[profile dev]", "[dev]")
    user.home.aws_config.write_text(text)
    for command in (("token", "dev"), ("configure", "dev"), ("login", "dev")):
        assert "; [dev] has to be [profile dev]" in user.invoke(*command).line


def test_nothing_at_all(user: User) -> None:
    user.home.aws_config.unlink()
    found = findings(user, code=1)
    assert "ecr-py login --start-url" in found["registries"][0].hint
    assert "AWS config" not in found  # one cause is one line


def test_no_aws_config_is_one_cause_for_all_registries(well: User) -> None:
    well.home.aws_config.unlink()
    finding = not_ok(findings(well, code=1))
    assert finding.name == "registries"
    assert all(registry(account) in finding.words for account in (DEV, STAGE, PROD))
    assert f"{well.home.aws_config} does not exist, and the environment has no" in finding.words
    shown = well.invoke_ok("status").stdout
    assert shown.count("does not exist") == 1
    well.home.aws_config.write_text("")
    assert "has no profiles, and" in not_ok(findings(well, code=1)).words


# Sessions and tokens


def test_a_session_that_has_ended_is_exit_3(well: User) -> None:
    well.end_session()
    finding = not_ok(findings(well, code=3))
    assert (finding.name, finding.state) == ("session", "log in")
    assert finding.hint == "run `ecr-py login dev`"


def test_a_session_that_the_portal_has_ended_is_exit_3(well: User, aws: Aws) -> None:
    aws.end_session()
    finding = not_ok(findings(well, code=3))
    assert (finding.name, finding.state) == ("session", "log in")
    assert finding.words == f"the portal has ended the session {START_URL}"
    aws.auto_approve = True
    assert well.try_run("ecr-py", "login", "dev").code == 0
    assert not any(one.state != "ok" for every in findings(well).values() for one in every)


def test_deep_asks_for_a_token_and_keeps_none(well: User, aws: Aws) -> None:
    found = findings(well, "--deep")
    assert [one.state for one in found["token"]] == ["ok"] * 3
    assert aws.count("GetAuthorizationToken") == 3
    assert not (well.home.cache / "credentials").exists()


def test_deep_says_what_aws_says(well: User, aws: Aws) -> None:
    aws.deny_ecr(f"arn:aws:sts::{STAGE}:*")
    finding = not_ok(findings(well, "--deep", code=1))
    assert f"{registry(STAGE)}: " in finding.words
    assert "may not ecr:GetAuthorizationToken" in finding.words


def test_deep_logs_in_nowhere(well: User, aws: Aws) -> None:
    well.add_browser()
    aws.end_session()
    found = findings(well, "--deep", code=3)
    assert {one.state for one in found["token"]} == {"log in"}
    assert well.addresses == []


# Folders


def test_folders_that_are_open_are_closed(well: User) -> None:
    well.home.get(HOST)
    log, token = well.home.log.parent, well.token_files()[0]
    for folder in (well.home.cache, log):
        folder.chmod(0o755)
    token.chmod(0o644)
    found = findings(well)
    assert {name for name in found if found[name][-1].state == "note"} == {
        *("cache", "log", "SSO cache")
    }
    done = well.invoke("doctor", "--fix")
    assert done.code == 0
    assert done.stderr.count("closed") == 3
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    for folder in (well.home.cache, log):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert well.invoke("doctor", "--fix").stderr == ""


def test_a_link_to_nowhere_hides_no_token_file(well: User) -> None:
    (well.sso_cache / "0.json").symlink_to(well.home.path / "nowhere")
    token = next(file for file in well.sso_cache.iterdir() if file.is_file())
    token.chmod(0o644)
    assert str(token) in not_ok(findings(well)).words
    assert "closed" in well.invoke("doctor", "--fix").stderr
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


def test_what_a_link_in_the_sso_cache_leads_to_keeps_its_mode(well: User) -> None:
    """It is no token of a session, and it may be open to others for good reason."""
    elsewhere = well.home.path / "elsewhere"
    for mode in (0o644, 0o755):
        elsewhere.write_text("{}")
        elsewhere.chmod(mode)
        link = well.sso_cache / "0.json"
        link.unlink(missing_ok=True)
        link.symlink_to(elsewhere)
        assert "SSO cache" in findings(well)
        assert str(link) not in str(findings(well))
        assert well.invoke("doctor", "--fix").stderr == ""
        assert stat.S_IMODE(elsewhere.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_keeps_its_mode(well: User) -> None:
    theirs = well.sso_cache / "theirs.json"
    theirs.write_text("{}")
    theirs.chmod(0o644)
    os.chown(theirs, 12345, 12345)
    assert "closed" not in well.invoke("doctor", "--fix").stderr
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_a_link_that_is_raced_in_as_root_fixes_changes_nothing(tmp_path: Path) -> None:
    """Between what doctor sees and what it does, another user swaps file and link."""
    roots = tmp_path / "roots"
    roots.write_text("{}")
    roots.chmod(0o644)
    with folder_of_theirs() as folder:
        token, link, aside = folder / "token.json", folder / "link", folder / "aside"
        token.write_text("{}")
        token.chmod(0o644)
        link.symlink_to(roots)

        def swap() -> None:
            token.rename(aside)
            link.rename(token)
            token.rename(link)
            aside.rename(token)

        with repeated_by_other(swap):
            for _ in range(500):
                with suppress(OSError):
                    close_file_to_others(token)
                assert stat.S_IMODE(roots.stat().st_mode) == 0o644


def test_a_copy_with_passwords_that_is_open_is_closed(well: User) -> None:
    """As an earlier version left it: with the mode of what it is a copy of."""
    backup = well.home.path / ".docker" / "config.json.bak"
    backup.write_text("{}")
    backup.chmod(0o644)
    finding = not_ok(findings(well))
    assert (finding.name, finding.hint) == ("backup", f"run `chmod 600 {backup}`")
    assert "closed" in well.invoke("doctor", "--fix").stderr
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_cache_of_somebody_elses(well: User) -> None:
    """A pull works, and keeps nothing there; tests/system/hostile/test_foreign_home.py."""
    well.home.cache.mkdir(parents=True)
    os.chown(well.home.cache, 12345, 12345)
    finding = not_ok(findings(well))
    assert (finding.name, finding.state) == ("cache", "note")
    assert f"{well.home.cache}, which belongs to user 12345" in finding.words


def test_a_file_where_the_cache_should_be(well: User) -> None:
    well.home.write(well.home.cache, "")
    assert "is not a folder" in not_ok(findings(well, code=1)).words


# The network


@pytest.fixture
def behind_proxy(well: User, aws: Aws) -> Proxy:
    """AWS by its real names."""
    for name in [name for name in well.home.environment if name.startswith("AWS_ENDPOINT_URL")]:
        del well.home.environment[name]
    return Proxy(aws)


def test_real_names_through_the_proxy_in_force(well: User, behind_proxy: Proxy) -> None:
    with behind_proxy as proxy:
        well.home.environment |= proxy.environment()
        found = findings(well)
        words = found["endpoints"][0].words
        bare = proxy.url.removeprefix("http://")
        assert words == f"3 endpoints answered, through {bare}"
        # As curl takes it, too: whose password it is, is nobody else's.
        found = findings(
            well, HTTPS_PROXY=f"bob:hunt@er2@{bare}", https_proxy=f"bob:hunt@er2@{bare}"
        )
        assert found["endpoints"][0].words == f"3 endpoints answered, through {bare}"
        assert set(proxy.connects) == {
            f"{service}.eu-west-1.amazonaws.com" for service in ("api.ecr", "oidc", "portal.sso")
        }


def test_a_proxy_that_lets_nobody_through(well: User, behind_proxy: Proxy) -> None:
    with behind_proxy as proxy:
        proxy.routes.clear()
        well.home.environment |= proxy.environment()
        secret = proxy.url.replace("//", "//somebody:secret@")
        found = findings(well, code=1, HTTPS_PROXY=secret, https_proxy=secret)
    assert [one.state for one in found["endpoints"]] == ["wrong"]
    assert "502" in found["endpoints"][0].words
    assert "secret@" not in str(found)


def test_a_certificate_that_is_not_trusted(well: User, behind_proxy: Proxy) -> None:
    with behind_proxy as proxy:
        url = proxy.url
        found = findings(well, code=1, HTTPS_PROXY=url, https_proxy=url)
    assert "certificate" in found["endpoints"][0].words.lower()


def test_nobody_answers(well: User, behind_proxy: Proxy) -> None:
    nowhere = "http://127.0.0.1:9"
    found = findings(well, code=1, HTTPS_PROXY=nowhere, https_proxy=nowhere)
    assert "cannot be reached" in found["endpoints"][0].words
    assert "clock" not in found


@pytest.fixture
def secure_shell() -> Iterator[str]:
    """The address of a server that speaks another protocol."""

    class Greeting(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            self.rfile.readline()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeting) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_an_endpoint_that_is_none(well: User, secure_shell: str) -> None:
    said = {
        secure_shell: "does not speak HTTP",
        "http://127.0.0.1:1/a b": "connection refused",
        "http://[::1": "not valid",
        "127.0.0.1": "not valid",
    }
    for url, words in said.items():
        done = well.invoke("doctor", AWS_ENDPOINT_URL_ECR=url)
        assert (done.code, done.stderr) == (1, "")
        [line] = [line for line in done.stdout.splitlines() if line.startswith("wrong")]
        assert words in line
        assert "clock" in done.stdout  # the others answered


def test_a_proxy_that_is_none(well: User, behind_proxy: Proxy, secure_shell: str) -> None:
    for proxy, words in {
        secure_shell: "does not speak HTTP",
        "http://bob:hunter2@127.0.0.1:port": "invalid characters",
        "http://bob:hunter2": "invalid characters",  # what is a port to Python is the password
    }.items():
        done = well.ecr_py("doctor", "--deep", HTTPS_PROXY=proxy, https_proxy=proxy)
        assert (done.code, done.stderr) == (1, "")
        lines = [line for line in done.stdout.splitlines() if line.startswith("wrong   endpoints")]
        assert len(lines) == 1
        assert words in lines[0]
        assert "hunter2" not in "".join(lines)
        assert "wrong   token" in done.stdout  # and so it goes on


@pytest.mark.parametrize(
    ("skew", "state", "words"),
    [
        (3, "ok", "in sync with AWS"),
        (-90, "note", "90 seconds behind"),
        (400, "wrong", "400 seconds ahead of"),
    ],
)
def test_the_clock(skew: float, state: str, words: str) -> None:
    finding = doctor_checks.clock(skew)
    assert finding.state == state
    assert words in finding.words


# How it looks


@pytest.mark.parametrize("columns", [60, 100])
def test_it_can_be_read_at_any_width(well: User, columns: int) -> None:
    shutil.rmtree(well.sso_cache)
    with well.at_terminal(f"stty cols {columns}; ecr-py doctor", NO_COLOR="1") as terminal:
        assert terminal.wait() == 3
    assert f"{START_URL}" in terminal.shown
    assert "`ecr-py login dev`" in " ".join(terminal.shown.split())


def test_nothing_of_aws_is_imported_without_a_registry(well: User) -> None:
    well.home.aws_config.unlink()
    done = well.ecr_py("doctor", PYTHONPROFILEIMPORTTIME="1")
    assert " click" in done.stderr
    assert " botocore" not in done.stderr
