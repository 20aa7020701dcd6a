"""An HTTPS proxy that takes the real host names of AWS to the stand-ins.

A client with `environment()` speaks TLS to 642976147714.dkr.ecr.eu-west-1.amazonaws.com and finds
a stand-in there, with a certificate of a throw-away authority. Nothing leaves this machine: every
host that is not mapped is answered with 502.
"""

from __future__ import annotations

import ssl
import tempfile
import threading
from base64 import b64encode
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

import trustme

from tests.standin.aws import Aws
from tests.standin.registry import RegistryFront
from tests.standin.server import Handler, Reply, Server

REGISTRY_HOSTS = ("*.dkr.ecr.*", "*.dkr.ecr-fips.*", "*.dkr-ecr*.on.aws", "public.ecr.aws")
AWS_HOSTS = (
    "*.amazonaws.com",
    "*.amazonaws.com.cn",
    "*.amazonaws.eu",
    "*.api.aws",
    "*.awsapps.com",
)


class Proxy:
    """A CONNECT proxy on `url`, while the context lasts.

    `routes` maps patterns of host names to the server that answers for them, the first that fits;
    a test may add its own. `connects` counts the connections for each host. `user` is the
    USER:PASSWORD that it wants.
    """

    def __init__(self, aws: Aws, front: RegistryFront | None = None, *, user: str = "") -> None:
        self.user = user
        self.routes: dict[str, Server] = {}
        if front is not None:
            self.routes |= dict.fromkeys(REGISTRY_HOSTS, front.server)
        self.routes |= dict.fromkeys(AWS_HOSTS, aws.server)
        self.connects: Counter[str] = Counter()
        self.server = _ProxyServer(self)
        self._authority = trustme.CA()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="proxy-")
        self._authority.cert_pem.write_to_path(self.ca_file)
        self.server.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.__exit__(*exception)
        self._folder.cleanup()

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def ca_file(self) -> Path:
        return Path(self._folder.name, "ca.pem")

    def environment(self) -> dict[str, str]:
        """What makes Go programs, botocore, requests and curl use the proxy and trust it."""
        trust = ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        return {
            "HTTPS_PROXY": self.url,
            "https_proxy": self.url,
            "NO_PROXY": "localhost,127.0.0.1",
            "no_proxy": "localhost,127.0.0.1",
            **dict.fromkeys(trust, str(self.ca_file)),
        }

    def server_for(self, host: str) -> Server | None:
        """Who answers for a host; None where nobody does."""
        return next((s for p, s in self.routes.items() if fnmatchcase(host, p)), None)

    def context_for(self, host: str) -> ssl.SSLContext:
        """A TLS context with a certificate for this host."""
        with self._lock:
            if host not in self._contexts:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self._authority.issue_cert(host).configure_cert(context)
                self._contexts[host] = context
            return self._contexts[host]


class _ProxyHandler(Handler):
    def answer(self) -> None:
        proxy: Proxy = self.server.owner.proxy  # type: ignore[attr-defined]
        host, _, port = self.path.lower().rpartition(":")
        proxy.connects[host] += 1
        server = proxy.server_for(host) if port == "443" else None
        self.close_connection = True
        wanted = f"Basic {b64encode(proxy.user.encode()).decode()}"
        if proxy.user and self.headers.get("Proxy-Authorization") != wanted:
            self.reply(Reply(407, b""))
            return
        if server is None:
            self.reply(Reply(502, f"The proxy knows no {self.path}\n".encode()))
            return
        self.send_response(200, "Connection established")
        self.end_headers()
        self.wfile.flush()
        with proxy.context_for(host).wrap_socket(self.connection, server_side=True) as secured:
            server.http.finish_request(secured, self.client_address)


class _ProxyServer(Server):
    handler = _ProxyHandler

    def __init__(self, proxy: Proxy) -> None:
        super().__init__()
        self.proxy = proxy
