"""Seals texts under one key that the operating system's keyring holds.

The key alone is in the keyring, because a Windows credential holds 2,560 bytes, less than a
token of ECR's. Sealing is AES-256-GCM by `cryptography`, the keyring is reached by `keyring`:
both are well kept, and neither is loaded where the daemon has the answer.
"""

import base64
import io
import os
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from docker_credential_ecr_py.errors import EcrPyError
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.programs import drop_relative_folders
from docker_credential_ecr_py.store.lock import locked
from docker_credential_ecr_py.within import within

SERVICE, NAME = "ecr-py", "sealing key"
_KEY_BYTES, _NONCE_BYTES = 32, 12
# Seconds that a keyring may take, a person who unlocks it included; and how long one that did not
# answer is not asked again, lest each get wait for it.
LIMIT, _PAUSE = 15, 60
# They keep what they are given in clear, or not at all.
_UNFIT = ("keyrings.alt", "keyring.backends.null", "keyring.backends.fail")


class KeyringUnavailable(EcrPyError):
    """No keyring, a locked one, one that refuses or does not answer."""


class Seal:
    """`locks` is a folder that all processes of this user share, or None."""

    def __init__(self, locks: Path | None) -> None:
        self._locks = locks
        self._key: bytes | None = None
        self._failure: KeyringUnavailable | None = None

    def close(self, about: bytes, text: bytes) -> bytes:
        """`text`, sealed: base64 of nonce and ciphertext. `about` must be the same to open it.

        Raises KeyringUnavailable.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        return base64.b64encode(nonce + AESGCM(self.key(make=True)).encrypt(nonce, text, about))

    def open(self, about: bytes, sealed: bytes) -> bytes | None:
        """What was sealed, or None: another key, another `about`, damage.

        Raises KeyringUnavailable.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = self.key()
        if not key:
            return None
        try:
            data = base64.b64decode(sealed, validate=True)
            return AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], about)
        except (InvalidTag, ValueError):
            return None

    def key(self, *, make: bool = False) -> bytes:
        """The key; b"" where there is none and none is to be made. Raises KeyringUnavailable."""
        if self._failure is not None:
            raise self._failure  # a person who was asked once has said what they want
        if not self._key:
            marker = self._locks and self._locks / ".keyring"
            if marker and 0 <= time.time() - _last_change(marker) < _PAUSE:
                raise KeyringUnavailable("the keyring did not answer a moment ago")
            drop_relative_folders(os.environ)  # some backends of keyring run programs
            import keyring  # not on the time of the keyring itself

            too_late = KeyringUnavailable(f"the keyring gave no answer in {LIMIT} seconds")
            try:
                # Some backends print, and standard output is the protocol's.
                with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                    self._key = within(LIMIT, lambda: self._from(keyring, make=make), too_late)
            except KeyringUnavailable as error:
                self._failure = error
                if error is too_late and marker:
                    with suppress(OSError):
                        marker.touch(mode=0o600)
                raise
        return self._key

    def _from(self, keyring: ModuleType, *, make: bool) -> bytes:
        from keyring.errors import KeyringError

        try:
            found = self._text_in(_fit(keyring.get_keyring()), make=make)
            key = base64.b64decode(found or "", validate=True)
        except KeyringUnavailable:
            raise
        except ValueError:
            key = b"?"
        except (Exception, SystemExit) as error:
            # Backends raise what their libraries do, and not all of it is a KeyringError.
            why = str(error) if isinstance(error, KeyringError) else type(error).__name__
            raise KeyringUnavailable(f"the keyring cannot be used: {why or 'locked'}") from None
        if (key and len(key) != _KEY_BYTES) or (make and not key):
            raise KeyringUnavailable(f"what the keyring has as {SERVICE}/{NAME} is no key of ours")
        return key

    def _text_in(self, backend: Any, *, make: bool) -> str | None:
        found: str | None = backend.get_password(SERVICE, NAME)
        if found is not None or not make:
            return found
        # Two that make one at once would lock each other out.
        with locked(self._locks and self._locks / "sealing-key", wait=LIMIT):
            found = backend.get_password(SERVICE, NAME)
            if found is None:
                made = base64.b64encode(os.urandom(_KEY_BYTES)).decode()
                backend.set_password(SERVICE, NAME, made)
                found = backend.get_password(SERVICE, NAME)
        return found


def _fit(backend: Any) -> Any:
    """A backend that seals; of several, the first that does. Raises KeyringUnavailable."""
    for one in getattr(backend, "backends", [backend]):
        if not type(one).__module__.startswith(_UNFIT):
            log.debug("keyring: %s", type(one).__module__)
            return one
    raise KeyringUnavailable(
        "there is no keyring here",
        mend="unlock one, or have `ecr-py config` set another store, or another fallback",
    )


def _last_change(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0
