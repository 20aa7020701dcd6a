"""ecr-py daemon: runs the daemon, installs it as a service, and shows what it does."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import click

from docker_credential_ecr_py import __version__
from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.cli.humanize import counted, lasting
from docker_credential_ecr_py.cli.output import (
    Group,
    console,
    json_option,
    report,
    show_json,
    show_table,
)
from docker_credential_ecr_py.cli.registry_state import failures_by_cause, forwarding_line
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.daemon import cleanup, python_for
from docker_credential_ecr_py.daemon.discovery import (
    NOT_RUNNING,
    RESTART,
    START,
    Presence,
    end_daemon,
    find_daemon,
)
from docker_credential_ecr_py.daemon.service import (
    Service,
    check_systemd,
    installed_service,
    service,
)
from docker_credential_ecr_py.daemon.status import ask_status
from docker_credential_ecr_py.environment import as_given
from docker_credential_ecr_py.errors import CannotInstall, EcrPyError
from docker_credential_ecr_py.programs import find_program
from docker_credential_ecr_py.redact import redact
from docker_credential_ecr_py.selection import identity_of

_DAEMON = python_for("docker_credential_ecr_py.daemon")
# Seconds that it may take to start on a busy machine.
_PATIENCE = 30


@click.group(cls=Group)
def daemon() -> None:
    """Keep sessions and tokens fresh in the background.

    With `ecr-py daemon install`, pulls never wait for AWS.

    \b
    ecr-py daemon install    run it now and at each login, by systemd or launchd
    ecr-py daemon start      run it now, without systemd or launchd
    ecr-py daemon status     show what it renews, and what failed
    """


@daemon.command()
def run() -> None:
    """Run in the foreground, until Ctrl-C."""
    _check_system()
    # Not in this process: the modules for help and tables would stay in memory.
    os.execv(_DAEMON[0], _DAEMON)


@daemon.command()
@click.option("--dry-run", is_flag=True, help="Show what would be written; write nothing.")
def install(dry_run: bool) -> None:
    """Install it as a service: it runs now, and at each login."""
    _check_system()
    ours = _service()
    if dry_run:
        for file, text in ours.files.items():
            click.echo(redact(f"# {file}\n{text}"))  # a proxy's password may be in it
        for command in (*ours.to_make_way, *ours.to_start):
            click.echo(f"# then: {' '.join(command)}")
        return
    if ours.manager == "systemd":
        check_systemd()
    ours.write()
    ours.make_way()
    # The service uses the same socket as a daemon that was started by hand.
    end_daemon(os.environ)
    ours.enable()
    for file in ours.files:
        click.echo(f"Wrote {file}")
    click.echo(
        f"The daemon is running, and will start at each login: {_summary(_wait_for_start())}"
    )


@daemon.command()
def uninstall() -> None:
    """Stop it, and remove everything that install and the daemon wrote."""
    removed = cleanup.uninstall(os.environ)
    if removed.failure:
        click.echo(str(removed.failure), err=True)
    for file in removed.files:
        report(f"Removed {file}")
    if not removed.files:
        report("Stopped; it was not installed" if removed.was_running else "It was not installed")


@daemon.command()
def start() -> None:
    """Start it in the background."""
    _check_system()
    if found := find_daemon(os.environ):
        click.echo(f"The daemon is already running: {_summary(_answering(found))}")
        return
    process = None
    if (ours := _installed()) is not None:
        ours.start()
    else:
        nowhere = subprocess.DEVNULL
        process = subprocess.Popen(
            _DAEMON,
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
            cwd="/",
            env=as_given(),
            start_new_session=True,
        )
    click.echo(f"The daemon is running: {_summary(_wait_for_start(process))}")


@daemon.command()
def stop() -> None:
    """Stop it, even if it hangs. If it is installed, the next login starts it again."""
    click.echo("Stopped" if _stop() else NOT_RUNNING.replace("the", "The", 1))


@daemon.command()
@click.pass_context
def restart(context: click.Context) -> None:
    """Stop it, even if it hangs, and start it again: after an upgrade, for one."""
    _check_system()
    _stop()
    context.invoke(start)


def _stop() -> bool:
    """Return whether there was one to stop. Raises EcrPyError if it cannot be stopped."""
    is_stopped, failure = False, None
    if (ours := _installed()) is not None:
        try:
            ours.stop()
            is_stopped = True
        except CannotInstall as error:
            # A daemon that was started by hand may be running.
            failure = error
    is_stopped |= end_daemon(os.environ)
    if failure is not None and not is_stopped:
        raise failure
    return is_stopped


@daemon.command()
@json_option
def status(as_json: bool) -> None:
    """Show what it renews, and what failed. Exit 1 if it is not running or does not answer."""
    found = find_daemon(os.environ, start_limit=_PATIENCE)
    if as_json:
        show_json(_as_json(found))
    elif found is not None and found.status is not None:
        _show(found.status)
    if found is None:
        raise EcrPyError(NOT_RUNNING, hint=START)
    _answering(found)


@daemon.command()
@click.option(
    "--lines",
    "-n",
    default=50,
    show_default=True,
    type=click.IntRange(min=0),
    help="How many lines to show, from the end.",
)
@click.option("--follow", "-f", is_flag=True, help="Follow the log, until Ctrl-C.")
def logs(lines: int, follow: bool) -> None:
    """Show the log of the daemon, its workers and the helper."""
    if sys.platform == "win32":
        raise EcrPyError(NOT_RUNNING)
    file = paths.log_file()
    if file is None or not os.path.isfile(file):
        raise EcrPyError(f"there is no log yet: {file}")
    tail = find_program("tail")
    if tail is None:
        raise EcrPyError(f"cannot show {file}: `tail` is not on the PATH")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # let tail end if its reader does, as usual
    os.execv(tail, ["tail", "-n", str(lines), *["-F"] * follow, "--", str(file)])


def _check_system() -> None:
    """Raise EcrPyError if the daemon cannot run: on Windows, or as root for another user."""
    if sys.platform == "win32":
        raise EcrPyError(NOT_RUNNING)
    if why := paths.why_root_runs_no_daemon(os.environ):
        raise EcrPyError(why, hint="run it as that user")


def _service() -> Service:
    program = find_program(sys.argv[0]) or os.path.abspath(sys.argv[0])
    return service(program, as_given())


def _installed() -> Service | None:
    """Return the installed service, or None."""
    try:
        ours = installed_service(os.environ)
    except EcrPyError:
        return None
    return ours if ours.installed else None


def _answering(found: Presence) -> dict[str, Any]:
    """Return the status of a daemon. Raises EcrPyError if it does not answer."""
    if found.status is None:
        raise EcrPyError(found.problem, hint=RESTART)
    return found.status


def _as_json(found: Presence | None) -> dict[str, Any] | None:
    if found is None:
        return None
    if found.status is None:
        return {"pid": found.pid, "answers": False, "stopped": found.is_stopped}
    return {**found.status, "answers": True}


def _wait_for_start(process: "subprocess.Popen[bytes] | None" = None) -> dict[str, Any]:
    """Wait for its status. Raises EcrPyError if there is none in time, or `process` has ended."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        ended = process is not None and process.poll() is not None
        if found := ask_status(os.environ):
            return found
        if ended:
            break
        time.sleep(0.05)
    raise EcrPyError("the daemon did not start", hint="run `ecr-py daemon logs` to see why")


def _summary(found: dict[str, Any]) -> str:
    other = "" if found["version"] == __version__ else f", version {found['version']}"
    return f"pid {found['pid']}{other}"


def _show(found: dict[str, Any]) -> None:
    from rich.text import Text

    show = console().print
    show(f"Running since {_moment(found['began'])}: {_summary(found)}, store {found['store']}")
    if found["version"] != __version__:
        show(f"ecr-py is {__version__}: run `ecr-py daemon restart`")
    registries = [
        (one["registry"], one.get("profile", ""), _life(one["expires"]))
        for one in found["registries"]
    ]
    if registries:
        show()
        show_table(("REGISTRY", "PROFILE", "TOKEN"), registries)
    for one in found["registries"]:
        if one.get("differs"):
            names = ", ".join(one["differs"])
            text = f"{one['registry']} is renewed by its next pull: {names} differs from this shell"
            show(Text(text, style="yellow"), soft_wrap=True)
    sessions = [
        (
            _session_of(one["profile"]),
            one["profile"],
            _life(one["expires"]),
            "renews automatically" if one["refreshable"] else "log in then",
        )
        for one in found["sessions"]
    ]
    if sessions:
        show()
        show_table(("SESSION", "PROFILE", "ENDS", ""), sessions)
    if line := forwarding_line(Presence(found["pid"], found)):
        show(Text(f"\n{line[0].upper()}{line[1:]}"), soft_wrap=True)
    for words, failures in failures_by_cause(found["failures"]).items():
        last = max(failures, key=lambda failure: failure["tries"])
        of = f"{counted(len(failures), 'job')}, " if len(failures) > 1 else ""
        again = f"{of}tried {counted(last['tries'], 'time')}, again {_moment(last['again'])}"
        show(Text(f"\n{words}\n  {again}", style="red"))


def _session_of(profile: str) -> str:
    """Return the session that a profile leads to, as `ecr-py login` takes it; "-" if unknown."""
    with suppress(EcrPyError):
        aws = App(may_log_in=False).aws_config
        if sso := identity_of(profile, aws).sso:
            return sso.name or sso.start_url
    return "-"


def _life(expires: float | None) -> str:
    if not expires:
        return "none"
    left = expires - time.time()
    return lasting(left) if left > 0 else "ended"


def _moment(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
