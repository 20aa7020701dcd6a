"""The stand-ins are faithful: AWS's own clients, docker and skopeo take them for the real thing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, build_opener, urlopen

import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from tests.standin import control
from tests.standin.aws import Aws
from tests.standin.engine import Engine
from tests.standin.image import Image
from tests.standin.proxy import Proxy
from tests.standin.registry import RegistryFront
from tests.support.programs import need

ACCOUNT = "642976147714"
START_URL = "https://example.awsapps.com/start"
REDIRECT = "http://127.0.0.1/oauth/callback"


@pytest.fixture
def aws() -> Iterator[Aws]:
    with Aws() as server:
        yield server


def client(aws: Aws, service: str, region: str = "eu-west-1", **key: str) -> Any:
    """A botocore client of `service` that speaks to the stand-in and tries once."""
    config = Config(
        retries={"total_max_attempts": 1},
        read_timeout=1,
        signature_version=None if key else UNSIGNED,
    )
    session: Any = botocore.session.Session()
    return session.create_client(service, region, endpoint_url=aws.url, config=config, **key)


def signed(aws: Aws, service: str, region: str = "eu-west-1") -> Any:
    secret = aws.add_key("AKIAEXAMPLE", f"arn:aws:iam::{ACCOUNT}:user/builder")
    key = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": secret}
    return client(aws, service, region, **key)


def error_code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


# The SSO portal.


def logged_in(aws: Aws, home: Path, **options: Any) -> dict[str, str]:
    token: dict[str, str] = json.loads(aws.write_sso_token(home, START_URL, **options).read_text())
    return token


def test_each_get_role_credentials_brings_a_new_key_that_works(aws: Aws, tmp_path: Path) -> None:
    aws.assign(ACCOUNT, "Developer")
    sso, token = client(aws, "sso"), logged_in(aws, tmp_path)["accessToken"]
    ask = {"accountId": ACCOUNT, "roleName": "Developer", "accessToken": token}
    one, two = (sso.get_role_credentials(**ask)["roleCredentials"] for _ in range(2))
    assert one["accessKeyId"] != two["accessKeyId"]
    sts = client(
        aws,
        "sts",
        aws_access_key_id=one["accessKeyId"],
        aws_secret_access_key=one["secretAccessKey"],
        aws_session_token=one["sessionToken"],
    )
    identity = sts.get_caller_identity()
    assert identity["Account"] == ACCOUNT
    assert "/AWSReservedSSO_Developer_" in identity["Arn"]


def test_the_portal_refuses_an_ended_session_and_a_role_not_assigned(
    aws: Aws, tmp_path: Path
) -> None:
    sso, token = client(aws, "sso"), logged_in(aws, tmp_path)["accessToken"]
    ask = {"accountId": ACCOUNT, "roleName": "Developer", "accessToken": token}
    with pytest.raises(ClientError, match="No access") as refused:
        sso.get_role_credentials(**ask)
    assert error_code(refused) == "ForbiddenException"
    aws.end_session(START_URL)
    with pytest.raises(sso.exceptions.UnauthorizedException, match="Session token not found"):
        sso.get_role_credentials(**ask)


def test_accounts_and_roles_come_in_pages(aws: Aws, tmp_path: Path) -> None:
    aws.page_size = 2
    accounts = [f"{n:012}" for n in range(1, 6)]
    for account in accounts:
        for role in ("Developer", "Operator", "Reader"):
            aws.assign(account, role)
    sso, token = client(aws, "sso"), logged_in(aws, tmp_path)["accessToken"]
    pages = sso.get_paginator("list_accounts").paginate(accessToken=token)
    assert [a["accountId"] for p in pages for a in p["accountList"]] == accounts
    pages = sso.get_paginator("list_account_roles").paginate(
        accessToken=token, accountId=accounts[0]
    )
    assert [r["roleName"] for p in pages for r in p["roleList"]] == [
        "Developer",
        "Operator",
        "Reader",
    ]


def test_logout_ends_the_token(aws: Aws, tmp_path: Path) -> None:
    sso, token = client(aws, "sso"), logged_in(aws, tmp_path)["accessToken"]
    sso.logout(accessToken=token)
    with pytest.raises(sso.exceptions.UnauthorizedException):
        sso.list_accounts(accessToken=token)


# SSO OIDC.


def registered(oidc: Any, **options: Any) -> dict[str, str]:
    client = oidc.register_client(clientName="test", clientType="public", **options)
    return {name: client[name] for name in ("clientId", "clientSecret")}


def test_the_device_grant_from_pending_to_token(aws: Aws) -> None:
    aws.device_interval = 0
    oidc = client(aws, "sso-oidc")
    me = registered(oidc)
    grant = oidc.start_device_authorization(**me, startUrl=START_URL)
    ask = {
        **me,
        "grantType": "urn:ietf:params:oauth:grant-type:device_code",
        "deviceCode": grant["deviceCode"],
    }
    with pytest.raises(oidc.exceptions.AuthorizationPendingException):
        oidc.create_token(**ask)
    aws.device_interval = 60
    with pytest.raises(oidc.exceptions.SlowDownException):
        oidc.create_token(**ask)
    page = urlopen(grant["verificationUriComplete"]).read().decode()
    assert 'id="allow"' in page
    assert 'id="deny"' in page
    urlopen(grant["verificationUriComplete"], data=b"decision=allow")
    token = oidc.create_token(**ask)
    assert token["expiresIn"] == 8 * 3600
    assert "refreshToken" not in token
    with pytest.raises(oidc.exceptions.InvalidGrantException):
        oidc.create_token(**ask)


def test_the_device_grant_denied_and_expired(aws: Aws) -> None:
    oidc = client(aws, "sso-oidc")
    me = registered(oidc)
    for end, wanted in (
        (aws.deny, oidc.exceptions.AccessDeniedException),
        (lambda _: setattr(aws, "clock", lambda: 4e9), oidc.exceptions.InvalidClientException),
    ):
        grant = oidc.start_device_authorization(**me, startUrl=START_URL)
        end(grant["userCode"])
        with pytest.raises(wanted):
            oidc.create_token(
                **me,
                grantType="urn:ietf:params:oauth:grant-type:device_code",
                deviceCode=grant["deviceCode"],
            )


class _Stay(HTTPRedirectHandler):
    """Does not follow a redirect: the test is the loopback server it leads to."""

    def redirect_request(self, *args: Any) -> None:
        return None


def browse(url: str, decision: str) -> dict[str, str]:
    """Click a button of the page at `url`; the query of where it leads."""
    try:
        build_opener(_Stay).open(url, data=f"decision={decision}".encode())
    except HTTPError as answer:
        assert answer.code == 302
        return {k: v[0] for k, v in parse_qs(urlsplit(answer.headers["Location"]).query).items()}
    raise AssertionError("no redirect")


def authorization(aws: Aws, client_id: str, redirect_uri: str, verifier: str) -> str:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "state": "a state",
        "code_challenge_method": "S256",
        "code_challenge": challenge.decode(),
        "scopes": "sso:account:access",
    }
    return f"{aws.url}/authorize?{urlencode(query)}"


def test_the_authorization_code_grant_and_rotating_refresh_tokens(aws: Aws) -> None:
    oidc = client(aws, "sso-oidc")
    me = registered(
        oidc,
        scopes=["sso:account:access"],
        grantTypes=["authorization_code", "refresh_token"],
        redirectUris=[REDIRECT],
        issuerUrl=START_URL,
    )
    redirect, verifier = "http://127.0.0.1:40404/oauth/callback", "v" * 64
    url = authorization(aws, me["clientId"], redirect, verifier)
    assert 'id="allow"' in urlopen(url).read().decode()
    assert browse(url, "deny") == {"error": "access_denied", "state": "a state"}

    exchange = {**me, "grantType": "authorization_code", "redirectUri": redirect}
    with pytest.raises(oidc.exceptions.InvalidGrantException):
        oidc.create_token(**exchange, code=browse(url, "allow")["code"], codeVerifier="wrong")
    back = browse(url, "allow")
    assert back["state"] == "a state"
    token = oidc.create_token(**exchange, code=back["code"], codeVerifier=verifier)
    assert token["expiresIn"] == 3600

    refresh = {**me, "grantType": "refresh_token", "refreshToken": token["refreshToken"]}
    renewed = oidc.create_token(**refresh)
    assert renewed["accessToken"] != token["accessToken"]
    with pytest.raises(oidc.exceptions.InvalidGrantException):
        oidc.create_token(**refresh)


def test_a_foreign_redirect_uri_is_never_redirected_to(aws: Aws) -> None:
    oidc = client(aws, "sso-oidc")
    me = registered(oidc, grantTypes=["authorization_code"], redirectUris=[REDIRECT])
    with pytest.raises(HTTPError, match="400"):
        urlopen(authorization(aws, me["clientId"], "http://127.0.0.1:1/other", "v"))
    with pytest.raises(oidc.exceptions.InvalidRedirectUriException):
        registered(oidc, redirectUris=["https://example.com/callback"])


def test_botocore_refreshes_a_session_token_at_the_stand_in(aws: Aws, tmp_path: Path) -> None:
    aws.assign(ACCOUNT, "Developer")
    before = logged_in(aws, tmp_path, session="corp", lifetime=60, refresh=True)
    write_config(tmp_path)
    code = (
        "import botocore.session as b;"
        "print(b.Session(profile='dev').create_client('sts').get_caller_identity()['Account'])"
    )
    assert run([sys.executable, "-c", code], tmp_path, aws.environment()).strip() == ACCOUNT
    after = json.loads(next((tmp_path / ".aws/sso/cache").glob("*.json")).read_text())
    assert after["accessToken"] != before["accessToken"]
    assert after["refreshToken"] != before["refreshToken"]


# STS.


def test_sts_lets_known_roles_be_assumed(aws: Aws) -> None:
    sts = signed(aws, "sts")
    ask = {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/deploy", "RoleSessionName": "test"}
    with pytest.raises(ClientError, match="is not authorized to perform: sts:AssumeRole") as no:
        sts.assume_role(**ask)
    assert error_code(no) == "AccessDenied"
    aws.allow_role(ask["RoleArn"])
    answer = sts.assume_role(**ask)
    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/test"
    assert answer["Credentials"]["AccessKeyId"] in aws.keys

    anyone = client(aws, "sts")
    with pytest.raises(anyone.exceptions.InvalidIdentityTokenException):
        anyone.assume_role_with_web_identity(**ask, WebIdentityToken="jwt1")
    aws.web_identity_tokens.add("jwt1")
    answer = anyone.assume_role_with_web_identity(**ask, WebIdentityToken="jwt1")
    assert answer["Credentials"]["AccessKeyId"] in aws.keys


# ECR.


def test_ecr_tokens_open_the_region_of_the_signature(aws: Aws) -> None:
    [data] = signed(aws, "ecr").get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    assert user == "AWS"
    assert 1500 <= len(password) <= 3000
    document = json.loads(base64.b64decode(password))
    assert document.keys() == {"payload", "datakey", "version", "type", "expiration"}
    assert document["expiration"] == int(data["expiresAt"].timestamp())
    issued = aws.issued[password]
    assert (issued.account, issued.region, issued.public) == (ACCOUNT, "eu-west-1", False)
    assert data["proxyEndpoint"] == f"https://{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"
    [call] = aws.calls
    assert (call.operation, call.access_key, call.region, call.account) == (
        "GetAuthorizationToken",
        "AKIAEXAMPLE",
        "eu-west-1",
        ACCOUNT,
    )


def test_ecr_public_answers_one_object_in_one_region(aws: Aws) -> None:
    data = signed(aws, "ecr-public", "us-east-1").get_authorization_token()["authorizationData"]
    password = base64.b64decode(data["authorizationToken"]).decode().removeprefix("AWS:")
    assert aws.issued[password].public
    with pytest.raises(ClientError, match="only supported in us-east-1"):
        signed(aws, "ecr-public").get_authorization_token()


def test_ecr_refuses_unknown_expired_and_denied_callers(aws: Aws) -> None:
    unknown = client(aws, "ecr", aws_access_key_id="AKIANOBODY", aws_secret_access_key="x")
    with pytest.raises(ClientError) as refused:
        unknown.get_authorization_token()
    assert error_code(refused) == "UnrecognizedClientException"

    key = aws.session_key(f"arn:aws:sts::{ACCOUNT}:assumed-role/r/s", -1)
    expired = client(
        aws,
        "ecr",
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        aws_session_token=key.session_token,
    )
    with pytest.raises(ClientError) as refused:
        expired.get_authorization_token()
    assert error_code(refused) == "ExpiredTokenException"

    aws.deny_ecr("*:user/builder")
    with pytest.raises(ClientError, match="is not authorized to perform") as refused:
        signed(aws, "ecr").get_authorization_token()
    assert error_code(refused) == "AccessDeniedException"


# Containers and instances.


@pytest.mark.parametrize("kind", ["container", "instance"])
def test_botocore_finds_the_role_of_a_container_and_of_an_instance(
    aws: Aws, tmp_path: Path, kind: str
) -> None:
    setattr(aws, f"{kind}_role", f"arn:aws:iam::{ACCOUNT}:role/farm")
    environment = getattr(aws, f"{kind}_environment")()
    code = (
        "import botocore.session as b;"
        "print(b.Session().create_client('sts', 'eu-west-1').get_caller_identity()['Arn'])"
    )
    out = run([sys.executable, "-c", code], tmp_path, aws.environment() | environment)
    assert f"{ACCOUNT}:assumed-role/farm/" in out


# Faults, and the control API.


def test_faults_come_as_often_as_asked(aws: Aws) -> None:
    ecr = signed(aws, "ecr")
    aws.fault("GetAuthorizationToken", "error", times=1, status=400, code="ThrottlingException")
    with pytest.raises(ClientError) as throttled:
        ecr.get_authorization_token()
    assert error_code(throttled) == "ThrottlingException"
    aws.fault("GetAuthorizationToken", "close", times=1)
    with pytest.raises(ConnectionClosedError):
        ecr.get_authorization_token()
    aws.fault("*", "hang", times=1)
    with pytest.raises(ReadTimeoutError):
        ecr.get_authorization_token()
    aws.fault("*", "garbage", times=1)
    assert "authorizationData" not in ecr.get_authorization_token()
    aws.fault("*", "answer", times=1, document={"authorizationData": []})
    assert ecr.get_authorization_token()["authorizationData"] == []
    assert len(ecr.get_authorization_token()["authorizationData"]) == 1
    assert aws.count("GetAuthorizationToken") == 6


def test_a_stand_in_of_another_process_ends_with_its_input() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.standin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdin and process.stdout
        url = json.loads(process.stdout.readline())["url"]
        secret = control.call(url, "add_key", access_key_id="AKIA1", arn="arn:aws:iam::1:user/u")
        control.call(url, "set", latency=0.001)
        with pytest.raises(HTTPError, match="400"):
            control.call(url, "set", nonsense=1)
        session: Any = botocore.session.Session()
        session.create_client(
            "ecr",
            "eu-west-1",
            endpoint_url=url,
            aws_access_key_id="AKIA1",
            aws_secret_access_key=secret,
        ).get_authorization_token()
        assert control.call(url, "count", operation="GetAuthorizationToken") == 1
        assert [c["access_key"] for c in control.call(url, "calls")] == ["AKIA1"]
        control.call(url, "reset_calls")
        assert control.call(url, "count") == 0
        process.stdin.close()
        assert process.wait(5) == 0


# Real programs.


def write_config(home: Path) -> None:
    (home / ".aws").mkdir(exist_ok=True)
    (home / ".aws" / "config").write_text(f"""\
[profile dev]
region = eu-west-1
sso_session = corp
sso_account_id = {ACCOUNT}
sso_role_name = Developer
[sso-session corp]
sso_start_url = {START_URL}
sso_region = eu-west-1
sso_registration_scopes = sso:account:access
""")


def run(command: list[str], home: Path, environment: dict[str, str], fails: bool = False) -> str:
    """Run a program with nothing in its environment but what is given; all that it says."""
    given = {"HOME": str(home), "PATH": os.environ["PATH"], **environment}
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=60)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_aws_cli_logs_in_and_uses_its_session(aws: Aws, tmp_path: Path) -> None:
    cli = need("aws", "aws-cli/2.")
    aws.assign(ACCOUNT, "Developer")
    aws.auto_approve = True
    write_config(tmp_path)
    with Proxy(aws) as proxy:
        environment = proxy.environment()
        run([cli, "sso", "login", "--no-browser", "--profile", "dev"], tmp_path, environment)
        identity = ["sts", "get-caller-identity", "--profile", "dev", "--output", "json"]
        assert json.loads(run([cli, *identity], tmp_path, environment))["Account"] == ACCOUNT
        password = ["ecr", "get-login-password", "--profile", "dev"]
        assert run([cli, *password], tmp_path, environment).strip() in aws.issued
        assert proxy.connects["portal.sso.eu-west-1.amazonaws.com"] > 0
    assert [call.region for call in aws.calls if call.operation == "CreateToken"] == ["eu-west-1"]


HOST = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.fixture
def front(aws: Aws) -> Iterator[RegistryFront]:
    need("docker-registry")
    with RegistryFront(aws) as registry:
        yield registry


def password_for(
    aws: Aws, account: str = ACCOUNT, region: str = "eu-west-1", service: str = "ecr"
) -> str:
    secret = aws.add_key("AKIA" + account, f"arn:aws:iam::{account}:user/builder")
    key = {"aws_access_key_id": "AKIA" + account, "aws_secret_access_key": secret}
    client(aws, service, region, **key).get_authorization_token()
    return list(aws.issued)[-1]


def test_skopeo_copies_an_image_in_and_out(aws: Aws, front: RegistryFront, tmp_path: Path) -> None:
    skopeo = need("skopeo")
    source = Image().write_oci_layout(tmp_path / "image")
    there, back = f"docker://{HOST}/team/app:1", f"dir:{tmp_path / 'back'}"
    good, foreign = password_for(aws), password_for(aws, "112233445566")
    elsewhere = password_for(aws, region="us-west-2")
    with Proxy(aws, front) as proxy:

        def copy(*command: str, fails: bool = False) -> str:
            policy = ["--insecure-policy", "copy"]
            return run([skopeo, *policy, *command], tmp_path, proxy.environment(), fails)

        copy(source, there, "--dest-creds", f"AWS:{good}")
        copy(there, back, "--src-creds", f"AWS:{good}")
        digests = json.loads((tmp_path / "back" / "manifest.json").read_text())
        assert (tmp_path / "back" / digests["layers"][0]["digest"][7:]).is_file()

        assert "authentication required" in copy(there, back, fails=True)
        refused = copy(there, back, "--src-creds", "AWS:wrong", fails=True)
        assert "Authorization Token is invalid" in refused
        refused = copy(there, back, "--src-creds", f"AWS:{elsewhere}", fails=True)
        assert "Authorization Token is invalid" in refused
        refused = copy(there, back, "--src-creds", f"AWS:{foreign}", fails=True)
        assert "is not authorized to perform: ecr:BatchGetImage" in refused
        front.allow(ACCOUNT, "112233445566")
        copy(there, back, "--src-creds", f"AWS:{foreign}")

        real, aws.clock = aws.clock, lambda: real() + 13 * 3600
        refused = copy(there, back, "--src-creds", f"AWS:{good}", fails=True)
        assert "authorization token has expired" in refused
        assert "Bad Gateway" in copy("docker://example.com/x", back, fails=True)
    assert {request.host for request in front.requests} == {HOST}
    assert f"arn:aws:iam::{ACCOUNT}:user/builder" in {r.principal for r in front.requests}


def test_anyone_reads_ecr_public_and_a_principal_writes_it(
    aws: Aws, front: RegistryFront, tmp_path: Path
) -> None:
    skopeo, docker = need("skopeo"), need("docker")
    source = Image().write_oci_layout(tmp_path / "image")
    name = "public.ecr.aws/team/app:1"
    password = password_for(aws, region="us-east-1", service="ecr-public")
    with Proxy(aws, front) as proxy, Engine(front) as engine:
        environment = proxy.environment() | engine.environment()
        copy = [skopeo, "--insecure-policy", "copy", source, f"docker://{name}"]
        assert "denied" in run(copy, tmp_path, environment, fails=True)
        run([*copy, "--dest-creds", f"AWS:{password}"], tmp_path, environment)
        run([skopeo, "inspect", f"docker://{name}"], tmp_path, environment)
        assert "Downloaded newer image" in run([docker, "pull", name], tmp_path, environment)
    assert front.requests[-1].principal is None


def write_helper(folder: Path, password: str) -> dict[str, str]:
    """A credential helper that knows one password, and docker's settings that name it."""
    helper = folder / "docker-credential-one"
    answer = json.dumps({"ServerURL": HOST, "Username": "AWS", "Secret": password})
    helper.write_text(f"#!/bin/sh\ncat > /dev/null; echo '{answer}'\n")
    helper.chmod(0o755)
    (folder / "config.json").write_text(json.dumps({"credHelpers": {HOST: "one"}}))
    return {"DOCKER_CONFIG": str(folder), "PATH": f"{folder}:{os.environ['PATH']}"}


def test_docker_pushes_and_pulls_with_what_its_helper_says(
    aws: Aws, front: RegistryFront, tmp_path: Path
) -> None:
    docker, image = need("docker"), f"{HOST}/team/app:1"
    password = password_for(aws)
    helper = write_helper(tmp_path, password)
    with Engine(front) as engine:
        environment = engine.environment() | helper
        run([docker, "push", image], tmp_path, environment)
        assert "Downloaded newer image" in run([docker, "pull", image], tmp_path, environment)
        assert [(a.action, a.auth["password"]) for a in engine.asked] == [
            ("push", password),
            ("pull", password),
        ]
        missing = run([docker, "pull", f"{HOST}/team/app:2"], tmp_path, environment, fails=True)
        assert "manifest unknown" in missing
        alone = engine.environment() | {"DOCKER_CONFIG": str(tmp_path / "none")}
        for verb in ("pull", "push"):
            said = run([docker, verb, image], tmp_path, alone, fails=True)
            assert "no basic auth credentials" in said


def test_docker_logs_in_with_a_good_password_alone(
    aws: Aws, front: RegistryFront, tmp_path: Path
) -> None:
    docker, password = need("docker"), password_for(aws)
    with Engine(front) as engine:
        environment = engine.environment()
        login = [docker, "login", "-u", "AWS", "-p"]
        said = run([*login, "wrong", HOST], tmp_path, environment, fails=True)
        assert f"login attempt to https://{HOST}/v2/ failed with status: 400 Bad Request" in said
        assert "Login Succeeded" in run([*login, password, HOST], tmp_path, environment)
