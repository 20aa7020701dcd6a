"""One request to an endpoint, through the proxy in force, within seconds; without botocore."""

import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import HTTPException, InvalidURL
from urllib.parse import urlsplit

from docker_credential_ecr_py.deadline import start_call
from docker_credential_ecr_py.errors import Unreachable
from docker_credential_ecr_py.redact import redact

# Seconds for each step of it.
_LIMIT = 5


@dataclass(frozen=True)
class ProbeResult:
    """The response of a server. `date` is its clock, in seconds since the epoch."""

    status: int
    date: float | None


def probe(url: str, headers: Mapping[str, str] = {}) -> ProbeResult:
    """Send a GET to `url`. Raises Unreachable if there is no response."""
    try:
        request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310 - as configured
        with _opener().open(request, timeout=_LIMIT) as answer:
            return ProbeResult(answer.status, _date(answer.headers.get("Date", "")))
    except urllib.error.HTTPError as error:
        with error:
            return ProbeResult(error.code, _date(error.headers.get("Date", "")))
    except OSError as error:
        cause = str(getattr(error, "reason", None) or error)
    except (ValueError, InvalidURL):
        # Python's message quotes parts of the proxy's address, and so of its password.
        cause = "its address or the proxy's address is not valid"
    except HTTPException:
        cause = "the server does not speak HTTP"
    raise Unreachable(f"{url} cannot be reached: {redact(cause)}")


def probe_all(urls: Iterable[str], *, seconds: float) -> dict[str, ProbeResult | Unreachable]:
    """Probe every URL at once: the result for each, or why there is none after `seconds`."""
    calls = {url: start_call(partial(probe, url)) for url in urls}
    wait(calls.values(), seconds)
    return {url: _outcome(url, call, seconds) for url, call in calls.items()}


def _outcome(url: str, call: Future[ProbeResult], seconds: float) -> ProbeResult | Unreachable:
    if not call.done():
        return Unreachable(f"{url} gave no answer within {seconds:g} seconds")
    try:
        return call.result()
    except Unreachable as error:
        return error


def proxy_for(url: str) -> str:
    """Return the proxy for `url`, without user and password, or ""."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    proxies = urllib.request.getproxies()
    if "https" not in proxies or urllib.request.proxy_bypass(host):
        return ""
    return re.sub(r"^(\w+://)?.*@", r"\1", proxies["https"])


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Take a redirect as the response, so that credentials are not sent elsewhere."""

    def redirect_request(self, *arguments: object) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    bundle = os.environ.get("AWS_CA_BUNDLE") or None
    try:
        context = ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise Unreachable(f"AWS_CA_BUNDLE names {bundle}: {error.strerror}") from None
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect())


def _date(written: str) -> float | None:
    try:
        return parsedate_to_datetime(written).timestamp()
    except (TypeError, ValueError):
        return None
