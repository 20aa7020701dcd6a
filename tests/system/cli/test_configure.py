"""ecr-py configure: what it writes, what it says, and what it leaves alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat

import pytest

from tests.support.home import DEV, HELPER, PROD, STAGE, registry
from tests.support.user import Done, leftovers
from tests.system.cli.conftest import THREE, Owner

OURS = dict.fromkeys(THREE, "ecr-py")
PASSWORD = "QVdTOmh1bnRlcjI="
HUB = "https://index.docker.io/v1/"


def config(**keys: object) -> str:
    return json.dumps(keys, indent="\t")


def refused(owner: Owner, *arguments: str) -> str:
    """The one line of a failure that left docker's config as it was."""
    before = owner.config.read_bytes() if owner.config.is_file() else None
    line = owner.types("configure", *arguments).line
    assert (owner.config.read_bytes() if owner.config.is_file() else None) == before
    return line


# What it finds


def test_an_entry_for_each_account_of_the_aws_config(owner: Owner) -> None:
    done = owner.does("configure")
    assert owner.says() == {"credHelpers": OURS}
    for host, profile in zip(THREE, ("dev", "stage", "prod"), strict=True):
        [row] = [line for line in done.stdout.splitlines() if line.startswith(host)]
        assert row.split() == [host, profile]
    assert "3 entries" in done.stdout
    assert "--undo" in done.stdout
    assert done.stderr == ""


def test_regions_and_ecr_public_on_top(owner: Owner) -> None:
    owner.does("configure", "--region", "us-east-1", "--region", "us-gov-west-1", "--public")
    regions = ("eu-west-1", "us-east-1", "us-gov-west-1")
    wanted = [registry(account, region) for account in (DEV, STAGE, PROD) for region in regions]
    assert list(owner.says()["credHelpers"]) == [*wanted, "public.ecr.aws"]


def test_a_profile_without_a_region_is_passed_over_and_named(owner: Owner) -> None:
    config = owner.home.aws_config
    config.write_text(config.read_text().replace("\nregion = eu-west-1", "", 1))
    done = owner.does("configure")
    assert owner.says()["credHelpers"].keys() == {registry(STAGE), registry(PROD)}
    assert "dev" in done.stderr
    assert "--region" in done.stderr
    assert "dev" not in owner.does("configure", "--region", "eu-west-1").stderr
    assert registry(DEV) in owner.says()["credHelpers"]


def test_registries_by_name_and_those_alone(owner: Owner) -> None:
    named = "111122223333.dkr.ecr-fips.us-east-1.amazonaws.com"
    owner.home.write(
        owner.home.settings,
        f'[registries."images.example.com"]\nalias = "{registry(DEV)}"\n',
    )
    names = (f"https://{named}/v2/", "images.example.com", "stage", "public.ecr.aws")
    owner.does("configure", *(part for name in names for part in ("--registry", name)))
    wanted = [named, "images.example.com", registry(STAGE), "public.ecr.aws"]
    assert list(owner.says()["credHelpers"]) == wanted
    owner.does("configure", "--registry", registry(PROD))
    assert list(owner.says()["credHelpers"]) == [*wanted, registry(PROD)]
    owner.does("configure", "--undo")
    assert not owner.config.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--registry", "ghcr.io"], "ghcr.io is not an Amazon ECR registry"),
        (["--registry", registry(DEV) + "x"], f"nearest: {registry(DEV)}"),
        (["--registry", "stge"], "nearest: stage"),
        (["--region", "eu-wst-1"], "nearest: eu-west-1"),
    ],
)
def test_a_name_that_is_none(owner: Owner, arguments: list[str], said: str) -> None:
    assert said in refused(owner, *arguments)


def test_on_nothing_it_says_what_to_do(owner: Owner) -> None:
    owner.home.aws_config.unlink()
    assert "ecr-py login --start-url" in refused(owner)
    assert not owner.config.parent.exists()
    owner.does("configure", "--registry", registry(DEV))
    owner.does("configure", "--creds-store")
    assert owner.says()["credsStore"] == "ecr-py"


def test_an_aws_config_that_cannot_be_read(owner: Owner) -> None:
    owner.home.aws_config.unlink()
    owner.home.aws_config.mkdir()
    assert str(owner.home.aws_config) in refused(owner)


def test_a_thousand_profiles(owner: Owner) -> None:
    sections = (
        f"[profile p{number}]\naws_account_id = {number:012}\nregion = eu-west-1\n"
        for number in range(1000)
    )
    owner.home.write(owner.home.aws_config, "".join(sections))
    before = owner.has(config(auths={}))
    owner.does("configure")
    assert len(owner.says()["credHelpers"]) == 1000
    owner.does("configure", "--undo")
    assert owner.config.read_bytes() == before


# The file


def test_a_second_run_writes_nothing(owner: Owner) -> None:
    owner.does("configure")
    written = owner.config.stat()
    done = owner.does("configure")
    assert "nothing to change" in done.stdout
    assert owner.config.stat().st_mtime_ns == written.st_mtime_ns
    assert owner.config.stat().st_ino == written.st_ino


def test_modes_and_a_backup(owner: Owner) -> None:
    owner.does("configure")
    assert stat.S_IMODE(owner.config.stat().st_mode) == 0o600
    owner.does("configure", "--undo")
    before = owner.has(config(auths={HUB: {"auth": PASSWORD}}))
    owner.config.chmod(0o640)
    owner.does("configure")
    backup = owner.config.with_name("config.json.bak")
    assert backup.read_bytes() == before
    assert stat.S_IMODE(owner.config.stat().st_mode) == 0o640
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    kept = [*owner.home.path.rglob("undo/*.json")]
    assert len(kept) == 1
    assert stat.S_IMODE(kept[0].stat().st_mode) == 0o600
    assert stat.S_IMODE(kept[0].parent.stat().st_mode) == 0o700
    assert leftovers([owner.home.path]) == []
    owner.does("configure", "--undo")
    assert not kept[0].exists()


def test_docker_config_elsewhere(owner: Owner) -> None:
    elsewhere = owner.home.path / "elsewhere"
    owner.does("configure", DOCKER_CONFIG=str(elsewhere))
    assert owner.says(elsewhere / "config.json") == {"credHelpers": OURS}
    assert not owner.config.exists()
    assert "nothing to put back" in owner.does("configure", "--undo").stdout
    owner.does("configure", "--undo", DOCKER_CONFIG=str(elsewhere))
    assert not (elsewhere / "config.json").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"auths": {}, // mine\n}', "line 1: not JSON"),
        ("[]", "not a JSON object"),
        ('{"credHelpers": ["ecr-py"]}', "credHelpers is an object"),
        ('{"credHelpers": {}, "credHelpers": {}}', "stands twice"),
        (b"\xff\xfe{\0}\0", "not UTF-8"),
        ('{"a": %s}' % ("1" * 5000), "not JSON"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_what_is_no_docker_config_is_left_as_it_is(
    owner: Owner, text: str | bytes, said: str
) -> None:
    owner.has(text)
    line = refused(owner)
    assert said in line
    assert str(owner.config) in line


def test_a_read_only_file_and_a_folder_in_its_place(owner: Owner) -> None:
    owner.has("{}")
    owner.config.chmod(0o444)
    line = owner.invokes("configure").stderr
    assert "read-only" in line
    assert owner.config.read_text() == "{}"
    owner.config.unlink()
    owner.config.mkdir()
    assert "Is a directory" in refused(owner)


def test_a_docker_config_that_cannot_be_written_leaves_the_settings_too(owner: Owner) -> None:
    owner.has(config(credsStore="desktop"))
    owner.config.chmod(0o444)
    assert "read-only" in refused(owner, "--creds-store")
    assert not owner.home.settings.exists()
    owner.config.chmod(0o644)
    assert "nothing to put back" in owner.does("configure", "--undo").stdout


@pytest.mark.parametrize("options", [(), ("--creds-store",)])
def test_it_configures_whoever_reads_what_it_says(owner: Owner, options: tuple[str, ...]) -> None:
    before = owner.has(config(credsStore="desktop"))
    owner.types_to_nobody("configure", "--for", "docker", *options)
    assert owner.says() != json.loads(before)
    assert owner.home.settings.exists() == bool(options)
    assert owner.types_to_nobody("configure", "--undo") == (0, "")
    assert owner.config.read_bytes() == before
    assert not owner.home.settings.exists()


def test_a_config_of_another_kind_stops_before_anything_is_written(owner: Owner) -> None:
    owner.has("[]", owner.home.path / ".apptainer" / "docker-config.json")
    assert "not a JSON object" in refused(owner, "--for", "docker", "--for", "apptainer")
    assert not owner.config.exists()


def test_dry_run_shows_the_change_without_secrets_and_writes_nothing(owner: Owner) -> None:
    before = owner.has(config(auths={HUB: {"auth": PASSWORD}}, HttpHeaders={"Auth": PASSWORD}))
    seen = sorted(owner.home.path.rglob("*"))
    done = owner.does("configure", "--dry-run")
    assert f'+\t\t"{registry(STAGE)}": "ecr-py",' in done.stdout
    assert PASSWORD not in done.stdout
    assert done.stdout.startswith(f"--- {owner.config}\n+++ ")
    assert owner.config.read_bytes() == before
    assert [path for path in sorted(owner.home.path.rglob("*")) if ".local" not in str(path)] == [
        path for path in seen if ".local" not in str(path)
    ]
    owner.does("configure")
    assert (
        f'-\t\t"{registry(STAGE)}": "ecr-py",'
        in owner.does("configure", "--undo", "--dry-run").stdout
    )
    assert owner.says()["credHelpers"] == OURS


# credsStore and the helpers of others


def test_the_present_store_becomes_the_fallback(owner: Owner) -> None:
    settings = owner.home.write(owner.home.settings, '# mine\n[defaults]\nlogin = "never" # so\n')
    before = owner.has(config(credsStore="desktop", credHelpers={"gcr.io": "gcloud"}))
    done = owner.does("configure", "--creds-store")
    assert "desktop" in done.stdout
    assert owner.says() == {"credsStore": "ecr-py", "credHelpers": {"gcr.io": "gcloud"}}
    assert settings.read_text() == (
        '# mine\n[defaults]\nlogin = "never" # so\nfallback = "desktop"\n'
    )
    # Once it is so, there is nothing to add, in either way.
    assert "nothing to change" in owner.does("configure").stdout
    assert "nothing to change" in owner.does("configure", "--creds-store").stdout
    owner.does("configure", "--undo")
    assert owner.config.read_bytes() == before
    assert settings.read_text() == '# mine\n[defaults]\nlogin = "never" # so\n'


def test_a_fallback_that_is_another_is_not_overwritten(owner: Owner) -> None:
    owner.home.write(owner.home.settings, '[defaults]\nfallback = "pass"\n')
    owner.has(config(credsStore="desktop"))
    line = refused(owner, "--creds-store")
    assert "ecr-py config set fallback desktop" in line
    owner.does("config", "set", "fallback", "desktop")
    owner.does("configure", "--creds-store")
    assert owner.says()["credsStore"] == "ecr-py"


def test_only_docker_has_a_creds_store(owner: Owner) -> None:
    done = owner.invokes("configure", "--creds-store", "--for", "docker", "--for", "podman")
    assert done.code == 2
    assert "only docker has a credsStore" in done.stderr
    assert not owner.config.exists()


def test_another_helpers_entry_stays_until_it_is_to_be_replaced(owner: Owner) -> None:
    helpers = {registry(DEV): "ecr-login", "1.dkr.example": "ecr-login", "gcr.io": "gcloud"}
    before = owner.has(config(credHelpers=helpers, credsStore="ecr-login"))
    done = owner.does("configure")
    assert owner.says()["credHelpers"] == helpers | {
        registry(STAGE): "ecr-py",
        registry(PROD): "ecr-py",
    }
    assert "--replace ecr-login" in done.stderr
    assert "gcr.io" not in done.stderr
    assert owner.says()["credsStore"] == "ecr-login"

    done = owner.does("configure", "--replace", "ecr-login")
    assert done.stderr == ""
    assert owner.says() == {
        "credHelpers": helpers | OURS,  # of those, what is not ECR's stays
        "credsStore": "ecr-py",
    }
    assert not owner.home.settings.exists()
    owner.does("configure", "--undo")
    assert owner.config.read_bytes() == before


def test_replace_takes_registries_that_no_profile_is_for(owner: Owner) -> None:
    host = "111122223333.dkr.ecr.us-east-1.amazonaws.com"
    owner.has(config(credHelpers={host: "ecr-login"}))
    owner.does("configure", "--replace", "docker-credential-ecr-login")
    assert owner.says()["credHelpers"] == OURS | {host: "ecr-py"}


@pytest.mark.parametrize("creds_store", [False, True])
def test_replace_needs_no_account_in_the_aws_config(owner: Owner, creds_store: bool) -> None:
    """awslabs' helper takes any account, as whoever the environment or [default] says."""
    owner.home.aws_config.write_text("[default]\nregion = eu-west-1\n")
    theirs = (
        {"credsStore": "ecr-login"} if creds_store else {"credHelpers": {THREE[0]: "ecr-login"}}
    )
    owner.has(config(**theirs))
    owner.does("configure", "--replace", "ecr-login")
    ours = {"credsStore": "ecr-py"} if creds_store else {"credHelpers": {THREE[0]: "ecr-py"}}
    assert owner.says() == ours
    assert "nothing to change" in owner.does("configure", "--replace", "ecr-login").stdout


def test_replace_of_one_registry_leaves_the_others(owner: Owner) -> None:
    theirs = dict.fromkeys(THREE, "ecr-login")
    owner.has(config(credHelpers=theirs, credsStore="ecr-login"))
    owner.does("configure", "--replace", "ecr-login", "--registry", "dev")
    assert owner.says() == {
        "credHelpers": theirs | {registry(DEV): "ecr-py"},
        "credsStore": "ecr-login",
    }


# Stale passwords


def test_stale_auths_are_said_and_removed_when_asked(owner: Owner) -> None:
    auths = {registry(DEV): {"auth": PASSWORD}, HUB: {"auth": PASSWORD}, registry(PROD): {}}
    before = owner.has(config(auths=auths))
    done = owner.does("configure")
    assert registry(DEV) in done.stderr
    assert "--remove-auths" in done.stderr
    assert HUB not in done.stderr
    assert owner.says()["auths"] == auths
    owner.does("configure", "--remove-auths")
    assert owner.says()["auths"] == {HUB: auths[HUB], registry(PROD): {}}
    owner.does("configure", "--undo")
    assert owner.config.read_bytes() == before


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("command", ["configure --remove-auths", "doctor --fix"])
def test_it_says_how_to_delete_the_copies_of_removed_passwords(
    owner: Owner, command: str, linked: bool
) -> None:
    helpers = dict.fromkeys(THREE, "ecr-py")
    auths = {registry(DEV): {"auth": PASSWORD}}
    owner.has(config(auths=auths, credHelpers=helpers))
    owner.config.chmod(0o644)
    if linked:
        elsewhere = owner.home.path / "dot files"
        elsewhere.mkdir()
        owner.config.rename(elsewhere / "docker.json")
        owner.config.symlink_to(elsewhere / "docker.json")
    done = owner.types(*command.split())
    assert PASSWORD not in done.said

    def copies() -> list[str]:
        files = [path for path in sorted(owner.home.path.rglob("*")) if path.is_file()]
        return [str(path) for path in files if PASSWORD in path.read_text(errors="replace")]

    assert len(copies()) == 2
    for copy in copies():
        assert copy in done.stderr
        assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600
    [told] = re.findall(r"`(rm [^`]+)` deletes them", done.stderr)
    assert owner.runs("sh", "-c", told).code == 0
    assert copies() == []
    assert "nothing to put back" in owner.does("configure", "--undo").stdout
    assert owner.says()["auths"] == {}
    assert owner.does("configure", "--remove-auths").stderr == ""


@pytest.mark.parametrize("answer", ["y", "n"])
def test_at_a_terminal_it_asks(owner: Owner, answer: str) -> None:
    before = owner.has(config(auths={f"https://{registry(DEV)}": {"auth": PASSWORD}}))
    with owner.at_terminal("ecr-py configure") as terminal:
        terminal.wait_for(r"Remove them \[Y/n\]")
        terminal.type(f"{answer}\r")
        assert terminal.wait() == 0
        assert PASSWORD not in terminal.shown
    assert bool(owner.says()["auths"]) == (answer == "n")
    assert owner.says()["credHelpers"] == OURS
    owner.does("configure", "--undo")
    assert owner.config.read_bytes() == before


@pytest.mark.parametrize(("typed", "code"), [("\x03", 130), ("n\r", 1), ("\r", 1)])
def test_no_at_the_question_leaves_all_as_it_was(owner: Owner, typed: str, code: int) -> None:
    before = owner.has(config(credsStore="", auths={HUB: {"auth": PASSWORD}}))
    with owner.at_terminal("ecr-py configure --creds-store") as terminal:
        terminal.wait_for("Go on all the same")
        terminal.type(typed)
        assert terminal.wait() == code
        assert ("nothing was changed" in terminal.shown) == (code == 1)
        assert "Traceback" not in terminal.shown
    assert owner.config.read_bytes() == before
    assert not list(owner.home.path.rglob("undo"))


# Undo


def test_what_somebody_changed_meanwhile_stays(owner: Owner) -> None:
    owner.has(config(credsStore="desktop"))
    owner.does("configure", "--creds-store")
    owner.does("configure", "--cred-helpers")
    theirs = owner.says()
    theirs["auths"] = {"ghcr.io": {}}
    theirs["credHelpers"][registry(STAGE)] = "mine"
    owner.has(config(**theirs))
    done = owner.does("configure", "--undo")
    assert "edited since" in done.stdout
    assert owner.says() == {
        "credsStore": "desktop",
        "credHelpers": {registry(STAGE): "mine"},
        "auths": {"ghcr.io": {}},
    }
    assert not owner.home.settings.exists()
    assert "nothing to put back" in owner.does("configure", "--undo").stdout


def test_an_edit_between_two_runs_is_kept_to_the_byte(owner: Owner) -> None:
    owner.has(config(auths={}))
    owner.does("configure", "--registry", registry(DEV))
    text = owner.config.read_text().replace('"auths"', '"detachKeys":   "ctrl-x",\n\t"auths"')
    owner.has(text)
    owner.does("configure")
    owner.does("configure", "--undo")
    assert owner.config.read_text() == ('{\n\t"detachKeys":   "ctrl-x",\n\t"auths": {}\n}')


def test_a_run_that_cannot_write_takes_nothing_from_undo(owner: Owner) -> None:
    before = owner.has("\ufeff" + config(auths={}))
    owner.does("configure", "--registry", "dev")
    owner.config.chmod(0o444)
    assert "read-only" in refused(owner)
    owner.config.chmod(0o644)
    owner.does("configure", "--undo")
    assert owner.config.read_bytes() == before


def test_runs_at_once_take_nothing_from_undo(owner: Owner) -> None:
    before = owner.has(config(auths={}))
    one = 'ecr-py configure --registry "$host" >&2 && echo "$host"'
    script = f"for host in {' '.join(THREE * 3)}; do ({one}) & done; wait"
    made = owner.runs("sh", "-c", script).stdout.split()
    assert owner.says()["credHelpers"].keys() == set(made)
    owner.does("configure", "--undo")
    assert owner.config.read_bytes() == before


def test_a_config_that_is_gone_or_broken(owner: Owner) -> None:
    owner.does("configure")
    owner.has("{ broken")
    assert "not JSON" in refused(owner, "--undo")
    owner.config.unlink()
    assert "is gone" in owner.does("configure", "--undo").stdout
    assert not owner.config.exists()


def test_undo_is_for_all_or_for_those_that_are_named(owner: Owner) -> None:
    owner.does("configure", "--for", "docker", "--for", "apptainer")
    apptainer = owner.home.path / ".apptainer" / "docker-config.json"
    owner.does("configure", "--undo", "--for", "apptainer")
    assert not apptainer.exists()
    assert owner.says()["credHelpers"] == OURS
    owner.does("configure", "--undo")
    assert not owner.config.exists()


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
def test_options_that_do_not_go_together(owner: Owner, options: tuple[str, ...]) -> None:
    assert owner.invokes("configure", *options).code == 2
    assert not owner.config.exists()


# The executable


def only_ecr_py(owner: Owner, path: str) -> Done:
    """ecr-py configure, run by its whole path."""
    return owner.runs(str(HELPER.with_name("ecr-py")), "configure", PATH=path)


def test_a_helper_that_is_not_on_the_path(owner: Owner) -> None:
    done = only_ecr_py(owner, "/usr/bin:/bin")
    assert done.code == 0
    assert "not on the PATH" in done.stderr
    assert str(HELPER.parent) in done.stderr
    link = owner.home.path / "bin" / HELPER.name
    link.parent.mkdir()
    link.symlink_to(HELPER)  # as it proposes
    assert only_ecr_py(owner, f"{link.parent}:/usr/bin:/bin").stderr == ""
    owner.home.environment["PATH"] = f"{link.parent}:/usr/bin:/bin"
    done = owner.runs(HELPER.name, "get", registry(DEV))
    assert json.loads(done.stdout)["Username"] == "AWS"


def test_a_relative_folder_on_the_path(owner: Owner) -> None:
    shutil.copy(HELPER, owner.home.path)
    done = only_ecr_py(owner, f".{os.pathsep}/usr/bin:/bin")
    assert "docker refuses" in done.stderr


def test_a_helper_to_replace_that_nobody_asks(owner: Owner) -> None:
    done = owner.does("configure", "--replace", "typo")
    assert "nobody asks docker-credential-typo" in done.stderr


def test_keys_that_do_not_say_their_account(owner: Owner) -> None:
    """Those from before 2019. One that another profile's role comes from needs none."""
    keys = "aws_access_key_id = AKIAIOSFODNN7EXAMPLE\nregion = eu-west-1\n"
    role = f"[profile role]\nrole_arn = arn:aws:iam::{DEV}:role/x\nsource_profile = base\n"
    config = owner.home.aws_config
    config.write_text(f"{config.read_text()}[profile old]\n{keys}[profile base]\n{keys}{role}")
    [line] = [line for line in owner.does("configure").stderr.splitlines() if "account" in line]
    assert "for old: aws_account_id says it" in line
