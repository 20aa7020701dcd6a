"""A registry of somebody's own, with a password: what people log in to beside ECR."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from tests.standin.image import MANIFEST, Image, digest
from tests.standin.server import Handler, Reply, Server

IMAGE, TAG = "app", "1"


@dataclass(frozen=True)
class Asked:
    """A request for anything; `user` is who was let in, or None."""

    path: str
    user: str | None


class _GuardedHandler(Handler):
    def answer(self) -> None:
        request = self.read_request()
        owner: Guarded = self.server.owner  # type: ignore[attr-defined]
        user = owner.who(self.headers.get("Authorization", ""))
        owner.asked.append(Asked(request.path, user))
        if user is None:
            self.reply(Reply(401, b"", {"WWW-Authenticate": 'Basic realm="guarded"'}))
        else:
            self.reply(owner.answer(request.path))


class Guarded(Server):
    """Holds one image. `users` are names and passwords; `asked` is what came in."""

    handler = _GuardedHandler

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.image = Image()

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def let_in(self) -> list[str]:
        return [asked.user for asked in self.asked if asked.user]

    def who(self, authorization: str) -> str | None:
        kind, _, encoded = authorization.partition(" ")
        user, _, password = base64.b64decode(encoded).decode().partition(":")
        return user if kind == "Basic" and self.users.get(user) == password else None

    def answer(self, path: str) -> Reply:
        blobs = {digest(blob): blob for blob in (self.image.config, self.image.layer)}
        if path == "/v2/":
            return Reply.json({})
        if path == f"/v2/{IMAGE}/tags/list":
            return Reply.json({"name": IMAGE, "tags": [TAG]})
        if re.fullmatch(rf"/v2/{IMAGE}/manifests/({TAG}|{digest(self.image.manifest)})", path):
            marked = {
                "Content-Type": MANIFEST,
                "Docker-Content-Digest": digest(self.image.manifest),
            }
            return Reply(200, self.image.manifest, marked)
        if blob := blobs.get(path.rpartition("/")[2]):
            return Reply(200, blob, {"Content-Type": "application/octet-stream"})
        return Reply.json({"errors": [{"code": "NAME_UNKNOWN", "message": path}]}, 404)
