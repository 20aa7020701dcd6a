"""The key of `aws login`, and the command that adds a package to this installation."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import botocore.credentials
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from docker_credential_ecr_py.aws import aws_login
from docker_credential_ecr_py.errors import AwsConfigError

# Any: types-stubs do not have what is private.
BOTOCORE: Any = botocore.credentials
URL = "https://eu-west-1.signin.aws.amazon.com/v1/token"


def der(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def part(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(text: str) -> int:
    return int.from_bytes(part(text))


@pytest.mark.parametrize("attempt", range(20))  # numbers with leading zeros among them
def test_the_proof_is_signed_by_the_key_in_it(
    monkeypatch: pytest.MonkeyPatch, attempt: int
) -> None:
    """As RFC 9449 has it: ES256 over header and payload, with the public key in the header."""
    monkeypatch.setattr(botocore.credentials, "EC", None)
    aws_login.prepare_botocore()
    private = ec.generate_private_key(ec.SECP256R1())
    key = aws_login.SigningKey.new_key_from_der_data(der(private))
    proof = BOTOCORE._build_dpop_header(key, URL)
    header, payload, signature = proof.split(".")
    jwk = json.loads(part(header))["jwk"]
    assert json.loads(part(payload))["htu"] == URL
    public = ec.EllipticCurvePublicNumbers(number(jwk["x"]), number(jwk["y"]), ec.SECP256R1())
    assert public == private.public_key().public_numbers()
    both = part(signature)
    assert len(both) == 64
    found = encode_dss_signature(int.from_bytes(both[:32]), int.from_bytes(both[32:]))
    signed = f"{header}.{payload}".encode()
    public.public_key().verify(found, signed, ec.ECDSA(SHA256()))


def test_what_is_no_such_key_is_refused() -> None:
    other = der(rsa.generate_private_key(65537, 2048))
    for wrong in (b"", b"garbage", other):
        with pytest.raises(ValueError):
            aws_login.SigningKey.new_key_from_der_data(wrong)


def test_awscrt_is_used_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = object()
    monkeypatch.setattr(botocore.credentials, "EC", theirs)
    aws_login.prepare_botocore()
    assert BOTOCORE.EC is theirs


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("pipx_metadata.json", "pipx inject docker-credential-ecr-py 'botocore[crt]>=1.41'"),
        (
            "lib/site-packages/pip",
            "/x/bin/python -m pip install 'botocore[crt]>=1.41'",
        ),
        ("uv-receipt.toml", "uv pip install --python /x/bin/python 'botocore[crt]>=1.41'"),
    ],
)
def test_an_old_botocore(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str, command: str
) -> None:
    """The error names the command for this installation."""
    made = tmp_path / file
    made.parent.mkdir(parents=True, exist_ok=True)
    made.touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/x/bin/python")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "lib" / "site-packages")])
    monkeypatch.delattr(botocore.credentials, "LoginProvider")
    with pytest.raises(AwsConfigError) as error:
        aws_login.prepare_botocore()
    assert error.value.hint == f"run `{command}`"
