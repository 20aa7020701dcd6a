"""Every way to be somebody at AWS, through the installed helper."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from moto.sts.models import sts_backends

from tests.standin.aws import Aws, Issued
from tests.standin.principals import Principal, Signature
from tests.standin.proxy import Proxy
from tests.support.home import (
    DEV,
    PROD,
    ROLE,
    STAGE,
    START_URL,
    THREE_ACCOUNTS,
    Answer,
    Home,
    access_key_id,
    new_home,
    registry,
)

OTHER = "112233445566"
KEY = "AKIAIOSFODNN7EXAMPLE"
DEPLOY = f"arn:aws:iam::{OTHER}:role/deploy"
PUBLIC = "public.ecr.aws"


def user(account: str, name: str = "builder") -> str:
    return f"arn:aws:iam::{account}:user/{name}"


def keys(aws: Aws, arn: str, key: str = KEY) -> dict[str, str]:
    """A lasting access key, as environment variables."""
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": aws.add_key(key, arn)}


def section(heading: str, **values: str) -> str:
    return "\n".join([f"[{heading}]", *(f"{key} = {value}" for key, value in values.items()), ""])


def as_values(environment: dict[str, str]) -> dict[str, str]:
    """What the AWS CLI calls in a file what the environment calls AWS_…"""
    return {name.lower(): value for name, value in environment.items()}


@pytest.fixture
def bare(home: Home) -> Home:
    """A home without AWS config and session."""
    home.aws_config.unlink()
    for token in (home.path / ".aws" / "sso" / "cache").iterdir():
        token.unlink()
    return home


def config(home: Home, *sections: str) -> None:
    home.write(home.aws_config, "\n".join(sections))


def credentials(home: Home, *sections: str) -> None:
    home.write(home.path / ".aws" / "credentials", "\n".join(sections))


def issued(aws: Aws, home: Home, host: str, **environment: str) -> Issued:
    """What the helper's answer opens; the second answer must be the same, without a call."""
    answer = home.get(host, **environment)
    assert answer.code == 0, answer
    assert answer.stderr == b""
    calls = aws.count()
    assert home.get(host, **environment) == answer
    assert aws.count() == calls
    return aws.issued[answer.password]


# Static keys


@pytest.mark.parametrize("file", ["credentials", "config"])
def test_keys_in_a_file(bare: Home, aws: Aws, file: str) -> None:
    values = as_values(keys(aws, user(DEV)))
    bare.write(bare.path / ".aws" / file, section("default", **values))
    assert issued(aws, bare, registry(DEV)).principal_arn == user(DEV)


def test_keys_in_the_environment(bare: Home, aws: Aws) -> None:
    environment = keys(aws, user(DEV))
    assert issued(aws, bare, registry(DEV), **environment).principal_arn == user(DEV)


def test_a_temporary_key_in_the_environment(bare: Home, aws: Aws) -> None:
    key = aws.session_key(f"arn:aws:sts::{DEV}:assumed-role/ci/job", 3600)
    environment = {
        "AWS_ACCESS_KEY_ID": key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": key.secret_access_key,
        "AWS_SESSION_TOKEN": key.session_token,
    }
    assert issued(aws, bare, registry(DEV), **environment).account == DEV


def test_a_profile_with_keys_for_an_account_that_it_names(bare: Home, aws: Aws) -> None:
    mine, theirs = keys(aws, user(DEV)), keys(aws, user(STAGE), "AKIAI44QH8DHBEXAMPLE")
    config(
        bare,
        section("profile theirs", aws_account_id=STAGE, **as_values(theirs)),
        section("profile mine", aws_account_id=DEV, **as_values(mine)),
    )
    assert issued(aws, bare, registry(DEV)).principal_arn == user(DEV)
    assert issued(aws, bare, registry(STAGE)).principal_arn == user(STAGE)


def test_each_profile_with_keys_for_the_account_of_its_keys(bare: Home, aws: Aws) -> None:
    """As `aws configure --profile NAME` leaves them, and tools that get temporary keys."""
    accounts = {"theirs": STAGE, "mine": DEV}
    config(bare, *(section(f"profile {name}", region="eu-west-1") for name in accounts))
    both = {
        name: keys(aws, user(account), access_key_id(account)) for name, account in accounts.items()
    }
    credentials(bare, *(section(name, **as_values(its)) for name, its in both.items()))
    for account in (DEV, STAGE):
        assert issued(aws, bare, registry(account)).principal_arn == user(account)


# Roles


def test_a_role_by_way_of_keys(bare: Home, aws: Aws) -> None:
    aws.allow_role(DEPLOY)
    credentials(bare, section("base", **as_values(keys(aws, user(DEV)))))
    config(bare, section("profile deploy", role_arn=DEPLOY, source_profile="base"))
    found = issued(aws, bare, registry(OTHER))
    assert f":{OTHER}:assumed-role/deploy/" in found.principal_arn
    assert [call.operation for call in aws.calls] == ["AssumeRole", "GetAuthorizationToken"]


@pytest.mark.parametrize(
    "variable",
    ["AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_CA_BUNDLE", "AWS_METADATA_SERVICE_TIMEOUT"],
)
def test_a_variable_that_is_set_and_empty_is_unset(home: Home, aws: Aws, variable: str) -> None:
    """As CI and compose leave those that nobody has given a value."""
    assert issued(aws, home, registry(DEV), **{variable: ""}).account == DEV
    environment = keys(aws, user(STAGE)) | {variable: ""}
    assert issued(aws, home, registry(DEV), **environment).account == STAGE


def test_files_that_variables_lead_to(home: Home, aws: Aws) -> None:
    """As the AWS CLI reads them."""
    home.aws_config.rename(home.path / "elsewhere")
    assert issued(aws, home, registry(DEV), AWS_CONFIG_FILE="$HOME/elsewhere").account == DEV


def test_a_relative_file_is_another_in_another_folder(home: Home, aws: Aws) -> None:
    """Docker runs us in the folder of whoever asks."""
    for account in (DEV, STAGE):
        credentials = as_values(keys(aws, user(account), access_key_id(account)))
        home.write(home.path / account / "aws", section("profile ci", **credentials))
    for account in (DEV, STAGE, DEV):
        home.environment |= {"AWS_CONFIG_FILE": "aws", "AWS_PROFILE": "ci"}
        process = home.start("get", cwd=home.path / account)
        answer = Answer(0, *process.communicate(registry(PROD).encode(), timeout=60))
        assert aws.issued[answer.password].account == account


@pytest.mark.parametrize("refused", ["\ufeff{}", "{}[profile dev]\noutput = json\n"])
def test_services_in_a_config_that_botocore_refuses(home: Home, aws: Aws, refused: str) -> None:
    url = home.environment.pop("AWS_ENDPOINT_URL_ECR")
    services = f"[services local]\necr =\n  endpoint_url = {url}\n"
    text = THREE_ACCOUNTS.replace("[profile dev]", "[profile dev]\nservices = local")
    config(home, refused.format(text + services))
    assert issued(aws, home, registry(DEV)).account == DEV


def test_a_role_by_way_of_sso(home: Home, aws: Aws) -> None:
    aws.allow_role(DEPLOY)
    role = section("profile deploy", role_arn=DEPLOY, source_profile="dev")
    config(home, THREE_ACCOUNTS, role)
    assert f":{OTHER}:assumed-role/deploy/" in issued(aws, home, registry(OTHER)).principal_arn
    operations = [call.operation for call in aws.calls]
    assert operations == ["GetRoleCredentials", "AssumeRole", "GetAuthorizationToken"]


def test_a_role_by_way_of_a_role(bare: Home, aws: Aws) -> None:
    hop = f"arn:aws:iam::{STAGE}:role/hop"
    for role in (hop, DEPLOY):
        aws.allow_role(role)
    config(
        bare,
        section("profile base", **as_values(keys(aws, user(DEV)))),
        section("profile hop", role_arn=hop, source_profile="base"),
        section("profile deploy", role_arn=DEPLOY, source_profile="hop"),
    )
    assert issued(aws, bare, registry(OTHER)).account == OTHER
    assert aws.count("AssumeRole") == 2


def test_a_role_by_way_of_the_environment(bare: Home, aws: Aws) -> None:
    """The environment's keys come first (design), so the settings have to name the profile."""
    aws.allow_role(DEPLOY)
    config(bare, section("profile deploy", role_arn=DEPLOY, credential_source="Environment"))
    bare.write(bare.settings, '[registries."112233445566.*"]\nprofile = "deploy"\n')
    found = issued(aws, bare, registry(OTHER), **keys(aws, user(DEV)))
    assert f":{OTHER}:assumed-role/deploy/" in found.principal_arn


def test_a_role_by_way_of_the_container(bare: Home, aws: Aws) -> None:
    aws.container_role = f"arn:aws:iam::{DEV}:role/task"
    aws.allow_role(DEPLOY)
    config(bare, section("profile deploy", role_arn=DEPLOY, credential_source="EcsContainer"))
    environment = {"AWS_PROFILE": "deploy", **aws.container_environment()}
    assert issued(aws, bare, registry(OTHER), **environment).account == OTHER


def test_a_role_by_way_of_the_instance(bare: Home, aws: Aws) -> None:
    aws.instance_role = f"arn:aws:iam::{DEV}:role/node"
    aws.allow_role(DEPLOY)
    role = section("profile deploy", role_arn=DEPLOY, credential_source="Ec2InstanceMetadata")
    config(bare, role)
    assert issued(aws, bare, registry(OTHER), **aws.instance_environment()).account == OTHER


class AwsBesideMoto(Aws):
    """Also knows the keys that moto's STS in this process has handed out."""

    def find(self, signature: Signature) -> Principal | None:
        return super().find(signature) or self._of_moto(signature)

    def _of_moto(self, signature: Signature) -> Principal | None:
        for backend in [b for by_region in sts_backends.values() for b in by_region.values()]:
            for role in backend.assumed_roles:
                if role.access_key_id == signature.access_key:
                    return Principal(role.arn, role.secret_access_key, role.session_token)
        return None


def test_a_role_of_motos_sts(tmp_path: Path) -> None:
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        with AwsBesideMoto() as aws:
            home = new_home(tmp_path / "home", aws)
            home.environment["AWS_ENDPOINT_URL_STS"] = f"http://{host}:{port}"
            config(
                home,
                section("profile base", aws_access_key_id=KEY, aws_secret_access_key="x" * 40),
                section("profile deploy", role_arn=DEPLOY, source_profile="base"),
            )
            assert ":assumed-role/deploy/" in issued(aws, home, registry(OTHER)).principal_arn
    finally:
        moto.stop()


# A process, a web identity, a container, an instance


def test_a_credential_process(bare: Home, aws: Aws) -> None:
    key = aws.session_key(f"arn:aws:sts::{DEV}:assumed-role/vault/me", 3600)
    document = {
        "Version": 1,
        "AccessKeyId": key.access_key_id,
        "SecretAccessKey": key.secret_access_key,
        "SessionToken": key.session_token,
        "Expiration": key.expires_iso,
    }
    program = bare.write(bare.path / "vault.py", f"print({json.dumps(document)!r})\n")
    command = shlex.join([sys.executable, str(program)])
    config(bare, section("profile vault", aws_account_id=DEV, credential_process=command))
    assert issued(aws, bare, registry(DEV)).principal_arn.endswith(":assumed-role/vault/me")


@pytest.mark.parametrize("where", ["environment", "profile"])
def test_a_web_identity(bare: Home, aws: Aws, where: str) -> None:
    aws.allow_role(DEPLOY)
    aws.web_identity_tokens.add("a.b.c")
    token = str(bare.write(bare.path / "token", "a.b.c"))
    environment = {}
    if where == "environment":
        environment = {"AWS_ROLE_ARN": DEPLOY, "AWS_WEB_IDENTITY_TOKEN_FILE": token}
    else:
        config(bare, section("profile ci", role_arn=DEPLOY, web_identity_token_file=token))
    found = issued(aws, bare, registry(OTHER), **environment)
    assert f":{OTHER}:assumed-role/deploy/" in found.principal_arn
    assert aws.count("AssumeRoleWithWebIdentity") == 1


def test_a_container_with_a_role(bare: Home, aws: Aws) -> None:
    aws.container_role = f"arn:aws:iam::{DEV}:role/task"
    found = issued(aws, bare, registry(DEV), **aws.container_environment())
    assert found.principal_arn == f"arn:aws:sts::{DEV}:assumed-role/task/container"
    assert aws.count("ContainerCredentials") == 1


def test_an_instance_with_a_role(bare: Home, aws: Aws) -> None:
    aws.instance_role = f"arn:aws:iam::{DEV}:role/node"
    found = issued(aws, bare, registry(DEV), **aws.instance_environment())
    assert ":assumed-role/node/i-" in found.principal_arn


def test_an_instance_whose_config_has_only_a_region(bare: Home, aws: Aws) -> None:
    aws.instance_role = f"arn:aws:iam::{DEV}:role/node"
    config(bare, section("default", region="eu-west-1"))
    found = issued(aws, bare, registry(DEV), **aws.instance_environment())
    assert ":assumed-role/node/i-" in found.principal_arn


def test_the_instance_metadata_is_not_asked_where_that_is_forbidden(bare: Home, aws: Aws) -> None:
    aws.instance_role = f"arn:aws:iam::{DEV}:role/node"
    environment = {**aws.instance_environment(), "AWS_EC2_METADATA_DISABLED": "true"}
    assert bare.get(registry(DEV), **environment).code == 1
    assert aws.calls == []


# SSO


def test_a_profile_with_an_sso_session(bare: Home, aws: Aws) -> None:
    aws.write_sso_token(bare.path, START_URL, session="corp", refresh=True)
    config(
        bare,
        section("sso-session corp", sso_start_url=START_URL, sso_region="eu-west-1"),
        section("profile new", sso_session="corp", sso_account_id=DEV, sso_role_name=ROLE),
    )
    found = issued(aws, bare, registry(DEV))
    assert f":{DEV}:assumed-role/AWSReservedSSO_{ROLE}_" in found.principal_arn


def test_an_sso_session_whose_access_token_ended_is_refreshed(bare: Home, aws: Aws) -> None:
    aws.write_sso_token(bare.path, START_URL, session="corp", lifetime=60, refresh=True)
    config(
        bare,
        section(
            "sso-session corp",
            sso_start_url=START_URL,
            sso_region="eu-west-1",
            sso_registration_scopes="sso:account:access",
        ),
        section("profile new", sso_session="corp", sso_account_id=DEV, sso_role_name=ROLE),
    )
    assert issued(aws, bare, registry(DEV)).account == DEV
    assert [call.operation for call in aws.calls] == [
        "CreateToken",
        "GetRoleCredentials",
        "GetAuthorizationToken",
    ]


# Who wins


def asked_account(aws: Aws, home: Home, host: str, **environment: str) -> str:
    return issued(aws, home, host, **environment).account


@pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
def test_aws_profile_overrides_the_account(home: Home, aws: Aws, variable: str) -> None:
    assert asked_account(aws, home, registry(DEV), **{variable: "stage"}) == STAGE
    assert asked_account(aws, home, registry(DEV)) == DEV


def test_prefer_account_overrides_aws_profile(home: Home, aws: Aws) -> None:
    home.write(home.settings, '[defaults]\nprefer = "account"\n')
    assert asked_account(aws, home, registry(DEV), AWS_PROFILE="stage") == DEV
    assert asked_account(aws, home, registry(DEV), **keys(aws, user(STAGE))) == DEV
    assert asked_account(aws, home, registry(OTHER), AWS_PROFILE="stage") == STAGE


@pytest.mark.parametrize(
    ("settings", "account"),
    [
        ('[registries."642976147714.dkr.ecr.eu-west-1.amazonaws.com"]\nprofile = "prod"', PROD),
        ('[registries."6429*"]\nprofile = "prod"', PROD),
        ('[registries."*.amazonaws.com.cn"]\nprofile = "prod"', STAGE),
        (
            '[registries."*"]\nprofile = "stage"\n'
            '[registries."*.eu-west-1.amazonaws.com"]\nprofile = "prod"\n'
            '[registries."6*"]\nprofile = "dev"',
            PROD,
        ),
    ],
    ids=["host", "glob", "a glob that does not fit", "the longest glob"],
)
def test_settings_override_everything(home: Home, aws: Aws, settings: str, account: str) -> None:
    home.write(home.settings, settings + "\n")
    assert asked_account(aws, home, registry(DEV), **keys(aws, user(STAGE))) == account


def test_an_alias_is_answered_for_the_registry_behind_it(home: Home, aws: Aws) -> None:
    host = "ecr.example.com"
    home.write(home.settings, f'[registries."{host}"]\nalias = "{registry(STAGE)}"\n')
    answer = home.get(f"https://{host}/v2/")
    assert answer.json["ServerURL"] == f"https://{host}/v2/"
    assert aws.issued[answer.password].account == STAGE
    assert home.cached() == [host]


def test_a_change_of_settings_or_config_is_seen_at_once(home: Home, aws: Aws) -> None:
    assert asked_account(aws, home, registry(DEV)) == DEV
    home.write(home.settings, '[registries."*"]\nprofile = "prod"\n')
    assert asked_account(aws, home, registry(DEV)) == PROD
    home.settings.unlink()
    assert asked_account(aws, home, registry(DEV)) == DEV
    home.write(home.aws_config, section("default", **as_values(keys(aws, user(OTHER)))))
    assert asked_account(aws, home, registry(DEV)) == OTHER


def test_an_empty_variable_counts_as_unset_and_the_answer_is_kept(home: Home, aws: Aws) -> None:
    """It is kept for the environment as it is, with the empty variable: a hit knows no other."""
    empty = {"AWS_PROFILE": "", "AWS_ACCESS_KEY_ID": "", "AWS_CA_BUNDLE": ""}
    first = home.get(registry(DEV), **empty)
    assert first.code == 0, first
    aws.calls.clear()
    assert home.get(registry(DEV), **empty) == first
    assert aws.calls == []


def test_of_two_profiles_the_one_of_the_region_then_the_first(home: Home, aws: Aws) -> None:
    def profile(name: str, region: str, role: str) -> str:
        aws.assign(DEV, role)
        values = {"sso_start_url": START_URL, "sso_region": "eu-west-1", "sso_account_id": DEV}
        return section(f"profile {name}", **values, sso_role_name=role, region=region)

    config(
        home,
        profile("first", "us-east-1", "First"),
        profile("second", "eu-west-1", "Second"),
        profile("third", "eu-west-1", "Third"),
    )
    roles = {
        "eu-west-1": "_Second_",
        "us-east-1": "_First_",
        "ap-south-1": "_First_",
    }
    for region, role in roles.items():
        found = issued(aws, home, registry(DEV, region))
        assert role in found.principal_arn
        assert found.region == region
    # Whoever wonders why it was this role finds the others in the log.
    assert f"profile second is for account {DEV}; so are third, first" in home.log.read_text()


def test_registries_of_one_identity_and_region_share_one_call(home: Home, aws: Aws) -> None:
    hosts = [registry(account) for account in (DEV, STAGE, PROD, OTHER)]
    answers = {home.get(host, AWS_PROFILE="stage").password for host in hosts}
    assert len(answers) == aws.count("GetAuthorizationToken") == 1
    home.get(registry(DEV, "eu-north-1"), AWS_PROFILE="stage")
    assert aws.count("GetAuthorizationToken") == 2


# ECR Public


def test_ecr_public_with_credentials(home: Home, aws: Aws) -> None:
    found = issued(aws, home, PUBLIC, AWS_PROFILE="dev")
    assert (found.public, found.account, found.region) == (True, DEV, "us-east-1")
    private = issued(aws, home, registry(DEV, "us-east-1"), AWS_PROFILE="dev")
    assert not private.public


@pytest.mark.parametrize("host", [PUBLIC, "ecr-public.aws.com", f"https://{PUBLIC}/docker/"])
def test_ecr_public_without_credentials_is_quietly_not_found(
    bare: Home, aws: Aws, host: str
) -> None:
    answer = bare.get(host)
    assert answer.line == "credentials not found in native keychain"
    assert answer.stderr == b""
    assert aws.calls == []


def test_ecr_public_with_an_ended_session_is_quietly_not_found(home: Home, aws: Aws) -> None:
    aws.end_session(START_URL)
    answer = home.get(PUBLIC, AWS_PROFILE="dev")
    assert (answer.line, answer.stderr) == ("credentials not found in native keychain", b"")


# The endpoints, under their own names


@contextmanager
def way_out(home: Home, aws: Aws) -> Iterator[Proxy]:
    """The home asks AWS by its real names, through a proxy."""
    for name in [name for name in home.environment if name.startswith("AWS_ENDPOINT_URL")]:
        del home.environment[name]
    with Proxy(aws) as proxy:
        home.environment |= proxy.environment()
        yield proxy


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        (f"{DEV}.dkr.ecr.eu-west-1.amazonaws.com", "ecr.eu-west-1.amazonaws.com"),
        (f"{DEV}.dkr.ecr-fips.us-east-1.amazonaws.com", "ecr-fips.us-east-1.amazonaws.com"),
        (f"{DEV}.dkr-ecr.eu-west-1.on.aws", "ecr.eu-west-1.api.aws"),
        (f"{DEV}.dkr-ecr-fips.us-west-2.on.aws", "ecr-fips.us-west-2.api.aws"),
        (f"{DEV}.dkr.ecr.cn-north-1.amazonaws.com.cn", "ecr.cn-north-1.amazonaws.com.cn"),
        (f"{DEV}.dkr.ecr.us-gov-west-1.amazonaws.com", "ecr.us-gov-west-1.amazonaws.com"),
        (PUBLIC, "ecr-public.us-east-1.amazonaws.com"),
    ],
)
def test_each_registry_has_its_endpoint(bare: Home, aws: Aws, host: str, endpoint: str) -> None:
    with way_out(bare, aws) as proxy:
        found = issued(aws, bare, host, **keys(aws, user(DEV)))
        # botocore has moved some from ecr-fips.… to api.ecr-fips.…
        connects = [connect.removeprefix("api.") for connect in proxy.connects.elements()]
        assert connects == [endpoint]
    assert found.region in endpoint


def test_a_token_of_one_endpoint_is_not_answered_for_another(bare: Home, aws: Aws) -> None:
    with way_out(bare, aws) as proxy:
        environment = keys(aws, user(DEV))
        hosts = {
            f"{DEV}.dkr.ecr.us-east-1.amazonaws.com": "ecr.us-east-1.amazonaws.com",
            f"{DEV}.dkr.ecr-fips.us-east-1.amazonaws.com": "ecr-fips.us-east-1.amazonaws.com",
            f"{DEV}.dkr-ecr.us-east-1.on.aws": "ecr.us-east-1.api.aws",
        }
        for _ in range(2):
            assert len({bare.get(host, **environment).password for host in hosts}) == 3
        fips = {**environment, "AWS_USE_FIPS_ENDPOINT": "true"}
        plain, named = (bare.get(host, **fips).password for host in list(hosts)[:2])
        assert plain == named
        connects = [connect.removeprefix("api.") for connect in proxy.connects.elements()]
        assert sorted(connects) == sorted(hosts.values())


def test_sso_under_its_own_name(home: Home, aws: Aws) -> None:
    with way_out(home, aws) as proxy:
        assert issued(aws, home, registry(STAGE)).account == STAGE
        assert set(proxy.connects) == {
            "portal.sso.eu-west-1.amazonaws.com",
            "api.ecr.eu-west-1.amazonaws.com",
        }
