"""What a worker runs: one job, with its result on standard output. worker_pool.py starts it.

    {"do": "renew", "host": HOST, "ahead": SECONDS}    a credential, before it ages
    {"do": "refresh", "host": HOST}                    the session behind it
    {"do": "unseal"}                                   the sealed credentials, for the daemon
    {"do": "log in", "host": HOST, "limit": SECONDS}   from a notification: in the browser here
    {"do": "get", "host": HOST, "may_log_in": BOOL}    for another machine: see forwarding.py

The result is {"result": null}, or {"result": ERROR} with an ERROR by EcrPyError.to_dict. It holds
no secret but that of a "get": else a worker puts what it fetches into files, or into the daemon's
memory. A "get" reports {"login": SESSION} before it opens the browser.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.daemon import systemd
from docker_credential_ecr_py.environment import as_given, prepared_for_libraries
from docker_credential_ecr_py.errors import EcrPyError, LoginNeeded
from docker_credential_ecr_py.hardening import forbid_dumps_of_children
from docker_credential_ecr_py.log import log, start_log
from docker_credential_ecr_py.programs import find_program
from docker_credential_ecr_py.sso.login import Login
from docker_credential_ecr_py.sso.prompt import PlainScreen, Prompt
from docker_credential_ecr_py.sso.user import browser_command

_DISPLAY = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY")
# Seconds that systemd's user manager has to answer.
_LIMIT = 10


@prepared_for_libraries()
def main() -> None:
    forbid_dumps_of_children()
    start_log(paths.log_file(), os.environ)
    job = json.loads(sys.argv[1])
    found: dict[str, str] | None = None
    try:
        found = _JOBS[job.pop("do")](**job)
    except EcrPyError as error:
        log.warning("%s", error)
        report({"result": error.to_dict()})
    except Exception as error:
        log.exception("unexpected")
        report({"result": EcrPyError(f"unexpected {type(error).__name__}").to_dict()})
    else:
        report({"result": None, **(found or {})})
    # Else a thread that hangs in a name lookup would keep the interpreter from ending.
    sys.stdout.flush()
    os._exit(0)


def report(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def renew(host: str, ahead: float) -> None:
    App(may_log_in=False).broker.renew(host, ahead=ahead)


def refresh(host: str) -> None:
    app = App(may_log_in=False)
    session = app.select(host).identity.sso
    if session is not None:
        app.sessions().refresh(session)


def unseal() -> None:
    App(may_log_in=False).unseal()


def log_in(host: str, limit: float) -> None:
    app = App(_with_browser())
    session = app.select(host).identity.sso
    browser = app.user.browser
    if browser is None:
        raise LoginNeeded("the daemon cannot open a browser")
    if session is not None:
        app.sessions().log_in(session, Login(PlainScreen(), browser, limit), force=True)


class _ReportingScreen(PlainScreen):
    """Tells the daemon that the user is asked."""

    def ask(self, prompt: Prompt) -> None:
        report({"login": prompt.session})


def get(host: str, may_log_in: bool) -> dict[str, str]:
    """Return the username and the secret."""
    app = App(_with_browser(), may_log_in=may_log_in, screen=_ReportingScreen)
    credential = app.broker.get(host)
    return {"username": credential.username, "secret": credential.secret}


def _with_browser() -> dict[str, str]:
    """Return the environment, with what it takes to open a browser on the user's display."""
    environ = dict(as_given())
    if outside := systemd.browser_outside(environ):
        environ["BROWSER"] = outside
    if browser_command(environ) is None:
        environ.update(_display())
    return environ


def _display() -> dict[str, str]:
    """Return the variables of the user's display, which may be newer than the daemon."""
    systemctl = find_program("systemctl")
    if systemctl is None:
        return {}
    show = (systemctl, "--user", "show-environment")
    try:
        done = subprocess.run(
            show, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    shown = dict(line.partition("=")[::2] for line in os.fsdecode(done.stdout).splitlines())
    return {name: shown[name] for name in _DISPLAY if shown.get(name)}


_JOBS: dict[str, Callable[..., dict[str, str] | None]] = {
    "renew": renew,
    "refresh": refresh,
    "unseal": unseal,
    "log in": log_in,
    "get": get,
}

if __name__ == "__main__":
    main()
