"""Protects the memory of a process that holds secrets. docs/security.md has the limits of that."""

import ctypes
import sys
from contextlib import suppress

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def forbid_dumps() -> None:
    """Disable core dumps, and tracing by other processes of the same user.

    On Linux, programs that this process starts are not affected. Elsewhere they inherit a limit on
    the size of core dumps, which they may raise.
    """
    if sys.platform == "linux" and _is_undumpable_now():
        return
    if sys.platform != "win32":
        import resource

        with suppress(OSError, ValueError):
            _, hard = resource.getrlimit(resource.RLIMIT_CORE)
            resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def forbid_dumps_of_children() -> None:
    """As forbid_dumps, and disable core dumps of every program that this process starts."""
    forbid_dumps()
    if sys.platform != "win32":
        import resource

        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def give_back_memory() -> None:
    """Return freed memory from the C library to the system, if possible."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # musl has no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)


def _is_undumpable_now() -> bool:
    with suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
    return False
