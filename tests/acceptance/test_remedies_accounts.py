"""Whose credentials answer? Each message names a command; with it, the pull works."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.acceptance.remedies import command_in, commands_in, opens, shell
from tests.standin.aws import Aws
from tests.support.home import DEV, ROLE, STAGE, START_URL, Home, access_key_id, registry
from tests.support.user import User

# Amazon's own, with the add-ons of EKS.
ADD_ONS = "602401143452"
HOST = registry(ADD_ONS)


@pytest.fixture
def user(home: Home, aws: Aws) -> User:
    return User(home, aws)


# Registries of another account


def test_a_registry_of_another_account(user: User) -> None:
    line = user.home.get(HOST).line
    assert "looked at dev, stage, prod" in line
    opens(user.home.get(HOST, AWS_PROFILE="dev"), user, DEV)
    [command] = commands_in(line)
    shell(user, command)
    opens(user.home.get(HOST), user, DEV)


def test_configure_says_so(user: User) -> None:
    said = shell(user, f"ecr-py configure --registry {HOST}").stderr
    assert user.read_config()["credHelpers"] == {HOST: "ecr-py"}
    shell(user, command_in(said))
    opens(user.home.get(HOST), user, DEV)
    done = shell(user, f"ecr-py configure --registry {HOST}")
    assert f"{HOST}   dev" in done.stdout
    assert done.stderr == ""


def test_configure_offers_to_do_it(user: User) -> None:
    with user.at_terminal(f"ecr-py configure --registry {HOST}") as terminal:
        terminal.wait_for(r"Use which profile for it \(dev, stage, prod; none\)")
        terminal.type("stagge\r")
        terminal.wait_for("'stagge' is not one of")
        terminal.type("dev\r")
        assert terminal.wait() == 0
    opens(user.home.get(HOST), user, DEV)
    user.home.settings.write_text(user.home.settings.read_text() + '[defaults]\nlogin = "never"\n')
    user.run("ecr-py", "configure", "--undo")
    assert user.home.settings.read_text().strip() == '[defaults]\nlogin = "never"'
    assert "config set" in user.home.get(HOST).line


def test_configure_takes_no_for_an_answer(user: User) -> None:
    with user.at_terminal(f"ecr-py configure --registry {HOST}") as terminal:
        terminal.wait_for("Use which profile")
        terminal.type("none\r")
        assert terminal.wait() == 0
    assert not user.home.settings.exists()
    assert user.read_config()["credHelpers"] == {HOST: "ecr-py"}


def test_configure_does_it_if_there_is_one_profile(user: User) -> None:
    config = user.home.aws_config
    config.write_text(config.read_text().partition("[profile stage]")[0])
    shown = shell(user, f"ecr-py configure --yes --dry-run --registry {HOST}").stdout
    assert f'+[registries."{ADD_ONS}.*"]' in shown
    assert not user.home.settings.exists()
    shell(user, f"ecr-py configure --yes --registry {HOST}")
    opens(user.home.get(HOST), user, DEV)
    shell(user, "ecr-py configure --undo")
    assert not user.home.settings.exists()


def test_doctor_and_status_say_so(user: User) -> None:
    user.write_docker_config({"credHelpers": {HOST: "ecr-py"}})
    wanted = command_in(user.home.get(HOST).line)
    for command in ("status", "doctor", "explain"):
        done = user.invoke(command, *[HOST] * (command == "explain"))
        assert f"`{wanted}`" in done.said, command


# Keys that do not tell their account, and profiles without a region

OLD_KEY = "AKIAIOSFODNN7EXAMPLE"  # from before 2019
OWN = registry(DEV)


@pytest.fixture
def old_key(user: User) -> User:
    """A user with the key of an IAM user in the default profile, as `aws configure` writes it."""
    secret = user.aws.add_key(OLD_KEY, f"arn:aws:iam::{DEV}:user/ann")
    credentials = user.home.aws_config.with_name("credentials")
    user.home.write(
        credentials,
        f"[default]\naws_access_key_id = {OLD_KEY}\naws_secret_access_key = {secret}\n",
    )
    user.home.write(user.home.aws_config, "[default]\nregion = eu-west-1\n")
    return user


def works(user: User, config: dict[str, object]) -> None:
    """Check that docker is set up like this, and that doctor and a `get` succeed."""
    assert user.read_config() == config
    opens(user.home.get(OWN), user, DEV)
    assert user.invoke("doctor").code == 0


@pytest.mark.parametrize(
    "command", [("configure",), ("status",), ("token",), ("repo", "ls", "default")]
)
def test_a_key_from_before_2019(old_key: User, command: tuple[str, ...]) -> None:
    said = old_key.invoke(*command).said
    by_hand, by_us = commands_in(said)
    assert by_hand == "aws configure set aws_account_id ACCOUNT --profile default"
    assert old_key.aws.calls == []
    lines = shell(old_key, by_us).stdout.splitlines()
    assert [line.split() for line in lines[:3]] == [["REGISTRY", "PROFILE"], [OWN, "default"], []]
    assert lines[3].startswith(f"AWS config: profile default is for account {DEV}, in ")
    assert lines[4].startswith("docker: 1 entry in credHelpers in ")
    assert old_key.calls() == ["GetCallerIdentity"]
    assert old_key.home.aws_config.read_text() == (
        f"[default]\nregion = eu-west-1\naws_account_id = {DEV}\n"
    )
    works(old_key, {"credHelpers": {OWN: "ecr-py"}})
    # There is one registry, so it need not be named.
    assert old_key.ecr_py("token").code == 0
    shell(old_key, "ecr-py configure --undo")
    assert old_key.home.aws_config.read_text() == "[default]\nregion = eu-west-1\n"


def test_a_key_from_before_2019_by_hand(old_key: User, cli: str) -> None:
    command = command_in(old_key.invoke("configure").said)
    shell(old_key, command.replace("aws ", f"{cli} ", 1).replace("ACCOUNT", DEV))
    shell(old_key, "ecr-py configure")
    works(old_key, {"credHelpers": {OWN: "ecr-py"}})


def test_configure_asks_before_it_asks_aws(old_key: User) -> None:
    for answer, calls in (("n", []), ("", ["GetCallerIdentity"])):
        with old_key.at_terminal("ecr-py configure") as terminal:
            terminal.wait_for(r"Ask AWS \(sts:GetCallerIdentity\)")
            terminal.type(f"{answer}\r")
            assert terminal.wait() == (1 if answer else 0)
        assert old_key.calls() == calls
    works(old_key, {"credHelpers": {OWN: "ecr-py"}})


def test_aws_does_not_know_the_key(old_key: User) -> None:
    old_key.aws.keys.clear()
    done = old_key.invoke("configure", "--yes")
    assert done.code == 1
    assert "AWS rejected the keys of the profile" in done.stderr
    assert "(profile default): run `aws configure --profile default`" in done.stderr


def test_doctor_with_a_key_from_before_2019(old_key: User) -> None:
    done = old_key.invoke("doctor")
    assert done.code == 1
    shell(old_key, command_in(done.stdout))
    works(old_key, {"credsStore": "ecr-py"})


@pytest.mark.parametrize("command", ["configure", "status", "token"])
def test_a_profile_without_a_region(user: User, cli: str, command: str) -> None:
    one, _, _ = user.home.aws_config.read_text().partition("[profile stage]")
    user.home.aws_config.write_text(one.replace("\nregion = eu-west-1", ""))
    done = user.invoke(command)
    assert "login --start-url" not in done.said
    wanted = command_in(done.said.splitlines()[-1])
    assert wanted == "aws configure set region REGION --profile dev"
    assert user.ecr_py("token", AWS_REGION="eu-west-1").code == 0
    shell(user, wanted.replace("aws ", f"{cli} ", 1).replace("REGION", "eu-west-1"))
    shell(user, "ecr-py configure")
    works(user, {"credHelpers": {OWN: "ecr-py"}})
    assert user.ecr_py("token").code == 0


def test_the_one_registry_of_docker_need_not_be_named(old_key: User) -> None:
    old_key.write_docker_config({"credHelpers": {OWN: "ecr-py"}})
    assert old_key.ecr_py("token").stdout.strip() in old_key.aws.issued
    old_key.write_docker_config({"credHelpers": dict.fromkeys([OWN, HOST], "ecr-py")})
    assert "there are 2 registries (" in old_key.ecr_py("token").line


def test_the_one_account_in_another_region_need_not_be_named(user: User) -> None:
    one, _, rest = user.home.aws_config.read_text().partition("[profile stage]")
    two, _, _ = rest.partition("[profile prod]")
    user.home.aws_config.write_text(one)
    done = user.ecr_py("token", "--region", "us-east-1")
    assert user.aws.issued[done.stdout.strip()].region == "us-east-1"
    other = two.replace("region = eu-west-1\n", "region = us-east-1\n")
    user.home.aws_config.write_text(f"{one}[profile stage]{other}")
    done = user.ecr_py("token", "--region", "us-east-1")
    assert user.aws.issued[done.stdout.strip()].account == STAGE


# Credentials in the environment only, as in CI


@pytest.fixture
def ci(user: User) -> User:
    """A job with an access key, which tells its account, and no files."""
    shutil.rmtree(user.home.aws_config.parent)
    key = access_key_id(DEV)
    secret = user.aws.add_key(key, f"arn:aws:iam::{DEV}:user/ci")
    user.home.environment |= {
        "CI": "true",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "eu-west-1",
    }
    return user


def test_an_access_key_in_the_environment(ci: User) -> None:
    shell(ci, "ecr-py configure")
    works(ci, {"credHelpers": {OWN: "ecr-py"}})
    assert OWN in shell(ci, "ecr-py status").stdout
    assert ci.aws.issued[shell(ci, "ecr-py token").stdout.strip()].account == DEV
    states = {
        check["state"] for check in json.loads(shell(ci, "ecr-py doctor --json").stdout)["checks"]
    }
    assert states == {"ok"}
    assert f"arn:aws:ecr:eu-west-1:{DEV}:repository/" in shell(ci, "ecr-py policy pull").stdout


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_a_region_in_the_environment(ci: User, variable: str) -> None:
    del ci.home.environment["AWS_REGION"]
    for command in ("configure", "status", "token"):
        assert ci.invoke(command).said.rstrip().endswith("no region: set AWS_REGION")
    ci.home.environment[variable] = "us-east-1"
    done = ci.ecr_py("token")
    assert ci.aws.issued[done.stdout.strip()].region == "us-east-1"


def test_a_web_identity_in_the_environment(ci: User) -> None:
    role = f"arn:aws:iam::{STAGE}:role/deploy"
    token = ci.home.write(ci.home.path / "token", "of-the-job")
    ci.aws.web_identity_tokens.add("of-the-job")
    ci.aws.allow_role(role)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del ci.home.environment[name]
    ci.home.environment |= {"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
    shell(ci, "ecr-py configure")
    assert ci.read_config() == {"credHelpers": {registry(STAGE): "ecr-py"}}
    opens(ci.home.get(registry(STAGE)), ci, STAGE)
    assert ci.invoke("doctor").code == 0


def test_credentials_that_do_not_tell_their_account(ci: User) -> None:
    """An old key, or a container's role."""
    ci.home.environment |= {
        "AWS_ACCESS_KEY_ID": OLD_KEY,
        "AWS_SECRET_ACCESS_KEY": ci.aws.add_key(OLD_KEY, f"arn:aws:iam::{DEV}:user/ci"),
    }
    for command in ("configure", "status", "token"):
        assert "set AWS_ACCOUNT_ID" in ci.invoke(command).said
    assert ci.aws.issued[ci.ecr_py("token", AWS_ACCOUNT_ID=DEV).stdout.strip()].account == DEV
    shell(ci, command_in(ci.invoke("configure").line))
    works(ci, {"credsStore": "ecr-py"})


def test_the_role_of_an_instance(ci: User) -> None:
    ci.aws.instance_role = f"arn:aws:iam::{DEV}:role/instance"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del ci.home.environment[name]
    ci.home.environment |= ci.aws.instance_environment()
    line = ci.invoke("configure").line
    assert "set AWS_ACCOUNT_ID" in line
    assert ci.aws.issued[ci.ecr_py("token", AWS_ACCOUNT_ID=DEV).stdout.strip()].account == DEV
    shell(ci, command_in(line))
    works(ci, {"credsStore": "ecr-py"})


def test_the_environment_goes_before_profiles(user: User) -> None:
    """As in the AWS CLI; the registry and the credentials are of the same account."""
    key = access_key_id(DEV)
    secret = user.aws.add_key(key, f"arn:aws:iam::{DEV}:user/ci")
    keys = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_PROFILE": "stage"}
    user.home.environment |= keys
    assert "set AWS_REGION" in user.ecr_py("token").line
    done = user.ecr_py("token", AWS_REGION="us-east-1")
    assert user.aws.issued[done.stdout.strip()].principal_arn.endswith(":user/ci")


# Several profiles for one account


@pytest.fixture
def two_roles(user: User) -> User:
    """A user who may take two roles of one account; the first in the file may only pull."""
    sections = [
        f"[profile {name}]\nsso_session = telia\nsso_account_id = {DEV}\n"
        f"sso_role_name = {role}\nregion = eu-west-1\n"
        for name, role in (("dev-readonly", "ReadOnly"), ("dev-admin", ROLE), ("again", "ReadOnly"))
    ]
    session = f"[sso-session telia]\nsso_start_url = {START_URL}\nsso_region = eu-west-1\n"
    user.home.write(user.home.aws_config, session + "".join(sections))
    user.aws.assign(DEV, "ReadOnly")
    user.aws.write_sso_token(user.home.path, START_URL, session="telia", region="eu-west-1")
    return user


def role_of(user: User) -> str:
    """Return the role that docker's password for the registry is of."""
    return user.aws.issued[user.home.get(OWN).password].principal_arn.split("_")[1]


@pytest.mark.parametrize("command", ["configure", "status", f"explain {OWN}", "explain dev-admin"])
def test_another_profile_of_the_account(two_roles: User, command: str) -> None:
    assert role_of(two_roles) == "ReadOnly"
    done = shell(two_roles, f"ecr-py {command}")
    [line] = [line for line in done.said.splitlines() if "`ecr-py config set" in line]
    assert "dev-readonly" in line
    assert "again" not in line  # the same role
    shell(two_roles, command_in(line))
    assert role_of(two_roles) == ROLE
    assert "config set" not in shell(two_roles, f"ecr-py {command}").said


def test_explain_explains_the_profile_that_is_named(two_roles: User) -> None:
    said = shell(two_roles, "ecr-py explain dev-admin").stdout
    assert "profile   dev-admin" in said
    assert f"identity  sso telia {DEV} {ROLE}" in said
    assert f"docker    uses profile dev-readonly: `ecr-py config set 'registries.{DEV}" in said
    said = shell(two_roles, "ecr-py explain dev-readonly").stdout
    assert f"-> account      profile dev-readonly is for account {DEV}" in said
    found = json.loads(shell(two_roles, "ecr-py status --json").stdout)["registries"]
    assert [row["otherProfiles"] for row in found] == [["dev-admin"]]


# Settings that would have no effect


def test_a_profile_that_does_not_exist(user: User) -> None:
    line = user.invoke("config", "set", f"registries.{ADD_ONS}.*.profile", "devv").line
    assert line.endswith("nearest: dev")
    assert not user.home.settings.exists()


def test_a_name_of_ones_own(user: User) -> None:
    own = "images.example.com"
    line = user.invoke("config", "set", f"registries.{own}.profile", "stage").line
    shell(user, command_in(line).replace("123456789012", DEV))
    shell(user, f"ecr-py config set registries.{own}.profile dev")
    opens(user.home.get(own), user, DEV)


def test_an_entry_that_is_never_used(user: User) -> None:
    user.home.write(user.home.settings, '[registries."*.ghcr.io"]\nprofile = "dev"\n')
    shell(user, "ecr-py configure")
    lines = shell(user, "ecr-py doctor").stdout.splitlines()
    [line] = [line for line in lines if "never used" in line]
    shell(user, command_in(line))
    assert "never used" not in shell(user, "ecr-py doctor").stdout


def test_a_fallback_that_is_not_installed(user: User) -> None:
    line = user.invoke("config", "set", "fallback", "typo").line
    assert not user.home.settings.exists()
    shell(user, command_in(line))
    assert 'fallback = "keyring"' in user.home.settings.read_text()


# Profiles that other tools write


def test_a_profile_of_granted(user: User) -> None:
    """As `granted sso generate` writes it; a process has the credentials."""
    key = user.aws.session_key(f"arn:aws:sts::{DEV}:assumed-role/{ROLE}/ann", 3600)
    printed = json.dumps(
        {
            "Version": 1,
            "AccessKeyId": key.access_key_id,
            "SecretAccessKey": key.secret_access_key,
            "SessionToken": key.session_token,
        }
    )
    granted = user.home.write(user.home.path / "bin" / "granted", f"#!/bin/sh\necho '{printed}'\n")
    granted.chmod(0o755)
    user.home.write(
        user.home.aws_config,
        f"[profile Dev/{ROLE}]\ngranted_sso_start_url = {START_URL}\n"
        f"granted_sso_region = eu-west-1\ngranted_sso_account_id = {DEV}\n"
        f"granted_sso_role_name = {ROLE}\ncommon_fate_generated_from = aws-sso\n"
        f"credential_process = {granted} credential-process --profile Dev/{ROLE}\n"
        "region = eu-west-1\n",
    )
    shell(user, "ecr-py configure")
    works(user, {"credHelpers": {OWN: "ecr-py"}})


def test_a_profile_of_saml2aws(user: User) -> None:
    arn = f"arn:aws:sts::{DEV}:assumed-role/{ROLE}/ann@example.com"
    key = user.aws.session_key(arn, 3600)
    user.home.aws_config.unlink()
    user.home.write(
        user.home.aws_config.with_name("credentials"),
        f"[saml]\naws_access_key_id = {key.access_key_id}\n"
        f"aws_secret_access_key = {key.secret_access_key}\n"
        f"aws_session_token = {key.session_token}\naws_security_token = {key.session_token}\n"
        f"x_principal_arn = {arn}\nx_security_token_expires = 2099-01-01T00:00:00Z\n"
        "region = eu-west-1\n",
    )
    shell(user, "ecr-py configure")
    works(user, {"credHelpers": {OWN: "ecr-py"}})
    user.aws.keys.clear()
    line = user.ecr_py("repo", "ls", "saml").line
    assert line.endswith("run `saml2aws login --profile saml`")


# Profiles of `aws login`


@dataclass
class AwsLogin:
    """A user with a profile of `aws login`, and no session at IAM Identity Center."""

    user: User
    arn: str = f"arn:aws:sts::{DEV}:assumed-role/{ROLE}/ann"

    @property
    def token_file(self) -> Path:
        name = hashlib.sha256(self.arn.encode()).hexdigest()
        return self.user.home.path / ".aws" / "login" / "cache" / f"{name}.json"

    def log_in(self, *, seconds: float = 900) -> None:
        """Write the token file that `aws login` writes, with keys that end in so many seconds."""
        key = self.user.aws.session_key(self.arn, 3600)
        expires = datetime.now(UTC) + timedelta(seconds=seconds)
        private = ec.generate_private_key(ec.SECP256R1())
        pem = private.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        ).decode()
        token = {
            "accessToken": {
                "accessKeyId": key.access_key_id,
                "secretAccessKey": key.secret_access_key,
                "sessionToken": key.session_token,
                "accountId": DEV,
                "expiresAt": f"{expires:%Y-%m-%dT%H:%M:%SZ}",
            },
            "tokenType": "aws_sigv4",
            "refreshToken": "once",
            "clientId": "arn:aws:signin:::devtools/same-device",
            "dpopKey": pem,
        }
        self.user.home.write(self.token_file, json.dumps(token))


@pytest.fixture
def by_aws_login(user: User) -> AwsLogin:
    login = AwsLogin(user)
    shutil.rmtree(user.home.path / ".aws" / "sso")
    user.home.write(
        user.home.aws_config,
        f"[profile ann]\nlogin_session = {login.arn}\nregion = eu-west-1\n",
    )
    return login


def test_a_profile_of_aws_login(by_aws_login: AwsLogin) -> None:
    """The account is in the ARN, and no library has to be installed."""
    user = by_aws_login.user
    by_aws_login.log_in()
    shell(user, "ecr-py configure")
    works(user, {"credHelpers": {OWN: "ecr-py"}})


def test_its_token_is_refreshed(by_aws_login: AwsLogin) -> None:
    user = by_aws_login.user
    by_aws_login.log_in(seconds=-60)
    key = user.aws.session_key(by_aws_login.arn, 3600)
    answer = {
        "accessToken": {
            "accessKeyId": key.access_key_id,
            "secretAccessKey": key.secret_access_key,
            "sessionToken": key.session_token,
        },
        "tokenType": "aws_sigv4",
        "expiresIn": 900,
        "refreshToken": "next",
    }
    user.aws.fault("POST /v1/token", "answer", document=answer)
    user.home.environment["AWS_ENDPOINT_URL_SIGNIN"] = user.aws.url
    opens(user.home.get(OWN), user, DEV)
    assert json.loads(by_aws_login.token_file.read_text())["refreshToken"] == "next"


def test_aws_logout_ends_our_answers(by_aws_login: AwsLogin) -> None:
    """It removes the token file."""
    user = by_aws_login.user
    by_aws_login.log_in()
    opens(user.home.get(OWN), user, DEV)
    by_aws_login.token_file.unlink()
    line = user.home.get(OWN).line
    assert "not logged in, or the session has expired" in line
    assert command_in(line) == "aws login --profile ann"
    for command in ("status", "doctor"):
        assert "run `aws login --profile ann`" in user.invoke(command).stdout
    assert user.invoke("status", "--check").code == 3
    by_aws_login.log_in()  # as that command does
    opens(user.home.get(OWN), user, DEV)


@pytest.mark.parametrize("verb", ["login", "logout"])
@pytest.mark.parametrize("names", [(), ("ann",), (OWN,)], ids=["none", "profile", "registry"])
def test_login_and_logout_name_the_command(
    by_aws_login: AwsLogin, verb: str, names: tuple[str, ...]
) -> None:
    assert command_in(by_aws_login.user.invoke(verb, *names).line) == (f"aws {verb} --profile ann")


def test_a_session_that_cannot_be_refreshed(by_aws_login: AwsLogin) -> None:
    user = by_aws_login.user
    by_aws_login.log_in(seconds=-60)
    user.home.environment["AWS_ENDPOINT_URL_SIGNIN"] = user.aws.url
    user.aws.fault("POST /v1/token", "error", status=400, code="AccessDeniedException")
    assert "run `aws login --profile ann`" in user.home.get(OWN).line


def test_a_damaged_token_file_is_reported_in_words(by_aws_login: AwsLogin) -> None:
    by_aws_login.log_in()
    by_aws_login.token_file.write_text("{}")
    line = by_aws_login.user.home.get(OWN).line
    assert "[secret]" not in line
    assert "run `aws login --profile ann`" in line
