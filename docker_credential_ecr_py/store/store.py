"""What a store can do, and the store that keeps nothing."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.store.lock import Lock


@dataclass(frozen=True)
class StoredSelection:
    """Which credential answers for a host: `key` names it, or is "" if the host has none.

    `conditions` are the files that it depends on and their stamps, as record.holds takes them;
    `details` (account, region, profile, rule) are shown to the user.
    """

    host: str
    key: str
    conditions: Mapping[bytes, bytes]
    details: Mapping[str, str]


class Store(Protocol):
    """Keeps credentials, and the selections that lead to them, for later calls.

    It decides neither which identity answers nor whether a credential is still usable: callers
    compare its times with the clock. It is a cache, so no method raises: a record that cannot be
    stored is fetched again by the next call.
    """

    def load(self, key: str) -> Credential | None: ...

    def save(self, key: str, credential: Credential) -> None: ...

    def save_selection(self, selection: StoredSelection, *, used: bool = True) -> None:
        """Store a selection. `used` is False for a renewal, which is no use of the registry."""

    def has_selection(self, selection: StoredSelection) -> bool:
        """Whether exactly this selection is stored."""

    def write_problem(self) -> tuple[str, str]:
        """Return why nothing can be stored now, and the hint; ("", "") if no reason is known."""

    def forget(self, host: str) -> set[str]:
        """Remove the selections for a host, in any context; return the keys that they named."""

    def forget_by_file(self, file: bytes) -> set[tuple[str, str]]:
        """Remove the selections that depend on a file; return the host and key of each."""

    def forget_all(self) -> set[str]:
        """Remove every record, of any context; return the hosts that had a credential."""

    def discard(self, key: str) -> None: ...

    def selections(self) -> Iterator[StoredSelection]:
        """Yield the selections that hold in this environment."""

    def lock(self, key: str, *, wait: float) -> AbstractContextManager[Lock | None]:
        """As lock.locked."""

    def take_over_leftovers(self) -> None:
        """Move the records that another store left on disk into this one, or remove them.

        Every write does so first. No read does, since the user may only try a setting out.
        """


class Leftovers(Protocol):
    """The records that another store may have left on disk."""

    def wipe(self) -> None: ...


class NoStore:
    """The store for `store = "none"`: it keeps nothing, and no process shares a fetch."""

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
