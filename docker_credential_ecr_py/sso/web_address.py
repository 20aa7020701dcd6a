"""Which addresses may be shown to the user and opened in the browser.

An address comes from the portal, and a browser opens more than web pages: files, scripts, and
programs that have registered for other schemes.
"""

import re
from urllib.parse import urlsplit

# Without a user name before the host, and without blanks or control characters anywhere.
_WEB = re.compile(
    r"(?P<scheme>https?)://(?P<place>(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*)(?::[0-9]{1,5})?)"
    r"(?:[/?#][\x21-\x7e]*)?"
)
_LOOPBACK = ("127.0.0.1", "localhost")


def may_be_opened(address: object, endpoint: str = "") -> bool:
    """Whether an address is an https:// URL with a host.

    http:// may be opened on the loopback interface alone, and only if `endpoint`, the URL of the
    portal's API, is there too, at the same port: an endpoint override, as for a test.
    """
    match = _WEB.fullmatch(address) if isinstance(address, str) else None
    if match is None:
        return False
    return match["scheme"] == "https" or (
        match["host"] in _LOOPBACK and f"http://{match['place']}" == _origin(endpoint)
    )


def is_web_address(address: str) -> bool:
    """Whether an address is a URL of a web page: https://, or http:// on loopback."""
    match = _WEB.fullmatch(address)
    return match is not None and (match["scheme"] == "https" or match["host"] in _LOOPBACK)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
