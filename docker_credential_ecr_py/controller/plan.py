"""Decides what to do in a namespace: a pure function of what is there, what is granted and time.

A restart, a new leader, a sleep, an edit by hand and a missed event are all the same case, since
each pass compares all that is there with all that is granted. What a secret holds is read from its
annotations, so its data is not needed.
"""

import hashlib
import json
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache

from docker_credential_ecr_py.controller.grants import Grant
from docker_credential_ecr_py.controller.observed import (
    PREFIX,
    Namespace,
    Secret,
    ServiceAccount,
)
from docker_credential_ecr_py.credential import LONGEST_LIFE, SPENT_BEFORE_END

GRANTS, HASH = f"{PREFIX}grants", f"{PREFIX}hash"
IDENTITIES, TOKENS, EXPIRES = f"{PREFIX}identities", f"{PREFIX}tokens", f"{PREFIX}expires"

# With these, Argo CD neither counts a secret as drift nor prunes it
# (argo-cd.readthedocs.io/en/stable/user-guide/compare-options/ and sync-options/).
_FOR_ARGO_CD = {
    "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
    "argocd.argoproj.io/sync-options": "Prune=false",
}

# As shares of a token's life. Tokens are renewed around half of it, all in the same rhythm and at
# moments that are close together, so that a secret is written once for all of its tokens, soon
# afterwards. One that is out of step, after an outage, comes earlier each time until it is not.
_RHYTHM = 0.525
_EARLIEST = 0.425
_REPLACE = 0.575
# Each token, and each namespace, has a moment of its own within this.
_SPREAD = 0.05
# Seconds by which another replica's clock may be ahead of ours.
_SKEW = 300
# Seconds for which a secret waits for more tokens after one has come. After an outage they come
# one after the other, within the longest pause between two tries (credentials.py).
_GATHER = 900
# Of the key of a credential, in an annotation.
_KEY_LENGTH = 12

# Why a secret is written.
MISSING, CHANGED = "it is missing", "its grants have changed"
EDITED, INCOMPLETE, AGEING = "someone edited it", "a token is missing", "its tokens age"


@dataclass(frozen=True, slots=True)
class Token:
    """When a token was issued and expires, in seconds since the epoch, UTC. Not the token."""

    issued: int
    expires: int

    @property
    def life(self) -> int:
        return max(0, min(self.expires - self.issued, LONGEST_LIFE))

    def usable(self, now: float) -> bool:
        """Whether it can be put into a secret: not spent, nor from the future."""
        return self.issued <= now + _SKEW and now < self.issued + self.life - SPENT_BEFORE_END

    def renew_at(self, key: str) -> float:
        """Return when the token with this key is to be fetched again."""
        own = _SPREAD * _share(key) * self.life
        rhythm = _RHYTHM * self.life or 1
        in_step = rhythm * (self.issued // rhythm + 1) + own
        earliest = self.issued + _EARLIEST * self.life + own
        return max(earliest, in_step)

    def replace_at(self, namespace: str) -> float:
        """Return when it is to be replaced in a namespace, if there is a newer one."""
        return self.issued + self.life * (_REPLACE + _SPREAD * _share(namespace))


@dataclass(frozen=True, slots=True)
class Entry:
    """A registry in a secret. `key` is that of its credential: an identity in a region.

    `profile` leads to the identity, or is "" if the identity comes from no profile; `identity` is
    what people are shown.
    """

    host: str
    key: str
    profile: str
    identity: str


@dataclass(frozen=True)
class Want:
    """What a secret should hold, by the grants with these names; `accounts` are globs.

    `entries` are sorted by host, each host once.
    """

    grants: tuple[str, ...]
    entries: tuple[Entry, ...]
    accounts: tuple[str, ...] = ()

    @cached_property
    def keys(self) -> dict[str, Entry]:
        """The keys of the credentials that it needs, each with one of its registries."""
        return {entry.key: entry for entry in self.entries}

    @cached_property
    def hash(self) -> str:
        """A hash of what is granted: another one means that the secret has to be written."""
        text = json.dumps([[entry.host, entry.key] for entry in self.entries])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Wishes:
    """The grants with their registries: tells what each namespace should have."""

    def __init__(self, granted: Iterable[tuple[Grant, tuple[Entry, ...]]] = ()) -> None:
        self._granted = list(granted)
        self._made: dict[tuple[int, ...], dict[str, Want]] = {}

    def of(self, namespace: Namespace) -> Mapping[str, Want]:
        """Return what a namespace should have, by the name of the secret."""
        if namespace.terminating:
            return {}
        fitting = tuple(
            number
            for number, (grant, _) in enumerate(self._granted)
            if grant.fits(namespace.name, namespace.labels)
        )
        if fitting not in self._made:
            self._made[fitting] = self._make([self._granted[number] for number in fitting])
        return self._made[fitting]

    @staticmethod
    def _make(granted: list[tuple[Grant, tuple[Entry, ...]]]) -> dict[str, Want]:
        made: dict[str, Want] = {}
        for name in dict.fromkeys(grant.secret for grant, _ in granted):
            own = [(grant, entries) for grant, entries in granted if grant.secret == name]
            by_host: dict[str, Entry] = {}
            for _, entries in own:
                for entry in entries:  # of two grants for a registry the first in the file wins
                    by_host.setdefault(entry.host, entry)
            accounts = dict.fromkeys(one for grant, _ in own for one in grant.service_accounts)
            made[name] = Want(
                tuple(grant.name for grant, _ in own),
                tuple(sorted(by_host.values(), key=lambda entry: entry.host)),
                tuple(accounts),
            )
        return made


@dataclass(frozen=True, slots=True)
class Write:
    """Create a secret, or change it in place, at `due`. `uid` is "" if there is none.

    `why` is one of the reasons above. `put` are the keys of the tokens to put into it, `keep` of
    those that stay as they are in the secret, because there are no newer ones.
    """

    namespace: str
    name: str
    want: Want
    why: str
    due: float
    uid: str = ""
    put: frozenset[str] = frozenset()
    keep: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete a secret of ours that no grant wants, at `due`: when its tokens have expired.

    A token cannot be revoked, so removing it earlier would protect nothing from a copy. Until then
    a mistake in the grants can be undone, and the secret keeps its UID.
    """

    secret: Secret
    due: float
    why: str = "no grant wants it any more"

    @property
    def namespace(self) -> str:
        return self.secret.namespace

    @property
    def name(self) -> str:
        return self.secret.name


@dataclass(frozen=True, slots=True)
class LeaveAlone:
    """Do not touch a secret that has the name of a granted one, for the reason `why`."""

    namespace: str
    name: str
    why: str
    due: float = 0.0


@dataclass(frozen=True, slots=True)
class AddPullSecret:
    """Add secrets to a service account's imagePullSecrets, which are to be `names` then."""

    account: ServiceAccount
    names: tuple[str, ...]
    due: float = 0.0
    why: str = "the grant names this service account"

    @property
    def namespace(self) -> str:
        return self.account.namespace

    @property
    def name(self) -> str:
        return self.account.name


@dataclass(frozen=True, slots=True)
class AwaitToken:
    """A secret lacks the tokens with these keys, and there are none to put into it."""

    namespace: str
    name: str
    keys: tuple[str, ...]
    why: str = "no token yet"
    due: float = 0.0


Action = Write | Remove | LeaveAlone | AddPullSecret | AwaitToken


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a secret could hold now, by the keys of credentials.

    `put` are tokens that we have, `keep` those that it holds and we have no newer ones for, and
    `lacking` are neither. `fetches` tells when each has to be fetched. `is_incomplete` is whether
    we have a token that it should hold and does not, `ageing` are tokens in it that we have newer
    ones for, the oldest of each length of life, and `gathered_at` is when to stop waiting for more.
    """

    put: frozenset[str]
    keep: frozenset[str]
    lacking: tuple[str, ...]
    fetches: Mapping[str, float]
    is_incomplete: bool
    ageing: tuple[Token, ...]
    gathered_at: float


class Moment:
    """What all plans of one moment share: the tokens that can be written, and the time.

    `tokens` are by the keys of their credentials; `failed` are the keys for which AWS gave none at
    the last try, so a secret does not wait for them. Thousands of secrets want and hold the same:
    what they could hold is worked out once.
    """

    def __init__(self, tokens: Mapping[str, Token], failed: Collection[str], now: float) -> None:
        self._tokens = tokens
        self.failed = failed
        self.now = now
        self._contents: dict[tuple[str, str], _Contents] = {}

    @property
    def fetches(self) -> dict[str, float]:
        """When each token has to be fetched that the secrets planned at this moment need."""
        earliest: dict[str, float] = {}
        for contents in self._contents.values():
            for key, due in contents.fetches.items():
                earliest[key] = min(due, earliest.get(key, due))
        return earliest

    def contents(self, want: Want, secret: Secret | None) -> _Contents:
        held = "" if secret is None else secret.annotations.get(TOKENS, "")
        found = self._contents.get((want.hash, held))
        if found is None:
            found = self._work_out(want, _parse_tokens(held))
            self._contents[want.hash, held] = found
        return found

    def _work_out(self, want: Want, held: Mapping[str, Token]) -> _Contents:
        fetches: dict[str, float] = {}
        put, keep, lacking = set(), set(), []
        is_incomplete = False
        ageing: dict[int, Token] = {}
        newest = 0
        for key in want.keys:
            old, new = held_token(held, key), self._tokens.get(key)
            fetches[key] = self._fetch_at(key, new or old)
            if new is not None and new.usable(self.now) and not self._is_newer(old, new):
                put.add(key)
                if old is None or old.issued > self.now + _SKEW:
                    is_incomplete = True
                elif new.issued > old.issued:
                    newest = max(newest, new.issued)
                    ageing[old.life] = min(
                        old, ageing.get(old.life, old), key=lambda token: token.issued
                    )
            elif old is not None and self.now < old.issued + old.life:
                keep.add(key)
            else:
                lacking.append(key)
        expiries = [old.issued + old.life for old in ageing.values()]
        return _Contents(
            frozenset(put),
            frozenset(keep),
            tuple(lacking),
            fetches,
            is_incomplete,
            tuple(ageing.values()),
            min([newest + _GATHER, *(expiry - _GATHER for expiry in expiries)]),
        )

    def _fetch_at(self, key: str, token: Token | None) -> float:
        # A token that another leader has put into the secret need not be fetched before it is old.
        if token is not None and token.usable(self.now):
            return token.renew_at(key)
        return self.now

    def _is_newer(self, held: Token | None, ours: Token) -> bool:
        """Whether another replica has put a newer token into the secret than we have."""
        return held is not None and ours.issued < held.issued <= self.now + _SKEW


def plan_namespace(
    namespace: Namespace,
    wants: Mapping[str, Want],
    secrets: Iterable[Secret],
    accounts: Iterable[ServiceAccount],
    moment: Moment,
) -> tuple[Action, ...]:
    """Return the actions for a namespace, due now or later. `moment` knows what to fetch then."""
    if namespace.terminating:
        return ()
    there = {secret.name: secret for secret in secrets}
    actions: list[Action] = []
    for name, want in wants.items():
        secret = there.get(name)
        if secret is not None and secret.terminating:
            continue
        if secret is not None and not secret.managed:
            actions.append(LeaveAlone(namespace.name, name, "ecr-py did not create it"))
            continue
        contents = moment.contents(want, secret)
        if contents.lacking:
            actions.append(AwaitToken(namespace.name, name, contents.lacking))
        due, why = _when(namespace.name, want, secret, contents, moment.now)
        # A token that is on its way is waited for, so that the secret is written once.
        is_on_its_way = why in (MISSING, CHANGED) and not all(
            key in moment.failed for key in contents.lacking
        )
        if why and (contents.put or contents.keep) and not is_on_its_way:
            uid = "" if secret is None else secret.uid
            actions.append(
                Write(namespace.name, name, want, why, due, uid, contents.put, contents.keep)
            )
    actions += [
        Remove(secret, _removal(secret, moment.now))
        for name, secret in there.items()
        if name not in wants and secret.managed and not secret.terminating
    ]
    actions += _pull_secrets(wants, there, accounts)
    return tuple(actions)


def annotations_of(want: Want, held: Mapping[str, Token]) -> dict[str, str]:
    """Return the annotations of a secret that holds tokens with these times, by their keys."""
    identities = dict.fromkeys(entry.identity for entry in want.entries if entry.key in held)
    shown = {
        **_FOR_ARGO_CD,
        GRANTS: ", ".join(want.grants),
        HASH: want.hash,
        IDENTITIES: ", ".join(identities),
        TOKENS: " ".join(
            f"{key[:_KEY_LENGTH]}:{token.issued}:{token.expires}"
            for key, token in sorted(held.items())
        ),
    }
    if held:
        shown[EXPIRES] = _rfc3339(min(token.issued + token.life for token in held.values()))
    return shown


def held_tokens(annotations: Mapping[str, str]) -> Mapping[str, Token]:
    """Return the times of the tokens in a secret, by the beginnings of their keys.

    What cannot be read is left out: such a token counts as missing.
    """
    return _parse_tokens(annotations.get(TOKENS, ""))


# Many secrets hold the same tokens. The owner of a namespace can write others, so few are kept.
@lru_cache(maxsize=256)
def _parse_tokens(text: str) -> Mapping[str, Token]:
    held: dict[str, Token] = {}
    for word in text.split():
        key, _, times = word.partition(":")
        issued, _, expires = times.partition(":")
        if _is_time(issued) and _is_time(expires):
            held[key] = Token(int(issued), int(expires))
    return held


def held_token(held: Mapping[str, Token], key: str) -> Token | None:
    """Return the times of the token with a key in what `held_tokens` returned."""
    return held.get(key[:_KEY_LENGTH])


def first_expiry(annotations: Mapping[str, str]) -> int | None:
    """Return when the first token in a secret expires, in seconds since the epoch; None if none."""
    return _first_expiry(annotations.get(TOKENS, ""))


@lru_cache(maxsize=256)
def _first_expiry(tokens: str) -> int | None:
    held = _parse_tokens(tokens).values()
    return min((token.issued + token.life for token in held), default=None)


def _when(
    namespace: str,
    want: Want,
    secret: Secret | None,
    contents: _Contents,
    now: float,
) -> tuple[float, str]:
    """Return when a secret is to be written, and why; "" if it is not."""
    if secret is None:
        return now, MISSING
    if secret.annotations.get(HASH) != want.hash:
        return now, CHANGED
    if secret.editors:
        return now, EDITED
    if contents.is_incomplete:
        return now, INCOMPLETE
    if contents.ageing:
        due = min(token.replace_at(namespace) for token in contents.ageing)
        return max(due, contents.gathered_at), AGEING
    return now, ""


def _removal(secret: Secret, now: float) -> float:
    held = held_tokens(secret.annotations).values()
    return max((token.issued + token.life for token in held), default=now)


def _pull_secrets(
    wants: Mapping[str, Want], there: Mapping[str, Secret], accounts: Iterable[ServiceAccount]
) -> list[Action]:
    """Return what is missing in service accounts, of secrets that exist."""
    found: list[Action] = []
    for account in accounts:
        names = [
            name
            for name, want in wants.items()
            if name in there
            and there[name].managed
            and name not in account.pull_secrets
            and any(fnmatchcase(account.name, glob) for glob in want.accounts)
        ]
        if names:
            found.append(AddPullSecret(account, (*account.pull_secrets, *names)))
    return found


def _share(name: str) -> float:
    """Return a number from 0 to 1, always the same for a name."""
    return zlib.crc32(name.encode()) / 2**32


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 12


def _rfc3339(when: int) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
