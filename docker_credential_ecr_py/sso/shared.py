"""A login that the daemon holds, so that many terminals share it; without a daemon, one's own."""

import _socket
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.errors import LoginExpired, Unreachable, error_from_dict
from docker_credential_ecr_py.selection import SsoSession
from docker_credential_ecr_py.sso.login import Login
from docker_credential_ecr_py.sso.prompt import Prompt
from docker_credential_ecr_py.sso.sessions import LeftToDaemon
from docker_credential_ecr_py.sso.token_cache import SsoFiles, Token
from docker_credential_ecr_py.sso.web_address import is_web_address
from docker_credential_ecr_py.store import daemon_client, record

# Seconds: how often whoever shows the time that is left looks at the clock; and how long the
# daemon may take to have a worker ask the portal for something to show.
_TICK = 0.1
_PATIENCE = 45


@dataclass(frozen=True)
class SharedLogin:
    """`own` is how this person logs in; its screen and browser serve here too."""

    own: Login
    environ: Mapping[str, str]

    def run(self, session: SsoSession, files: SsoFiles) -> Token:
        """As Login.run."""
        try:
            token = self._by_daemon(session, files)
        except Unreachable:
            token = None  # the daemon may know no way to the network that we know
        except KeyboardInterrupt:
            raise LeftToDaemon from None
        finally:
            self.own.screen.close()
        return token or self.own.run(session, files)

    def _by_daemon(self, session: SsoSession, files: SsoFiles) -> Token | None:
        """None where the daemon is not there, or broke off."""
        environ = paths.as_bytes(self.environ)
        path = record.socket_path(environ)
        wire = path and daemon_client.connect(path, daemon_client.LIMIT)
        if not wire:
            return None
        job = {
            "session": asdict(session),
            "device": self.own.device,
            "browser": self.own.browser is not None,
            "limit": self.own.limit,
        }
        here, order = record.context(environ).hex(), json.dumps(job).encode().hex()
        try:
            wire.sendall(
                b"%b login %b %b\n" % (daemon_client.PROTOCOL, here.encode(), order.encode())
            )
            with ExitStack() as opened:
                for report in _reports(wire, self.own):
                    if prompt := report.get("prompt"):
                        self._show(Prompt(**prompt), opened, opens=report["opens"])
                    elif "result" in report:
                        if error := report["result"]:
                            raise error_from_dict(dict(error))
                        return files.token(session)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass  # a daemon that talks nonsense is none
        finally:
            wire.close()
        return None

    def _show(self, prompt: Prompt, opened: ExitStack, *, opens: bool) -> None:
        """Raises ValueError for an address that is not a web page's."""
        if not is_web_address(prompt.address):
            raise ValueError("not the address of a web page")
        self.own.screen.ask(prompt)
        if opens and self.own.browser is not None:
            opened.enter_context(self.own.browser(prompt.address))


def _reports(wire: _socket.socket, login: Login) -> Iterator[dict[str, Any]]:
    """What the daemon tells, line by line, until it ends or is silent for too long.

    Raises LoginExpired where it was the person who was.
    """
    deadline = time.monotonic() + daemon_client.LIMIT
    told, prompted = b"", False
    wire.settimeout(_TICK)
    while (left := deadline - time.monotonic()) > 0:
        try:
            chunk = wire.recv(65536)
        except TimeoutError:
            if prompted:
                login.screen.waiting(left)
            continue
        if not chunk:
            return
        *lines, told = (told + chunk).split(b"\n")
        for line in lines:
            report = json.loads(line)
            if not isinstance(report, dict):
                raise ValueError("no report")
            if not prompted:
                deadline = time.monotonic() + _PATIENCE
            if prompt := report.get("prompt"):
                prompted = True
                deadline = time.monotonic() + prompt["seconds"]
            yield report
    if prompted:
        raise LoginExpired("nobody allowed the login in time")
