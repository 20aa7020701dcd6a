"""As much of a Kubernetes API server as kubectl asks before a dry run on the client."""

from __future__ import annotations

from tests.standin.server import Handler, Reply, Server

_SECRETS = {"name": "secrets", "namespaced": True, "kind": "Secret", "verbs": ["create", "get"]}
_DOCUMENTS = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [_SECRETS]},
}


class _Handler(Handler):
    def answer(self) -> None:
        document = _DOCUMENTS.get(self.path.partition("?")[0])
        self.reply(Reply.json(document or {}, 200 if document else 404))


class ApiServer(Server):
    """Says what it has; keeps nothing, and validates nothing."""

    handler = _Handler
