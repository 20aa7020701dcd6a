"""Everything that is sealed under the one key, for `ecr-py key`, which changes or removes it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.errors import EcrPyError
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.other_registries import SealedLogins
from docker_credential_ecr_py.store import key_rotation
from docker_credential_ecr_py.store.file_backend import FileBackend
from docker_credential_ecr_py.store.memory_backend import MemoryBackend
from docker_credential_ecr_py.store.seal import Seal
from docker_credential_ecr_py.store.sealed_backend import SEALED, SealedBackend


@dataclass(frozen=True)
class Counts:
    """How many logins and cached credentials there are, and how many logins do not open."""

    logins: int
    credentials: int
    lost: int = 0


class Sealed:
    """The sealed files of this home: logins and credentials."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        root = paths.cache_folder()
        self._seal = Seal(root and root / "locks")
        self.logins = SealedLogins(paths.logins_folder(), self._seal)
        self._credentials: SealedBackend | None = None
        if root is not None:
            files = FileBackend(root, (SEALED,))
            memory = MemoryBackend(paths.as_bytes(environ))
            self._credentials = SealedBackend(files, self._seal, memory, _log)

    def counts(self) -> Counts:
        names = self._credentials.sealed_names() if self._credentials else []
        return Counts(self.logins.count(), len(names))

    def change_key(self) -> Counts:
        """Seal everything under a new key; return the counts.

        If it fails, everything still opens, and the next change continues it.
        Raises EcrPyError.
        """
        self.logins.check_may_keep()
        before = self.counts()
        lost, credentials = 0, 0

        def reseal() -> None:
            nonlocal lost, credentials
            lost = self.logins.reseal()
            credentials = self._credentials.reseal() if self._credentials else 0

        key_rotation.rotate(self._seal, reseal)
        return Counts(before.logins - lost, credentials, lost)

    def remove_key(self) -> bool:
        """Remove the key and everything sealed under it. Return whether there was a key.

        Raises EcrPyError.
        """
        return key_rotation.remove(self._seal, self._forget_all)

    def _forget_all(self) -> None:
        self.logins.forget_all()
        if self._credentials:
            for name in self._credentials.sealed_names():
                self._credentials.remove(name)


def _log(error: EcrPyError) -> None:
    log.warning("%s", error)
