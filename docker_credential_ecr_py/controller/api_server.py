"""Requests to a Kubernetes API server, and its errors by what a caller can do about them.

lightkube finds the cluster, trusts it and signs in. The requests are ours: its lists and watches
cannot ask for metadata alone, and its watches wait for ever on a server that is silent.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, Self, TypeVar

import httpx2
import msgspec
import yaml
from lightkube import ConfigError, KubeConfig
from lightkube.config import client_adapter
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import NameValue

from docker_credential_ecr_py.errors import (
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    ObjectGone,
    TooManyRequests,
)
from docker_credential_ecr_py.printable import one_line
from docker_credential_ecr_py.redact import redact

# The server ends a watch after so many seconds, with a bookmark before. One that is silent for
# _SLACK longer is frozen, or the connection is lost.
_WATCH = 40
_SLACK = 10
# What one request may take: to connect, and between two reads.
_CONNECT = 5.0
_READ = 10.0
_LIST_READ = 30.0
_PAGE = 500
_LONGEST_RETRY_AFTER = 300.0
_LONGEST_MESSAGE = 300
# What openssl and the OS put around the words in the text of an error.
_CODES = re.compile(r"\[(?:Errno|WinError|SSL)[^]]*\] | \(_ssl\.c:[0-9]+\)")
_EXEC = "client.authentication.k8s.io"

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
_JSON = "application/json"
_ONE_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_LIST_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_T = TypeVar("_T", bound=msgspec.Struct)


class ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    next_page: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct, Generic[_T]):
    """A page of a list. A list without items has null instead."""

    items: list[_T] | None = None
    metadata: ListMeta = msgspec.field(default_factory=ListMeta)


class WatchEvent(msgspec.Struct):
    """A line of a watch. `object` is JSON: a Status if `type` is ERROR."""

    type: str
    object: msgspec.Raw


class _Cause(msgspec.Struct):
    reason: str = ""


class _Details(msgspec.Struct):
    causes: list[_Cause] = []


class Status(msgspec.Struct):
    """The answer to a request that failed."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: _Details | None = None

    @property
    def causes(self) -> list[str]:
        return [cause.reason for cause in self.details.causes] if self.details else []


class ApiServer:
    """An API server; threads may share it. `namespace` is our own, or the context's.

    Every method raises a ClusterError, of the type that tells what happened.
    """

    def __init__(self, http: httpx2.Client, namespace: str) -> None:
        self._http = http
        self.namespace = namespace

    @classmethod
    def connect(cls) -> Self:
        """Use the pod's service account, or else the kubeconfig. Sends nothing yet.

        Raises ClusterError if there is neither, or if it cannot be used.
        """
        if os.pathsep in os.environ.get("KUBECONFIG", ""):
            raise ClusterError("KUBECONFIG names several files", hint="name one of them")
        try:
            config = KubeConfig.from_env().get()
            if config is None:
                raise ConfigError("it has no current context")
            _support_exec(config)
            timeout = httpx2.Timeout(_READ, connect=_CONNECT)
            http = client_adapter.Client(config, client_adapter.ConnectionParams(timeout=timeout))
        except ConfigError as error:
            raise ClusterError(f"no cluster to talk to: {error}", hint="set KUBECONFIG") from None
        except yaml.YAMLError:
            raise ClusterError("the kubeconfig is not YAML") from None
        except OSError as error:
            what = "the kubeconfig, or a file that it names, cannot be read"
            raise ClusterError(f"{what}: {_words(error)}") from None
        except LookupError as key:
            raise ClusterError(f"the kubeconfig is not complete: {key} is missing") from None
        except (ValueError, TypeError, AttributeError, AssertionError) as error:
            why = f": {_words(error)}" if isinstance(error, msgspec.ValidationError) else ""
            raise ClusterError(f"the kubeconfig is not one of Kubernetes{why}") from None
        return cls(http, config.namespace)

    def get(self, path: str, kind: type[_T]) -> _T:
        return decoded(self.send("GET", path), kind)

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = _JSON,
        metadata_only: bool = False,
        seconds: float = _READ,
    ) -> bytes:
        """Return the body of the answer; only the object's metadata, if so asked.

        `seconds` is the longest time to wait for each part of the answer.
        """
        headers = {"Accept": _ONE_METADATA if metadata_only else _JSON}
        content = None
        if body is not None:
            headers["Content-Type"] = content_type
            content = msgspec.json.encode(body)
        with self._transport_errors():
            answer = self._http.request(
                method,
                path,
                params=params,
                content=content,
                headers=headers,
                timeout=httpx2.Timeout(seconds, connect=min(seconds, _CONNECT)),
            )
        _check(answer)
        return answer.content

    def list(
        self, path: str, kind: type[_T], params: Mapping[str, str], *, metadata_only: bool
    ) -> list[_T]:
        """Return all objects."""
        pages = self.pages(path, kind, params, metadata_only=metadata_only)
        return [item for page in pages for item in page.items or ()]

    def pages(
        self, path: str, kind: type[_T], params: Mapping[str, str], *, metadata_only: bool
    ) -> Iterator[Page[_T]]:
        """Yield a list page by page, so that thousands of objects need not be there at once."""
        asked = {**params, "limit": str(_PAGE)}
        headers = {"Accept": _LIST_METADATA if metadata_only else _JSON}
        timeout = httpx2.Timeout(_LIST_READ, connect=_CONNECT)
        while True:
            with self._transport_errors():
                answer = self._http.get(path, params=asked, headers=headers, timeout=timeout)
            _check(answer)
            page = decoded(answer.content, Page[kind])  # type: ignore[valid-type]
            yield page
            if not page.metadata.next_page:
                return
            asked["continue"] = page.metadata.next_page

    def watch(
        self, path: str, params: Mapping[str, str], version: str, *, metadata_only: bool
    ) -> Iterator[WatchEvent]:
        """Yield what changes after `version`, until the server ends the watch.

        Raises Expired if it no longer has that version, and ClusterUnavailable if it is silent.
        """
        asked = {
            **params,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH),
        }
        headers = {"Accept": _ONE_METADATA if metadata_only else _JSON}
        timeout = httpx2.Timeout(_WATCH + _SLACK, connect=_CONNECT)
        with (
            self._transport_errors(),
            self._http.stream(
                "GET", path, params=asked, headers=headers, timeout=timeout
            ) as answer,
        ):
            if answer.status_code != 200:
                answer.read()
                _check(answer)
            for line in _lines(answer.iter_bytes()):
                event = decoded(line, WatchEvent)
                if event.type == "ERROR":
                    status = decoded(event.object, Status)
                    raise _error(status.code, status, {})
                yield event

    @contextmanager
    def _transport_errors(self) -> Iterator[None]:
        server = f"the API server at {self._http.base_url}"
        try:
            yield
        except httpx2.TimeoutException as late:
            doing = "accept a connection" if isinstance(late, httpx2.ConnectTimeout) else "answer"
            raise ClusterUnavailable(f"{server} did not {doing} in time") from None
        except httpx2.HTTPError as error:
            raise ClusterUnavailable(f"{server} cannot be reached: {_words(error)}") from None
        except (ConfigError, OSError) as error:
            raise ClusterUnavailable(f"no credentials for {server}: {_words(error)}") from None
        except (ValueError, LookupError, TypeError):
            what = f"no credentials for {server}: the kubeconfig's command printed no token"
            raise ClusterUnavailable(what) from None


def _support_exec(config: SingleConfig) -> None:
    """Have lightkube run the command that a kubeconfig names for credentials, of any version.

    It knows those before v1, whose answer is the same as far as it is read.
    """
    command = config.user.exec if config.user else None
    if command is None:
        return
    spec = {
        "kind": "ExecCredential",
        "apiVersion": command.apiVersion,
        "spec": {"interactive": False},
    }
    info = NameValue("KUBERNETES_EXEC_INFO", json.dumps(spec))
    command.env = [info, *(command.env or ())]
    if command.apiVersion == f"{_EXEC}/v1":
        command.apiVersion = f"{_EXEC}/v1beta1"


def _words(error: Exception) -> str:
    """Return an error's text in one line, without codes and without secrets."""
    text = one_line(redact(_CODES.sub("", str(error)))).strip()
    return text[:_LONGEST_MESSAGE] or type(error).__name__


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Split at newlines alone: httpx splits at characters that JSON may hold, such as NEL."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())


def decoded(document: bytes | msgspec.Raw, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(document, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ClusterUnavailable("the API server's answer is not what Kubernetes answers") from None


def _check(answer: httpx2.Response) -> None:
    if answer.is_success:
        return
    try:
        status = msgspec.json.decode(answer.content, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = Status()
    raise _error(answer.status_code, status, answer.headers)


def _error(code: int, status: Status, headers: Mapping[str, str]) -> ClusterError:
    # A webhook may quote the secret; the beginning of a token is not recognised as one.
    what = redact(status.message)[:_LONGEST_MESSAGE] or f"HTTP status {code}"
    text = f"the API server: {what}"
    match code:
        case 404:
            return ObjectGone(text)
        case 403 if "NamespaceTerminating" in status.causes:
            return ObjectGone(text)
        case 401 | 403:
            return Forbidden(text)
        case 409:
            return Conflict(text)
        case 410:
            return Expired(text)
        case 429:
            return TooManyRequests(text, retry_after=_seconds(headers.get("Retry-After", "")))
        case 400 | 413 | 415 | 422:
            return Invalid(text)
    return ClusterUnavailable(text)


def _seconds(retry_after: str) -> float:
    """Return the seconds of a Retry-After; 1 if it is absent or a date."""
    try:
        return min(max(float(int(retry_after)), 1.0), _LONGEST_RETRY_AFTER)
    except ValueError:
        return 1.0
