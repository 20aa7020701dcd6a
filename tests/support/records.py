"""What lies in a home's cache: looked at, damaged, and made older than it is."""

import os
from dataclasses import replace
from pathlib import Path

from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.file_backend import FileStore
from tests.support.home import Home

HALF_LIFE, LIFE, DAY = 6 * 3600, 12 * 3600, 86400
KINDS = {"credentials": record.CREDENTIAL, "selections": record.SELECTION}


def store_of(home: Home) -> FileStore:
    return FileStore(home.cache, {os.fsencode(k): os.fsencode(v) for k, v in environ(home)})


def environ(home: Home) -> list[tuple[str, str]]:
    return sorted(home.environment.items())


def files(home: Home, folder: str) -> list[Path]:
    """The records in a folder of the cache, without what a killed process left half written."""
    found = (home.cache / folder).glob("*")
    return sorted(path for path in found if path.suffix != ".new" and path.name[0] != ".")


def only(home: Home, folder: str) -> Path:
    (file,) = files(home, folder)
    return file


def let_pass(home: Home, seconds: int) -> None:
    """Makes all that is cached look `seconds` older, as if that time had passed."""
    store = store_of(home)
    for path in files(home, "credentials"):
        credential = store.load(path.name)
        assert credential is not None, path
        older = {
            name: getattr(credential, name) - seconds
            for name in ("issued", "renew_at", "spent_at", "expires")
        }
        store.save(path.name, replace(credential, **older))
    for path in files(home, "locks"):
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


def damaged(home: Home) -> list[Path]:
    """The records that cannot be read."""
    return [
        path
        for folder, kind in KINDS.items()
        for path in files(home, folder)
        if record.read(os.fsencode(path), kind) is None
    ]


def write_sealed(path: Path, fields: list[bytes]) -> None:
    """Writes a record whose fingerprint is right, whatever its fields."""
    body = b"\0".join(fields)
    path.write_bytes(record.fingerprint(body) + b"\0" + body)
