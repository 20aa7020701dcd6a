import base64
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from docker_credential_ecr_py.redact import redact

KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PASSWORD = base64.b64encode(json.dumps({"payload": KEY * 20, "version": "2"}).encode()).decode()
TOKEN = "aoaAAAAAGZ" + "x-Y_z0" * 40


@pytest.mark.parametrize(
    "text",
    [
        f"aws_secret_access_key = {KEY}",
        f"aws_secret_access_key={KEY}",
        f'{{"SecretAccessKey": "{KEY}"}}',
        f"the key {KEY}, it said",
        f"'{KEY}'",
        f'"secretAccessKey":"{KEY}"',
        f"aws_session_token = {TOKEN}",
        f"X-Amz-Security-Token: {TOKEN}",
        f"b'x-amz-sso_bearer_token': b'{TOKEN}'",
        f"Authorization: Basic {PASSWORD}",
        f"Authorization: Bearer {TOKEN}",
        f"https://host/?token={TOKEN}&a=b",
        f"AWS:{PASSWORD}",
        f"https://AWS:{PASSWORD}@host/",
        f"http://user:short{KEY}@proxy:3128",
        f'"refreshToken": "{TOKEN}"',
        f'"clientSecret": "{TOKEN}"',
        f'"deviceCode": "{TOKEN[:40]}"',
        f"code_verifier={TOKEN[:43]}",
        f"password={KEY[:12]}",
        f'{{"error": "upstream said {{\\"password\\": \\"{KEY[:12]}\\"}}"}}',
        f'secret: "has spaces, {KEY[:12]} in it"',
        f"password=ab,;&{KEY[:12]}",
        f"passwd={KEY[:12]}",
        f"x-api-key: {KEY[:12]}",
        f"https://user:p@ss:{KEY[:12]}@host",
        f"two {TOKEN} and {PASSWORD} and {KEY}.",
        TOKEN * 10,
        f"arn:aws:sts::642976147714:assumed-role/{TOKEN}/name",
        f"arn:aws:iam::642976147714:role/a/b/{TOKEN}",
        f"http://169.254.170.23/v1/credentials?token={KEY[:12]}",
        f"https://example.com/start/?a=b&auth={KEY[:12]}#/",
        f"GET http://host:80/x?{KEY[:12]} failed",
    ],
)
def test_secrets_are_cut_out(text: str) -> None:
    shown = redact(text)
    assert "[secret]" in shown
    for secret in (KEY[:12], TOKEN[:40], PASSWORD[:40]):
        assert secret not in shown


@pytest.mark.parametrize(
    "text",
    [
        "arn:aws:iam::642976147714:role/Administrator",
        "arn:aws:sts::642976147714:assumed-role/AWSReservedSSO_Administrator_6e1b5593f04e5b92/dev@example.com",
        "arn:aws:sts::642976147714:assumed-role/AWSReservedSSO_AdministratorAccess_6e1b5593f04e5b92/"
        "firstname-middlename-lastname-of-a-person-with-a-long-session-name",
        f"arn:aws:sts::642976147714:assumed-role/{'aA0' * 21}/{'bB1' * 21} may not ecr:CreateRepo",
        "642976147714.dkr.ecr.eu-west-1.amazonaws.com: fetched by rule account",
        "/home/dev/.aws/sso/cache/3bb39e5a3ae2eb4d8c0a7f5bb7f2ae3e7b8cbb9c.json",
        "/builds/organisation/group/subgroup/project/.cache/ecr-py/credentials/" + "0af9" * 8,
        "/builds/an-organisation-with-a-very-long-name-indeed/a-project-with-a-very-long-name-too/"
        "build-4711/home/.config/ecr-py/config.toml",
        "https://teliacompany.awsapps.com/start",
        "https://portal.sso.eu-west-1.amazonaws.com/federation/credentials?account_id=642976147714",
        "run `aws configure --profile stage`",
        "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
        "not logged in, or the session has expired",
        "no AWS profile in /home/dev/.aws/config is for account 642976147714",
        "sha256:" + "0123456789abcdef" * 4,
        "the authorization token from ECR has no password",
    ],
)
def test_the_rest_stays_legible(text: str) -> None:
    assert redact(text) == text


WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", min_size=1)


@given(st.text("0123456789", min_size=12, max_size=12), WORDS, WORDS)
def test_arns_stay_legible(account: str, role: str, session: str) -> None:
    arn = f"arn:aws:sts::{account}:assumed-role/{role[:64]}/{session[:64]}"
    assert redact(f"{arn} may not ecr:GetAuthorizationToken") == (
        f"{arn} may not ecr:GetAuthorizationToken"
    )


@given(st.text(), st.text())
def test_a_token_is_cut_out_wherever_it_stands(before: str, after: str) -> None:
    assume("/" not in before[-1:] + after[:1])
    assert TOKEN not in redact(before + TOKEN + after)
    assert PASSWORD not in redact(before + PASSWORD + after)


@given(st.binary(min_size=30, max_size=30), st.text(" ,;:'\"()[]{}<>\n", max_size=3))
def test_a_secret_key_is_cut_out(key: bytes, around: str) -> None:
    secret = base64.b64encode(key).decode()
    assume(any(c.isupper() for c in secret) and any(c.islower() for c in secret))
    assume(any(c.isdigit() for c in secret))
    assume(not around.endswith(":"))
    assert secret not in redact(f"key{around} {secret} {around}")
    assert secret not in redact(f'aws_secret_access_key{around}= "{secret}"')


VALUES = st.text("abcXYZ019-._~!$*+,;:@%()/", min_size=4).map("q{}z".format)


@given(VALUES, st.sampled_from(["token", "k", "X-Amz-Signature", "account"]), st.text())
def test_what_a_url_asks_for_is_cut_out(value: str, name: str, after: str) -> None:
    url = f"https://host.example/path?account_id=1&{name}={value}&last={value}"
    shown = redact(f"asked {url} {after}")
    assert value not in shown.removesuffix(after)
    assert shown.startswith("asked https://host.example/path?account_id=1&")


@given(VALUES.filter(lambda user: "/" not in user), VALUES)
def test_what_a_url_carries_before_the_host_is_cut_out(user: str, password: str) -> None:
    for url in (f"http://{user}:{password}@proxy:3128/", f"https://:{password}@proxy"):
        shown = redact(f'"{url}" refused')
        assert password not in shown
        assert "proxy" in shown


@given(st.text())
def test_it_takes_any_text_and_cuts_it_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
