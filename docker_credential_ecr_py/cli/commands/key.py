"""ecr-py key: rotates or removes the sealing key in the keyring."""

import click

from docker_credential_ecr_py.cli.humanize import counted
from docker_credential_ecr_py.cli.output import (
    Group,
    confirm,
    report,
    yes_option,
)
from docker_credential_ecr_py.errors import some
from docker_credential_ecr_py.sealing_key import Counts, Sealed
from docker_credential_ecr_py.store.key_rotation import has_key

_AGAIN = "run `docker login` for it again"


@click.group(cls=Group)
def key() -> None:
    """Rotate or remove the sealing key of store = "keyring" and fallback = "keyring".

    \b
    ecr-py key rotate        seal everything with a new key
    ecr-py key rm            remove the key, and everything sealed with it
    """


@key.command()
def rotate() -> None:
    """Seal everything with a new key, and delete the old one.

    If it is interrupted, everything can still be read, and the next run continues.
    """
    done = Sealed().change_key()
    report(f"Changed the sealing key, and sealed {_listed(done)} with it")
    if done.lost:
        lost = counted(done.lost, "login")
        click.echo(f"ecr-py: {lost} could not be decrypted and did not change: {_AGAIN}", err=True)


@key.command("rm")
@yes_option
def remove(yes: bool) -> None:
    """Remove the key from the keyring, and everything sealed with it.

    Logins for other registries are lost: run `docker login` for them again.
    """
    sealed = Sealed()
    counts = sealed.counts()
    if counts.logins:
        named = some(sealed.logins.server_urls()) or "ones that cannot be decrypted any more"
        lost = counted(counts.logins, "login")
        click.echo(f"ecr-py: {lost} will be lost with the key: {named}", err=True)
    if counts.credentials:
        cached = counted(counts.credentials, "cached credential")
        click.echo(f"ecr-py: {cached} will be fetched from AWS again", err=True)
    if has_key() or counts != Counts(0, 0):
        confirm("Remove the sealing key", yes=yes)
    had_one = sealed.remove_key()
    removed = ["the sealing key"] * had_one
    removed += [_listed(counts)] * bool(counts.logins or counts.credentials)
    missing = "" if had_one else ": there was no sealing key"
    report(f"Removed {', '.join(removed) or 'nothing'}{missing}")


def _listed(counts: Counts) -> str:
    logins, credentials = counted(counts.logins, "login"), counted(counts.credentials, "credential")
    return f"{logins} and {credentials}"
