"""Removes the daemon: its service, its process, and the files that it leaves beside its socket."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.daemon.discovery import LOCK, end_daemon
from docker_credential_ecr_py.daemon.notified_sessions import TOLD
from docker_credential_ecr_py.daemon.service import installed_service
from docker_credential_ecr_py.errors import CannotInstall, EcrPyError
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.lock import locked


@dataclass(frozen=True)
class Removed:
    """What was removed: the files of the service, and whether a daemon was running.

    `failure` is why the service manager could not end it, or None.
    """

    files: list[Path]
    was_running: bool
    failure: EcrPyError | None


def uninstall(environ: Mapping[str, str]) -> Removed:
    """End the daemon, and remove everything that it and its installation wrote.

    Raises EcrPyError.
    """
    ours, failure = installed_service(environ), None
    try:
        ours.disable()
    except CannotInstall as error:
        failure = error
    files = ours.remove()
    ended = end_daemon(environ)
    remove_traces(environ)
    return Removed(files, ended, failure)


def remove_traces(environ: Mapping[str, str]) -> None:
    """Remove the files of a daemon that does not run any more, and their folder if it is empty.

    Files that another process uses stay. If the folder is the cache too, so do the helper's.
    """
    from docker_credential_ecr_py.sso.private_link import remove_abandoned  # loads an HTTP server

    runtime = record.runtime_folder(paths.as_bytes(environ))
    if runtime is None or not record.is_private_folder(runtime):
        return
    folder = Path(os.fsdecode(runtime))
    with locked(folder / LOCK, wait=0) as lock:
        if lock is None:
            return
        half_written = folder.glob(f"{TOLD}.*.new")
        forward = paths.forward_socket(environ) or folder / "forward"
        sockets = (folder / "daemon.sock", forward)
        for path in (*sockets, folder / TOLD, *half_written, folder / LOCK):
            with suppress(OSError):
                path.unlink()
    with suppress(OSError):
        forward.parent.rmdir()
    remove_abandoned(folder)
    if runtime != record.cache_root(paths.as_bytes(environ)):
        for path in _unused_locks(folder / "locks"):
            path.unlink(missing_ok=True)
        for empty in (folder / "locks", folder):
            with suppress(OSError):
                empty.rmdir()


def _unused_locks(folder: Path) -> Iterator[Path]:
    """Yield the helper's unused locks (with `store = "memory"`), each while it is held."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            with locked(path, wait=0) as lock:
                if lock is not None:
                    yield path
