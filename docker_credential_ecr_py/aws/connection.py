"""Opens every HTTPS connection in one way: which certificates are trusted, and through which proxy.

If the user names a file of CA certificates, it alone is trusted. Else those of the operating system
are (its store has a company's CA; SSL_CERT_FILE and SSL_CERT_DIR replace it on Linux), and those
that come with botocore, because a small container has no store.
"""

import ssl
from functools import partialmethod
from typing import Any, cast

import botocore.httpsession
from botocore.endpoint import EndpointCreator
from botocore.exceptions import SSLError
from botocore.httpsession import URLLib3Session


class HttpSession(URLLib3Session):
    """botocore's HTTP session, with `verify=True` for the certificates of the operating system.

    Each has an SSL context of its own, as its base has: handshakes wait for each other in
    truststore's.
    """

    # Any: botocore's stubs say that `verify` is a bool, and lack the private methods.
    def __init__(self, verify: Any = True, *arguments: Any, **options: Any) -> None:
        self._bundle = "" if verify is True else verify
        super().__init__(verify, *arguments, **options)

    def _get_ssl_context(self) -> Any:
        if self._bundle:
            return super()._get_ssl_context()  # type: ignore[misc]
        import truststore

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def _setup_proxy_ssl_context(self, proxy_url: str) -> Any:
        context = super()._setup_proxy_ssl_context(proxy_url)  # type: ignore[misc]
        if context or self._bundle or not proxy_url.startswith("https:"):
            return context
        context = self._get_ssl_context()
        context.load_verify_locations(botocore.httpsession.get_cert_path(True))
        return context

    def send(self, request: Any) -> Any:
        """As its base; an SSLError has the user's file of CA certificates, as `bundle`."""
        try:
            return super().send(request)
        except SSLError as error:
            cast(dict[str, Any], error.kwargs)["bundle"] = self._bundle
            raise


def use_everywhere() -> None:
    """Make botocore use HttpSession: for its clients, and for a container's credentials."""
    botocore.httpsession.URLLib3Session = HttpSession  # type: ignore[misc]
    EndpointCreator.create_endpoint = partialmethod(  # type: ignore[method-assign,assignment]
        EndpointCreator.create_endpoint, http_session_cls=HttpSession
    )
