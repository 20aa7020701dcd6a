"""When an outage is over: another network is there, or somebody was answered at the same place."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outage:
    """Where a job got no answer, and in which network. Without places it may be anywhere."""

    places: frozenset[str]
    network: bytes


@dataclass
class Outages:
    """Knows when each place last answered, in seconds since the epoch."""

    _answered: dict[str, float] = field(default_factory=dict)

    def note_success(self, places: Iterable[str], at: float) -> None:
        for place in places:
            self._answered[place] = max(at, self._answered.get(place, 0.0))

    def is_over(self, outage: Outage, began: float, now: float, network: bytes) -> bool:
        """Whether there is reason to try again since it `began`."""
        if network != outage.network:
            return True
        answers = (self._answered.get(place, 0.0) for place in outage.places or self._answered)
        # Records know whole seconds. What is in the future is from before the clock was set back.
        return any(began < answered + 1 and answered <= now for answered in answers)
