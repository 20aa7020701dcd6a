"""What a daemon that has ended leaves beside its socket, and its removal."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.daemon.discovery import LOCK
from docker_credential_ecr_py.daemon.notified_sessions import TOLD
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.lock import locked


def remove_traces(environ: Mapping[str, str]) -> None:
    """Remove the files of a daemon that does not run any more, and their folder if it is empty.

    Leaves alone what another process uses. Where the folder is the cache's too, so is what the
    helper keeps there.
    """
    from docker_credential_ecr_py.sso.private_link import remove_abandoned  # brings an HTTP server

    found = record.runtime_folder(paths.as_bytes(environ))
    if found is None or not record.is_private_folder(found):
        return
    folder = Path(os.fsdecode(found))
    with locked(folder / LOCK, wait=0) as lock:
        if lock is None:
            return
        half_written = folder.glob(f"{TOLD}.*.new")
        for path in (folder / "daemon.sock", folder / TOLD, *half_written, folder / LOCK):
            with suppress(OSError):
                path.unlink()
    remove_abandoned(folder)
    if found != record.cache_root(paths.as_bytes(environ)):
        for path in _unused_locks(folder / "locks"):
            path.unlink(missing_ok=True)
        for empty in (folder / "locks", folder):
            with suppress(OSError):
                empty.rmdir()


def _unused_locks(folder: Path) -> Iterator[Path]:
    """The helper's, with `store = "memory"`; each is held while it is yielded."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            with locked(path, wait=0) as lock:
                if lock is not None:
                    yield path
