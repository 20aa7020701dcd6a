"""What tests of the stores share: a store is chosen, used, and all that is on disk is searched."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.sealed_backend import SEALED
from tests.standin.aws import Aws
from tests.support.home import ACCOUNTS, DEV, Answer, Home, registry
from tests.support.records import files

PIECE = 24  # so much of a secret is as bad as all of it


def set_store(home: Home, store: str, fallback: str = "") -> None:
    more = f'fallback = "{fallback}"\n' if fallback else ""
    home.write(home.settings, f'[defaults]\nstore = "{store}"\n{more}')


def right(aws: Aws, answer: Answer, account: str = DEV) -> str:
    """The password, which must be one for this account; nothing else was said."""
    assert answer.stderr == b"", answer
    assert aws.issued[answer.password].account == account
    return answer.password


def passwords_of_all(home: Home, aws: Aws) -> list[str]:
    """Of ACCOUNTS, each right."""
    return [right(aws, home.get(registry(account)), account) for account in ACCOUNTS]


def store(home: Home, server_url: str, username: str, secret: str) -> Answer:
    given = {"ServerURL": server_url, "Username": username, "Secret": secret}
    return home.call("store", stdin=json.dumps(given).encode())


def erase(home: Home, server_url: str) -> Answer:
    return home.call("erase", stdin=server_url.encode())


def docker_logs_in(home: Home, account: str = DEV) -> str:
    """As `docker login` does with the password of `aws ecr get-login-password`, which it is."""
    password = home.get(registry(account), AWS_ECR_DISABLE_CACHE="1").password
    assert store(home, registry(account), "AWS", password) == Answer(0, b"", b"")
    return password


# What lies on disk.


def sealed_fields(path: Path) -> list[bytes] | None:
    return record.read(os.fsencode(path), SEALED)


def clear_records(home: Home) -> list[Path]:
    """The credentials that anybody with the file can read."""
    found = files(home, "credentials")
    return [path for path in found if record.read(os.fsencode(path), record.CREDENTIAL)]


def handed_out(aws: Aws) -> list[str]:
    """All that the stand-in gave away and that opens something."""
    keys = [key.secret for key in aws.keys.values()]
    sessions = [key.session_token for key in aws.keys.values() if key.session_token]
    return [*aws.issued, *aws.access_tokens, *aws.refresh_tokens, *keys, *sessions]


def readable(home: Home, *secrets: str) -> list[str]:
    """The files in which a piece of one of these can be read, as it is or in base64 or hex.

    The SSO token is the AWS CLI's to keep: its folder is not looked at.
    """
    assert secrets
    needles = {needle for secret in secrets for needle in _needles(secret.encode())}
    found = []
    for path in sorted(home.path.rglob("*")):
        if path.is_relative_to(home.path / ".aws"):
            continue
        seen = os.fsencode(path)
        if path.is_file() and not path.is_symlink():
            seen += b"\0" + path.read_bytes()
        if any(needle in seen for needle in needles):
            found.append(str(path))
    return found


def _needles(secret: bytes) -> Iterator[bytes]:
    """Every fourth piece is enough: whatever holds two pieces in a row holds one of these."""
    texts = [secret, secret.hex().encode()]
    for code in (base64.b64encode, base64.urlsafe_b64encode):
        # Wherever it stands in what is encoded; the ends depend on what is around.
        texts += [code(secret[start : len(secret) // 3 * 3 - 3 + start]) for start in range(3)]
    for text in texts:
        if len(text) < 6:
            continue
        for start in range(0, max(1, len(text) - PIECE + 1), 4):
            yield text[start : start + PIECE]
