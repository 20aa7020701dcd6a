import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_credential_ecr_py.config.aws_config import AwsConfig, load_aws_config
from docker_credential_ecr_py.config.settings import Settings
from docker_credential_ecr_py.errors import AwsConfigError, NoProfile
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import (
    Identity,
    Selection,
    SsoSession,
    account_of_environment,
    profiles_for_other_accounts,
    select,
)
from docker_credential_ecr_py.shell import unset
from tests.support.home import DEV, PROD, STAGE, START_URL, THREE_ACCOUNTS, registry

DEFAULT = {"default": {"aws_access_key_id": "AKIADEFAULT"}}
KEYS_IN_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "x"}
Profiles = Mapping[str, Mapping[str, str]]


def sso(account: str, role: str = "Role", region: str = "eu-west-1") -> dict[str, str]:
    return {
        "sso_start_url": START_URL,
        "sso_region": "eu-west-1",
        "sso_account_id": account,
        "sso_role_name": role,
        "region": region,
    }


def choose(
    profiles: Profiles,
    host: str = registry(DEV),
    environ: Mapping[str, str] | None = None,
    *,
    settings: Settings | None = None,
    on_ec2: bool = False,
    profile: str = "",
    **aws: Any,
) -> Selection:
    settings = settings or Settings()
    config = AwsConfig(profiles, **aws)
    place = settings.registry_for(host)
    return select(place, host, settings, config, environ or {}, on_ec2=on_ec2, profile=profile)


def refused(*arguments: Any, **more: Any) -> str:
    with pytest.raises(AwsConfigError) as error:
        choose(*arguments, **more)
    return str(error.value)


@pytest.fixture(scope="module")
def three() -> Profiles:
    path = Path(__file__).parents[1] / "support" / "data" / "three_accounts.ini"
    assert path.read_text() == THREE_ACCOUNTS
    return load_aws_config(path, path / "absent").profiles


# The rules, and their order.


@pytest.mark.parametrize(("account", "profile"), [(DEV, "dev"), (STAGE, "stage"), (PROD, "prod")])
def test_the_account_chooses_the_profile(three: Profiles, account: str, profile: str) -> None:
    selection = choose(three, registry(account))
    assert (selection.rule, selection.profile) == ("account", profile)
    session = SsoSession(START_URL, "eu-west-1", "", profile)
    assert selection.identity == Identity("sso", f"{START_URL} {account} Administrator", session)
    assert [step.won for step in selection.steps] == [False, False, True]


def test_the_command_line_comes_before_all(three: Profiles) -> None:
    settings = Settings(profiles={registry(DEV): "prod"}, prefer="account")
    selection = choose(three, environ=KEYS_IN_ENVIRONMENT, settings=settings, profile="stage")
    assert (selection.rule, selection.profile) == ("command line", "stage")
    assert [step.saw for step in selection.steps] == ["--profile stage"]
    assert "nearest: stage" in refused(three, profile="stge")
    assert refused(three, profile="stge").startswith("ecr-py: --profile names profile stge")


def test_settings_come_first(three: Profiles) -> None:
    settings = Settings(profiles={registry(DEV): "prod"}, prefer="account")
    selection = choose(three, environ=KEYS_IN_ENVIRONMENT, settings=settings)
    assert (selection.rule, selection.profile) == ("settings", "prod")
    assert len(selection.steps) == 1


def test_then_the_environment_or_the_account(three: Profiles) -> None:
    environ = {"AWS_PROFILE": "stage"}
    assert choose(three, environ=environ).profile == "stage"
    assert choose(three, environ=environ, settings=Settings(prefer="account")).profile == "dev"
    account = choose({}, environ=KEYS_IN_ENVIRONMENT, settings=Settings(prefer="account"))
    assert account.rule == "environment"


def test_then_the_default_profile() -> None:
    selection = choose(DEFAULT)
    assert (selection.rule, selection.profile) == ("default", "default")
    assert selection.identity == Identity("keys", "AKIADEFAULT")
    assert choose(DEFAULT, on_ec2=True).profile == "default"


def test_then_the_instance() -> None:
    for profiles in ({}, {"default": {"region": "eu-west-1"}}, {"other": {"region": "x"}}):
        selection = choose(profiles, on_ec2=True)
        assert (selection.rule, selection.identity) == ("default", Identity("instance", ""))


def test_then_nobody(three: Profiles) -> None:
    with pytest.raises(NoProfile) as error:
        choose(three, registry("111111111111"))
    said = str(error.value)
    assert "111111111111" in said
    assert "looked at dev, stage, prod" in said
    assert "run `ecr-py config set 'registries.111111111111.*.profile' dev`" in said
    assert "AWS_PROFILE" in said
    with pytest.raises(NoProfile, match=r"has no profiles.*ecr-py login --start-url"):
        choose({})


@pytest.mark.parametrize(
    ("profiles", "offered"),
    [
        ({"a": sso(STAGE), "b": sso(PROD)}, ["a", "b"]),
        ({"a": sso(STAGE, region="us-east-1"), "b": sso(PROD)}, ["b", "a"]),
        ({"a": sso(STAGE), "b": {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE"}}, ["b", "a"]),
        ({"a": {"region": "eu-west-1"}, "b": sso(PROD), "c": {"role_arn": "r"}}, ["b"]),
        ({"china": sso(STAGE, region="cn-north-1")}, []),
        ({"anywhere": sso(STAGE, region="")}, ["anywhere"]),
    ],
)
def test_the_profiles_that_may_open_another_account(profiles: Profiles, offered: list[str]) -> None:
    place = Registry.parse(registry(DEV))
    assert profiles_for_other_accounts(place, AwsConfig(profiles)) == offered
    with pytest.raises(NoProfile) as error:
        choose(profiles)
    named = [f"*.profile' {name}`" for name in offered[:1]]
    assert all(name in error.value.hint for name in named)
    assert ("login --start-url" in error.value.hint) == (not offered)


def test_the_command_in_the_hint_quotes_a_profile() -> None:
    with pytest.raises(NoProfile) as error:
        choose({"my team": sso(STAGE)})
    assert "*.profile' 'my team'`" in error.value.hint


@pytest.mark.parametrize(
    ("environ", "identity", "profile"),
    [
        (KEYS_IN_ENVIRONMENT | {"AWS_PROFILE": "stage"}, Identity("keys", "AKIAENV"), ""),
        ({"AWS_ACCESS_KEY_ID": "AKIAENV"}, None, "dev"),
        ({"AWS_SECRET_ACCESS_KEY": "x"}, None, "dev"),
        ({"AWS_PROFILE": "prod", "AWS_DEFAULT_PROFILE": "stage"}, None, "prod"),
        ({"AWS_PROFILE": "", "AWS_DEFAULT_PROFILE": "stage"}, None, "stage"),
        (
            {"AWS_ROLE_ARN": "arn:r", "AWS_WEB_IDENTITY_TOKEN_FILE": "/t"},
            Identity("web-identity", "arn:r /t"),
            "",
        ),
        ({"AWS_ROLE_ARN": "arn:r"}, None, "dev"),
        (
            {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x?t=abc"},
            Identity("container", "", hidden="/x?t=abc"),
            "",
        ),
        (
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://u:p@x/y?token=z"},
            Identity("container", "x", hidden="http://u:p@x/y?token=z"),
            "",
        ),
    ],
)
def test_what_the_environment_says(
    three: Profiles, environ: dict[str, str], identity: Identity | None, profile: str
) -> None:
    selection = choose(three, environ=environ)
    assert selection.profile == profile
    assert identity is None or selection.identity == identity
    assert selection.rule == ("account" if profile == "dev" else "environment")


def test_the_environment_names_a_profile_that_does_not_exist(three: Profiles) -> None:
    said = refused(three, environ={"AWS_PROFILE": "pord"})
    assert "AWS_PROFILE names profile pord" in said
    assert "nearest: prod" in said
    assert f"run `{unset('AWS_PROFILE')}`" in said
    assert "profiles are dev, stage, prod" in refused(three, environ={"AWS_PROFILE": "zzzzzzz"})
    assert "ecr-py login --start-url" in refused({}, environ={"AWS_PROFILE": "zzzzzzz"})


def test_the_settings_name_a_profile_that_does_not_exist(three: Profiles) -> None:
    settings = Settings(profiles={"*": "gone"}, source="/home/dev/config.toml")
    assert '"*"] in /home/dev/config.toml names profile gone' in refused(three, settings=settings)


# Several profiles for an account.


def test_of_several_the_region_decides_then_the_order() -> None:
    profiles = {
        "far": sso(DEV, "A", "us-east-1"),
        "near": sso(DEV, "B"),
        "near too": sso(DEV, "C"),
    }
    selection = choose(profiles)
    assert selection.profile == "near"
    assert "so are near too, far" in selection.steps[-1].saw
    assert choose(profiles, registry(DEV, "us-east-1")).profile == "far"
    assert choose(profiles, registry(DEV, "ap-south-1")).profile == "far"


@pytest.mark.parametrize(
    "values",
    [
        {"role_arn": f"arn:aws:iam::{DEV}:role/path/R", "credential_source": "Environment"},
        {"role_arn": f"arn:aws-us-gov:iam::{DEV}:role/R", "web_identity_token_file": "/t"},
        {"aws_account_id": DEV, "aws_access_key_id": "AKIA"},
        {"aws_account_id": DEV, "credential_process": "p"},
        sso(DEV),
    ],
)
def test_what_makes_a_profile_one_for_an_account(values: dict[str, str]) -> None:
    assert choose({"x": {"aws_access_key_id": "AKIA"}, "it": values}).profile == "it"


@pytest.mark.parametrize(
    "values",
    [
        {"sso_account_id": DEV[1:], "aws_access_key_id": "AKIA"},
        {"role_arn": f"arn:aws:iam::{DEV}:user/R", "credential_source": "Environment"},
        {"aws_access_key_id": DEV},
        {"sso_start_url": f"https://{DEV}.awsapps.com/start"},
    ],
)
def test_what_does_not(values: dict[str, str]) -> None:
    with pytest.raises(NoProfile):
        choose({"it": values})


def test_an_incomplete_profile_is_passed_over_for_a_whole_one() -> None:
    broken = {"sso_account_id": DEV, "sso_role_name": "R"}
    assert choose({"broken": broken, "whole": sso(DEV)}).profile == "whole"
    assert "profile broken" in refused({"broken": broken})


# Identities.


@pytest.mark.parametrize("missing", ["sso_start_url", "sso_region", "sso_role_name"])
def test_an_incomplete_sso_profile_says_what_it_lacks(missing: str) -> None:
    values = sso(DEV)
    del values[missing]
    assert f"profile dev in ~/.aws/config has no {missing}" in refused({"dev": values})


SESSION = {"sso_session": "corp", "sso_account_id": DEV, "sso_role_name": "R"}


def test_a_session_of_its_own_section() -> None:
    corp = {"sso_start_url": START_URL, "sso_region": "eu-west-1"}
    identity = choose({"dev": SESSION}, sso_sessions={"corp": corp}).identity
    assert identity.sso is not None
    assert (identity.sso.name, identity.sso.start_url) == ("corp", START_URL)
    assert identity.name == f"corp {DEV} R"


def test_the_token_file_is_named_as_botocore_does() -> None:
    legacy = SsoSession(START_URL, "eu-west-1", "", "dev")
    assert legacy.token_file == hashlib.sha1(START_URL.encode()).hexdigest() + ".json"
    assert legacy.token_file != SsoSession(START_URL, "eu-west-1", "corp", "dev").token_file


def test_a_session_that_does_not_exist_or_is_incomplete() -> None:
    assert "[sso-session corp], which is not in" in refused({"dev": SESSION})
    said = refused({"dev": SESSION}, sso_sessions={"corp": {"sso_region": "x"}})
    assert "[sso-session corp] in ~/.aws/config has no sso_start_url" in said


def role(source: str, account: str = DEV) -> dict[str, str]:
    return {"role_arn": f"arn:aws:iam::{account}:role/R", "source_profile": source}


def test_a_role_and_its_source() -> None:
    profiles = {"dev": role("base") | {"external_id": "e"}, "base": sso(STAGE)}
    identity = choose(profiles).identity
    assert identity.kind == "role"
    assert identity.name == f"arn:aws:iam::{DEV}:role/R by sso {START_URL} {STAGE} Role"
    assert identity.sso is not None
    assert identity.sso.profile == "base"


SECRET = st.text(st.characters(categories=["L", "N", "P"]), min_size=8).map("x{}z".format)


@given(SECRET, st.sampled_from(["/v2/{}", "http://169.254.170.2/{}", "http://u:{}@host/"]))
def test_no_secret_is_in_what_is_shown_of_an_identity(secret: str, uri: str) -> None:
    role = {"role_arn": f"arn:aws:iam::{DEV}:role/R", "external_id": secret}
    process = {"credential_process": f"vault --password {secret}"}
    profiles = {
        "by-process": role | {"source_profile": "process"},
        "by-role": role | {"source_profile": "by-process"},
        "by-instance": role | {"credential_source": "Ec2InstanceMetadata"},
        "by-token": role | {"web_identity_token_file": "/token"},
        "process": process,
    }
    selections = [choose(profiles, environ={"AWS_PROFILE": name}) for name in profiles]
    address = uri.format(secret) if "@" in uri else f"{uri.format('creds')}?token={secret}"
    variable = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    selections.append(choose({}, environ={variable: address}))
    for selection in selections:
        identity = selection.identity
        assert secret in identity.hidden
        shown = repr(selection) + identity.name + "".join(step.saw for step in selection.steps)
        assert secret not in shown


def test_what_is_hidden_tells_identities_apart() -> None:
    def identity(*external_ids: str) -> Identity:
        profiles = {"p0": {"aws_access_key_id": "AKIA"}}
        for number, external_id in enumerate(external_ids, 1):
            profiles[f"p{number}"] = role(f"p{number - 1}") | {"external_id": external_id}
        environ = {"AWS_PROFILE": f"p{len(external_ids)}"}
        return choose(profiles, environ=environ).identity

    assert len({identity("", ""), identity("x", ""), identity("", "x"), identity("x", "x")}) == 4
    assert identity("x", "y") == identity("x", "y")


def test_a_role_with_a_code() -> None:
    serial = "arn:aws:iam::1:mfa/me"
    profiles = {"dev": role("base") | {"mfa_serial": serial}, "base": {"aws_access_key_id": "A"}}
    assert choose(profiles).identity.mfa_serial == serial


def test_a_role_that_is_its_own_source_has_keys() -> None:
    profiles = {"dev": role("dev") | {"aws_access_key_id": "AKIA"}}
    assert choose(profiles).identity.name.endswith("by keys AKIA")
    assert "has no credentials" in refused({"dev": role("dev")})


def test_a_role_without_a_source() -> None:
    said = refused({"dev": {"role_arn": f"arn:aws:iam::{DEV}:role/R"}})
    assert "has no source_profile or credential_source" in said


def test_a_source_that_does_not_exist() -> None:
    assert "names profile gone" in refused({"dev": role("gone")})


@pytest.mark.parametrize("length", [2, 3, 10])
def test_sources_that_lead_in_a_ring(length: int) -> None:
    profiles = {f"p{n}": role(f"p{(n + 1) % length}") for n in range(length)}
    assert "leads back to" in refused(profiles)


def test_a_chain_of_two_thousand_roles() -> None:
    profiles = {f"p{n}": role(f"p{n + 1}") for n in range(2000)}
    profiles["p2000"] = {"aws_access_key_id": "AKIA"}
    try:
        assert choose(profiles).identity.kind == "role"
    except AwsConfigError as error:
        assert "p0" in str(error)


def test_keys_in_the_credentials_file_outrank_those_in_the_config() -> None:
    profiles = {"dev": {"aws_access_key_id": "MERGED", "aws_account_id": DEV}}
    assert choose(profiles, shared_keys={"dev": "SHARED"}).identity == Identity("keys", "SHARED")


def test_a_process_shows_no_command() -> None:
    profiles = {"dev": {"credential_process": "get --password hunter2", "aws_account_id": DEV}}
    identity = choose(profiles).identity
    assert identity.kind == "process"
    assert "hunter2" not in repr(identity)
    profiles["dev"]["credential_process"] += "!"
    assert choose(profiles).identity != identity


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (sso(DEV, "A"), sso(DEV, "B")),
        (sso(DEV), {**sso(DEV), "sso_start_url": "https://other"}),
        (role("keys"), role("keys") | {"external_id": "x"}),
        (role("keys"), role("other")),
        (
            {"aws_account_id": DEV, "aws_access_key_id": "A"},
            {"aws_account_id": DEV, "aws_access_key_id": "B"},
        ),
    ],
)
def test_other_principals_are_other_identities(one: dict[str, str], two: dict[str, str]) -> None:
    more = {"keys": {"aws_access_key_id": "1"}, "other": {"aws_access_key_id": "2"}}
    assert choose({"dev": one, **more}).identity != choose({"dev": two, **more}).identity


def test_the_same_principal_by_another_profile_is_the_same_identity() -> None:
    one, two = (choose({name: sso(DEV)}).identity for name in ("a", "b"))
    assert (one.kind, one.name) == (two.kind, two.name)


# Aliases and ECR Public.


def test_an_alias_is_answered_by_the_account_it_stands_for(three: Profiles) -> None:
    settings = Settings(aliases={"ecr.example.com": registry(STAGE)})
    assert choose(three, "ecr.example.com", settings=settings).profile == "stage"
    settings = Settings(
        aliases={"ecr.example.com": registry(STAGE)}, profiles={"ecr.example.com": "prod"}
    )
    assert choose(three, "ecr.example.com", settings=settings).profile == "prod"


def test_ecr_public_belongs_to_no_account(three: Profiles) -> None:
    assert choose({**three, **DEFAULT}, "public.ecr.aws").profile == "default"
    with pytest.raises(NoProfile, match="no AWS credentials here"):
        choose(three, "public.ecr.aws")


# Many.


def test_two_thousand_profiles() -> None:
    profiles = {f"p{n}": sso(f"{n:012}") for n in range(2000)}
    began = time.process_time()
    assert choose(profiles, registry(f"{1999:012}")).profile == "p1999"
    with pytest.raises(NoProfile) as error:
        choose(profiles, registry("9" * 12))
    assert time.process_time() - began < 1
    assert "p0, p1, p2, p3, p4 and 1995 more" in str(error.value)
    assert "nearest: p1999" in refused(profiles, environ={"AWS_PROFILE": "p1999x"})


NAMES = st.sampled_from(["dev", "stage", "default", "r\u00e9seau", "x y"])
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "role_arn": st.sampled_from([f"arn:aws:iam::{DEV}:role/R", "nonsense", ""]),
        "source_profile": NAMES,
        "credential_source": st.sampled_from(["Environment", "Ec2InstanceMetadata", ""]),
        "web_identity_token_file": st.just("/t"),
        "sso_session": st.sampled_from(["corp", "gone", ""]),
        "sso_account_id": st.sampled_from([DEV, STAGE, ""]),
        "sso_role_name": st.sampled_from(["R", ""]),
        "sso_start_url": st.just(START_URL),
        "sso_region": st.just("eu-west-1"),
        "aws_account_id": st.just(DEV),
        "aws_access_key_id": st.just("AKIA"),
        "credential_process": st.just("p"),
        "region": st.just("eu-west-1"),
    },
)
ENVIRONMENT = st.fixed_dictionaries(
    {},
    optional={
        "AWS_PROFILE": NAMES,
        "AWS_ACCESS_KEY_ID": st.just("A"),
        "AWS_ROLE_ARN": st.just("r"),
    },
)


@given(
    profiles=st.dictionaries(NAMES, VALUES),
    environ=ENVIRONMENT,
    host=st.sampled_from([registry(DEV), "public.ecr.aws"]),
    prefer=st.sampled_from(["environment", "account"]),
    on_ec2=st.booleans(),
)
def test_any_config_is_a_choice_or_one_line(
    profiles: Profiles, environ: dict[str, str], host: str, prefer: str, on_ec2: bool
) -> None:
    settings = Settings(prefer=prefer)
    try:
        selection = choose(profiles, host, environ, settings=settings, on_ec2=on_ec2)
    except (AwsConfigError, NoProfile) as error:
        assert "\n" not in str(error)
    else:
        assert selection.profile in {"", *profiles}
        assert [step.won for step in selection.steps].count(True) == 1
        assert selection.steps[-1].won
        assert selection == choose(profiles, host, environ, settings=settings, on_ec2=on_ec2)


def test_registry_is_not_looked_up_by_a_part_of_its_account(three: Profiles) -> None:
    assert Registry.parse(registry(DEV)).account == DEV
    with pytest.raises(NoProfile):
        choose({"dev": sso(DEV + "0")})


# What the environment's credentials tell

WEB = {"AWS_ROLE_ARN": f"arn:aws:iam::{STAGE}:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}
CONTAINER = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"}


@pytest.mark.parametrize(
    ("environ", "account"),
    [
        # Published with their accounts.
        ({"AWS_ACCESS_KEY_ID": "ASIAY34FZKBOKMUTVV7A"}, "609629065308"),
        ({"AWS_ACCESS_KEY_ID": "AKIASP2TPHJSQH3FJRUX", "AWS_PROFILE": "dev"}, "171436882533"),
        ({"AWS_ACCESS_KEY_ID": "AKIASP2TPHJSQH3FJRUX"} | WEB, "171436882533"),
        ({"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"}, ""),
        ({"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_ACCOUNT_ID": DEV}, DEV),
        (WEB, STAGE),
        (WEB | {"AWS_PROFILE": "dev"}, None),
        (WEB | {"AWS_ROLE_ARN": "x"}, ""),
        (CONTAINER, ""),
        (CONTAINER | {"AWS_ACCOUNT_ID": DEV}, DEV),
        ({"AWS_ACCOUNT_ID": DEV}, None),
        ({}, None),
    ],
)
def test_the_account_of_the_environment(environ: Mapping[str, str], account: str | None) -> None:
    secret = {"AWS_SECRET_ACCESS_KEY": "x"} if "AWS_ACCESS_KEY_ID" in environ else {}
    assert account_of_environment({**environ, **secret}) == account
    if "AWS_ACCESS_KEY_ID" in environ and not WEB.keys() & environ.keys():
        assert account_of_environment(environ) is None  # as long as there is no secret key


def test_profiles_of_another_identity_are_a_choice() -> None:
    profiles = {
        "us": sso(DEV, "Reader", region="us-east-1"),
        "first": sso(DEV, "Reader"),
        "same": sso(DEV, "Reader"),
        "incomplete": {"sso_account_id": DEV},
        "admin": sso(DEV, "Admin"),
    }
    selection = choose(profiles)
    assert (selection.profile, selection.others) == ("first", ("admin",))
    assert choose(profiles, environ={"AWS_PROFILE": "admin"}).others == ()
