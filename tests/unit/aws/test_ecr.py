import base64
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.exceptions as aws
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_credential_ecr_py import errors
from docker_credential_ecr_py.aws.ecr import decode, ecr_endpoint, endpoint_override, translate
from docker_credential_ecr_py.config.aws_config import AwsConfig
from docker_credential_ecr_py.config.settings import Settings
from docker_credential_ecr_py.errors import AccessDenied, BadAnswer, EcrPyError, LoginNeeded
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import (
    AwsLogin,
    Identity,
    Selection,
    SsoSession,
    Step,
    select,
)
from tests.support.home import DEV, START_URL, registry

NOW = 1_700_000_000.0
LATER = datetime.fromtimestamp(NOW, UTC) + timedelta(hours=12)
HERE = Registry.parse(registry(DEV))
PUBLIC = Registry.parse("public.ecr.aws")
SSO = Selection(
    Identity("sso", f"{START_URL} {DEV} Admin", SsoSession(START_URL, "eu-west-1", "", "dev")),
    "dev",
    (Step("account", "", won=True),),
)
KEYS = Selection(Identity("keys", "AKIA"), "", (Step("environment", "", won=True),))


def token(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def data(authorization_token: object = None, expires: object = LATER) -> dict[str, object]:
    return {
        "authorizationToken": authorization_token or token("AWS:password"),
        "expiresAt": expires,
    }


# decode.


@pytest.mark.parametrize("shape", [[data()], data(), [data(), data(token("AWS:other"))]])
def test_what_ecr_answers(shape: object) -> None:
    credential = decode(shape, now=NOW)
    assert (credential.username, credential.secret) == ("AWS", "password")
    assert (credential.issued, credential.expires) == (NOW, LATER.timestamp())


def test_a_password_may_hold_a_colon() -> None:
    assert decode(data(token("AWS:a:b")), now=NOW).secret == "a:b"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "has no authorization token"),
        ([], "has no authorization token"),
        ([None], "has no authorization token"),
        ({}, "has no authorization token"),
        ("text", "has no authorization token"),
        (data(7), "has no authorization token"),
        (data("not base64!"), "is not base64"),
        (data("YQ"), "is not base64"),
        (data(token("AWS:p") + "\n"), "is not base64"),
        (data("\u00e9" * 4), "is not base64"),
        (data(base64.b64encode(b"AWS:\xff").decode()), "is not base64"),
        (data(token("AWS")), "has no password"),
        (data(token("AWS:")), "has no password"),
        (data(token("AWS:a\nb")), "has no password"),
        (data(token("AWS:a\0b")), "has no password"),
        (data(token("IAM:password")), "is not for user AWS"),
        (data(token(":password")), "is not for user AWS"),
        (data(expires=None), "has no expiry"),
        (data(expires="2030-01-01"), "has no expiry"),
        (data(expires=1), "has no expiry"),
        (data(expires=datetime.fromtimestamp(NOW, UTC)), "expired at 2023-11-14T22:13:20Z"),
        (data(expires=datetime(1970, 1, 1, tzinfo=UTC)), "expired at 1970-01-01"),
    ],
)
def test_what_is_no_credential(answer: object, said: str) -> None:
    with pytest.raises(BadAnswer) as error:
        decode(answer, now=NOW)
    assert said in str(error.value)
    assert "password" not in str(error.value).replace("no password", "")


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.datetimes() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["authorizationToken", "expiresAt", "x"]), inner)
    ),
    max_leaves=6,
)
TOKENS = st.text().map(token) | st.text() | st.binary().map(lambda b: base64.b64encode(b).decode())
MOMENTS = st.datetimes() | st.datetimes(timezones=st.just(UTC))


@given(DOCUMENTS | st.builds(data, TOKENS, MOMENTS) | st.lists(st.builds(data, TOKENS, MOMENTS)))
def test_any_answer_is_a_credential_or_one_line(answer: Any) -> None:
    try:
        credential = decode(answer, now=NOW)
    except BadAnswer as error:
        assert "\n" not in str(error)
    else:
        assert credential.username == "AWS"
        assert credential.secret.isprintable()
        assert credential.expires >= int(NOW)


# translate.


def answer_of(
    code: str, operation: str = "GetAuthorizationToken", message: str = "", status: int = 400
) -> aws.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}},
    }
    return aws.ClientError(response, operation)


DENIED = (
    f"User: arn:aws:sts::{DEV}:assumed-role/Admin/me is not authorized to perform: "
    "ecr:GetAuthorizationToken on resource: * because no identity-based policy allows it"
)


@pytest.mark.parametrize(
    ("raised", "selection", "kind", "said"),
    [
        (
            answer_of("AccessDeniedException", message=DENIED),
            SSO,
            errors.AccessDenied,
            f"arn:aws:sts::{DEV}:assumed-role/Admin/me may not ecr:GetAuthorizationToken",
        ),
        (
            answer_of("AccessDenied", "AssumeRole", "no"),
            KEYS,
            errors.AccessDenied,
            "may not sts:AssumeRole",
        ),
        (
            answer_of("ForbiddenException", "GetRoleCredentials"),
            SSO,
            errors.AccessDenied,
            f"role Admin of account {DEV} is not assigned to you",
        ),
        (
            answer_of("UnauthorizedException", "GetRoleCredentials"),
            SSO,
            errors.LoginNeeded,
            "ecr-py login dev",
        ),
        (aws.UnauthorizedSSOTokenError(), SSO, errors.LoginNeeded, "ecr-py login dev"),
        (aws.SSOTokenLoadError(error_msg="x"), SSO, errors.LoginNeeded, "ecr-py login dev"),
        (answer_of("UnrecognizedClientException"), KEYS, errors.InvalidKeys, "AWS_ACCESS_KEY_ID"),
        (answer_of("ExpiredTokenException"), SSO, errors.InvalidKeys, "ExpiredTokenException"),
        (
            answer_of("InvalidSignatureException"),
            KEYS,
            errors.InvalidKeys,
            "InvalidSignatureException",
        ),
        (answer_of("RequestExpired"), KEYS, errors.ClockSkew, "set the clock"),
        (answer_of("ThrottlingException"), SSO, errors.Throttled, "try again"),
        (answer_of("Any", status=429), SSO, errors.Throttled, "try again"),
        (answer_of("InternalFailure", status=500), SSO, errors.Unreachable, "500"),
        (answer_of("Odd", message="reason"), SSO, errors.BadAnswer, "Odd: reason"),
        (aws.NoCredentialsError(), KEYS, errors.NoProfile, "no AWS credentials"),
        (
            aws.EndpointConnectionError(endpoint_url="http://x"),
            SSO,
            errors.Unreachable,
            "cannot be reached",
        ),
        (aws.ProxyConnectionError(proxy_url="http://x"), SSO, errors.Unreachable, "proxy"),
        (aws.ConfigParseError(path="/x", error="y"), SSO, errors.AwsConfigError, "AWS config"),
        (
            aws.InfiniteLoopConfigError(source_profile="a", visited_profiles=["a"]),
            SSO,
            errors.AwsConfigError,
            "",
        ),
        (aws.CredentialRetrievalError(provider="p", error_msg="m"), KEYS, errors.NoProfile, "m"),
        (aws.MetadataRetrievalError(error_msg="m"), KEYS, errors.Unreachable, "m"),
        (KeyError("x"), KEYS, errors.BadAnswer, "KeyError"),
    ],
)
def test_what_botocore_raises_in_a_persons_words(
    raised: Exception, selection: Selection, kind: type[EcrPyError], said: str
) -> None:
    error = translate(raised, HERE, selection)
    assert type(error) is kind
    assert said in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(("hours", "word"), [(-1, "ahead of"), (1, "behind")])
def test_a_clock_that_is_wrong_is_named_whatever_the_code(hours: int, word: str) -> None:
    raised = answer_of("InvalidSignatureException")
    date = datetime.now(UTC) + timedelta(hours=hours)
    response: Any = raised.response
    response["ResponseMetadata"]["HTTPHeaders"]["date"] = f"{date:%a, %d %b %Y %H:%M:%S} GMT"
    error = translate(raised, HERE, KEYS)
    assert type(error) is errors.ClockSkew
    assert f"60 minutes {word} AWS's" in str(error)


def test_ecr_public_names_its_own_action() -> None:
    assert "ecr-public:GetAuthorizationToken" in str(
        translate(answer_of("AccessDeniedException"), PUBLIC, SSO)
    )


RESPONSES = st.fixed_dictionaries(
    {},
    optional={
        "Error": st.dictionaries(st.sampled_from(["Code", "Message"]), st.text() | st.integers()),
        "ResponseMetadata": st.fixed_dictionaries(
            {},
            optional={
                "HTTPStatusCode": st.integers(100, 599),
                "HTTPHeaders": st.dictionaries(st.just("date"), st.text()),
            },
        ),
    },
)
OPERATIONS = st.sampled_from(["GetAuthorizationToken", "GetRoleCredentials", "AssumeRole"])


@given(RESPONSES, OPERATIONS, st.sampled_from([SSO, KEYS]), st.sampled_from([HERE, PUBLIC]))
def test_any_error_of_aws_is_one_line(
    response: Any, operation: str, selection: Selection, place: Registry
) -> None:
    error = translate(aws.ClientError(response, operation), place, selection)
    assert "\n" not in str(error)
    assert str(error).startswith("ecr-py: ")


@given(st.text())
def test_any_other_exception_is_one_line(text: str) -> None:
    for raised in (ValueError(text), OSError(5, text, text), aws.HTTPClientError(error=text)):
        assert "\n" not in str(translate(raised, HERE, KEYS))


# Endpoints.


@pytest.mark.parametrize(
    ("place", "environ", "endpoint"),
    [
        (HERE, {}, ""),
        (HERE, {"AWS_ENDPOINT_URL": "http://a"}, "http://a"),
        (HERE, {"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_ECR": "http://b"}, "http://b"),
        (PUBLIC, {"AWS_ENDPOINT_URL_ECR": "http://b"}, ""),
        (PUBLIC, {"AWS_ENDPOINT_URL_ECR_PUBLIC": "http://c"}, "http://c"),
    ],
)
def test_an_endpoint_of_the_users_own(
    place: Registry, environ: dict[str, str], endpoint: str
) -> None:
    assert endpoint_override(place, environ) == endpoint


def selected(host: str) -> tuple[Registry, Selection]:
    """Return a host's registry, and its selection in this environment, by the profile dev."""
    registry = Registry.parse(host)
    aws = AwsConfig({"dev": {"aws_access_key_id": "AKIA"}})
    chosen = select(registry, host, Settings(), aws, os.environ, on_ec2=False, profile="dev")
    return registry, chosen


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        (registry(DEV), "https://api.ecr.eu-west-1.amazonaws.com"),
        (f"{DEV}.dkr.ecr-fips.us-east-1.amazonaws.com", "https://ecr-fips.us-east-1.amazonaws.com"),
        (f"{DEV}.dkr-ecr.us-east-1.on.aws", "https://ecr.us-east-1.api.aws"),
        (f"{DEV}.dkr-ecr-fips.us-gov-west-1.on.aws", "https://ecr-fips.us-gov-west-1.api.aws"),
        (
            f"{DEV}.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "https://api.ecr.cn-north-1.amazonaws.com.cn",
        ),
        (f"{DEV}.dkr.ecr.us-iso-east-1.c2s.ic.gov", "https://api.ecr.us-iso-east-1.c2s.ic.gov"),
        ("public.ecr.aws", "https://api.ecr-public.us-east-1.amazonaws.com"),
    ],
)
def test_where_a_registry_is_asked(host: str, endpoint: str) -> None:
    assert ecr_endpoint(*selected(host)) == endpoint


@pytest.mark.parametrize("address", ["127.0.0.1", "http://[::1"])
def test_an_address_that_is_none(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", address)
    with pytest.raises(errors.AwsConfigError, match="not valid") as raised:
        ecr_endpoint(HERE, KEYS)
    assert "AWS_ENDPOINT_URL" in raised.value.hint


def test_a_registry_is_asked_at_the_endpoint_of_the_users_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    fips = f"{DEV}.dkr.ecr-fips.us-east-1.amazonaws.com"
    assert ecr_endpoint(*selected(fips)) == "http://127.0.0.1:1"
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    assert ecr_endpoint(*selected(registry(DEV))) == "http://127.0.0.1:1"


def test_what_botocore_says_of_aws_login_is_readable() -> None:
    """Its texts begin with "token: ", and what follows must not be taken for one."""
    arn = f"arn:aws:sts::{DEV}:assumed-role/Admin/ann"
    identity = Identity("login", arn, aws_login=AwsLogin(arn, "ann"))
    selection = Selection(identity, "ann", (Step("account", "", won=True),))
    for raised in (
        aws.LoginTokenLoadError(error_msg="Unable to load a existing login session"),
        aws.LoginRefreshRequired(),
        aws.LoginError(),
    ):
        error = translate(raised, HERE, selection)
        assert isinstance(error, LoginNeeded)
        assert str(error).endswith("run `aws login --profile ann`")
    refused = translate(aws.LoginInsufficientPermissions(), HERE, selection)
    assert isinstance(refused, AccessDenied)
    assert "signin:CreateOAuth2Token" in str(refused)
