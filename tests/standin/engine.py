"""A stand-in for the Docker Engine: what `docker pull`, `push`, `login` and `build` say to it.

It keeps no images. It does what the real one does with the credentials that the client sends
along: it takes them to the registry, and reports what the registry says in the engine's words.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from threading import Thread
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from tests.standin.image import MANIFEST, OCI_MANIFEST, Image, digest
from tests.standin.registry import RegistryFront
from tests.standin.server import Handler, Reply
from tests.standin.server import Request as HttpRequest

API_VERSION = "1.43"


@dataclass(frozen=True)
class Asked:
    """A pull, push or login, with the credentials that came along (empty where none did).

    The `auth` of a build has the credentials of each registry, by its name or URL.
    """

    action: str
    reference: str
    auth: Mapping[str, Any]


class EngineError(Exception):
    """What the registry refused, with the status and words in which the engine passes it on."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Engine:
    """The Engine API on a unix socket, while the context lasts; `asked` keeps what came in.

    Without a front all credentials are good, as long as there are some.
    """

    def __init__(self, front: RegistryFront | None = None) -> None:
        self.front = front
        self.asked: list[Asked] = []

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="engine-")
        self._server = _UnixServer(str(self.socket), _EngineHandler)
        self._server.engine = self
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    @property
    def socket(self) -> Path:
        return Path(self._folder.name, "docker.sock")

    def environment(self) -> dict[str, str]:
        return {"DOCKER_HOST": f"unix://{self.socket}"}

    # What the engine does. Progress is a list of the objects that the client shows.

    def pull(self, name: str, tag: str, auth: Mapping[str, str]) -> list[dict[str, Any]]:
        reference = f"{name}:{tag}"
        self.asked.append(Asked("pull", reference, auth))
        host, _, repository = name.partition("/")
        path = f"/v2/{repository}/manifests/{tag}"
        accept = {"Accept": f"{MANIFEST}, {OCI_MANIFEST}"}
        answer = self._ask(host, "GET", path, auth, headers=accept)
        if answer.status == 404:
            message = f"manifest for {reference} not found: manifest unknown: "
            raise EngineError(404, message + "Requested image not found")
        reason = _refusal(answer)
        if reason.startswith("denied: "):
            message = f"pull access denied for {name}, repository does not exist or may require "
            raise EngineError(404, f"{message}'docker login': {reason}")
        if reason:
            raise EngineError(500, f'Head "https://{host}{path}": {reason}')
        pulled = answer.headers.get("Docker-Content-Digest", digest(b""))
        return [
            {"status": f"Pulling from {repository}", "id": tag},
            {"status": f"Digest: {pulled}"},
            {"status": f"Status: Downloaded newer image for {reference}"},
        ]

    def push(self, name: str, tag: str, auth: Mapping[str, str]) -> list[dict[str, Any]]:
        """Push a tiny image under this name, as if the engine had it."""
        self.asked.append(Asked("push", f"{name}:{tag}", auth))
        host, _, repository = name.partition("/")
        base, image = f"/v2/{repository}", Image()
        for blob in (image.layer, image.config):
            started = _accepted(self._ask(host, "POST", f"{base}/blobs/uploads/", auth))
            upload = urlsplit(started.headers.get("Location", base))
            query = urlencode([*parse_qsl(upload.query), ("digest", digest(blob))])
            binary = {"Content-Type": "application/octet-stream"}
            _accepted(self._ask(host, "PUT", f"{upload.path}?{query}", auth, blob, binary))
        kind = {"Content-Type": MANIFEST}
        _accepted(self._ask(host, "PUT", f"{base}/manifests/{tag}", auth, image.manifest, kind))
        return [
            {"status": "Pushed", "id": digest(image.layer)[7:19], "progressDetail": {}},
            {"status": f"{tag}: digest: {digest(image.manifest)} size: {len(image.manifest)}"},
        ]

    def build(self, context: bytes, tag: str, config: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Pull what the Dockerfile in a context (a tar) builds on, as the legacy builder does.

        `config` has the credentials of each registry, by its name or URL.
        """
        self.asked.append(Asked("build", tag, config))
        by_host = {url.removeprefix("https://").partition("/")[0]: config[url] for url in config}
        with tarfile.open(fileobj=io.BytesIO(context)) as files:
            dockerfile = files.extractfile("Dockerfile")
            lines = dockerfile.read().decode().splitlines() if dockerfile else []
        progress: list[dict[str, Any]] = []
        for line in lines:
            instruction, _, base = line.partition(" ")
            if instruction == "FROM" and base != "scratch":
                name, _, version = base.rpartition(":")
                progress += self.pull(name, version, by_host.get(name.partition("/")[0]) or {})
        return [*progress, {"stream": f"Successfully built {digest(context)[7:19]}\n"}]

    def login(self, auth: Mapping[str, str]) -> None:
        host = auth.get("serveraddress", "")
        self.asked.append(Asked("login", host, auth))
        answer = self._ask(host, "GET", "/v2/", auth)
        if answer.status != 200:
            reason = f"{answer.status} {http.client.responses[answer.status]}"
            url = f"https://{host}/v2/"
            raise EngineError(401, f"login attempt to {url} failed with status: {reason}")

    def _ask(
        self,
        host: str,
        method: str,
        path: str,
        auth: Mapping[str, str],
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask the registry with what credentials there are, by the scheme that it names."""
        sent, basic = {"Host": host, **(headers or {})}, {}
        if auth.get("username"):
            pair = f"{auth['username']}:{auth.get('password', '')}".encode()
            basic = {"Authorization": "Basic " + base64.b64encode(pair).decode()}
        if self.front is None:
            return Reply(200 if basic else 401)
        answer = self._send(method, path, body, sent | basic)
        challenge = answer.headers.get("WWW-Authenticate", "")
        if realm := re.match(r'Bearer realm="\w+://[^/]+(/[^"]*)"', challenge):
            issued = self._send("GET", realm[1], None, {"Host": host, **basic})
            if issued.status != 200:
                return issued
            bearer = {"Authorization": f"Bearer {json.loads(issued.body)['token']}"}
            return self._send(method, path, body, sent | bearer)
        return answer

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Reply:
        assert self.front is not None
        with closing(http.client.HTTPConnection("127.0.0.1", self.front.server.port)) as registry:
            registry.request(method, path, body, headers)
            answer = registry.getresponse()
            return Reply(answer.status, answer.read(), dict(answer.getheaders()))


def _refusal(answer: Reply) -> str:
    """Why the registry refused, as the engine says it; empty where it did not."""
    if answer.status < 400:
        return ""
    if answer.status == 401:
        return "no basic auth credentials"
    try:
        said = str(json.loads(answer.body)["errors"][0]["message"])
    except (ValueError, LookupError, TypeError):
        said = f"unexpected status {answer.status}"
    return f"denied: {said}" if answer.status == 403 else said


def _accepted(answer: Reply) -> Reply:
    if reason := _refusal(answer):
        raise EngineError(500, reason)
    return answer


class _EngineHandler(Handler):
    disable_nagle_algorithm = False  # a unix socket has none

    def answer(self) -> None:
        engine: Engine = self.server.engine  # type: ignore[attr-defined]
        request = self.read_request()
        path = unquote(re.sub(r"^/v\d+\.\d+", "", request.path))
        auth = _decode(request.headers.get("X-Registry-Auth", ""))
        try:
            self._answer(engine, request, path, auth)
        except EngineError as failure:
            self._json({"message": failure.message}, failure.status)

    def _answer(
        self, engine: Engine, request: HttpRequest, path: str, auth: Mapping[str, str]
    ) -> None:
        query = request.query
        pushed = re.fullmatch(r"/images/(.+)/push", path)
        found = re.fullmatch(r"/images/(.+)/json", path)
        if path == "/_ping":
            headers = {"Api-Version": API_VERSION, "Ostype": "linux", "Docker-Experimental": "0"}
            self.reply(Reply(200, b"OK", {**headers, "Content-Type": "text/plain"}))
        elif path == "/version":
            self._json({"Version": "24.0.0", "ApiVersion": API_VERSION, "Os": "linux"})
        elif path == "/info":
            address = "https://index.docker.io/v1/"
            self._json({"ID": "stand-in", "OSType": "linux", "IndexServerAddress": address})
        elif path == "/auth":
            engine.login(request.json())
            self._json({"Status": "Login Succeeded", "IdentityToken": ""})
        elif path == "/images/create":
            name, tag = query["fromImage"], query.get("tag") or "latest"
            self._stream(engine.pull(name, tag, auth))
        elif path == "/build":
            config = _decode(request.headers.get("X-Registry-Config", ""))
            self._stream(engine.build(request.body or self._chunks(), query.get("t", ""), config))
        elif found:
            self._json({"Id": f"sha256:{found[1]}", "RepoTags": [found[1]]})
        elif pushed:
            self._push(engine, pushed[1], query.get("tag") or "latest", auth)
        else:
            self._json({"message": "page not found"}, 404)

    def _chunks(self) -> bytes:
        """Return the body of a request that has no length."""
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _push(self, engine: Engine, name: str, tag: str, auth: Mapping[str, str]) -> None:
        """A push has begun to answer before the registry is asked: failures come in the stream."""
        lines: list[dict[str, Any]] = [{"status": f"The push refers to repository [{name}]"}]
        try:
            lines += engine.push(name, tag, auth)
        except EngineError as failure:
            message = failure.message
            lines.append({"errorDetail": {"message": message}, "error": message})
        self._stream(lines)

    def _json(self, document: object, status: int = 200) -> None:
        self.reply(Reply.json(document, status, {"Api-Version": API_VERSION}))

    def _stream(self, lines: list[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            block = json.dumps(line).encode() + b"\r\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        self.wfile.write(b"0\r\n\r\n")


class _UnixServer(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    engine: Engine


def _decode(header: str) -> dict[str, Any]:
    """The object in `X-Registry-Auth` or `X-Registry-Config`: base64, of either alphabet."""
    try:
        decoded = json.loads(base64.urlsafe_b64decode(header.replace("+", "-").replace("/", "_")))
    except ValueError:
        return {}
    return _in_lower_case(decoded) if isinstance(decoded, dict) else {}


def _in_lower_case(auth: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object as Go reads it: docker-py writes `Username`, docker `username`."""
    return {
        str(name).lower(): _in_lower_case(value) if isinstance(value, dict) else value
        for name, value in auth.items()
    }
