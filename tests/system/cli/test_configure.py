"""ecr-py configure: what it writes, what it says, and what it leaves alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat

import pytest

from tests.support.home import DEV, HELPER, PROD, REGISTRIES, STAGE, START_URL, registry
from tests.support.user import Done, User, leftovers

OURS = dict.fromkeys(REGISTRIES, "ecr-py")
PASSWORD = "QVdTOmh1bnRlcjI="
HUB = "https://index.docker.io/v1/"


def config(**keys: object) -> str:
    return json.dumps(keys, indent="\t")


def refused(user: User, *arguments: str) -> str:
    """The one line of a failure that left docker's config as it was."""
    before = user.docker_config.read_bytes() if user.docker_config.is_file() else None
    line = user.ecr_py("configure", *arguments).line
    assert (user.docker_config.read_bytes() if user.docker_config.is_file() else None) == before
    return line


# What it finds


def test_an_entry_for_each_account_of_the_aws_config(user: User) -> None:
    done = user.invoke_ok("configure")
    assert user.read_config() == {"credHelpers": OURS}
    for host, profile in zip(REGISTRIES, ("dev", "stage", "prod"), strict=True):
        [row] = [line for line in done.stdout.splitlines() if line.startswith(host)]
        assert row.split() == [host, profile]
    assert "3 entries" in done.stdout
    assert "--undo" in done.stdout
    assert done.stderr == ""


def test_regions_and_ecr_public_on_top(user: User) -> None:
    user.invoke_ok("configure", "--region", "us-east-1", "--region", "us-gov-west-1", "--public")
    regions = ("eu-west-1", "us-east-1", "us-gov-west-1")
    wanted = [registry(account, region) for account in (DEV, STAGE, PROD) for region in regions]
    assert list(user.read_config()["credHelpers"]) == [*wanted, "public.ecr.aws"]


def test_a_profile_without_a_region_is_passed_over_and_named(user: User) -> None:
    config = user.home.aws_config
    config.write_text(config.read_text().replace("\nregion = eu-west-1", "", 1))
    done = user.invoke_ok("configure")
    assert user.read_config()["credHelpers"].keys() == {registry(STAGE), registry(PROD)}
    assert "dev" in done.stderr
    assert "--region" in done.stderr
    assert "dev" not in user.invoke_ok("configure", "--region", "eu-west-1").stderr
    assert registry(DEV) in user.read_config()["credHelpers"]


def test_profiles_and_those_alone(user: User) -> None:
    user.invoke_ok("configure", "dev", "prod")
    assert list(user.read_config()["credHelpers"]) == [registry(DEV), registry(PROD)]
    user.invoke_ok("configure", "stage", "--region", "us-east-1")
    added = [registry(STAGE), registry(STAGE, "us-east-1")]
    assert list(user.read_config()["credHelpers"])[2:] == added
    assert "nearest: dev" in refused(user, "dve")
    assert "--registry" in refused(user, registry(DEV))


def test_a_profile_that_is_named_is_the_one_that_answers(user: User) -> None:
    with user.home.aws_config.open("a") as config:
        config.write(
            f"[profile admin]\nsso_start_url = {START_URL}\nsso_region = eu-west-1\n"
            f"sso_account_id = {DEV}\nsso_role_name = Other\nregion = eu-west-1\n"
        )
    done = user.invoke_ok("configure", "admin")
    assert re.search(rf"^{registry(DEV)} +admin$", done.stdout, re.MULTILINE)
    assert f"account {DEV} uses profile admin" in done.stdout
    assert done.stderr == ""
    assert "profile   admin" in user.invoke_ok("explain", registry(DEV)).stdout
    assert "uses profile" not in user.invoke_ok("configure", "admin").said


def test_registries_by_name_and_those_alone(user: User) -> None:
    named = "111122223333.dkr.ecr-fips.us-east-1.amazonaws.com"
    user.home.write(
        user.home.settings,
        f'[registries."images.example.com"]\nalias = "{registry(DEV)}"\n',
    )
    names = (f"https://{named}/v2/", "images.example.com", "stage", "public.ecr.aws")
    assert re.search(r"images\.example\.com +dev\n", user.invoke_ok("configure").stdout)
    user.invoke_ok("configure", "--undo")
    user.invoke_ok("configure", *(part for name in names for part in ("--registry", name)))
    wanted = [named, "images.example.com", registry(STAGE), "public.ecr.aws"]
    assert list(user.read_config()["credHelpers"]) == wanted
    user.invoke_ok("configure", "--registry", registry(PROD))
    assert list(user.read_config()["credHelpers"]) == [*wanted, registry(PROD)]
    user.invoke_ok("configure", "--undo")
    assert not user.docker_config.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--registry", "ghcr.io"], "ghcr.io is not an Amazon ECR registry"),
        (["--registry", registry(DEV) + "x"], f"nearest: {registry(DEV)}"),
        (["--registry", "stge"], "nearest: stage"),
        (["--region", "eu-wst-1"], "nearest: eu-west-1"),
    ],
)
def test_a_name_that_is_none(user: User, arguments: list[str], said: str) -> None:
    assert said in refused(user, *arguments)


def test_on_nothing_it_says_what_to_do(user: User) -> None:
    user.home.aws_config.unlink()
    assert "ecr-py login --start-url" in refused(user)
    assert not user.docker_config.parent.exists()
    user.invoke_ok("configure", "--registry", registry(DEV))
    user.invoke_ok("configure", "--creds-store")
    assert user.read_config()["credsStore"] == "ecr-py"


def test_an_aws_config_that_cannot_be_read(user: User) -> None:
    user.home.aws_config.unlink()
    user.home.aws_config.mkdir()
    assert str(user.home.aws_config) in refused(user)


def test_a_thousand_profiles(user: User) -> None:
    sections = (
        f"[profile p{number}]\naws_account_id = {number:012}\nregion = eu-west-1\n"
        for number in range(1000)
    )
    user.home.write(user.home.aws_config, "".join(sections))
    before = user.write_config(config(auths={}))
    user.invoke_ok("configure")
    assert len(user.read_config()["credHelpers"]) == 1000
    user.invoke_ok("configure", "--undo")
    assert user.docker_config.read_bytes() == before


# The file


def test_a_second_run_writes_nothing(user: User) -> None:
    user.invoke_ok("configure")
    written = user.docker_config.stat()
    done = user.invoke_ok("configure")
    assert "nothing to change" in done.stdout
    assert user.docker_config.stat().st_mtime_ns == written.st_mtime_ns
    assert user.docker_config.stat().st_ino == written.st_ino


def test_modes_and_a_backup(user: User) -> None:
    user.invoke_ok("configure")
    assert stat.S_IMODE(user.docker_config.stat().st_mode) == 0o600
    user.invoke_ok("configure", "--undo")
    before = user.write_config(config(auths={HUB: {"auth": PASSWORD}}))
    user.docker_config.chmod(0o640)
    user.invoke_ok("configure")
    backup = user.docker_config.with_name("config.json.bak")
    assert backup.read_bytes() == before
    assert stat.S_IMODE(user.docker_config.stat().st_mode) == 0o640
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    kept = [*user.home.path.rglob("undo/*.json")]
    assert len(kept) == 1
    assert stat.S_IMODE(kept[0].stat().st_mode) == 0o600
    assert stat.S_IMODE(kept[0].parent.stat().st_mode) == 0o700
    assert leftovers([user.home.path]) == []
    user.invoke_ok("configure", "--undo")
    assert not kept[0].exists()


def test_docker_config_elsewhere(user: User) -> None:
    elsewhere = user.home.path / "elsewhere"
    user.invoke_ok("configure", DOCKER_CONFIG=str(elsewhere))
    assert user.read_config(elsewhere / "config.json") == {"credHelpers": OURS}
    assert not user.docker_config.exists()
    assert "nothing to undo" in user.invoke_ok("configure", "--undo").stdout
    user.invoke_ok("configure", "--undo", DOCKER_CONFIG=str(elsewhere))
    assert not (elsewhere / "config.json").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"auths": {}, // mine\n}', "line 1: not JSON"),
        ("[]", "not a JSON object"),
        ('{"credHelpers": ["ecr-py"]}', "credHelpers must be an object"),
        ('{"credHelpers": {}, "credHelpers": {}}', "appears twice"),
        (b"\xff\xfe{\0}\0", "not UTF-8"),
        ('{"a": %s}' % ("1" * 5000), "not JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_docker_config_is_left_as_it_is(
    user: User, text: str | bytes, said: str
) -> None:
    user.write_config(text)
    line = refused(user)
    assert said in line
    assert str(user.docker_config) in line


def test_a_read_only_file_and_a_folder_in_its_place(user: User) -> None:
    user.write_config("{}")
    user.docker_config.chmod(0o444)
    line = user.invoke("configure").stderr
    assert "read-only" in line
    assert user.docker_config.read_text() == "{}"
    user.docker_config.unlink()
    user.docker_config.mkdir()
    assert "Is a directory" in refused(user)


def test_a_docker_config_that_cannot_be_written_leaves_the_settings_too(user: User) -> None:
    user.write_config(config(credsStore="desktop"))
    user.docker_config.chmod(0o444)
    assert "read-only" in refused(user, "--creds-store")
    assert not user.home.settings.exists()
    user.docker_config.chmod(0o644)
    assert "nothing to undo" in user.invoke_ok("configure", "--undo").stdout


@pytest.mark.parametrize("options", [(), ("--creds-store",)])
def test_it_configures_whoever_reads_what_it_says(user: User, options: tuple[str, ...]) -> None:
    before = user.write_config(config(credsStore="desktop"))
    user.ecr_py_into_closed_pipe("configure", "--for", "docker", *options)
    assert user.read_config() != json.loads(before)
    assert user.home.settings.exists() == bool(options)
    assert user.ecr_py_into_closed_pipe("configure", "--undo") == (0, "")
    assert user.docker_config.read_bytes() == before
    assert not user.home.settings.exists()


def test_a_config_of_another_kind_stops_before_anything_is_written(user: User) -> None:
    user.write_config("[]", user.home.path / ".apptainer" / "docker-config.json")
    assert "not a JSON object" in refused(user, "--for", "docker", "--for", "apptainer")
    assert not user.docker_config.exists()


def test_dry_run_shows_the_change_without_secrets_and_writes_nothing(user: User) -> None:
    before = user.write_config(
        config(auths={HUB: {"auth": PASSWORD}}, HttpHeaders={"Auth": PASSWORD})
    )
    seen = sorted(user.home.path.rglob("*"))
    done = user.invoke_ok("configure", "--dry-run")
    assert f'+\t\t"{registry(STAGE)}": "ecr-py",' in done.stdout
    assert PASSWORD not in done.stdout
    assert done.stdout.startswith(f"--- {user.docker_config}\n+++ ")
    assert user.docker_config.read_bytes() == before
    assert [path for path in sorted(user.home.path.rglob("*")) if ".local" not in str(path)] == [
        path for path in seen if ".local" not in str(path)
    ]
    user.invoke_ok("configure")
    assert (
        f'-\t\t"{registry(STAGE)}": "ecr-py",'
        in user.invoke_ok("configure", "--undo", "--dry-run").stdout
    )
    assert user.read_config()["credHelpers"] == OURS


# credsStore and the helpers of others


def test_the_present_store_becomes_the_fallback(user: User) -> None:
    settings = user.home.write(user.home.settings, '# mine\n[defaults]\nlogin = "never" # so\n')
    before = user.write_config(config(credsStore="desktop", credHelpers={"gcr.io": "gcloud"}))
    done = user.invoke_ok("configure", "--creds-store")
    assert "desktop" in done.stdout
    assert user.read_config() == {"credsStore": "ecr-py", "credHelpers": {"gcr.io": "gcloud"}}
    assert settings.read_text() == (
        '# mine\n[defaults]\nlogin = "never" # so\nfallback = "desktop"\n'
    )
    # Once it is so, there is nothing to add, in either way.
    assert "nothing to change" in user.invoke_ok("configure").stdout
    assert "nothing to change" in user.invoke_ok("configure", "--creds-store").stdout
    user.invoke_ok("configure", "--undo")
    assert user.docker_config.read_bytes() == before
    assert settings.read_text() == '# mine\n[defaults]\nlogin = "never" # so\n'


def test_a_fallback_that_is_another_is_not_overwritten(user: User) -> None:
    user.home.write(user.home.settings, '[defaults]\nfallback = "pass"\n')
    user.write_config(config(credsStore="desktop"))
    line = refused(user, "--creds-store")
    assert "ecr-py config set fallback desktop" in line
    helper = user.home.write(user.home.path / "bin" / "docker-credential-desktop", "#!/bin/sh\n")
    helper.chmod(0o755)
    user.home.environment["PATH"] = f"{helper.parent}:{user.home.environment['PATH']}"
    user.invoke_ok("config", "set", "fallback", "desktop")
    user.invoke_ok("configure", "--creds-store")
    assert user.read_config()["credsStore"] == "ecr-py"


def test_only_docker_has_a_creds_store(user: User) -> None:
    done = user.invoke("configure", "--creds-store", "--for", "docker", "--for", "podman")
    assert done.code == 2
    assert "--creds-store works for docker only" in done.stderr
    assert not user.docker_config.exists()


def test_another_helpers_entry_stays_until_it_is_to_be_replaced(user: User) -> None:
    helpers = {registry(DEV): "ecr-login", "1.dkr.example": "ecr-login", "gcr.io": "gcloud"}
    before = user.write_config(config(credHelpers=helpers, credsStore="ecr-login"))
    done = user.invoke_ok("configure")
    assert user.read_config()["credHelpers"] == helpers | {
        registry(STAGE): "ecr-py",
        registry(PROD): "ecr-py",
    }
    assert "--replace ecr-login" in done.stderr
    assert "gcr.io" not in done.stderr
    assert user.read_config()["credsStore"] == "ecr-login"

    done = user.invoke_ok("configure", "--replace", "ecr-login")
    assert done.stderr == ""
    assert user.read_config() == {
        "credHelpers": helpers | OURS,  # of those, what is not ECR's stays
        "credsStore": "ecr-py",
    }
    assert not user.home.settings.exists()
    user.invoke_ok("configure", "--undo")
    assert user.docker_config.read_bytes() == before


def test_replace_takes_registries_that_no_profile_is_for(user: User) -> None:
    host = "111122223333.dkr.ecr.us-east-1.amazonaws.com"
    user.write_config(config(credHelpers={host: "ecr-login"}))
    user.invoke_ok("configure", "--replace", "docker-credential-ecr-login")
    assert user.read_config()["credHelpers"] == OURS | {host: "ecr-py"}


@pytest.mark.parametrize("creds_store", [False, True])
def test_replace_needs_no_account_in_the_aws_config(user: User, creds_store: bool) -> None:
    """awslabs' helper takes any account, as whoever the environment or [default] says."""
    user.home.aws_config.write_text("[default]\nregion = eu-west-1\n")
    theirs = (
        {"credsStore": "ecr-login"}
        if creds_store
        else {"credHelpers": {REGISTRIES[0]: "ecr-login"}}
    )
    user.write_config(config(**theirs))
    user.invoke_ok("configure", "--replace", "ecr-login")
    ours = {"credsStore": "ecr-py"} if creds_store else {"credHelpers": {REGISTRIES[0]: "ecr-py"}}
    assert user.read_config() == ours
    assert "nothing to change" in user.invoke_ok("configure", "--replace", "ecr-login").stdout


def test_replace_of_one_registry_leaves_the_others(user: User) -> None:
    theirs = dict.fromkeys(REGISTRIES, "ecr-login")
    user.write_config(config(credHelpers=theirs, credsStore="ecr-login"))
    user.invoke_ok("configure", "--replace", "ecr-login", "--registry", "dev")
    assert user.read_config() == {
        "credHelpers": theirs | {registry(DEV): "ecr-py"},
        "credsStore": "ecr-login",
    }


# Stale passwords


def test_stale_auths_are_said_and_removed_when_asked(user: User) -> None:
    auths = {registry(DEV): {"auth": PASSWORD}, HUB: {"auth": PASSWORD}, registry(PROD): {}}
    before = user.write_config(config(auths=auths))
    done = user.invoke_ok("configure")
    assert registry(DEV) in done.stderr
    assert "--remove-auths" in done.stderr
    assert HUB not in done.stderr
    assert user.read_config()["auths"] == auths
    user.invoke_ok("configure", "--remove-auths")
    assert user.read_config()["auths"] == {HUB: auths[HUB], registry(PROD): {}}
    user.invoke_ok("configure", "--undo")
    assert user.docker_config.read_bytes() == before


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("command", ["configure --remove-auths", "doctor --fix"])
def test_it_says_how_to_delete_the_copies_of_removed_passwords(
    user: User, command: str, linked: bool
) -> None:
    helpers = dict.fromkeys(REGISTRIES, "ecr-py")
    auths = {registry(DEV): {"auth": PASSWORD}}
    user.write_config(config(auths=auths, credHelpers=helpers))
    user.docker_config.chmod(0o644)
    if linked:
        elsewhere = user.home.path / "dot files"
        elsewhere.mkdir()
        user.docker_config.rename(elsewhere / "docker.json")
        user.docker_config.symlink_to(elsewhere / "docker.json")
    done = user.ecr_py(*command.split())
    assert PASSWORD not in done.said

    def copies() -> list[str]:
        files = [path for path in sorted(user.home.path.rglob("*")) if path.is_file()]
        return [str(path) for path in files if PASSWORD in path.read_text(errors="replace")]

    assert len(copies()) == 2
    for copy in copies():
        assert copy in done.stderr
        assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600
    [told] = re.findall(r"`(rm [^`]+)` deletes them", done.stderr)
    assert user.try_run("sh", "-c", told).code == 0
    assert copies() == []
    assert "nothing to undo" in user.invoke_ok("configure", "--undo").stdout
    assert user.read_config()["auths"] == {}
    assert user.invoke_ok("configure", "--remove-auths").stderr == ""


@pytest.mark.parametrize("answer", ["y", "n"])
def test_at_a_terminal_it_asks(user: User, answer: str) -> None:
    before = user.write_config(config(auths={f"https://{registry(DEV)}": {"auth": PASSWORD}}))
    with user.at_terminal("ecr-py configure") as terminal:
        terminal.wait_for(r"Remove them \[Y/n\]")
        terminal.type(f"{answer}\r")
        assert terminal.wait() == 0
        assert PASSWORD not in terminal.shown
    assert bool(user.read_config()["auths"]) == (answer == "n")
    assert user.read_config()["credHelpers"] == OURS
    user.invoke_ok("configure", "--undo")
    assert user.docker_config.read_bytes() == before


@pytest.mark.parametrize(("typed", "code"), [("\x03", 130), ("n\r", 1), ("\r", 1)])
def test_no_at_the_question_leaves_all_as_it_was(user: User, typed: str, code: int) -> None:
    before = user.write_config(config(credsStore="", auths={HUB: {"auth": PASSWORD}}))
    with user.at_terminal("ecr-py configure --creds-store") as terminal:
        terminal.wait_for("Continue anyway")
        terminal.type(typed)
        assert terminal.wait() == code
        assert ("nothing was changed" in terminal.shown) == (code == 1)
        assert "Traceback" not in terminal.shown
    assert user.docker_config.read_bytes() == before
    assert not list(user.home.path.rglob("undo"))


# Undo


def test_what_somebody_changed_meanwhile_stays(user: User) -> None:
    user.write_config(config(credsStore="desktop"))
    user.invoke_ok("configure", "--creds-store")
    user.invoke_ok("configure", "--cred-helpers")
    theirs = user.read_config()
    theirs["auths"] = {"ghcr.io": {}}
    theirs["credHelpers"][registry(STAGE)] = "mine"
    user.write_config(config(**theirs))
    done = user.invoke_ok("configure", "--undo")
    assert "edited since" in done.stdout
    assert user.read_config() == {
        "credsStore": "desktop",
        "credHelpers": {registry(STAGE): "mine"},
        "auths": {"ghcr.io": {}},
    }
    assert not user.home.settings.exists()
    assert "nothing to undo" in user.invoke_ok("configure", "--undo").stdout


def test_an_edit_between_two_runs_is_kept_to_the_byte(user: User) -> None:
    user.write_config(config(auths={}))
    user.invoke_ok("configure", "--registry", registry(DEV))
    text = user.docker_config.read_text().replace('"auths"', '"detachKeys":   "ctrl-x",\n\t"auths"')
    user.write_config(text)
    user.invoke_ok("configure")
    user.invoke_ok("configure", "--undo")
    assert user.docker_config.read_text() == ('{\n\t"detachKeys":   "ctrl-x",\n\t"auths": {}\n}')


def test_a_run_that_cannot_write_takes_nothing_from_undo(user: User) -> None:
    before = user.write_config("\ufeff" + config(auths={}))
    user.invoke_ok("configure", "--registry", "dev")
    user.docker_config.chmod(0o444)
    assert "read-only" in refused(user)
    user.docker_config.chmod(0o644)
    user.invoke_ok("configure", "--undo")
    assert user.docker_config.read_bytes() == before


def test_runs_at_once_take_nothing_from_undo(user: User) -> None:
    before = user.write_config(config(auths={}))
    one = 'ecr-py configure --registry "$host" >&2 && echo "$host"'
    script = f"for host in {' '.join(REGISTRIES * 3)}; do ({one}) & done; wait"
    made = user.try_run("sh", "-c", script).stdout.split()
    assert user.read_config()["credHelpers"].keys() == set(made)
    user.invoke_ok("configure", "--undo")
    assert user.docker_config.read_bytes() == before


def test_a_config_that_is_gone_or_broken(user: User) -> None:
    user.invoke_ok("configure")
    user.write_config("{ broken")
    assert "not JSON" in refused(user, "--undo")
    user.docker_config.unlink()
    assert "no longer exists" in user.invoke_ok("configure", "--undo").stdout
    assert not user.docker_config.exists()


def test_undo_is_for_all_or_for_those_that_are_named(user: User) -> None:
    user.invoke_ok("configure", "--for", "docker", "--for", "apptainer")
    apptainer = user.home.path / ".apptainer" / "docker-config.json"
    user.invoke_ok("configure", "--undo", "--for", "apptainer")
    assert not apptainer.exists()
    assert user.read_config()["credHelpers"] == OURS
    user.invoke_ok("configure", "--undo")
    assert not user.docker_config.exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--undo", "--public"),
        ("--creds-store", "--cred-helpers"),
        ("--registry", registry(DEV), "--region", "us-east-1"),
        ("--replace", "ecr-py"),
        ("--for", "dockr"),
    ],
)
def test_options_that_do_not_go_together(user: User, options: tuple[str, ...]) -> None:
    assert user.invoke("configure", *options).code == 2
    assert not user.docker_config.exists()


# The executable


def only_ecr_py(user: User, path: str) -> Done:
    """ecr-py configure, run by its whole path."""
    return user.try_run(str(HELPER.with_name("ecr-py")), "configure", PATH=path)


def test_a_helper_that_is_not_on_the_path(user: User) -> None:
    done = only_ecr_py(user, "/usr/bin:/bin")
    assert done.code == 0
    assert "not on the PATH" in done.stderr
    assert str(HELPER.parent) in done.stderr
    link = user.home.path / "bin" / HELPER.name
    link.parent.mkdir()
    link.symlink_to(HELPER)  # as it proposes
    assert only_ecr_py(user, f"{link.parent}:/usr/bin:/bin").stderr == ""
    user.home.environment["PATH"] = f"{link.parent}:/usr/bin:/bin"
    done = user.try_run(HELPER.name, "get", registry(DEV))
    assert json.loads(done.stdout)["Username"] == "AWS"


def test_a_relative_folder_on_the_path(user: User) -> None:
    shutil.copy(HELPER, user.home.path)
    done = only_ecr_py(user, f".{os.pathsep}/usr/bin:/bin")
    assert "docker refuses" in done.stderr


def test_a_helper_to_replace_that_nobody_asks(user: User) -> None:
    done = user.invoke_ok("configure", "--replace", "typo")
    assert "docker-credential-typo is not configured anywhere" in done.stderr


def test_keys_that_do_not_say_their_account(user: User) -> None:
    """Those from before 2019. One that another profile's role comes from needs none."""
    keys = "aws_access_key_id = AKIAIOSFODNN7EXAMPLE\nregion = eu-west-1\n"
    role = f"[profile role]\nrole_arn = arn:aws:iam::{DEV}:role/x\nsource_profile = base\n"
    config = user.home.aws_config
    config.write_text(f"{config.read_text()}[profile old]\n{keys}[profile base]\n{keys}{role}")
    [line] = [
        line for line in user.invoke_ok("configure").stderr.splitlines() if "no account" in line
    ]
    assert "profile old has no account" in line
    assert "aws configure set aws_account_id ACCOUNT --profile old" in line
