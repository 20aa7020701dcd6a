"""Gets a credential from the machine that a tunnel leads to, and says why there is none.

A tunnel is a socket at which the daemon of another machine answers: docs/remote.md. What comes
through it is passed on, and never stored.
"""

import os
import stat
from collections.abc import Callable, Mapping

from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.errors import CredentialsNotFound, EcrPyError, RefusedByTunnel
from docker_credential_ecr_py.folder import user_name
from docker_credential_ecr_py.redact import redact
from docker_credential_ecr_py.store import record, tunnel_client

_LONGEST_ERROR = 500
_ANY = b"public.ecr.aws"
# What to do about a tunnel that is gone.
HINT = "connect again with `ecr-py ssh`, or run `ecr-py forward status` on the forwarding machine"


class Tunnel:
    """The tunnel that an environment leads to. `path` is its socket; there may be none.

    `tell` shows a line to the user of this machine.
    """

    def __init__(self, environ: Mapping[str, str], tell: Callable[[str], None]) -> None:
        self._environ = paths.as_bytes(environ)
        self._named = "ECR_PY_FORWARD" in environ
        path = record.tunnel_path(self._environ)
        self.path = os.fsdecode(path) if path else ""
        self._tell = tell
        self._is_refused = False

    @property
    def is_set_up(self) -> bool:
        """Whether there is a socket, or a variable that says where one should be."""
        return bool(self.path) and (self._named or os.path.lexists(self.path))

    def get(self, server_url: str, *, may_log_in: bool) -> bytes:
        """Return docker's JSON document, or b"" if this machine has to find a credential itself.

        Raises CredentialsNotFound, and RefusedByTunnel if the other machine cannot get one.
        """
        url = server_url.encode()
        if not self.is_set_up or tunnel_client.is_gone or record.plain_host(url) is None:
            return b""
        answer = tunnel_client.get(
            os.fsencode(self.path),
            url,
            self._environ,
            may_log_in=may_log_in,
            tell=lambda: self._tell("waiting for a login on the forwarding machine"),
        )
        if answer == tunnel_client.NO_CREDENTIALS:
            raise CredentialsNotFound
        if answer.startswith(tunnel_client.ERROR):
            said = answer.removeprefix(tunnel_client.ERROR).decode(errors="replace")
            raise RefusedByTunnel(f"the forwarding machine: {redact(said)[:_LONGEST_ERROR]}")
        self._is_refused = answer == tunnel_client.NOT_FORWARDED
        tunnel_client.is_gone = not answer
        return b"" if self._is_refused else answer

    def explanation(self, host: str) -> EcrPyError | None:
        """Return why the tunnel did not answer for a registry; None if it was not the tunnel."""
        if self._is_refused:
            return EcrPyError(
                f"the forwarding machine does not forward {host}, or has no profile for it",
                hint=f"run `ecr-py forward on --registry {host}` there",
            )
        if self.is_set_up and tunnel_client.is_gone:
            return EcrPyError(f"the tunnel is gone: {self.problem}", hint=HINT)
        return None

    def is_alive(self) -> bool:
        """Ask whether the other end answers."""
        tunnel_client.is_gone = False
        return self.is_set_up and bool(
            tunnel_client.hit(os.fsencode(self.path), _ANY, self._environ)
        )

    def state(self) -> str:
        """Return what there is to show: "" without a tunnel, else whether it can be used."""
        if not self.is_set_up:
            return ""
        if self.is_alive():
            return f"another machine answers at {self.path}"
        return f"{self.problem}: {HINT}"

    @property
    def problem(self) -> str:
        """Return why a tunnel that is not alive cannot be used."""
        return self._why_not_trusted() or f"nothing answers at {self.path}"

    def _why_not_trusted(self) -> str:
        """Return what is wrong with the owner or the mode of the socket or its folder, or ""."""
        folder = os.path.dirname(self.path)
        try:
            found = [(path, os.stat(path)) for path in (folder, self.path)]
        except OSError as error:
            return f"{self.path}: {error.strerror}"
        for path, status in found:
            if not tunnel_client.is_trusted(status.st_uid, self._environ):
                owner = f"user {status.st_uid} ({user_name(status.st_uid)})"
                return f"{path} belongs to {owner}, which ECR_PY_FORWARD_UID does not name"
        if found[0][1].st_mode & 0o022:
            return f"{folder} can be written by other users"
        return "" if stat.S_ISSOCK(found[1][1].st_mode) else f"{self.path} is not a socket"
