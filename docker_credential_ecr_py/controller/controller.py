"""The controller's one loop: looks at the cluster and the grants, and does what the plan says.

One thread plans and writes. Watches, workers and signals only wake it. Between two writes it looks
at what has changed, so a new namespace does not wait for a rotation of thousands of secrets.
"""

import heapq
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from json import dumps, loads
from queue import Empty, SimpleQueue

from docker_credential_ecr_py.controller.credentials import Credentials
from docker_credential_ecr_py.controller.metrics import Metrics, result_name
from docker_credential_ecr_py.controller.observed import Cluster, Namespace, Secret
from docker_credential_ecr_py.controller.plan import (
    CHANGED,
    EDITED,
    MISSING,
    Action,
    AddPullSecret,
    AwaitToken,
    LeaveAlone,
    Moment,
    Remove,
    Token,
    Want,
    Write,
    annotations_of,
    first_expiry,
    held_token,
    held_tokens,
    plan_namespace,
)
from docker_credential_ecr_py.controller.resolve import LARGEST_SECRET, Source
from docker_credential_ecr_py.errors import (
    ClusterError,
    ClusterUnavailable,
    Forbidden,
    Invalid,
    SecretTooLarge,
    TooManyRequests,
)
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.pause import pause_after

# Seconds. All namespaces are planned again at least so often, whatever the watches said.
_PLAN_ALL = 60.0
# How often the files are looked at. The kubelet brings a changed ConfigMap within a minute.
_LOOK_AT_FILES = 5.0
# Writes a second, if nothing else is said.
PACE = 20.0
# Seconds before a write that failed is tried again: doubled each time.
_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 3600.0
# The pause of all writes if the API server does not answer.
_FIRST_OUTAGE, _LONGEST_OUTAGE = 1.0, 30.0
_EVERYTHING = ""
# The UID of a namespace, the name of an object in it, and its UID or what is done to it.
_Place = tuple[str, str, str]

# The reasons of Events, which people and alerts look for.
LEFT_ALONE, REFUSED = "PullSecretLeftAlone", "PullSecretRefused"
NO_TOKEN = "NoEcrToken"  # noqa: S105 - a reason
_INSTEAD = "delete it and ecr-py creates its own, or name another `secret` in the grant"


class Controller:
    """Keeps the secrets of a cluster as the grants want them, as long as `leads` says so.

    `pace` is how many writes a second there may be, 0 for no limit.
    """

    def __init__(
        self,
        cluster: Cluster,
        source: Source,
        credentials: Credentials,
        leads: Callable[[], bool],
        metrics: Metrics,
        *,
        pace: float = PACE,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._source = source
        self._credentials = credentials
        self._leads = leads
        self._metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._pacer = _Pacer(pace)
        self._pauses: dict[_Place, _Pause] = {}
        self._changed: SimpleQueue[str | None] = SimpleQueue()
        self._queue: list[tuple[float, int, Action]] = []
        self._dirty: set[str] = set()
        self._missing_since: dict[tuple[str, str], float] = {}
        self._order = count()
        self._plans: dict[str, _Planned] = {}
        self._fetches: dict[str, float] = {}
        self._plan_all = True
        self._next_pass = 0.0
        self._next_look = 0.0
        self._was_leading = False
        self._is_state_old = False
        self._stopping = False
        self.last_turn = self._monotonic()

    def wake(self, namespace: str = _EVERYTHING) -> None:
        """Have a namespace planned anew, or all of them. From any thread."""
        self._changed.put(namespace)

    def came(self) -> None:
        """A worker has brought something. From any thread."""
        self._changed.put(None)

    def stop(self) -> None:
        """End `run` after the write under way. From any thread, or a signal handler."""
        self._stopping = True
        self._changed.put(None)

    def run(self) -> None:
        """Look, plan and write until `stop`."""
        while not self._stopping:
            try:
                wait = self.turn()
            except Exception:
                # Better one that goes on with the rest than one that starts again and again.
                log.exception("unexpected")
                wait = 1.0
            if wait > 0:
                with suppress(Empty):
                    self._note_change(self._changed.get(timeout=wait))

    def turn(self) -> float:
        """Do at most one write. Return the seconds until the next turn, if nothing wakes it."""
        self.last_turn = now = self._monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_AT_FILES
            self.look_at_files()
            if self._is_state_old:
                self._show_state()
        while not self._changed.empty():
            self._note_change(self._changed.get())
        if self._credentials.take():
            self._plan_all = True
        if not self._may_write():
            return self._next_look - now
        self._plan(now)
        next_fetch = self._credentials.start_due(self._fetches, self._source.resolved.entries)
        if not self._changed.empty():
            return 0.0
        paced = self._pacer.wait(now)
        if paced == 0 and (action := self._next_due()) is not None:
            self._do(action)
            return 0.0
        today = self._clock()
        times = [self._next_look - now, self._next_pass - now]
        times += [] if next_fetch is None else [next_fetch - today]
        times += [max(paced, self._queue[0][0] - today)] if self._queue else []
        return max(0.001, min(times))

    def look_at_files(self) -> None:
        """Read the grants and the AWS config again if they have changed."""
        if self._source.read_if_changed():
            grants = self._source.resolved.grants
            self._cluster.watch(grants.secret_names, service_accounts=grants.patch_service_accounts)
            self._credentials.retry_now()
            self._pauses.clear()
            self._plans.clear()
            self._plan_all = True
        self._metrics.grants_valid.set(self._source.error is None)

    def _note_change(self, namespace: str | None) -> None:
        if namespace == _EVERYTHING:
            self._plan_all = True
        elif namespace is not None:
            self._dirty.add(namespace)

    def _may_write(self) -> bool:
        leads = self._leads()
        if leads != self._was_leading:
            self._was_leading = leads
            self._plan_all = True
            self._metrics.leader.set(leads)
            if not leads:
                # When this one leads again, the secrets may hold newer tokens than these.
                self._credentials.drop_unused(())
                # What the secrets hold is the next leader's to measure.
                self._plans.clear()
                self._is_state_old = True
        return leads and self._cluster.settled

    # What is to be done

    def _plan(self, now: float) -> None:
        moment = Moment(self._credentials.tokens, self._credentials.failures, self._clock())
        if not self._plan_all and now < self._next_pass:
            self._plan_each(self._dirty, moment)
            self._dirty.clear()
            return
        self._plan_all = False
        self._next_pass = now + _PLAN_ALL
        self._dirty.clear()
        self._fetches, self._queue = {}, []
        names = [namespace.name for namespace in self._cluster.namespaces()]
        for gone in self._plans.keys() - set(names):
            del self._plans[gone]
        self._plan_each(names, moment)
        self._credentials.drop_unused(self._source.resolved.entries)
        self._forget_old_pauses()

    def _plan_each(self, names: Iterable[str], moment: Moment) -> None:
        for name in names:
            self._is_state_old = True
            namespace = self._cluster.namespace(name)
            if namespace is None:
                self._plans.pop(name, None)
            else:
                self._plan_one(namespace, moment)
        for key, due in moment.fetches.items():
            self._fetches[key] = min(due, self._fetches.get(key, due))

    def _plan_one(self, namespace: Namespace, moment: Moment) -> None:
        name = namespace.name
        before = self._plans.get(name)
        if before is not None and before.namespace == namespace:
            wants = before.wants
        else:
            wants = self._source.resolved.wishes.of(namespace)
        actions = plan_namespace(
            namespace,
            {each: want for each, want in wants.items() if self._cluster.knows(each)},
            self._cluster.secrets(name),
            self._cluster.service_accounts(name),
            moment,
        )
        self._plans[name] = _Planned(namespace, wants, actions)
        for action in actions:
            if not isinstance(action, AwaitToken) or self._reason_of(action):
                self._enqueue(action)

    def _enqueue(self, action: Action) -> None:
        """Queue an action: creations first, then by the time at which they are due.

        What is overdue is done in the order in which it is found. The times in its annotations
        can be edited, and no namespace may put itself before the others.
        """
        creates = isinstance(action, Write) and not action.uid
        if creates:
            place = (action.namespace, action.name)
            self._missing_since.setdefault(place, self._monotonic())
        pause = self._pauses.get(self._place(action))
        due = 0.0 if creates else max(action.due, self._clock())
        due = max(due, pause.until if pause else 0.0)
        heapq.heappush(self._queue, (due, next(self._order), action))

    def _next_due(self) -> Action | None:
        """Return an action that is due and still in the plan of its namespace."""
        now = self._clock()
        while self._queue and self._queue[0][0] <= now:
            _, _, action = heapq.heappop(self._queue)
            planned = self._plans.get(action.namespace)
            if planned is not None and any(action is current for current in planned.actions):
                return action
        return None

    def _show_state(self) -> None:
        """Set the metrics that describe the secrets of granted namespaces."""
        self._is_state_old = False
        now = self._clock()
        counts = dict.fromkeys(("current", "due", "waiting", "left_alone", "expired"), 0)
        expiries: list[int] = []
        granted = 0
        for name, planned in self._plans.items():
            granted += bool(planned.wants)
            for secret_name in planned.wants:
                secret = self._cluster.secret(name, secret_name)
                actions = [action for action in planned.actions if action.name == secret_name]
                counts[_state_of(secret, actions, now)] += 1
                if secret is not None and secret.managed:
                    expiries += [expiry for expiry in [first_expiry(secret.annotations)] if expiry]
        for state, number in counts.items():
            self._metrics.secrets.labels(state).set(number)
        self._metrics.namespaces.set(granted)
        self._metrics.set_first_expiry(min(expiries, default=None))

    # Doing it

    def _do(self, action: Action) -> None:
        self._pacer.note_write()
        try:
            kind = self._write(action)
        except ClusterError as error:
            self._note_failure(action, error)
        else:
            self._pacer.note_answer()
            if kind:
                self._metrics.writes.labels("ok").inc()
                log.info("%s %s/%s: %s", kind, action.namespace, action.name, action.why)
            if action.why in (MISSING, CHANGED):
                # If it has to be done again, someone undoes what we do.
                self._pause(action, first_is_free=True)
            elif kind and action.why != EDITED:
                self._pauses.pop(self._place(action), None)
            else:
                # An Event is repeated later; who edits a secret again and again waits longer.
                self._pause(action)
        self._dirty.add(action.namespace)

    def _note_failure(self, action: Action, error: ClusterError) -> None:
        self._metrics.writes.labels(result_name(error)).inc()
        log.warning("%s/%s: %s", action.namespace, action.name, error)
        match error:
            case TooManyRequests():
                self._pacer.hold(self._monotonic(), error.retry_after)
            case ClusterUnavailable():
                self._pacer.hold_longer(self._monotonic())
            case _:
                self._pacer.note_answer()
                self._pause(action)
        if isinstance(error, Invalid | Forbidden):
            self._cluster.event(action.namespace, action.name, REFUSED, error.what)

    def _write(self, action: Action) -> str:
        """Do an action. Returns what it was for the metrics, "" if it only told people something.

        Raises ClusterError.
        """
        match action:
            case Write():
                return self._write_secret(action)
            case Remove(secret):
                self._cluster.delete_secret(secret)
                return "remove"
            case AddPullSecret(account, names):
                self._cluster.set_pull_secrets(account, names)
                return "service account"
            case LeaveAlone():
                what = f"secret {action.name} is left alone: {action.why}; {_INSTEAD}"
                self._cluster.event(action.namespace, action.name, LEFT_ALONE, what)
            case AwaitToken():
                what = self._reason_of(action)
                self._cluster.event(action.namespace, action.name, NO_TOKEN, what)
        return ""

    def _write_secret(self, action: Write) -> str:
        there = self._cluster.secret(action.namespace, action.name)
        old_tokens = held_tokens(there.annotations) if there is not None else {}
        old = {}
        if action.keep:
            old = _auths(self._cluster.read_secret(action.namespace, action.name))
        auths: dict[str, str] = {}
        held: dict[str, Token] = {}
        for entry in action.want.entries:
            credential = self._credentials.get(entry.key) if entry.key in action.put else None
            kept = held_token(old_tokens, entry.key) if entry.key in action.keep else None
            if credential is not None:
                auths[entry.host] = credential.basic
                held[entry.key] = Token(credential.issued, credential.expires)
            elif kept is not None and entry.host in old:
                auths[entry.host] = old[entry.host]
                held[entry.key] = kept
        document = dumps(
            {"auths": {host: {"auth": auth} for host, auth in auths.items()}},
            separators=(",", ":"),
        ).encode()
        if len(document) > LARGEST_SECRET:
            grants = ", ".join(action.want.grants)
            raise SecretTooLarge(
                f"{len(auths)} registries of the grants {grants} take {len(document):,} bytes, "
                "and a secret has 1 MiB at most"
            )
        self._cluster.apply_secret(
            action.namespace,
            action.name,
            document,
            annotations_of(action.want, held),
            uid=action.uid,
        )
        if action.uid:
            return "update"
        began = self._missing_since.pop((action.namespace, action.name), None)
        if began is not None:
            self._metrics.delay.observe(self._monotonic() - began)
        return "create"

    def _reason_of(self, action: AwaitToken) -> str:
        """Return why tokens that a secret waits for are not there; "" if they are being fetched."""
        failures, entries = self._credentials.failures, self._source.resolved.entries
        failed = [key for key in action.keys if key in failures and key in entries]
        return "; ".join(
            f"no token for {entries[key].host}: {failures[key].error.what}" for key in failed[:3]
        )

    def _pause(self, action: Action, *, first_is_free: bool = False) -> None:
        """Do not do an action again for a while, which is longer each time.

        With `first_is_free` there is no pause after the first time.
        """
        now = self._clock()
        before = self._pauses.get(self._place(action))
        is_again = before and now < before.until + _LONGEST_PAUSE
        tries = before.tries + 1 if before and is_again else int(not first_is_free)
        pause = pause_after(tries, _FIRST_PAUSE, _LONGEST_PAUSE) if tries else 0.0
        self._pauses[self._place(action)] = _Pause(tries, now + pause)

    def _place(self, action: Action) -> _Place:
        """Return what a pause is for: another object at the same place has none."""
        namespace = self._cluster.namespace(action.namespace)
        uid = getattr(action, "uid", type(action).__name__)
        return namespace.uid if namespace else "", action.name, uid

    def _forget_old_pauses(self) -> None:
        now = self._clock()
        self._missing_since = {
            place: since
            for place, since in self._missing_since.items()
            if place[0] in self._plans and self._cluster.secret(*place) is None
        }
        self._pauses = {
            place: pause
            for place, pause in self._pauses.items()
            # Not one that ends later than any would: the clock was set back.
            if now - 2 * _LONGEST_PAUSE < pause.until <= now + 2 * _LONGEST_PAUSE
        }


@dataclass(frozen=True, slots=True)
class _Planned:
    """A namespace as it was when it was planned, what it should have, and what is to be done."""

    namespace: Namespace
    wants: Mapping[str, Want]
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class _Pause:
    tries: int
    until: float


class _Pacer:
    """Spreads the writes: at most `pace` a second, of which a second's worth may come at once."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._left = max(1.0, pace)
        self._counted = 0.0
        self._held_until = 0.0
        self._outages = 0

    def wait(self, now: float) -> float:
        """Return the seconds until the next write may be made."""
        if now < self._held_until:
            return self._held_until - now
        if not self._pace:
            return 0.0
        self._left = min(max(1.0, self._pace), self._left + (now - self._counted) * self._pace)
        self._counted = now
        return 0.0 if self._left >= 1 else (1 - self._left) / self._pace

    def note_write(self) -> None:
        self._left -= 1

    def note_answer(self) -> None:
        self._outages = 0

    def hold(self, now: float, seconds: float) -> None:
        """Make no write for so many seconds."""
        self._held_until = now + seconds

    def hold_longer(self, now: float) -> None:
        """Make no write for a while, which is longer each time."""
        self._outages += 1
        self.hold(now, pause_after(self._outages, _FIRST_OUTAGE, _LONGEST_OUTAGE))


def _state_of(secret: Secret | None, actions: list[Action], now: float) -> str:
    """Return the state of a granted secret, as the metrics call it."""
    if any(isinstance(action, LeaveAlone) for action in actions):
        return "left_alone"
    if secret is None:
        return "waiting"
    expiry = first_expiry(secret.annotations)
    if expiry is not None and expiry <= now:
        return "expired"
    is_due = any(isinstance(action, Write) and action.due <= now for action in actions)
    return "due" if is_due else "current"


def _auths(document: bytes | None) -> dict[str, str]:
    """Return the `auth` of each host in a secret's document; {} if it is not one."""
    try:
        found = loads(document or b"{}")["auths"]
        return {host: str(value["auth"]) for host, value in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
