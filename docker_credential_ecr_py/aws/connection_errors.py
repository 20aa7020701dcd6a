"""Says why a connection failed, in the words of users, and what to do about it.

The texts of botocore and urllib3 are not used: they show Python objects, and parts of a proxy's
address, which may hold a password.
"""

import os
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, RemoteDisconnected
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment

from urllib3.exceptions import ConnectTimeoutError

from docker_credential_ecr_py import shell

# The address of a proxy: a URL with nothing after the host, or host and port.
_PROXY = re.compile(
    r"(?:https?://)?(?:[\w.~!$&'()*+,;=:%-]*@)?(?:[\w.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?/?",
    re.ASCII | re.IGNORECASE,
)
_A_BUNDLE = shell.export("AWS_CA_BUNDLE", "FILE")
CHECK_NETWORK = "check your network or VPN, then run `ecr-py doctor`"
_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})")
# The codes of OpenSSL (x509_vfy.h), then of Windows (winerror.h: CERT_E_UNTRUSTEDROOT and
# CERT_E_CHAINING, CERT_E_EXPIRED): the issuer of a certificate is not known; its dates.
_UNKNOWN_ISSUER = (2, 18, 19, 20, 21, 0x800B0109, 0x800B010A)
_DATES = (9, 10, 0x800B0101)


@dataclass(frozen=True)
class Cause:
    """Why a connection failed, for the end of a sentence; `hint` as in EcrPyError."""

    words: str
    hint: str = CHECK_NETWORK


def cause_of(error: BaseException, url: str, bundle: str = "") -> Cause:
    """Return why a connection to `url` failed.

    `bundle` is the file of CA certificates that the user names, or "".
    """
    chain = list(_chain(error))
    # From the first one on: botocore and urllib3 raise another for it.
    for one in reversed(chain):
        match one:
            case ssl.SSLCertVerificationError():
                return _of_certificate(one, bundle)
            case ssl.SSLError():
                return _of_tls(one)
            case ValueError() if type(one).__name__ == "CertificateError":  # urllib3's
                return Cause("its certificate is for another host")
            case socket.gaierror():
                words = "gave no answer for" if one.errno == socket.EAI_AGAIN else "does not know"
                return Cause(f"DNS {words} its name")
            case ConnectionRefusedError():
                return Cause("connection refused", _hint_for(url))
            case RemoteDisconnected() | ConnectionResetError() | BrokenPipeError():
                return Cause("the connection was reset")
            case TimeoutError() if any(isinstance(other, ConnectTimeoutError) for other in chain):
                return Cause("no connection in time")
            case TimeoutError():
                return Cause("no answer in time")
            case HTTPException() if url.startswith("https:") and getproxies_environment():
                words = "the server or the proxy does not speak HTTP"
                return Cause(words, _other_proxy("correct"))
            case HTTPException():
                return Cause("the server does not speak HTTP", _hint_for(url))
            case OSError() if one.errno is not None:
                return Cause(os.strerror(one.errno).lower())
    return Cause(type(chain[-1]).__name__)


def proxy_cause(error: BaseException, proxy: str) -> Cause:
    """Return why a connection failed at the proxy."""
    name = f"the proxy {host_and_port(proxy)}"
    for one in _chain(error):
        if status := _TUNNEL.search(str(one)):
            return _of_answer(int(status[1]), name, proxy)
    cause = cause_of(error, proxy)
    hint = _other_proxy("correct") if cause.hint == CHECK_NETWORK else cause.hint
    return Cause(f"{name} cannot be reached ({cause.words})", hint)


def proxy_problem() -> Cause | None:
    """Return what is wrong with the address of a proxy that the environment names, or None.

    A bad address is split in the wrong places, so that an error may quote a password.
    """
    proxies = getproxies_environment()
    used = [proxies[scheme] for scheme in ("http", "https") if scheme in proxies]
    if any(address.lower().startswith("socks") for address in used):
        return Cause("botocore cannot use a SOCKS proxy", _other_proxy("name an HTTP proxy in"))
    if all(_PROXY.fullmatch(address) for address in used):
        return None
    hint = _other_proxy("in a password, write %2F for /, %23 for # and %40 for @: correct")
    return Cause("the address of the proxy has invalid characters", hint)


def bundle_problem(bundle: str) -> Cause | None:
    """Return why a file of CA certificates that the user names is of no use, or None."""
    if not bundle:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(bundle)
    except FileNotFoundError:
        why = "does not exist"
    except ssl.SSLError:
        why = "holds no certificates"
    except OSError as error:
        why = f"cannot be read ({(error.strerror or 'no reason').lower()})"
    else:
        return None
    return Cause(f"{_named(bundle)}, which {why}", _other_bundle(bundle))


def host_and_port(proxy: str) -> str:
    """Return the host and port of a proxy, without user and password."""
    return _split(proxy if "://" in proxy else f"//{proxy}").netloc.rpartition("@")[2]


def origin(url: str) -> str:
    """Return scheme, host and port of a URL: the rest names a user's role, or holds a password."""
    parts = _split(url)
    return f"{parts.scheme}://{host_and_port(url)}" if parts.scheme else ""


def _of_answer(status: int, name: str, proxy: str) -> Cause:
    if status != 407:
        hint = _other_proxy("ask its administrator to allow AWS, or correct")
        return Cause(f"{name} refuses the connection (status {status})", hint)
    refused = "rejects the user and password" if "@" in proxy else "wants a user and password"
    address = f"http://USER:PASSWORD@{host_and_port(proxy)}"
    hint = f"run `{shell.export(_proxy_variables()[0], address)}`"
    return Cause(f"{name} {refused} (status 407)", hint)


def _other_proxy(do: str) -> str:
    names = _proxy_variables()
    return f"{do} {names[0]}, or run `{shell.unset(*names)}`"


def _proxy_variables() -> list[str]:
    """Return the variables that name the proxy: the first is the one that is used."""
    found = sorted((name for name in os.environ if name.lower() == "https_proxy"), reverse=True)
    return [name for name in found if os.environ[name]] or ["HTTPS_PROXY"]


def _of_certificate(error: ssl.SSLCertVerificationError, bundle: str) -> Cause:
    reason = error.verify_message.rstrip(".")
    if error.verify_code in _DATES:
        return Cause(f"its certificate is not valid now ({reason})", "check the clock with `date`")
    if error.verify_code not in _UNKNOWN_ISSUER:
        return Cause(f"its certificate is not valid ({reason})")
    if bundle:
        words = f"its certificate is not trusted ({reason}): {_named(bundle)}, which lacks its CA"
        return Cause(words, _other_bundle(bundle))
    return Cause(
        f"its certificate is not trusted ({reason})",
        f"add its CA to this machine's certificates, or run `{_A_BUNDLE}`",
    )


def _of_tls(error: ssl.SSLError) -> Cause:
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Cause("the connection was closed in the TLS handshake")
    if error.reason == "WRONG_VERSION_NUMBER":
        return Cause("the server does not speak TLS")
    return Cause(f"TLS failed ({(error.reason or 'no reason').lower().replace('_', ' ')})")


def _hint_for(url: str) -> str:
    """Return the hint for a server that is not AWS: as a rule the user has named it."""
    for name, value in os.environ.items():
        if name.startswith("AWS_ENDPOINT_URL") and value and url.startswith(value):
            return f"correct {name}, or run `{shell.unset(name)}`"
    return CHECK_NETWORK


def _named(bundle: str) -> str:
    return f"{_setting_of(bundle)} names {bundle}"


def _other_bundle(bundle: str) -> str:
    name = _setting_of(bundle)
    instead = _A_BUNDLE if name == "ca_bundle" else shell.unset(name)
    return f"correct {name}, or run `{instead}`"


def _setting_of(bundle: str) -> str:
    variables = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
    same = (name for name in variables if os.path.expanduser(os.environ.get(name, "")) == bundle)
    return next(same, "ca_bundle")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised for, the outermost first."""
    seen: list[BaseException] = []
    ahead: list[object] = [error]
    while ahead:
        one = ahead.pop(0)
        if not isinstance(one, BaseException) or any(one is other for other in seen):
            continue
        seen.append(one)
        yield one
        kwargs = getattr(one, "kwargs", None)
        ahead += [kwargs.get("error")] if isinstance(kwargs, dict) else []
        ahead += [one.__cause__, one.__context__, *one.args]
