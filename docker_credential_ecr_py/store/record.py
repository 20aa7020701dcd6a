"""The format of a record, and whether it may be answered.

Every cached `get` runs this, so it imports nothing that a bare interpreter has not loaded; for
the same reason everything is bytes. It never writes, waits, or raises for a damaged file.

A record is a file of NUL-separated fields, of which the first is a fingerprint of the rest:

    selections/HOST~CONTEXT  kind, host, context, key, details (JSON), then path, stamp in turn
    credentials/KEY          kind, key, issued, renew_at, spent_at, expires, username, secret,
                             then path, stamp in turn (in the daemon's memory alone)

A selection says which credential answers for a host, and for which inputs that holds: the
environment (the context) and files (path and stamp). Its key is empty if the host has no
credential. Times are whole seconds since the epoch; username and secret are JSON strings.
"""

import sys
import time

TYPE_CHECKING = False  # typing itself is not loaded yet
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

if sys.platform == "win32":
    import os

    system = os
    environ = {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}
    SAFELY = system.O_BINARY
else:
    import posix

    system = posix
    environ = system.environ
    # NONBLOCK: a FIFO planted where a file of ours belongs must not make us wait.
    SAFELY = system.O_NOFOLLOW | system.O_NONBLOCK | system.O_CLOEXEC

SELECTION = b"ecr-py selection 1"
CREDENTIAL = b"ecr-py credential 1"
# The index of each field. The first of both is the kind; conditions are paths and stamps in turn.
KIND = 0
HOST, SELECTED_FOR, SELECTED_KEY, DETAILS, SELECTION_CONDITIONS = 1, 2, 3, 4, 5
KEY, ISSUED, RENEW_AT, SPENT_AT, EXPIRES, USERNAME, SECRET, CONDITIONS = range(1, 9)
LARGEST_RECORD = 64 * 1024
LONGEST_URL = 2048

# The variables that decide the identity and the endpoint. None that holds a secret: these are
# stored on disk.
CONTEXT = (
    b"HOME",
    b"USERPROFILE",
    b"XDG_CONFIG_HOME",
    b"ECR_PY_CONFIG",
    b"AWS_PROFILE",
    b"AWS_DEFAULT_PROFILE",
    b"AWS_ACCESS_KEY_ID",
    b"AWS_CONFIG_FILE",
    b"AWS_SHARED_CREDENTIALS_FILE",
    b"AWS_ROLE_ARN",
    b"AWS_ROLE_SESSION_NAME",
    b"AWS_WEB_IDENTITY_TOKEN_FILE",
    b"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    b"AWS_CONTAINER_CREDENTIALS_FULL_URI",
    b"AWS_EC2_METADATA_DISABLED",
    b"AWS_EC2_METADATA_SERVICE_ENDPOINT",
    b"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    b"AWS_USE_FIPS_ENDPOINT",
    b"AWS_USE_DUALSTACK_ENDPOINT",
    b"AWS_ENDPOINT_URL",
    b"AWS_ENDPOINT_URL_ECR",
    b"AWS_ENDPOINT_URL_ECR_PUBLIC",
    b"AWS_ENDPOINT_URL_SSO",
    b"AWS_ENDPOINT_URL_SSO_OIDC",
    b"AWS_ENDPOINT_URL_STS",
)
# Of a secret, only whether it is set: without it, its key ID names no identity.
SECRETS = (b"AWS_SECRET_ACCESS_KEY",)
ABSENT = b"-"
PRESENT = b"+"

_HOST_CHARACTERS = b"abcdefghijklmnopqrstuvwxyz0123456789.-"
_URL_CHARACTERS = _HOST_CHARACTERS + b":/_"
_KEY_CHARACTERS = b"abcdefghijklmnopqrstuvwxyz0123456789-"
_PLAIN_CHARACTERS = bytes(range(0x20, 0x7F)).translate(None, b'"\\')
# The largest prime below 2**128: a remainder is the one fingerprint that needs no import. It
# detects damage and tells contexts apart; it protects nothing.
_PRIME = 2**128 - 159


class Hit:
    """What may be answered: `answer` is docker's JSON document, empty if there is no credential.

    `credential` is the record that it was made from.
    """

    def __init__(
        self, host: bytes, key: bytes, answer: bytes, ageing: bool, credential: list[bytes]
    ) -> None:
        self.host = host
        self.key = key
        self.answer = answer
        self.ageing = ageing
        self.credential = credential


def find(root: bytes, server_url: bytes, environ: "Mapping[bytes, bytes]") -> Hit | None:
    """Return the answer to a server URL, or None if it takes more than the store's files."""
    host = plain_host(server_url)
    if host is None or not is_private_folder(root):
        return None

    def read_file(name: bytes, kind: bytes) -> list[bytes] | None:
        return read(b"%b/%b" % (root, name), kind)

    return answer(server_url, host, context(environ), read_file, holds)


def answer(
    server_url: bytes,
    host: bytes,
    here: bytes,
    read: "Callable[[bytes, bytes], list[bytes] | None]",
    holds: "Callable[[list[bytes]], bool]",
) -> Hit | None:
    """As find, from records that `read` returns by name and kind; `holds` as the one below."""
    selection = selection_for(host, here, read, holds)
    if selection is None:
        return None
    key = selection[SELECTED_KEY]
    if not key:
        return Hit(host, key, b"", False, [])
    credential = read(credential_name(key), CREDENTIAL)
    if credential is None or credential[KEY] != key or len(credential) <= SECRET:
        return None
    username, secret = credential[USERNAME], credential[SECRET]
    try:
        issued, renew_at, spent_at = map(int, credential[ISSUED:EXPIRES])
    except ValueError:
        return None
    now = time.time()
    if not (issued <= now < spent_at and is_plain(username) and is_plain(secret)):
        return None
    if not holds(credential[CONDITIONS:]):
        return None
    document = b'{"ServerURL":"%b","Username":%b,"Secret":%b}\n' % (server_url, username, secret)
    return Hit(host, key, document, now >= renew_at, credential)


def plain_host(server_url: bytes) -> bytes | None:
    """Return the host of a URL as docker writes them; None if it takes the real parser.

    A URL that passes needs no escapes in a JSON string.
    """
    if len(server_url) > LONGEST_URL or server_url.translate(None, _URL_CHARACTERS):
        return None
    host = server_url.removeprefix(b"https://").partition(b"/")[0]
    return host if host and not host.translate(None, _HOST_CHARACTERS) else None


def selection_for(
    host: bytes,
    here: bytes,
    read: "Callable[[bytes, bytes], list[bytes] | None]",
    holds: "Callable[[list[bytes]], bool]",
) -> list[bytes] | None:
    """Return the fields of the stored selection, or None if there is none that still holds."""
    selection = read(selection_name(host, here), SELECTION)
    if selection is None or selection[HOST] != host or selection[SELECTED_FOR] != here:
        return None
    if not holds(selection[SELECTION_CONDITIONS:]):
        return None
    return selection if is_key(selection[SELECTED_KEY]) else None


def is_key(text: bytes) -> bool:
    """Whether a text can name a credential, or is empty."""
    return not text.translate(None, _KEY_CHARACTERS)


def selection_name(host: bytes, here: bytes) -> bytes:
    return b"selections/%b~%b" % (host, fingerprint(here))


def credential_name(key: bytes) -> bytes:
    return b"credentials/" + key


def lock_path(root: bytes, key: bytes) -> bytes:
    return b"%b/locks/%b" % (root, key)


def cache_root(environ: "Mapping[bytes, bytes]") -> bytes | None:
    """Return the cache folder, as platformdirs; None if that takes more than the environment.

    On Windows None for a folder on another machine, too.
    """
    if sys.platform == "win32":
        local = environ.get(b"LOCALAPPDATA", b"")
        return local + b"\\ecr-py\\Cache" if local[1:3] == b":\\" else None
    home = environ.get(b"HOME", b"")
    usual = b"/Library/Caches" if sys.platform == "darwin" else b"/.cache"
    root = environ.get(b"XDG_CACHE_HOME", b"") or (home and home + usual)
    return root + b"/ecr-py" if root.startswith(b"/") else None


def runtime_folder(environ: "Mapping[bytes, bytes]") -> bytes | None:
    """Return the folder of the daemon's socket: the runtime folder, else the cache folder."""
    if sys.platform == "win32":
        return None
    root = environ.get(b"XDG_RUNTIME_DIR", b"")
    if not root and is_private_folder(usual := b"/run/user/%d" % system.geteuid()):
        root = usual
    return root + b"/ecr-py" if root.startswith(b"/") else cache_root(environ)


def socket_path(environ: "Mapping[bytes, bytes]") -> bytes | None:
    """Return the path of the daemon's socket, whether or not it exists."""
    folder = runtime_folder(environ)
    return folder and folder + b"/daemon.sock"


def tunnel_path(environ: "Mapping[bytes, bytes]") -> bytes | None:
    """Return the path of the socket at which another machine's daemon answers; None if none.

    It lies beside the folder of our own socket, because sshd makes no folders.
    """
    named = environ.get(b"ECR_PY_FORWARD")
    if named is not None or sys.platform == "win32":
        return named if named and named.startswith(b"/") else None
    folder = runtime_folder(environ)
    return folder and folder + b"-tunnel.sock"


def context(environ: "Mapping[bytes, bytes]") -> bytes:
    """Return the part of the environment that a selection depends on."""
    variables = [b"%b=%b" % (name, environ[name]) for name in CONTEXT if name in environ]
    return b"\n".join(variables + [name for name in SECRETS if environ.get(name)])


def fingerprint(data: bytes) -> bytes:
    return b"%032x" % (int.from_bytes(data, "big") % _PRIME)


def stamp(path: bytes) -> bytes:
    """Return a stamp that changes whenever the file does; ABSENT if there is no file."""
    try:
        status = system.stat(path)
    except (OSError, ValueError):  # on Windows, a path is Unicode
        return ABSENT
    return b"%d.%d.%d" % (status.st_mtime_ns, status.st_size, status.st_ino)


def holds(conditions: list[bytes]) -> bool:
    """Whether every file is unchanged or, if its stamp is PRESENT, exists."""
    for path, wanted in zip(conditions[::2], conditions[1::2], strict=False):
        if not fits(stamp(path), wanted):
            return False
    return True


def fits(seen: bytes, wanted: bytes) -> bool:
    return seen == wanted or (wanted == PRESENT and seen != ABSENT)


def read(path: bytes, kind: bytes, more_flags: int = 0) -> list[bytes] | None:
    """Return the fields of a record of this kind, or None if there is none to be used.

    It is then absent, cut, damaged, not a regular file, or another user's or open to one.
    """
    try:
        file = system.open(path, system.O_RDONLY | SAFELY | more_flags)
    except OSError:
        return None
    try:
        data = system.read(file, LARGEST_RECORD) if _private(system.fstat(file), _FILE) else b""
    except OSError:
        return None
    finally:
        system.close(file)
    return fields_of(data, kind)


def fields_of(record: bytes, kind: bytes) -> list[bytes] | None:
    """Return the fields of a record, or None if it is damaged or of another kind."""
    seal, _, body = record.partition(b"\0")
    if seal != fingerprint(body):
        return None
    fields = body.split(b"\0")
    return fields if fields[KIND] == kind and len(fields) > DETAILS else None


def record_of(fields: list[bytes]) -> bytes:
    body = b"\0".join(fields)
    return fingerprint(body) + b"\0" + body


def is_plain(text: bytes) -> bool:
    """Whether it is a JSON string without escapes."""
    return (
        len(text) >= 2
        and text[:1] == text[-1:] == b'"'
        and not text[1:-1].translate(None, _PLAIN_CHARACTERS)
    )


def is_private_folder(path: bytes) -> bool:
    """Whether it is a folder (not a link) of this user's that no other user may enter."""
    try:
        return _private(system.lstat(path), _FOLDER)
    except OSError:
        return False


_FILE, _FOLDER = 0o100000, 0o040000


def _private(status: "system.stat_result", file_type: int) -> bool:
    if status.st_mode & 0o170000 != file_type:
        return False
    # On Windows the access rights of the user's profile folder protect it, not mode and owner.
    return sys.platform == "win32" or (
        status.st_uid == system.geteuid() and status.st_mode & 0o077 == 0
    )
