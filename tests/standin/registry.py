"""ECR as clients of a registry see it: Debian's docker-registry behind ECR's own authentication.

Each host gets a registry of its own, started when it is first asked for. The front serves plain
HTTP on loopback; `proxy.Proxy` brings TLS connections for the real host names to it.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import http.client
import json
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.standin.aws import Aws, Issued
from tests.standin.server import Handler, Reply, Server

PUBLIC_HOSTS = ("public.ecr.aws", "ecr-public.aws.com")
PRIVATE_HOST = re.compile(r"(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.")
CHUNK = 1 << 16


class MissingProgram(Exception):
    """A program that a stand-in is built on is not installed."""


@dataclass(frozen=True)
class Request:
    """A request that the front answered; `principal` is the ARN of whom it let in."""

    host: str
    method: str
    path: str
    principal: str | None
    status: int


class RefusedError(Exception):
    """A request that ECR does not let through, with its answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class RegistryFront:
    """The registries of all accounts and regions, for as long as the context lasts.

    A principal may use the registry of its own account, and those that `allow` names. Raises
    MissingProgram where docker-registry is not installed.
    """

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.requests: list[Request] = []
        self.server = _FrontServer(self)
        self._allowed: set[tuple[str, str]] = set()
        self._bearers: dict[str, Issued | None] = {}
        self._registries: dict[str, _DockerRegistry] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        if shutil.which("docker-registry") is None:
            raise MissingProgram("docker-registry is not installed")
        self.server.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.__exit__(*exception)
        for registry in self._registries.values():
            registry.clear()
        _idle.extend(self._registries.values())

    @property
    def url(self) -> str:
        return self.server.url

    def allow(self, account: str, principal_account: str) -> None:
        """Let principals of `principal_account` use the registries of `account`, by its policy."""
        self._allowed.add((account, principal_account))

    def registry_of(self, host: str) -> _DockerRegistry:
        """The registry behind `host`, started if it is not running."""
        with self._lock:
            if host not in self._registries:
                self._registries[host] = _idle.pop() if _idle else _DockerRegistry()
            return self._registries[host]

    def admit(
        self, method: str, host: str, path: str, authorization: str, realm: str
    ) -> str | None:
        """The ARN of who may go on (None: anyone may), or raise RefusedError.

        `realm` is the address at which the client found the registry, for a challenge.
        """
        if host in PUBLIC_HOSTS:
            return self._admit_public(method, authorization, realm)
        named = PRIVATE_HOST.match(host)
        if named is None:
            raise RefusedError(_errors(404, "NAME_UNKNOWN", f"No such registry: {host}"))
        account, region = named.groups()
        password = _password(authorization)
        if password is None:
            challenge = f'Basic realm="{realm}/",service="ecr.amazonaws.com"'
            raise RefusedError(Reply(401, b"Not Authorized\n", {"WWW-Authenticate": challenge}))
        issued = self._issued(password)
        if issued.public or issued.region != region:
            raise RefusedError(_INVALID)
        repository = re.match(r"/v2/(.+)/(?:manifests|blobs|tags)/", path)
        if repository and not self._may(issued, account):
            action = "ecr:BatchGetImage"
            message = (
                f"User: {issued.principal_arn} is not authorized to perform: {action} on "
                f"resource: arn:aws:ecr:{region}:{account}:repository/{repository[1]} because no "
                f"resource-based policy allows the {action} action"
            )
            raise RefusedError(_errors(403, "DENIED", message))
        return issued.principal_arn

    def bearer(self, authorization: str) -> Reply:
        """ECR Public's token endpoint: with a password or, as anyone, without."""
        password = _password(authorization)
        issued = self._issued(password) if password is not None else None
        if issued and not issued.public:
            raise RefusedError(_INVALID)
        token = secrets.token_urlsafe(60)
        self._bearers[token] = issued
        return Reply.json({"token": token})

    def _admit_public(self, method: str, authorization: str, realm: str) -> str | None:
        kind, _, token = authorization.partition(" ")
        if kind != "Bearer":
            challenge = f'Bearer realm="{realm}/token/",service="public.ecr.aws",scope="aws"'
            raise RefusedError(Reply(401, b"Not Authorized\n", {"WWW-Authenticate": challenge}))
        if token not in self._bearers:
            raise RefusedError(_INVALID)
        issued = self._bearers[token]
        if issued is None and method not in ("GET", "HEAD"):
            raise RefusedError(_errors(403, "DENIED", "Not Authorized"))
        return issued.principal_arn if issued else None

    def _issued(self, password: str) -> Issued:
        issued = self.aws.issued.get(password)
        if issued is None:
            raise RefusedError(_INVALID)
        if issued.expires <= self.aws.clock():
            message = "Your authorization token has expired. Reauthenticate and try again."
            raise RefusedError(_errors(403, "DENIED", message))
        return issued

    def _may(self, issued: Issued, account: str) -> bool:
        return issued.account == account or (account, issued.account) in self._allowed


def _errors(status: int, code: str, message: str) -> Reply:
    return Reply.json({"errors": [{"code": code, "message": message}]}, status)


_INVALID = _errors(400, "DENIED", "Your Authorization Token is invalid.")


def _password(authorization: str) -> str | None:
    """The password of user AWS in a Basic `Authorization` header; any other user is nobody."""
    kind, _, encoded = authorization.partition(" ")
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return None
    return password if kind.lower() == "basic" and user == "AWS" else None


class _FrontHandler(Handler):
    """Lets a request in or not, and passes it on with its body streamed both ways."""

    def answer(self) -> None:
        front: RegistryFront = self.server.owner.front  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        authorization = self.headers.get("Authorization", "")
        realm = f"{self.scheme}://{self.headers.get('Host', '')}"
        principal, status = None, 0
        try:
            if self.host in PUBLIC_HOSTS and path.startswith("/token"):
                answer = front.bearer(authorization)
                status = answer.status
                self.reply(answer)
                return
            principal = front.admit(self.command, self.host, path, authorization, realm)
            status = self._pass_on(front.registry_of(self.host))
        except RefusedError as refusal:
            status = refusal.reply.status
            for _ in self._body():  # or the client, still sending, would see a reset instead
                pass
            self.reply(refusal.reply)
        finally:
            request = Request(self.host, self.command, path, principal, status)
            front.requests.append(request)

    def _pass_on(self, registry: _DockerRegistry) -> int:
        """Ask docker-registry the same; it writes its links for the host that was asked."""
        chunked = "Transfer-Encoding" in self.headers
        with contextlib.closing(registry.connect()) as connection:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():  # some, as Accept, come more than once
                if name.lower() not in ("authorization", "connection", "expect"):
                    connection.putheader(name, value)
            connection.putheader("X-Forwarded-Proto", self.scheme)
            connection.endheaders(self._body(), encode_chunked=chunked)
            answer = connection.getresponse()
            self._relay(answer)
            return answer.status

    def _relay(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "date"):
                self.send_header(name, value)
        self.end_headers()
        chunked = answer.getheader("Transfer-Encoding") == "chunked"
        while block := answer.read(CHUNK):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        if chunked and self.command != "HEAD":
            self.wfile.write(b"0\r\n\r\n")

    def _body(self) -> Iterator[bytes]:
        """The request's body in blocks, whichever way it is framed."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            yield from self._read(int(self.headers.get("Content-Length") or 0))
            return
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield from self._read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _read(self, size: int) -> Iterator[bytes]:
        while size:
            block = self.rfile.read(min(size, CHUNK))
            if not block:
                raise ConnectionResetError
            size -= len(block)
            yield block


class _FrontServer(Server):
    handler = _FrontHandler

    def __init__(self, front: RegistryFront) -> None:
        super().__init__()
        self.front = front


class _DockerRegistry:
    """A docker-registry process that listens on a unix socket in a folder of its own.

    It runs until this process ends: the next front takes it over, empty.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="registry-"))
        self._socket = str(self._folder / "socket")
        self._storage = self._folder / "storage"
        config = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(self._storage)}},
            "http": {"net": "unix", "addr": self._socket, "secret": secrets.token_hex(16)},
        }
        file = self._folder / "config.yml"
        file.write_text(json.dumps(config))
        self._process = subprocess.Popen(
            ["docker-registry", "serve", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        atexit.register(self.stop)
        self._wait_until_up()

    def connect(self) -> http.client.HTTPConnection:
        return UnixConnection(self._socket)

    def clear(self) -> None:
        """Forget all images: it reads them from the disk each time."""
        shutil.rmtree(self._storage, ignore_errors=True)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._folder)

    def _wait_until_up(self) -> None:
        for _ in range(500):
            with contextlib.suppress(OSError), contextlib.closing(self.connect()) as connection:
                connection.connect()
                return
            time.sleep(0.01)
        raise RuntimeError("docker-registry does not listen")


# Those that no front needs any more.
_idle: list[_DockerRegistry] = []


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)
