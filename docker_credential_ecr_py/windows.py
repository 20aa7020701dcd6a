"""What only Windows needs. Elsewhere nothing here is called.

There no mode says who may use a file: its access-control list does, and a file in the user's
profile inherits the profile's, which is for the user, administrators and the system alone.
https://learn.microsoft.com/windows/win32/secauthz/access-control-lists
"""

import ctypes
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import byref, c_uint32, c_void_p, c_wchar_p
from typing import Any

from docker_credential_ecr_py.programs import NO_WINDOW

kernel32: Any
advapi32: Any
if sys.platform == "win32":
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)

# Ctrl-C in the console of the process that starts it does not reach it.
_DETACHED: int = NO_WINDOW | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)

# Seconds that a file may be in use by another program.
_IN_USE, _PAUSE = 1.0, 0.01
# Errors of Windows: access denied (to replace a file that is open), sharing or lock violation.
_USED_BY_ANOTHER = (5, 32, 33)

_REMOTE_DRIVE = 4
_FILE_OBJECT, _OWNER, _DACL = 1, 1, 4
_ALLOWED, _INHERIT_ONLY = 0, 8
# FILE_WRITE_DATA, FILE_APPEND_DATA, FILE_DELETE_CHILD, WRITE_DAC, WRITE_OWNER, GENERIC_ALL and
# GENERIC_WRITE: enough to put a file into a folder, or to get the right to.
_WRITES = 0x2 | 0x4 | 0x40 | 0x40000 | 0x80000 | 0x10000000 | 0x40000000
# The system and its services, administrators of the machine and of its domain, whoever is the
# owner, and applications from the store, which run as the user.
_TRUSTED = re.compile(
    r"S-1-5-18|S-1-5-80-.*|S-1-5-32-544|S-1-5-21-.*-(500|512|518|519)|S-1-3-[04]|S-1-15-.*"
)


def when_not_in_use(action: Callable[[], None]) -> None:
    """Do it again for up to a second while another program has the file open. Raises OSError.

    A file that is open, by a virus scanner, say, cannot be replaced or removed on Windows.
    """
    deadline = time.monotonic() + _IN_USE
    while True:
        try:
            return action()
        except PermissionError as error:
            code = getattr(error, "winerror", None)
            if code not in _USED_BY_ANOTHER or time.monotonic() >= deadline:
                raise
        time.sleep(_PAUSE)


def start_detached(command: list[str]) -> None:
    """Start a process without a window, and without our standard streams. Raises OSError."""
    nowhere = subprocess.DEVNULL
    subprocess.Popen(
        command, stdin=nowhere, stdout=nowhere, stderr=nowhere, creationflags=_DETACHED
    )


def why_not_private(folder: str) -> str:
    """Return why secrets should not be in a folder: other users may write there. "" if not so.

    On another machine's disk, the list of access rights says nothing about that machine's users.
    Who may read is not looked at: no profile lets others by default. Raises OSError.
    """
    if _is_on_another_machine(folder):
        return f"{folder} is on another machine"
    ours = _our_user()
    for sid in _writers(folder):
        if sid != ours and not _TRUSTED.fullmatch(sid):
            return f"other users ({sid}) can write to {folder}"
    return ""


def _is_on_another_machine(path: str) -> bool:
    drive = os.path.splitdrive(os.path.realpath(path))[0].removeprefix("\\\\?\\")
    if drive.startswith(("\\\\", "UNC")):
        return True
    return bool(kernel32.GetDriveTypeW(drive + "\\") == _REMOTE_DRIVE)


def _writers(path: str) -> Iterator[str]:
    """Yield the SIDs of users and groups that may write to a folder, its owner's too."""
    owner, rights, descriptor = c_void_p(), c_void_p(), c_void_p()
    results = byref(owner), None, byref(rights), None, byref(descriptor)
    failure = advapi32.GetNamedSecurityInfoW(path, _FILE_OBJECT, _OWNER | _DACL, *results)
    if failure:
        raise _error(failure)
    try:
        yield _text_of(owner)
        if not rights:
            yield "S-1-1-0"  # no list: everyone may do everything
            return
        yield from _allowed_by(rights)
    finally:
        kernel32.LocalFree(descriptor)


def _allowed_by(rights: c_void_p) -> Iterator[str]:
    """Yield the SIDs that an access-control list allows to write."""
    # struct ACL: the number of entries is its third 16-bit field.
    count = ctypes.cast(rights, ctypes.POINTER(ctypes.c_uint16))[2]
    for index in range(count):
        entry = c_void_p()
        _check(advapi32.GetAce(rights, index, byref(entry)))
        # struct ACCESS_ALLOWED_ACE: type, flags, size; the rights; the SID.
        kind, flags = ctypes.string_at(entry, 2)
        start = entry.value or 0
        mask = int.from_bytes(ctypes.string_at(start + 4, 4), "little")
        if kind == _ALLOWED and not flags & _INHERIT_ONLY and mask & _WRITES:
            yield _text_of(c_void_p(start + 8))


def _our_user() -> str:
    """Return the SID of the user of this process."""
    with _opened_token() as token:
        needed = c_uint32()
        advapi32.GetTokenInformation(token, 1, None, 0, byref(needed))
        user = ctypes.create_string_buffer(needed.value)  # TOKEN_USER: a pointer to the SID first
        _check(advapi32.GetTokenInformation(token, 1, user, needed, byref(needed)))
        return _text_of(c_void_p.from_buffer(user))


@contextmanager
def _opened_token() -> Iterator[c_void_p]:
    token = c_void_p()
    kernel32.GetCurrentProcess.restype = c_void_p
    process = c_void_p(kernel32.GetCurrentProcess())
    _check(advapi32.OpenProcessToken(process, 0x8, byref(token)))  # TOKEN_QUERY
    try:
        yield token
    finally:
        kernel32.CloseHandle(token)


def _text_of(sid: c_void_p) -> str:
    text = c_wchar_p()
    _check(advapi32.ConvertSidToStringSidW(sid, byref(text)))
    try:
        return text.value or ""
    finally:
        kernel32.LocalFree(text)


def _check(succeeded: int) -> None:
    if not succeeded:
        raise _error(ctypes.get_last_error())  # type: ignore[attr-defined]


def _error(code: int) -> OSError:
    error: OSError = ctypes.WinError(code)  # type: ignore[attr-defined]
    return error
