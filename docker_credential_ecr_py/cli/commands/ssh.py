"""ecr-py ssh: runs ssh, with a tunnel by which pulls on the remote host use the login here."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from docker_credential_ecr_py.cli.output import command
from docker_credential_ecr_py.cli.ssh_tunnel import find_ssh, shared_connection
from docker_credential_ecr_py.daemon.discovery import NOT_RUNNING, START, forwarding_status
from docker_credential_ecr_py.errors import BadInput, EcrPyError
from docker_credential_ecr_py.ssh_command import SshCommand, parse_ssh

# What ssh ends with if the host cannot be reached.
_NOT_CONNECTED = 255


@command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument(
    "arguments",
    metavar="[SSH OPTIONS] HOST [COMMAND]",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
)
def ssh(arguments: tuple[str, ...]) -> None:
    """Run ssh; pulls on the remote host use the login of this machine.

    Takes all arguments of ssh, and exits as ssh does. `ecr-py forward on` says for which
    registries. The remote host needs docker-credential-ecr-py and no AWS configuration.

    \b
    ecr-py ssh build.example.com
    ecr-py ssh -J jump.example.com build.example.com docker pull IMAGE
    """
    asked = _parsed(arguments)
    socket = _forwarded_socket()
    program = find_ssh()
    with (
        _interrupts_left_to_ssh(),
        shared_connection(program, asked, socket) as options,
    ):
        code = _NOT_CONNECTED
        if options is not None:
            code = subprocess.call([program, *options, *arguments])
    raise SystemExit(code if code >= 0 else 128 - code)


def _parsed(arguments: tuple[str, ...]) -> SshCommand:
    """Raises BadInput if ssh would not take them, or if the tunnel would end at once."""
    asked = parse_ssh(arguments)
    if asked is None:
        raise BadInput("ssh connects to no host by these arguments", hint="run `ssh` for its usage")
    for letter, why in (
        ("f", "the tunnel would end at once"),
        ("O", "it controls another connection"),
        ("Q", "it connects to no host"),
        ("G", "it connects to no host"),
    ):
        if asked.has(letter):
            raise BadInput(f"-{letter} cannot be used here: {why}")
    return asked


def _forwarded_socket() -> Path:
    """Return the socket at which the daemon answers other machines. Raises EcrPyError."""
    found = forwarding_status(os.environ)
    if found is None:
        raise EcrPyError(NOT_RUNNING, hint=START)
    if not found["open"]:
        what = found["problem"] or "forwarding is off"
        raise EcrPyError(what, hint="run `ecr-py forward on --all`")
    return Path(found["socket"])


@contextmanager
def _interrupts_left_to_ssh() -> Iterator[None]:
    """Do not end by Ctrl-C: ssh does, and we clean up after it."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
