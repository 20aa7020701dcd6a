"""What a store can do; and the one that keeps nothing."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.store.lock import Lock


@dataclass(frozen=True)
class StoredSelection:
    """Which credential answers for a host: `key` names it, or is "" where none ever does.

    `conditions` are paths and stamps, as record.holds takes them; `details` is for people.
    """

    host: str
    key: str
    conditions: Mapping[bytes, bytes]
    details: Mapping[str, str]


class Store(Protocol):
    """Keeps credentials and selections. Never raises: what cannot be kept is asked for again."""

    def load(self, key: str) -> Credential | None: ...

    def save(self, key: str, credential: Credential) -> None: ...

    def save_selection(self, selection: StoredSelection, *, used: bool = True) -> None:
        """`used` where a client asked; a renewal keeps what nobody asks for no longer alive."""

    def has_selection(self, selection: StoredSelection) -> bool:
        """Whether it is kept just so."""

    def write_problem(self) -> tuple[str, str]:
        """Why nothing can be kept now, and what to do; ("", "") if nothing speaks against it."""

    def forget(self, host: str) -> set[str]:
        """Drops the selections for a host, whoever asked; returns the keys that they named."""

    def forget_by_file(self, file: bytes) -> set[tuple[str, str]]:
        """Likewise those that hold by a file: pairs of a host and the key that it named."""

    def forget_all(self) -> set[str]:
        """Drops all that is kept, whoever asked; returns the hosts that had a credential."""

    def discard(self, key: str) -> None: ...

    def selections(self) -> Iterator[StoredSelection]:
        """The selections that hold in this environment."""

    def lock(self, key: str, *, wait: float) -> AbstractContextManager[Lock | None]:
        """As lock.locked."""

    def take_over_leftovers(self) -> None:
        """Moves here what another store left on disk, or removes it.

        Every write does so first; no read does, for a setting may be tried out.
        """


class Leftovers(Protocol):
    """What another store may have left on disk."""

    def wipe(self) -> None: ...


class NoStore:
    """`store = "none"`: nothing is kept, so nothing is shared."""

    def __init__(self, leftovers: Leftovers | None = None) -> None:
        self._leftovers = leftovers

    def load(self, key: str) -> Credential | None:
        return None

    def save(self, key: str, credential: Credential) -> None:
        self.take_over_leftovers()

    def save_selection(self, selection: StoredSelection, *, used: bool = True) -> None:
        self.take_over_leftovers()

    def has_selection(self, selection: StoredSelection) -> bool:
        return False

    def write_problem(self) -> tuple[str, str]:
        return "the cache is switched off (store = none)", "run `ecr-py config unset store`"

    def forget(self, host: str) -> set[str]:
        self.take_over_leftovers()
        return set()

    def forget_by_file(self, file: bytes) -> set[tuple[str, str]]:
        self.take_over_leftovers()
        return set()

    def forget_all(self) -> set[str]:
        self.take_over_leftovers()
        return set()

    def discard(self, key: str) -> None: ...

    def selections(self) -> Iterator[StoredSelection]:
        return iter(())

    def take_over_leftovers(self) -> None:
        if self._leftovers is not None:
            self._leftovers.wipe()

    def lock(self, key: str, *, wait: float) -> AbstractContextManager[Lock | None]:
        return nullcontext(Lock())
