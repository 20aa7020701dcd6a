"""Decides when an outage is over: the network changed, or the same service has answered a call."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outage:
    """The services that did not answer a job, and its network. No places: they are unknown."""

    places: frozenset[str]
    network: bytes


@dataclass
class Outages:
    """The time at which each service last answered, in seconds since the epoch."""

    _answered: dict[str, float] = field(default_factory=dict)

    def note_success(self, places: Iterable[str], at: float) -> None:
        for place in places:
            self._answered[place] = max(at, self._answered.get(place, 0.0))

    def is_over(self, outage: Outage, began: float, now: float, network: bytes) -> bool:
        """Whether there has been a reason to try again since it `began`."""
        if network != outage.network:
            return True
        answers = (self._answered.get(place, 0.0) for place in outage.places or self._answered)
        # Times in records are whole seconds. One in the future is from before the clock was set.
        return any(began < answered + 1 and answered <= now for answered in answers)
