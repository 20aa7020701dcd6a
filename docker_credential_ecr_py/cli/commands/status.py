"""ecr-py status: shows tokens and sessions. Works offline, except with --check."""

import os
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.cli.completions import REGISTRIES
from docker_credential_ecr_py.cli.humanize import lasting, utc
from docker_credential_ecr_py.cli.output import (
    FAILED,
    LOGIN_NEEDED,
    command,
    console,
    counting,
    json_option,
    show_folded,
    show_json,
    show_table,
)
from docker_credential_ecr_py.cli.registry_state import (
    ALIVE,
    ENDED,
    Files,
    Row,
    all_registries,
    causes,
    choices,
    daemon_line,
    forwarding_line,
    not_asked,
    read_files,
    rows_of,
)
from docker_credential_ecr_py.cli.targets import TargetOptions, no_registry, resolve_target
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.credential import LONGEST_LIFE
from docker_credential_ecr_py.daemon.discovery import find_daemon
from docker_credential_ecr_py.deadline import call_parallel
from docker_credential_ecr_py.errors import (
    CredentialsNotFound,
    EcrPyError,
    LoginNeeded,
    some,
)
from docker_credential_ecr_py.printable import printable
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.shell import quote
from docker_credential_ecr_py.store.store import NoStore
from docker_credential_ecr_py.store.writable import advice, nearest_folder, problem_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_BAR = 6
_GAP = 2


@command()
@click.argument("names", nargs=-1, metavar="[REGISTRY]...", shell_complete=REGISTRIES)
@click.option("--check", is_flag=True, help="Ask AWS and the registries whether a pull would work.")
@json_option
def status(names: tuple[str, ...], check: bool, as_json: bool) -> None:
    """Show tokens and sessions, and how long they last.

    Works offline: reads local files only.

    \b
    ecr-py status                 every registry of the AWS config, the settings and docker's
    ecr-py status dev             the registry of profile dev
    ecr-py status --check         check that a pull would work, without logging in
    ecr-py status --json | jq -r '.registries[] | select(.needsLogin).profile'
    """
    app = App(may_log_in=False)
    files = read_files(app)
    if error := files.failures.get("settings"):
        raise error  # they name the store and the registries
    registries = _named(app, names) if names else all_registries(app, files)
    rows = rows_of(app, files, registries)
    if check:
        with counting("registries") as counter:
            rows = call_parallel(checked, rows, counter)
    now = time.time()
    if as_json:
        running = find_daemon(os.environ)
        show_json(
            {
                "registries": [_as_json(row, now) for row in rows],
                "store": _store(app),
                "daemon": daemon_line(running) or None,
                "forward": forwarding_line(running) or None,
                "tunnel": app.tunnel.state() or None,
            }
        )
    else:
        _show(rows, files, app, now)
    for error in files.failures.values():
        click.echo(str(error), err=True)
    if files.failures:
        raise SystemExit(FAILED)
    if check and any(row.wrong for row in rows):
        only_logins = all(row.needs_login for row in rows if row.wrong)
        raise SystemExit(LOGIN_NEEDED if only_logins else FAILED)


def _named(app: App, names: Iterable[str]) -> dict[str, Registry]:
    """Return the registries that the user names, by host. Raises BadInput."""
    targets = [resolve_target(app, TargetOptions(name)) for name in names]
    return {target.host: target.registry for target in targets}


def checked(row: Row) -> Row:
    """Return the row after a check: get a credential, and try it at the registry."""
    from docker_credential_ecr_py.aws.probe import status_at_registry

    try:
        credential = App(may_log_in=False).broker.get(row.host)
        if not row.registry.public:
            profile = row.selection.profile if row.selection else ""
            answer = status_at_registry(row.host, credential.basic, profile)
            if answer != 200:
                raise EcrPyError(
                    f"the registry rejected its token (status {answer})",
                    hint=f"run `docker-credential-ecr-py erase {row.host}`, and try again",
                    registry=row.host,
                )
    except CredentialsNotFound:
        return row
    except EcrPyError as error:
        error.add_context(registry=row.host)
        return replace(row, wrong=error)
    return replace(row, kept=credential)


# Output for users


def _show(rows: list[Row], files: Files, app: App, now: float) -> None:
    screen = console()
    if not rows:
        if tunnel := app.tunnel.state():
            click.echo(f"tunnel  {tunnel}")
        elif not files.failures:
            missing = no_registry(files.aws)
            click.echo(f"no registry: {missing.what}: {missing.hint}")
        return
    cells = [_cells(row, now, screen) for row in rows]
    columns = _fitting(screen.width, cells)
    show_table(columns, [[row[column] for column in columns] for row in cells], gap=_GAP)
    click.echo()
    for line in _notes(rows, files, app):
        show_folded(printable(line), indent=8)


# From the widest to the narrowest; the first that fits the screen is shown.
_LAYOUTS = (
    ("REGISTRY", "ACCOUNT", "REGION", "PROFILE", "CHOSEN BY", "TOKEN", "SESSION"),
    ("REGISTRY", "PROFILE", "CHOSEN BY", "TOKEN", "SESSION"),
    ("REGISTRY", "PROFILE", "TOKEN", "SESSION"),
    ("ACCOUNT", "REGION", "PROFILE", "TOKEN", "SESSION"),
)


def _fitting(width: int, cells: list[dict[str, "Text"]]) -> tuple[str, ...]:
    """Return the columns of the widest table that fits, or else of the narrowest."""
    for layout in _LAYOUTS:
        widths = [max(len(column), *(len(row[column]) for row in cells)) for column in layout]
        if sum(widths) + _GAP * (len(widths) - 1) <= width:
            break
    return layout


def _cells(row: Row, now: float, screen: "Console") -> dict[str, "Text"]:
    from rich.text import Text

    selection = row.selection
    return {
        "REGISTRY": Text(row.host),
        "ACCOUNT": Text(row.registry.account or "public"),
        "REGION": Text(row.registry.region),
        "PROFILE": Text((selection.profile if selection else "") or "-"),
        "CHOSEN BY": Text(selection.rule if selection else "none", "red" if row.wrong else ""),
        "TOKEN": _token(row, now, ascii_only=screen.options.ascii_only),
        "SESSION": _session_text(row, now),
    }


def _token(row: Row, now: float, *, ascii_only: bool) -> "Text":
    from rich.text import Text

    full, empty = ("#", ".") if ascii_only else ("█", "░")
    kept = row.kept
    left = kept.expires - now if kept else 0
    filled = min(_BAR, max(0, round(_BAR * left / LONGEST_LIFE)))
    bar = full * filled + empty * (_BAR - filled)
    if kept is None:
        return Text(f"{bar} none", "dim")
    return Text(f"{bar} {lasting(left)}", "yellow" if kept.ageing(now) else "green")


def _session_text(row: Row, now: float) -> "Text":
    from rich.text import Text

    if row.needs_login:
        return Text("log in", "bold red")
    session = row.session
    if session is None:
        return Text("-")
    if session.state == ALIVE:
        left = lasting(session.expires - now)
        return Text(f"{left}, renews" if session.renews else left, "green")
    return Text(session.state, "yellow" if session.state == ENDED else "")


def _notes(rows: list[Row], files: Files, app: App) -> Iterable[str]:
    """Yield the lines below the table: the store, the daemon, docker, and what to do."""
    store = _store(app)
    place = f" in {store['path']}" if store["path"] else ""
    problem = store["problem"] or paths.why_root_keeps_nothing()
    yield f"store   {store['kind']}{place}" + (f": {problem}" if problem else "")
    running = find_daemon(os.environ)
    yield f"daemon  {daemon_line(running) or 'none'}"
    if line := forwarding_line(running):
        yield f"forward {line}"
    if tunnel := app.tunnel.state():
        yield f"tunnel  {tunnel}"
    if "docker" not in files.failures:
        yield from _docker_notes(rows, files, app)
    for line in choices((row.registry, row.selection) for row in rows if row.selection):
        yield f"choice  {line}"
    logins: dict[str, str] = {}
    for row in rows:
        if row.needs_login and row.session:
            sso = row.session.sso
            logins.setdefault(sso.token_file, quote(sso.login_name))
    if logins:
        yield f"log in  run `ecr-py login {' '.join(logins.values())}`"
    # Sessions of `aws login`, which the AWS CLI keeps.
    others = [row.wrong for row in rows if isinstance(row.wrong, LoginNeeded) and not row.session]
    for hint in dict.fromkeys(error.hint for error in others):
        yield f"log in  {hint}"
    for error, concerned in causes(row for row in rows if not row.needs_login):
        if error not in files.failures.values():
            error.registry = some([row.host for row in concerned])
            yield str(error)


def _docker_notes(rows: list[Row], files: Files, app: App) -> Iterable[str]:
    configured = sum(row.in_docker for row in rows)
    commands = ", ".join(f"`{one.command}`" for one in not_asked(files, rows))
    hint = f": run {commands}" if commands else ""
    yield f"docker  uses ecr-py for {configured} of {len(rows)} registries{hint}"
    for host in files.docker.ours:
        if not app.settings.is_ecr(host):
            yield f"        and for {host}, which is not an ECR registry"


# Output for programs


def _as_json(row: Row, now: float) -> dict[str, Any]:
    selection, kept, session = row.selection, row.kept, row.session
    return {
        "registry": row.host,
        "account": row.registry.account or None,
        "region": row.registry.region,
        "profile": (selection and selection.profile) or None,
        "chosenBy": selection and selection.rule,
        "otherProfiles": list(selection.others) if selection else [],
        "token": kept
        and {
            "expiresAt": utc(kept.expires),
            "state": "ageing" if kept.ageing(now) else "fresh",
        },
        "session": session
        and {
            "name": session.sso.name or None,
            "startUrl": session.sso.start_url,
            "state": session.state,
            "expiresAt": utc(session.expires) if session.expires else None,
            "renews": session.renews,
        },
        "needsLogin": row.needs_login,
        "docker": row.in_docker,
        "error": str(row.wrong) if row.wrong else None,
    }


def _store(app: App) -> dict[str, str | None]:
    if isinstance(app.store, NoStore):
        return {"kind": "none", "path": None, "problem": None}
    kind, folder = app.settings.store, paths.cache_folder()
    if kind == "memory" or folder is None:
        return {"kind": kind, "path": None, "problem": None}
    there = nearest_folder(folder)
    error = problem_of(there)
    problem = ": ".join(filter(None, advice(error, there))) if error else None
    return {"kind": kind, "path": str(folder), "problem": problem}
