"""Credential: a username, a password, and when it is fresh, ageing or spent."""

from base64 import b64encode
from dataclasses import dataclass, field

# The one username that ECR accepts.
USERNAME = "AWS"
LONGEST_LIFE = 12 * 3600
SPENT_BEFORE_END = 5 * 60


@dataclass(frozen=True)
class Credential:
    """What docker sends to a registry. Times are whole seconds since the epoch, UTC.

    Fresh before `renew_at`, ageing until `spent_at`, then spent.
    """

    username: str
    secret: str = field(repr=False)
    issued: int
    renew_at: int
    spent_at: int
    expires: int

    @property
    def basic(self) -> str:
        """Username and secret as HTTP takes them: what ECR calls the authorization token."""
        return basic_auth(self.username, self.secret)

    @classmethod
    def from_aws(cls, username: str, secret: str, *, now: float, expires: float) -> "Credential":
        """Return a credential that AWS has just issued.

        It is fresh for half its life, since registries are known to refuse tokens before they
        expire (kubernetes issue 69141). Its life is at most twelve hours, so a local clock that
        is late does not prolong it.
        """
        issued = int(now)
        life = min(int(expires) - issued, LONGEST_LIFE)
        spent_at = issued + max(0, life - SPENT_BEFORE_END)
        renew_at = min(issued + life // 2, spent_at)
        return cls(username, secret, issued, renew_at, spent_at, int(expires))

    @classmethod
    def from_login(cls, username: str, secret: str, *, now: float, expires: int) -> "Credential":
        """Return a credential of `docker login`. It cannot be renewed, so it does not age."""
        expires = min(expires, int(now) + LONGEST_LIFE)
        return cls(username, secret, int(now), expires, expires, expires)

    def usable(self, now: float) -> bool:
        """Whether it is neither spent nor issued in the future (the clock was set back)."""
        return self.issued <= now < self.spent_at

    def valid(self, now: float) -> bool:
        """Whether registries still take it, even if it is spent. Not if issued in the future."""
        return self.issued <= now < min(self.expires, self.issued + LONGEST_LIFE)

    def ageing(self, now: float) -> bool:
        return now >= self.renew_at


def basic_auth(username: str, secret: str) -> str:
    return b64encode(f"{username}:{secret}".encode()).decode()
