"""What a process that holds secrets does for them. docs/security.md says what that is worth."""

import ctypes
import sys
from contextlib import suppress

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def forbid_dumps() -> None:
    """Leave no core dump, and let no other process of the same user trace this one or read it.

    Programs that this process starts are not affected on Linux. Elsewhere they inherit a limit on
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
    """As forbid_dumps, for all that this process starts as well: none of it may leave a dump."""
    forbid_dumps()
    if sys.platform != "win32":
        import resource

        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def give_back_memory() -> None:
    """Returns to the system what the C library keeps of memory that was freed, if it can."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # musl has no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)


def _is_undumpable_now() -> bool:
    with suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
    return False
