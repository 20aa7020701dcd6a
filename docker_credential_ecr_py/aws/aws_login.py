"""What profiles of `aws login` need: the key that proves who refreshes their tokens (DPoP).

botocore signs with it by awscrt, a compiled library of 13 MiB that every process with botocore
would load. cryptography, which is installed anyway, does the same.
"""

import os
import sys
from pathlib import Path
from typing import Any

import botocore.credentials
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key

from docker_credential_ecr_py.errors import AwsConfigError
from docker_credential_ecr_py.shell import quote

_PACKAGE = "docker-credential-ecr-py"
# The first botocore that knows `aws login`, with the library that it signs with.
_NEEDED = "botocore[crt]>=1.41"
_COORDINATE = 32  # bytes, on the curve P-256


class SigningKey:
    """A private key on the curve P-256, with the methods of awscrt's EC that botocore calls."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def new_key_from_der_data(cls, der: bytes) -> "SigningKey":
        """Return the key in a DER document. Raises ValueError."""
        key = load_der_private_key(der, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("not the key of an elliptic curve")
        return cls(key)

    def get_public_coords(self) -> tuple[bytes, bytes]:
        numbers = self._key.public_key().public_numbers()
        return numbers.x.to_bytes(_COORDINATE), numbers.y.to_bytes(_COORDINATE)

    def sign(self, digest: bytes) -> bytes:
        """Return the DER signature of a SHA-256 digest."""
        return self._key.sign(digest, ec.ECDSA(Prehashed(SHA256())))

    @staticmethod
    def decode_der_signature_to_padded_pair(signature: bytes, pad_to: int) -> bytes:
        first, second = decode_dss_signature(signature)
        return first.to_bytes(pad_to) + second.to_bytes(pad_to)


def prepare_botocore() -> None:
    """Let botocore sign with cryptography, if it found no awscrt. Raises AwsConfigError."""
    module: Any = botocore.credentials
    if not hasattr(module, "LoginProvider"):
        raise too_old()
    if getattr(module, "EC", SigningKey) is None:
        module.EC = SigningKey


def too_old() -> AwsConfigError:
    """Return the error for a botocore that cannot use profiles of `aws login`."""
    return AwsConfigError(
        f"botocore {botocore.__version__} cannot use profiles of `aws login`",
        hint=f"run `{install_command(_NEEDED)}`",
    )


def install_command(requirement: str) -> str:
    """Return the command that adds a package to the environment that we run in."""
    environment, wanted = Path(sys.prefix), quote(requirement)
    if (environment / "pipx_metadata.json").exists():
        return f"pipx inject {_PACKAGE} {wanted}"
    python = quote(sys.executable)
    if any(os.path.exists(os.path.join(folder, "pip")) for folder in sys.path):
        return f"{python} -m pip install {wanted}"
    # An environment of `uv venv` or `uv tool`. `uv tool install --with` would look for this package
    # on an index, wherever it was installed from.
    return f"uv pip install --python {python} {wanted}"
