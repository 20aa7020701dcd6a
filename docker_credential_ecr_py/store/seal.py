"""Seals texts under one key that the operating system's keyring holds.

The key alone is in the keyring, because a Windows credential holds 2,560 bytes, less than a
token of ECR's. Sealing is AES-256-GCM by `cryptography`, the keyring is reached by `keyring`:
both are well kept, and neither is loaded where the daemon has the answer.
"""

import base64
import io
import json
import os
import stat
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from docker_credential_ecr_py.errors import EcrPyError
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.store.lock import Lock, locked
from docker_credential_ecr_py.within import within

SERVICE, NAME = "ecr-py", "sealing key"
_KEY_BYTES, _NONCE_BYTES = 32, 12
# Seconds that a keyring may take, a person who unlocks it included; and how long what it said to
# one process holds for others: that it answers, or refuses; and that it does not answer at all.
LIMIT, _SHARED, _PAUSE = 15, 10, 60
# A process that waits for another one's answer gives it a little more time than the keyring.
_PATIENCE = LIMIT + 5
_LARGEST_NOTE = 8192
# They keep what they are given in clear, or not at all.
_IMPORTED = time.time()
# A FIFO in the place of a note must not make us wait.
_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
_UNFIT = ("keyrings.alt", "keyring.backends.null", "keyring.backends.fail")


class KeyringUnavailable(EcrPyError):
    """No keyring, a locked one, one that refuses or does not answer."""


class _NoAnswer(KeyringUnavailable):
    """It hangs, or waits for a person who is not there."""


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
            try:
                self._key = self._asked_in_turn(make=make)
            except KeyringUnavailable as error:
                self._failure = error
                raise
        return self._key

    def _asked_in_turn(self, *, make: bool) -> bytes:
        """As key. One process asks a keyring that may prompt; the others share what it was told.

        If it refuses or hangs, they fail with the same reason and do not ask; if it answers, it is
        unlocked, and they ask it all at once.
        """
        path = self._locks and self._locks / ".keyring"
        if path is None:
            return self._asked(make=make)
        before = _note_in(path)
        if not _answers(before):
            with locked(path, wait=_PATIENCE) as lock:
                if lock is None:
                    raise KeyringUnavailable("another process has waited too long for the keyring")
                note = _note_in(path)
                if note.get("left") == before.get("left") or not _answers(note):
                    return self._asked_for_all(lock, make=make)
        return self._asked(make=make)

    def _asked_for_all(self, lock: Lock, *, make: bool) -> bytes:
        """As key, and leaves in the lock file what came of it."""
        _leave(lock, {})
        try:
            key = self._asked(make=make)
        except KeyringUnavailable as error:
            holds = _PAUSE if isinstance(error, _NoAnswer) else _SHARED
            _leave(lock, {"at": time.time(), "holds": holds, "error": error.as_note()})
            raise
        _leave(lock, {"at": time.time(), "holds": _SHARED})
        return key

    def _asked(self, *, make: bool) -> bytes:
        """What the keyring itself says, as key."""
        import keyring  # not on the time of the keyring itself

        too_late = _NoAnswer(f"the keyring gave no answer in {LIMIT} seconds")
        # Some backends print, and standard output is the protocol's.
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            return within(LIMIT, lambda: self._from(keyring, make=make), too_late)

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


def _leave(lock: Lock, note: dict[str, Any]) -> None:
    """Tells other processes what came of asking; an empty note says that it is being asked."""
    if lock.file is not None:
        with suppress(OSError):
            os.ftruncate(lock.file, 0)
            os.pwrite(lock.file, json.dumps(note).encode(), 0)


def _note_in(path: Path) -> dict[str, Any]:
    """What another process was told and when, as _leave has it; {} if nothing is known.

    It is as old as it says, or as its file: `left` is what it says, and `at` the earlier of them.
    """
    try:
        file = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
        try:
            found = os.fstat(file)
            note = json.loads(os.read(file, _LARGEST_NOTE)) if stat.S_ISREG(found.st_mode) else {}
        finally:
            os.close(file)
        left = float(note["at"])
        return {**note, "left": left, "at": min(left, found.st_mtime)}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _answers(note: dict[str, Any]) -> bool:
    """Whether the keyring has just answered another process. Raises KeyringUnavailable if not so.

    False if nothing is known. A note holds for a while, and for each process that was there
    before it was left: many that start together are not many who want to be asked.
    """
    now, at = time.time(), note.get("at", 0.0)
    if not 0 <= now - at < _PAUSE:
        return False
    if now - at >= note.get("holds", 0) and at < process_began():
        return False
    error = note.get("error")
    if isinstance(error, dict):
        raise KeyringUnavailable(str(error.get("what", "")), mend=str(error.get("mend", "")))
    return True


def process_began() -> float:
    """When this process began, in seconds since the epoch; this module's import at the latest."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # proc(5): starttime
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot
    except (OSError, AttributeError, ValueError, IndexError):
        return _IMPORTED
