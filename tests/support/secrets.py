"""The secrets of a test, and the search for them in what a program leaves behind."""

from collections.abc import Iterator

from tests.standin.aws import Aws

PIECE = 32  # so much of a secret is as bad as all of it


class Secrets:
    """All secrets that the stand-in has handed out, and `more`; `within` finds pieces of them."""

    def __init__(self, aws: Aws, *more: str) -> None:
        issued = [*aws.issued, *aws.access_tokens, *aws.refresh_tokens, aws.container_token]
        keys = [key.secret for key in aws.keys.values()]
        sessions = [key.session_token for key in aws.keys.values() if key.session_token]
        clients = [client.secret for client in aws.registrations.values()]
        self.known = [*issued, *keys, *sessions, *clients, *more]

    def within(self, text: bytes) -> list[str]:
        shown = text.decode(errors="replace")
        return [secret for secret in self.known if any(p in shown for p in self._pieces(secret))]

    def _pieces(self, secret: str) -> Iterator[str]:
        for start in range(0, max(1, len(secret) - PIECE + 1), 8):
            yield secret[start : start + PIECE]
