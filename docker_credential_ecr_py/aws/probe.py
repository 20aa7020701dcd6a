"""One request to a server, as botocore would send it: certificates, proxy and errors are the same.

Its result says that the server answers, and whether a registry takes a token.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, wait
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from urllib.parse import urlsplit

from botocore.awsrequest import AWSRequest
from botocore.utils import get_environ_proxies

from docker_credential_ecr_py.aws.connection import HttpSession
from docker_credential_ecr_py.aws.connection_errors import CHECK_NETWORK, host_and_port
from docker_credential_ecr_py.aws.session import AnonymousSession, network_error
from docker_credential_ecr_py.deadline import start_call
from docker_credential_ecr_py.errors import EcrPyError, Unreachable

# Seconds for each step of it.
_LIMIT = 5


@dataclass(frozen=True)
class ProbeResult:
    """The response of a server. `date` is its clock, in seconds since the epoch."""

    status: int
    date: float | None


@dataclass(frozen=True)
class Target:
    """A URL, and the profile whose `ca_bundle` is used for it, or ""."""

    url: str
    profile: str = ""


def probe(target: Target, headers: Mapping[str, str] = {}) -> ProbeResult:
    """Send a GET, and take a redirect as the response. Raises as aws.session.network_error."""
    url = target.url
    request = AWSRequest("GET", url, dict(headers), stream_output=True)
    verify = AnonymousSession(target.profile or None).ca_bundle
    try:
        http = HttpSession(verify, get_environ_proxies(url), _LIMIT)
        with closing(http), closing(http.send(request.prepare()).raw) as answer:
            return ProbeResult(answer.status, _date(answer.headers.get("Date", "")))
    except Exception as error:
        raise network_error(error, url) from None


def status_at_registry(host: str, basic: str, profile: str = "") -> int:
    """Return the status with which a registry answers a token: 200 if it takes it.

    `basic` is Credential.basic. Raises as probe.
    """
    target = Target(f"https://{host}/v2/", profile)
    return probe(target, {"Authorization": f"Basic {basic}"}).status


def probe_all(
    targets: Iterable[Target], *, seconds: float
) -> dict[Target, ProbeResult | EcrPyError]:
    """Probe every target at once: the result for each, or why there is none after `seconds`."""
    calls = {target: start_call(partial(probe, target)) for target in targets}
    wait(calls.values(), seconds)
    return {target: _outcome(target.url, call, seconds) for target, call in calls.items()}


def _outcome(url: str, call: Future[ProbeResult], seconds: float) -> ProbeResult | EcrPyError:
    if not call.done():
        return Unreachable(f"{url} gave no answer within {seconds:g} seconds", hint=CHECK_NETWORK)
    try:
        return call.result()
    except EcrPyError as error:
        return error


def proxy_for(url: str) -> str:
    """Return the host and port of the proxy for `url`, or ""."""
    try:
        return host_and_port(get_environ_proxies(url).get(urlsplit(url).scheme, ""))
    except ValueError:  # the URL is not valid
        return ""


def _date(written: str) -> float | None:
    try:
        return parsedate_to_datetime(written).timestamp()
    except (OSError, OverflowError, TypeError, ValueError):
        return None
