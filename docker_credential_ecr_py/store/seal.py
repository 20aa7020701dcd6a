"""Seals texts under one key that the operating system's keyring holds.

Only the key is in the keyring, because a Windows credential holds 2,560 bytes, less than an ECR
token. Texts are sealed with AES-256-GCM by `cryptography`, and the keyring is reached by
`keyring`; neither is loaded if the daemon has the answer.
"""

import base64
import io
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from docker_credential_ecr_py.atomic_file import make_private_folder
from docker_credential_ecr_py.deadline import call_with_deadline
from docker_credential_ecr_py.errors import EcrPyError, KeyringTimeout, KeyringUnavailable
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.store.lock import Lock, locked

SERVICE, NAME = "ecr-py", "sealing key"
# The name of the new key while everything is sealed again under it.
NEXT = "next sealing key"
_KEY_BYTES, _NONCE_BYTES = 32, 12
# Seconds that a keyring may take, with the user who unlocks it; and how long its answer to one
# process holds for others: that it works, or refuses; and that it does not answer at all.
LIMIT, _SHARED, _PAUSE = 15, 10, 60
# A process that waits for another one's answer gives it a little more time than the keyring.
_PATIENCE = LIMIT + 5
_LARGEST_NOTE = 8192
# Seconds that another process may take to change the key.
_CHANGE = 60
_IMPORTED = time.time()
# A FIFO in the place of a note must not make us wait.
_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
# Backends that store secrets in clear, or not at all.
_UNFIT = ("keyrings.alt", "keyring.backends.null", "keyring.backends.fail")


_T = TypeVar("_T")


class Seal:
    """Seals and opens texts. It fetches the key from the keyring once, and makes it if need be.

    It stores nothing but the key. `locks` is a folder that all processes of this user share, made
    when needed, or None.
    """

    def __init__(self, locks: Path | None) -> None:
        self._locks = locks
        self._key: bytes | None = None
        self._others: list[bytes] | None = None
        self._failure: KeyringUnavailable | None = None

    def close(self, about: bytes, text: bytes) -> bytes:
        """Return `text` sealed: base64 of nonce and ciphertext. `about` must match to open it.

        Raises KeyringUnavailable.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        return base64.b64encode(nonce + AESGCM(self.key(make=True)).encrypt(nonce, text, about))

    def open(self, about: bytes, sealed: bytes) -> bytes | None:
        """Return the text that was sealed, or None: another key, another `about`, or damage.

        Raises KeyringUnavailable.
        """
        key = self.key()
        if not key:
            return None
        text = _opened(key, about, sealed)
        if text is None:
            texts = (_opened(other, about, sealed) for other in self._other_keys())
            text = next((text for text in texts if text is not None), None)
        return text

    @contextmanager
    def while_key_stays(self) -> Iterator[None]:
        """Keep other processes from changing the key; read it again, in case one just has.

        Raises KeyringUnavailable if another process changes it for too long.
        """
        self._make_folder()
        with locked(self._locks and self._locks / "sealing-key-change", wait=_CHANGE) as lock:
            if lock is None:
                raise KeyringUnavailable(
                    "timed out waiting for another process that is changing the sealing key",
                    hint="try again",
                )
            self._key, self._others = None, None
            yield

    def use(self, key: bytes, others: list[bytes]) -> None:
        """Seal under `key` from now on; open what was sealed under it or one of the others."""
        self._key, self._others = key, others

    def _other_keys(self) -> list[bytes]:
        """Return keys that may open a text which ours does not, as the keyring has them now.

        `ecr-py key rotate` may be running, may have been interrupted, or may have ended since we
        read the key: while it runs, the keyring has the new key under another name. They are read
        in this order, so that a change between the two reads is not missed.
        """
        if self._others is None:
            keys = in_keyring(lambda backend: [key_in(backend, NEXT), key_in(backend, NAME)])
            self._others = [key for key in keys if key and key != self._key]
        return self._others

    def key(self, *, make: bool = False) -> bytes:
        """Return the key; b"" if there is none and not `make`. Raises KeyringUnavailable."""
        if self._failure is not None:
            raise self._failure  # do not prompt the user twice
        if not self._key:
            try:
                self._key = self._fetch_in_turn(make=make)
            except KeyringUnavailable as error:
                self._failure = error
                raise
        return self._key

    def _fetch_in_turn(self, *, make: bool) -> bytes:
        """As key. One process opens a keyring that may prompt; the others wait for the result.

        If the keyring refuses or hangs, they fail for the same reason without opening it; if it
        answers, it is unlocked, and they all open it at once.
        """
        path = self._locks and self._locks / ".keyring"
        if path is None:
            return self._fetch(make=make)
        before = _note_in(path)
        if not _answers(before):
            self._make_folder()
            with locked(path, wait=_PATIENCE) as lock:
                if lock is None:
                    raise KeyringUnavailable("another process timed out waiting for the keyring")
                note = _note_in(path)
                if note.get("left") == before.get("left") or not _answers(note):
                    return self._fetch_for_all(lock, make=make)
        return self._fetch(make=make)

    def _fetch_for_all(self, lock: Lock, *, make: bool) -> bytes:
        """As key, and note the result in the lock file."""
        lock.write_note({})  # while it is open
        try:
            key = self._fetch(make=make)
        except KeyringUnavailable as error:
            holds = _PAUSE if isinstance(error, KeyringTimeout) else _SHARED
            lock.write_note({"at": time.time(), "holds": holds, "error": error.to_dict()})
            raise
        lock.write_note({"at": time.time(), "holds": _SHARED})
        return key

    def _fetch(self, *, make: bool) -> bytes:
        """As key, from the keyring itself."""

        def work(backend: Any) -> bytes:
            key = _key_of(self._text_in(backend, make=make), NAME)
            if make and not key:
                raise _no_key(NAME)
            return key

        return in_keyring(work)

    def _text_in(self, backend: Any, *, make: bool) -> str | None:
        key = text_in(backend, NAME)
        if key is not None or not make:
            return key
        # Of two keys that are made at once, one would be lost, with everything sealed under it.
        self._make_folder()
        with locked(self._locks and self._locks / "sealing-key", wait=LIMIT):
            key = text_in(backend, NAME)
            if key is None:
                backend.set_password(SERVICE, NAME, new_key())
                key = text_in(backend, NAME)
        return key

    def _make_folder(self) -> None:
        if self._locks:
            with suppress(OSError):
                make_private_folder(self._locks)


def in_keyring(work: Callable[[Any], _T]) -> _T:
    """Return the result of `work`, called with the keyring's backend. It has LIMIT seconds.

    Raises KeyringUnavailable.
    """
    import keyring  # before LIMIT begins

    too_late = KeyringTimeout(f"the keyring gave no answer in {LIMIT} seconds")
    # Some backends print, and standard output is the protocol's.
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return call_with_deadline(LIMIT, lambda: _called(keyring, work), too_late)


def key_in(backend: Any, name: str) -> bytes:
    """Return the key that a keyring has by this name, or b"". Raises KeyringUnavailable."""
    return _key_of(text_in(backend, name), name)


def text_in(backend: Any, name: str) -> str | None:
    """Return the text that a keyring has by this name, or None. Raises as the backend does."""
    try:
        text: str | None = backend.get_password(SERVICE, name)
    except Exception as error:
        # Secret Service: another process deleted the entry after it was found, before it was read.
        if type(error).__name__ != "ItemNotFoundException":
            raise
        text = backend.get_password(SERVICE, name)
    return text


def new_key() -> str:
    """Return a new random key, as the keyring stores it."""
    return base64.b64encode(os.urandom(_KEY_BYTES)).decode()


def _called(keyring: ModuleType, work: Callable[[Any], _T]) -> _T:
    from keyring.errors import KeyringError

    try:
        return work(_fit(keyring.get_keyring()))
    except EcrPyError:
        raise
    except (Exception, SystemExit) as error:
        # Backends raise their libraries' errors, too, and not all are KeyringErrors.
        why = str(error) if isinstance(error, KeyringError) else type(error).__name__
        raise KeyringUnavailable(f"the keyring cannot be used: {why or 'locked'}") from None


def _key_of(text: str | None, name: str) -> bytes:
    try:
        key = base64.b64decode(text or "", validate=True)
    except ValueError:
        raise _no_key(name) from None
    if key and len(key) != _KEY_BYTES:
        raise _no_key(name)
    return key


def _no_key(name: str) -> KeyringUnavailable:
    return KeyringUnavailable(f"the keyring entry {SERVICE}/{name} is not a sealing key of ecr-py")


def _opened(key: bytes, about: bytes, sealed: bytes) -> bytes | None:
    """Return the text that was sealed under a key, or None."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        data = base64.b64decode(sealed, validate=True)
        return AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], about)
    except (InvalidTag, ValueError):
        return None


def _fit(backend: Any) -> Any:
    """Return a backend that encrypts; of several, the first. Raises KeyringUnavailable."""
    for one in getattr(backend, "backends", [backend]):
        if not type(one).__module__.startswith(_UNFIT):
            log.debug("keyring: %s", type(one).__module__)
            return one
    raise KeyringUnavailable(
        "no keyring is available",
        hint="unlock it, or set another store or fallback with `ecr-py config`",
    )


def _note_in(path: Path) -> dict[str, Any]:
    """Return the note that another process wrote into a lock; {} if there is none.

    `left` is its time as it says, and `at` that or the time of the file, whichever is earlier.
    """
    try:
        file = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
        try:
            status = os.fstat(file)
            note = json.loads(os.read(file, _LARGEST_NOTE)) if stat.S_ISREG(status.st_mode) else {}
        finally:
            os.close(file)
        left = float(note["at"])
        return {**note, "left": left, "at": min(left, status.st_mtime)}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _answers(note: dict[str, Any]) -> bool:
    """Whether the keyring has just answered another process; False if that is unknown.

    Raises KeyringUnavailable if it has just refused. A note holds for a while, and for each process
    that had started before it was written: processes that start together prompt the user once.
    """
    now, at = time.time(), note.get("at", 0.0)
    if not 0 <= now - at < _PAUSE:
        return False
    if now - at >= note.get("holds", 0) and at < process_began():
        return False
    error = note.get("error")
    if isinstance(error, dict):
        raise KeyringUnavailable(str(error.get("what", "")), hint=str(error.get("hint", "")))
    return True


def process_began() -> float:
    """Return when this process began, in seconds since the epoch; at worst, its import of this."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # proc(5): starttime
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot
    except (OSError, AttributeError, ValueError, IndexError):
        return _IMPORTED
