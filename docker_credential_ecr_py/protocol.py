"""Docker's credential-helper protocol over a reader and a writer.

It knows words and exit codes (docker/docker-credential-helpers, credentials/credentials.go). The
answers come from the app, or from the helper that the settings name for other registries.
"""

import json
import os
import re
import select
import sys
from collections.abc import Callable
from typing import BinaryIO

from docker_credential_ecr_py import __version__, other_registries
from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.config import paths, settings
from docker_credential_ecr_py.environment import prepared_for_libraries
from docker_credential_ecr_py.errors import (
    NO_SERVER_URL,
    NO_USERNAME,
    NOT_FOUND,
    BadInput,
    CredentialsNotFound,
    EcrPyError,
    LoginNeeded,
    NoProfile,
    NotEcr,
    ProtocolError,
    Usage,
    WrongPartition,
)
from docker_credential_ecr_py.log import log, start_log
from docker_credential_ecr_py.printable import one_line, printable

NAME = "docker-credential-ecr-py"
STDOUT, STDERR = 1, 2
ACTIONS = ("get", "store", "erase", "list", "version")
LARGEST_INPUT = 1024 * 1024
# What ends the input at a terminal.
_END_KEYS = "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D"
KUBELET_REQUEST = b"CredentialProviderRequest"
KUBELET_PLUGIN = "ecr-credential-provider-py"
# Seconds that wrong arguments wait for the kubelet to write its request.
_MOMENT = 0.5
USAGE = f"Usage: {NAME} <{'|'.join(ACTIONS)}>"
HELP = """{usage}

The Docker credential helper for Amazon ECR. Docker calls it; by hand:

  {name} get REGISTRY     the credential for a registry
  {name} erase REGISTRY   forgets what is cached for it
  {name} list             the registries that can be answered for

Set it in ~/.docker/config.json: {{"credHelpers": {{"REGISTRY": "ecr-py"}}}}
Settings: {settings}
Log:      {log}
"""


@prepared_for_libraries()
def main(arguments: list[str], given: bytes | None) -> int:
    """Serve the call that this process was started for. Return its exit code.

    `given` is the standard input, if it has been read, or None.
    """
    served: Protocol | None = None

    def serve() -> int:
        nonlocal served
        if arguments[:1] == ["renew"] and len(arguments) == 2:
            App(may_log_in=False).broker.renew(arguments[1])
            return 0
        with open(0, "rb", closefd=False) as reader:
            served = Protocol(App(), reader, given)
            try:
                code, answer = served.call(arguments)
            except CredentialsNotFound as error:
                code, answer = 1, encoded(str(error))
        return _end(code, answer, quiet=True)

    return logged(serve, lambda line: _fail(line, served.url if served else ""))


def logged(serve: Callable[[], int], fail: Callable[[str], int]) -> int:
    """Return the exit code of `serve`; or log an error, and return that of `fail` with its line."""
    log_file = paths.log_file()
    start_log(log_file, os.environ)
    try:
        return serve()
    except EcrPyError as error:
        log.warning("%s", error)
        log.debug("where from", exc_info=True)
        return fail(str(error))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        log.exception("unexpected")
        more = f": {log_file} has more" if log_file else ""
        return fail(one_line(f"ecr-py: unexpected {type(error).__name__}{more}"))


def encoded(line: str) -> bytes:
    """Return a line as it is written."""
    # Names from the environment need not be text.
    return f"{line}\n".encode(errors="backslashreplace")


def _fail(line: str, url: str) -> int:
    """Write the line of a failure: to the client and the user. `url` is that of a `get`, or "".

    With the words NOT_FOUND in the answer, docker-py goes on without this registry; without them it
    ends a build, even FROM scratch (docker/credentials/errors.py). Docker's own client takes them
    for "none" only if they are the whole answer, and shows any other. But if a registry that `list`
    named fails, it goes on without all the others too (GetAllCredentials, configfile/file.go). So
    the answer to a URL as `list` writes it is the words alone, and only the user sees why.
    """
    if not url:
        return _end(1, encoded(line))
    if re.fullmatch(r"https://[\w.-]+", url):
        write(STDERR, encoded(line))
        return _end(1, encoded(NOT_FOUND), quiet=True)
    return _end(1, encoded(f"{line} ({NOT_FOUND})"))


def _end(code: int, answer: bytes, *, quiet: bool = False) -> int:
    """Write it to standard output, for docker, and unless quiet to standard error, for the user."""
    shown_twice = os.isatty(STDOUT) and os.isatty(STDERR)
    if not quiet and not shown_twice:
        write(STDERR, answer)
    return code if write(STDOUT, answer) else 1


def write(file: int, text: bytes) -> bool:
    """Write all of `text`. Return False if the reader has gone."""
    try:
        while text:
            text = text[os.write(file, text) :]
    except OSError:
        return False
    return True


class Protocol:
    """The actions of docker's protocol. Each returns the exit code and what goes to stdout.

    It parses and prints; credentials for ECR come from the broker, and those for other registries
    from the fallback. It writes no errors: `main` does.
    """

    def __init__(self, app: App, reader: BinaryIO, given: bytes | None = None) -> None:
        self.url = ""  # of a `get`
        self._app = app
        self._reader = reader
        self._given = given

    def call(self, arguments: list[str]) -> tuple[int, bytes]:
        """Serve one call, by its arguments. Raises EcrPyError."""
        match arguments:
            case ["get"]:
                return self.get(self._url())
            case ["erase"]:
                return self.erase(self._url())
            case ["get", url]:
                return self.get(_text(url))
            case ["erase", url]:
                return self.erase(_text(url))
            case ["store"]:
                return self.store(
                    self._input(f"the JSON document of docker login, then {_END_KEYS}")
                )
            case ["list"]:
                return self.list()
            case ["version" | "--version" | "-v"]:
                return 0, f"{NAME} ({NAME}) {__version__}\n".encode()
            case ["help" | "--help" | "-h"]:
                files = {"settings": paths.settings_file(os.environ), "log": paths.log_file()}
                shown = HELP.format(usage=USAGE, name=NAME, **files)
                return 0, printable(shown, keep="\n").encode()  # a path may have any byte
        if KUBELET_REQUEST in _waiting_input(self._reader):
            raise _for_the_plugin()
        match arguments:
            case [action] if action not in ACTIONS:
                raise Usage(f"{NAME}: unknown action: {' '.join(action.split())[:80]}")
        raise Usage(USAGE)

    def get(self, url: str) -> tuple[int, bytes]:
        self.url = url
        tunnel = self._app.tunnel
        if tunnel.is_set_up:
            may_log_in = self._app.user.may_be_asked
            if document := tunnel.get(url, may_log_in=may_log_in):
                return 0, document
        try:
            credential = self._app.broker.get(url)
        except WrongPartition:
            raise
        except NotEcr:
            return self._elsewhere("get", url.encode())
        except (NoProfile, LoginNeeded) as error:
            if why := tunnel.explanation(error.registry):
                raise why from error
            raise
        answer = {"ServerURL": url, "Username": credential.username, "Secret": credential.secret}
        return 0, other_registries.to_json(answer)

    def store(self, document: bytes) -> tuple[int, bytes]:
        try:
            given = json.loads(document)
            url, username, secret = (
                "" if given.get(key) is None else given[key]
                for key in ("ServerURL", "Username", "Secret")
            )
        except (ValueError, AttributeError, RecursionError):
            raise BadInput("store takes a JSON object on standard input") from None
        if not all(isinstance(value, str) for value in (url, username, secret)):
            # As docker's library does: Go reads no number or object into a string.
            raise BadInput("ServerURL, Username and Secret of store must be strings")
        if not url:
            raise ProtocolError(NO_SERVER_URL)
        if not username:
            raise ProtocolError(NO_USERNAME)
        if self._is_to_be_ignored(url):
            return 0, b""
        try:
            self._app.broker.store_login(url, username, secret)
        except WrongPartition:
            raise
        except NotEcr as error:
            if not self._app.settings.fallback:
                raise BadInput(
                    f"{error.what}, and no fallback helper is set",
                    hint=f'set fallback = "keyring", or another helper, under [defaults] in '
                    f"{paths.settings_file(os.environ)}",
                ) from None
            return self._elsewhere("store", document)
        return 0, b""

    def erase(self, url: str) -> tuple[int, bytes]:
        if self._is_to_be_ignored(url):
            return 0, b""
        try:
            self._app.broker.forget(url)
        except WrongPartition:
            raise
        except NotEcr:
            if self._app.settings.fallback:
                return self._elsewhere("erase", url.encode())
        return 0, b""

    def list(self) -> tuple[int, bytes]:
        others: dict[str, str] = {}
        if self._app.settings.fallback:
            others = other_registries.parse_list(*self._elsewhere("list", b""))
        return 0, other_registries.to_json(others | self._app.usernames())

    def _is_to_be_ignored(self, url: str) -> bool:
        """Whether to ignore a store or erase, as awslabs' helper does; for ECR's hosts alone."""
        if os.environ.get("AWS_ECR_IGNORE_CREDS_STORAGE") != "true":
            return False
        try:
            self._app.settings.request_for(url)
        except NotEcr:
            return False
        return True

    def _elsewhere(self, action: str, given: bytes) -> tuple[int, bytes]:
        """Return the fallback's answer. Raises CredentialsNotFound if none is set."""
        match self._app.settings.fallback:
            case "":
                raise CredentialsNotFound
            case settings.KEYRING:
                return self._app.logins.call(action, given)
            case helper:
                return other_registries.call_helper(helper, action, given)

    def _url(self) -> str:
        given = self._input("the registry, then Enter", until_newline=True).strip()
        if not given:
            raise ProtocolError(NO_SERVER_URL)
        if KUBELET_REQUEST in given:
            raise _for_the_plugin()
        try:
            return given.decode()
        except UnicodeDecodeError:
            raise BadInput("the server URL is not UTF-8 text") from None

    def _input(self, what: str, *, until_newline: bool = False) -> bytes:
        """Return all of standard input; at a terminal, say first what to type."""
        if self._given is not None:
            return self._given
        if self._reader.isatty():
            write(STDERR, f"{NAME}: type {what}\n".encode())
            if until_newline:
                return self._reader.readline(LARGEST_INPUT)
        given = self._reader.read(LARGEST_INPUT + 1)
        if len(given) > LARGEST_INPUT:
            raise BadInput(f"more than {LARGEST_INPUT} bytes on standard input")
        return given


def _waiting_input(reader: BinaryIO) -> bytes:
    """Return the start of standard input if it is there in a moment; b"" if not."""
    try:
        if not reader.isatty() and select.select([reader], [], [], _MOMENT)[0]:
            return os.read(reader.fileno(), LARGEST_INPUT)
    except (OSError, ValueError):  # Windows knows this of sockets alone
        pass
    return b""


def _for_the_plugin() -> BadInput:
    return BadInput(
        f"this is a request of the kubelet's, which {NAME} does not understand",
        hint=f"the kubelet's plugin is {KUBELET_PLUGIN}; run `ecr-py kubelet config`",
    )


def _text(argument: str) -> str:
    """Return an argument. Raises BadInput if it is not UTF-8."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise BadInput("the server URL is not UTF-8 text") from None
    return argument
