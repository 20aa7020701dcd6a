"""Changes the sealing key, or removes it.

A change may be interrupted at any moment, and no sealed file may be lost by that:

1. The new key is put into the keyring, under the name NEXT.
2. Everything is sealed again under it, one file at a time. To open a file, both keys are tried.
3. The new key replaces the old one, and NEXT is removed.

The next change continues one that was interrupted.
"""

import base64
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from docker_credential_ecr_py.errors import KeyringUnavailable, NoKey
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.store.seal import (
    NAME,
    NEXT,
    SERVICE,
    Seal,
    in_keyring,
    key_in,
    new_key,
    text_in,
)


def rotate(seal: Seal, reseal: Callable[[], None]) -> None:
    """Replace the key by a new one. `reseal` seals everything again by `seal`.

    If `reseal` raises, the old key stays in place. Raises NoKey and KeyringUnavailable.
    """
    with seal.while_key_stays():
        old, new = in_keyring(_begun)
        seal.use(new, [old])
        reseal()
        in_keyring(lambda backend: _ended(backend, new))
    log.info("the sealing key was changed")


def remove(seal: Seal, forget: Callable[[], None]) -> bool:
    """Remove everything sealed, by `forget`, and then the key. Return whether there was one.

    If the keyring cannot be used, or the disk not be written, everything stays as it was. Raises
    KeyringUnavailable, and as `forget`.
    """
    with seal.while_key_stays():
        in_keyring(lambda backend: text_in(backend, NAME))
        forget()
        had_one = in_keyring(_removed)
    log.info("the sealing key was removed")
    return had_one


def has_key() -> bool:
    """Whether the keyring has a sealing key, or one of a change. Raises KeyringUnavailable."""
    return in_keyring(lambda backend: any(text_in(backend, name) for name in (NAME, NEXT)))


def is_unfinished() -> bool:
    """Whether a change of the key was interrupted. Raises KeyringUnavailable."""
    return bool(in_keyring(lambda backend: key_in(backend, NEXT)))


def _begun(backend: Any) -> tuple[bytes, bytes]:
    """Put a new key into the keyring; return the old key and the new one."""
    old = key_in(backend, NAME)
    if not old:
        raise NoKey("the keyring has no sealing key, and nothing is sealed")
    new = key_in(backend, NEXT)
    if not new or new == old:
        backend.set_password(SERVICE, NEXT, new_key())
        new = key_in(backend, NEXT)
    if not new or key_in(backend, NAME) != old:
        with suppress(Exception):
            _put(backend, old)  # the only one that opens the sealed files
        raise KeyringUnavailable("the keyring cannot hold two keys")
    return old, new


def _ended(backend: Any, new: bytes) -> None:
    _put(backend, new)
    if key_in(backend, NAME) != new:
        raise KeyringUnavailable("the keyring did not store the new key: run this again")
    _delete(backend, NEXT)


def _removed(backend: Any) -> bool:
    had_one = False
    for name in (NAME, NEXT):
        if text_in(backend, name) is None:
            continue
        had_one = True
        _delete(backend, name)
        if text_in(backend, name) is not None:
            raise KeyringUnavailable(f"the keyring did not delete {SERVICE}/{name}")
    return had_one


def _put(backend: Any, key: bytes) -> None:
    backend.set_password(SERVICE, NAME, base64.b64encode(key).decode())


def _delete(backend: Any, name: str) -> None:
    try:
        backend.delete_password(SERVICE, name)
    except Exception as error:  # backends raise their libraries' errors, too
        log.warning("the keyring did not delete %s/%s: %s", SERVICE, name, type(error).__name__)
