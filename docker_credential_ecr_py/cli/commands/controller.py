"""ecr-py controller: keeps pull secrets of a Kubernetes cluster current, and explains itself."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from docker_credential_ecr_py.cli.humanize import counted, lasting, utc
from docker_credential_ecr_py.cli.installation import with_extra
from docker_credential_ecr_py.cli.output import (
    FAILED,
    Group,
    json_option,
    show_json,
    show_table,
)
from docker_credential_ecr_py.daemon import python_for
from docker_credential_ecr_py.environment import as_given
from docker_credential_ecr_py.errors import BadInput, CannotRun, EcrPyError

if TYPE_CHECKING:
    from docker_credential_ecr_py.controller.plan import Action
    from docker_credential_ecr_py.controller.resolve import Resolved
    from docker_credential_ecr_py.controller.status import Status

_GRANTS = "/etc/ecr-py/grants.yaml"
_LEASE = "ecr-py-controller"
_EXTRA = ("httpx2", "lightkube", "msgspec", "prometheus_client", "yaml")

grants_option = click.option(
    "--grants",
    default=_GRANTS,
    show_default=True,
    metavar="FILE",
    help="Which namespaces get secrets for which registries.",
)


def _name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Refuse what is not a name in Kubernetes: it becomes a part of a path."""
    if value and not re.fullmatch(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", value):
        raise BadInput(f"{parameter.opts[0]}: {value!a} is not a name in Kubernetes")
    return value


lease_option = click.option(
    "--lease",
    default=_LEASE,
    show_default=True,
    metavar="NAME",
    callback=_name,
    help="The lease by which replicas choose one that writes.",
)


@click.group(cls=Group)
def controller() -> None:
    """Keep image pull secrets in a Kubernetes cluster.

    docs/kubernetes.md describes the installation and the grants file.

    \b
    ecr-py controller check grants.yaml          check a grants file, offline
    ecr-py controller plan --grants grants.yaml  show what would change in the cluster
    ecr-py controller status                     show who leads, and the state of the secrets
    """


@controller.command()
@grants_option
@lease_option
@click.option(
    "--listen",
    default=":8080",
    show_default=True,
    metavar="ADDRESS",
    help="Where /metrics, /healthz and /readyz are served.",
)
@click.option(
    "--pace",
    default=20.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="How many secrets may be written in a second; 0 for no limit.",
)
@click.option(
    "--log",
    "log_format",
    default="text",
    show_default=True,
    type=click.Choice(["text", "json"]),
    help="The form of the log, which goes to standard error.",
)
def run(grants: str, lease: str, listen: str, pace: float, log_format: str) -> None:
    """Run in the foreground, until SIGTERM: what a pod runs."""
    if not math.isfinite(pace):
        raise BadInput(f"--pace: {pace} is not a number of writes; 0 is no limit")
    with _extra():
        import docker_credential_ecr_py.controller.cluster  # noqa: F401 - is the extra there?
    options = {
        "grants": os.path.abspath(grants),
        "lease": lease,
        "listen": listen,
        "pace": pace,
        "log_json": log_format == "json",
    }
    command = [*python_for("docker_credential_ecr_py.controller"), json.dumps(options)]
    # Not in this process: the modules for help and tables would stay in memory.
    os.execve(command[0], command, as_given())


@controller.command()
@click.argument("file", default=_GRANTS, metavar="[FILE]")
@json_option
def check(file: str, as_json: bool) -> None:
    """Check a grants file, and show what it grants. Works offline.

    Registries and identities are those of the AWS config here, by the rules that `ecr-py explain`
    shows. Exit 1 if there is a mistake.
    """
    with _extra():
        from docker_credential_ecr_py.controller.grants import check_grants
        from docker_credential_ecr_py.controller.resolve import resolve
    grants, mistakes = check_grants(Path(file))
    resolved = resolve(grants, as_given())
    problems = [*mistakes, *resolved.problems]
    if as_json:
        show_json(
            {"problems": [problem.what for problem in problems], "grants": _as_rows(resolved)}
        )
    else:
        rows = [
            (row["grant"], row["secret"], row["registry"], row["identity"])
            for row in _as_rows(resolved)
        ]
        if rows:
            show_table(("GRANT", "SECRET", "REGISTRY", "IDENTITY"), rows)
        elif not problems:
            click.echo(f"ecr-py: {file} grants nothing", err=True)
        for problem in problems:
            click.echo(str(problem), err=True)
    if problems:
        raise SystemExit(FAILED)


@controller.command()
@grants_option
@json_option
def plan(grants: str, as_json: bool) -> None:
    """Show what the controller would change in the cluster now. Changes nothing.

    The cluster is that of the kubeconfig, or of the pod. AWS is not called.
    """
    with _extra():
        from docker_credential_ecr_py.controller.api_server import ApiServer
        from docker_credential_ecr_py.controller.grants import load_grants
        from docker_credential_ecr_py.controller.preview import preview
        from docker_credential_ecr_py.controller.resolve import resolve
    resolved = resolve(load_grants(Path(grants)), as_given())
    now = time.time()
    actions = preview(ApiServer.connect(), resolved, now)
    due = [action for action in actions if action.due <= now]
    if as_json:
        show_json(
            [
                {
                    "namespace": action.namespace,
                    "name": action.name,
                    "action": _verb(action),
                    "why": action.why,
                    "due": utc(max(action.due, now)),
                }
                for action in actions
            ]
        )
        return
    if due:
        rows = [(action.namespace, action.name, _verb(action), action.why) for action in due]
        show_table(("NAMESPACE", "NAME", "ACTION", "WHY"), rows)
    else:
        click.echo("Nothing to do")
    later = [action.due for action in actions if action.due > now]
    if later:
        what = counted(len(later), "more action")
        click.echo(f"{what} later, the next one in {lasting(min(later) - now)}")


@controller.command()
@lease_option
@click.option(
    "--namespace",
    "-n",
    default="",
    metavar="NAME",
    callback=_name,
    help="The namespace of the controller, if it is not that of the kubeconfig's context.",
)
@json_option
def status(lease: str, namespace: str, as_json: bool) -> None:
    """Show which replica leads, and the state of the secrets.

    Exit 1 if none leads, or a token in a secret has expired.
    """
    with _extra():
        from docker_credential_ecr_py.controller.api_server import ApiServer
        from docker_credential_ecr_py.controller.status import read_status
    api = ApiServer.connect()
    namespace = namespace or api.namespace
    found = read_status(api, lease, namespace)
    if as_json:
        show_json(found.as_json())
    else:
        _show_status(found)
    if problem := found.problem(time.time()):
        where = f"namespace {namespace} has no lease {lease}"
        why = f"{where}: no replica has started, or --lease and -n name another controller"
        raise EcrPyError(problem, hint="" if found.renewed else why)


@contextmanager
def _extra() -> Iterator[None]:
    """Say what to install if the libraries for Kubernetes are missing."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise CannotRun(
            f"the module {error.name} is not installed",
            hint=with_extra("kubernetes"),
        ) from None


def _as_rows(resolved: Resolved) -> list[dict[str, str]]:
    return [
        {
            "grant": grant.name,
            "secret": grant.secret,
            "registry": entry.host,
            "identity": entry.identity,
        }
        for grant, entries in resolved.granted
        for entry in entries
    ]


def _verb(action: Action) -> str:
    from docker_credential_ecr_py.controller import plan

    match action:
        case plan.Write(uid=""):
            return "create"
        case plan.Write():
            return "update"
        case plan.Remove():
            return "remove"
        case plan.AddPullSecret():
            return "patch service account"
        case plan.LeaveAlone():
            return "leave alone"
    return "wait"


def _show_status(found: Status) -> None:
    now = time.time()
    if found.holder:
        ago = max(0, round(now - found.renewed))
        click.echo(f"Leader: {found.holder}, which renewed its lease {ago} seconds ago")
    else:
        click.echo("Leader: none")
    namespaces = len({secret.namespace for secret in found.secrets})
    counts = f"{counted(len(found.secrets), 'secret')} in {counted(namespaces, 'namespace')}"
    first = found.first_expiry
    if first is None:
        click.echo(counts)
    else:
        ends = f"in {lasting(first - now)}" if first > now else f"{lasting(now - first)} ago"
        click.echo(f"{counts}; the first token expires {ends}")
    if found.warnings:
        click.echo()
        show_table(("NAMESPACE", "SECRET", "REASON", "MESSAGE"), found.warnings)
