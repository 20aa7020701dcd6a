"""A stand-in for a Kubernetes API server: what the controller asks of one, and every failure.

It keeps objects, answers lists, watches, server-side applies and leases, and can be told to fail,
to freeze and to forget. It checks little: what a real one accepts is known from
`tests/kubernetes`, where there is one.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.standin.server import Handler, Reply, Request, Server

_PATH = re.compile(
    r"/(?:api|apis/[a-z0-9.]+)/v1(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?"
)
_KEY = ".dockerconfigjson"
_Object = dict[str, Any]


class KubernetesApi(Server):
    """The objects of a cluster, by resource, namespace and name."""

    def __init__(self) -> None:
        self.handler = _Handler
        super().__init__()
        self.lock = threading.Condition()
        self.objects: dict[tuple[str, str, str], _Object] = {}
        self.history: list[tuple[int, str, str, _Object]] = []
        self.requests: list[Request] = []
        self.forgotten = 0
        self.frozen = threading.Event()
        self.ends_watches = False  # each at once, without an event
        self._version = itertools.count(1001)
        self.version = 1000
        self._failures: list[tuple[str, Reply]] = []

    def fail(
        self, request: str, status: int, message: str = "", *, times: int = 1, **headers: str
    ) -> None:
        """Answer the next requests with `request` in their "METHOD PATH?QUERY" with a status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.lock:
            self._failures += [(request, failure(status, named, message))] * times

    def failure_for(self, request: str) -> Reply | None:
        with self.lock:
            for number, (part, reply) in enumerate(self._failures):
                if part in request:
                    del self._failures[number]
                    return reply
        return None

    def forget(self) -> None:
        """As etcd when it compacts: watches from before now get 410, and those that run end."""
        with self.lock:
            self.version = next(self._version)
            self.forgotten = self.version
            self.lock.notify_all()

    def lose_events(self) -> None:
        """Forget the events that no watch has seen yet, as if they had never happened."""
        with self.lock:
            self.history = []

    def add_namespace(self, name: str, **labels: str) -> None:
        self.put("namespaces", {"metadata": {"name": name, "labels": labels}})

    def put(self, resource: str, made: _Object) -> _Object:
        """Create or replace an object."""
        meta = made["metadata"]
        place = (resource, meta.get("namespace", ""), meta["name"])
        with self.lock:
            self.version = next(self._version)
            before = self.objects.get(place)
            meta["uid"] = before["metadata"]["uid"] if before else f"uid-{self.version}"
            meta["resourceVersion"] = str(self.version)
            self.objects[place] = made
            kind = "MODIFIED" if before else "ADDED"
            self.history.append((self.version, resource, kind, made))
            self.lock.notify_all()
        return made

    def remove(self, resource: str, namespace: str, name: str) -> None:
        with self.lock:
            self.version = next(self._version)
            gone = self.objects.pop((resource, namespace, name))
            gone = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.version)}}
            self.history.append((self.version, resource, "DELETED", gone))
            self.lock.notify_all()

    def secret(self, namespace: str, name: str) -> _Object | None:
        return self.objects.get(("secrets", namespace, name))


class _Handler(Handler):
    def answer(self) -> None:
        api: KubernetesApi = self.server.owner  # type: ignore[attr-defined]
        request = self.read_request()
        with api.lock:
            api.requests.append(request)
        while api.frozen.is_set() and not api.stopped.is_set():
            time.sleep(0.01)
        if reply := api.failure_for(f"{request.method} {self.path}"):
            self.reply(reply)
            return
        found = _PATH.fullmatch(request.path)
        if found is None:
            self.reply(failure(404))
            return
        resource, namespace = found["resource"], found["namespace"] or ""
        if request.query.get("watch") == "true":
            self._watch(api, request, resource)
        else:
            self.reply(_answer(api, request, resource, namespace, found["name"] or ""))

    def _watch(self, api: KubernetesApi, request: Request, resource: str) -> None:
        seen = int(request.query["resourceVersion"])
        until = time.monotonic() + float(request.query["timeoutSeconds"])
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        while time.monotonic() < until and not (api.stopped.is_set() or api.ends_watches):
            with api.lock:
                if seen < api.forgotten:
                    gone = {"code": 410, "reason": "Expired", "message": "too old resource version"}
                    self._line("ERROR", {"kind": "Status", **gone})
                    break
                news = [one for one in api.history if one[0] > seen and one[1] == resource]
                if not news or api.frozen.is_set():
                    api.lock.wait(0.05)
                    continue
            for version, _, kind, changed in news:
                seen = version
                if _selected(changed, request):
                    self._line(kind, _shown(changed, request))
        else:
            self._line("BOOKMARK", {"metadata": {"resourceVersion": str(seen)}})
        self._chunk(b"")

    def _line(self, kind: str, about: _Object) -> None:
        self._chunk(json.dumps({"type": kind, "object": about}).encode() + b"\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def failure(status: int, headers: dict[str, str] | None = None, message: str = "") -> Reply:
    """A Status, as Kubernetes answers with one."""
    reasons = {404: "NotFound", 409: "Conflict", 410: "Expired", 422: "Invalid"}
    document = {"kind": "Status", "code": status, "reason": reasons.get(status, "Failed")}
    document["message"] = message or f"told to fail with {status}"
    return Reply.json(document, status, headers or {})


def _answer(
    api: KubernetesApi, request: Request, resource: str, namespace: str, name: str
) -> Reply:
    with api.lock:
        there = api.objects.get((resource, namespace, name))
        if request.method == "GET" and not name:
            return _list(api, request, resource, namespace)
        if request.method == "POST":
            made = request.json()
            if (resource, namespace, made["metadata"]["name"]) in api.objects:
                return failure(409)
            return Reply.json(api.put(resource, made), 201)
        if request.method == "PATCH" and "apply-patch" in request.headers["Content-Type"]:
            return _apply(api, request, resource, there)
        if there is None:
            return failure(404)
        if request.method == "DELETE":
            wants = request.json().get("preconditions", {})
            if any(there["metadata"][key] != value for key, value in wants.items()):
                return failure(409)
            api.remove(resource, namespace, name)
            return Reply.json({"kind": "Status", "status": "Success"})
        if request.method in ("PUT", "PATCH"):
            new = {**there, **request.json()}
            version = new["metadata"].get("resourceVersion")
            if version != there["metadata"]["resourceVersion"]:
                return failure(409)
            new["metadata"] = {**there["metadata"], **new["metadata"]}
            return Reply.json(api.put(resource, new))
        return Reply.json(_shown(there, request))


def _list(api: KubernetesApi, request: Request, resource: str, namespace: str) -> Reply:
    items = [
        _shown(one, request)
        for (kind, place, _), one in api.objects.items()
        if kind == resource and namespace in ("", place) and _selected(one, request)
    ]
    start = int(request.query.get("continue", "0"))
    end = start + int(request.query.get("limit", "500"))
    meta = {"resourceVersion": str(api.version)}
    if end < len(items):
        meta["continue"] = str(end)
    return Reply.json({"kind": "List", "metadata": meta, "items": items[start:end] or None})


def _apply(api: KubernetesApi, request: Request, resource: str, there: _Object | None) -> Reply:
    wanted, manager = request.json(), request.query["fieldManager"]
    meta = wanted["metadata"]
    if (resource == "secrets") and ("namespaces", "", meta["namespace"]) not in api.objects:
        return failure(404)
    uid = there["metadata"]["uid"] if there else None
    if meta.get("uid", uid) != uid:
        return failure(409)
    if there is not None:
        if there.get("immutable") or there.get("type") != wanted.get("type"):
            return failure(422)
        managers = {one["manager"] for one in there["metadata"].get("managedFields", [])}
        if manager not in managers and request.query.get("force") != "true":
            return failure(409)
    fields: _Object = {"f:data": {f"f:{key}": {} for key in wanted.get("data", {})}}
    meta["managedFields"] = [{"manager": manager, "operation": "Apply", "fieldsV1": fields}]
    return Reply.json(_shown(api.put(resource, wanted), request), 200 if there else 201)


def _selected(one: _Object, request: Request) -> bool:
    labels = one["metadata"].get("labels", {})
    wanted = [part.split("=") for part in request.query.get("labelSelector", "").split(",") if part]
    if any(labels.get(key) != value for key, value in wanted):
        return False
    fields = {
        "metadata.name": one["metadata"]["name"],
        "source": one.get("source", {}).get("component"),
        "type": one.get("type"),
    }
    wanted = [part.split("=") for part in request.query.get("fieldSelector", "").split(",") if part]
    return all(fields[key] == value for key, value in wanted)


def _shown(one: _Object, request: Request) -> _Object:
    if "as=PartialObjectMetadata" in request.headers["Accept"]:
        return {"kind": "PartialObjectMetadata", "metadata": one["metadata"]}
    return one


@contextmanager
def frozen(api: KubernetesApi) -> Iterator[None]:
    """A time in which the server accepts connections and answers nothing."""
    api.frozen.set()
    try:
        yield
    finally:
        api.frozen.clear()
