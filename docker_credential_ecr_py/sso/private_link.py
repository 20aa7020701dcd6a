"""A link to the address of a login that only this user can follow.

The address that a browser is started with is on its command line, which every user of the machine
can read, and another user who opened it first would log this user in as themselves. So the browser
is given a file that only its owner can read, and that leads to the address; or, if the browser may
not read this user's files, a page on the loopback interface for this user's processes alone.
"""

import os
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from docker_credential_ecr_py.atomic_file import make_private_folder
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.sso.login_page import redirect_page
from docker_credential_ecr_py.sso.peer import can_tell_users
from docker_credential_ecr_py.sso.redirect import serving
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.lock import locked

_NAME = "login-{}.html"
_LONGEST_LOGIN = 2 * 3600  # seconds; login_timeout is an hour at most
# Variables that show that the browser is on another machine (SSH, an editor's remote window,
# Windows behind WSL), or that this process is in a sandbox.
_ELSEWHERE = (
    "WSL_DISTRO_NAME",
    "SSH_CONNECTION",
    "SSH_TTY",
    "VSCODE_IPC_HOOK_CLI",
    "CODESPACES",
    "FLATPAK_ID",
    "SNAP",
)
# Snaps, as Ubuntu's Firefox and Chromium are, read neither hidden folders nor the runtime folder.
_SNAPS = ("/snap/bin", "/var/lib/snapd/snap/bin")


@contextmanager
def private_link(address: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a link that leads to an address as long as the context lasts.

    If neither a file nor a page can be made, it is the address itself.
    """
    ways = [_page_on_loopback(address)]
    if _browser_reads_our_files(environ):
        ways.insert(0, _page_in_file(address, environ))
    with ExitStack() as stack:
        yield _first_that_works(ways, stack) or address


def remove_abandoned(folder: Path) -> None:
    """Remove the files of logins that were killed from one of our folders."""
    for left in folder.glob(_NAME.format("*")):
        with suppress(OSError):
            if _is_abandoned(left):
                left.unlink()


def _first_that_works(ways: Iterable[AbstractContextManager[str]], stack: ExitStack) -> str:
    for way in ways:
        try:
            return stack.enter_context(way)
        except OSError as error:
            log.info("no private link to the login: %s", error)
    log.warning("other users of this machine can read the address of the login")
    return ""


def _browser_reads_our_files(environ: Mapping[str, str]) -> bool:
    elsewhere = any(environ.get(name) for name in _ELSEWHERE)
    return not elsewhere and not any(map(os.path.isdir, _SNAPS))


@contextmanager
def _page_in_file(address: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Make a file that leads to an address; yield its URL. Raises OSError."""
    folder = _folder(environ)
    remove_abandoned(folder)
    path = folder / _NAME.format(secrets.token_hex(16))
    with _in_use(path):
        try:
            flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            with open(os.open(path, flags, 0o600), "wb") as file:
                file.write(redirect_page(address))
            yield path.as_uri()
        finally:
            with suppress(OSError):
                path.unlink()


def _in_use(path: Path) -> AbstractContextManager[object]:
    """Hold a lock that the kernel frees if we are killed. On Windows it would exclude readers."""
    return nullcontext() if sys.platform == "win32" else locked(path, wait=0)


def _is_abandoned(path: Path) -> bool:
    """Whether a login that was killed has left its file. Raises OSError."""
    if time.time() - path.stat().st_mtime > _LONGEST_LOGIN:
        return True
    if sys.platform == "win32":
        return False
    with locked(path, wait=0) as held:
        return held is not None and held.file is not None


def _folder(environ: Mapping[str, str]) -> Path:
    """Return the daemon's runtime folder, or else the cache; make it if missing. Raises OSError."""
    runtime = record.runtime_folder(paths.as_bytes(environ))
    for folder in (runtime and Path(os.fsdecode(runtime)), paths.cache_folder()):
        if folder and _is_in_folder_of_ours(folder):
            with suppress(OSError):
                make_private_folder(folder)
                if record.is_private_folder(os.fsencode(folder)):
                    return folder
    raise OSError("no folder that only this user can use")


def _is_in_folder_of_ours(folder: Path) -> bool:
    """Whether a folder can be made here: not by root in the home of a user who runs it by sudo."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.name != "posix" or there.stat().st_uid == os.geteuid()


@contextmanager
def _page_on_loopback(address: str) -> Iterator[str]:
    """Serve a page that leads to an address; yield its URL. Raises OSError."""
    if not can_tell_users():
        raise OSError("this system does not report which user connects")
    path = f"/login/{secrets.token_urlsafe(24)}"
    with serving(path, lambda query: redirect_page(address)) as port:
        yield f"http://127.0.0.1:{port}{path}"
