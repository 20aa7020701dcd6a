"""ecr-py repo: lists, creates and removes the repositories of a registry."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from docker_credential_ecr_py.cli.completions import REGISTRIES, REPOSITORIES
from docker_credential_ecr_py.cli.humanize import ago, counted
from docker_credential_ecr_py.cli.output import (
    Group,
    confirm,
    counting,
    json_option,
    report,
    show_json,
    show_table,
    yes_option,
)
from docker_credential_ecr_py.cli.target_options import target_options
from docker_credential_ecr_py.cli.targets import (
    TargetOptions,
    open_registry,
    registry_and_repository,
)
from docker_credential_ecr_py.errors import AlreadyThere, EcrPyError
from docker_credential_ecr_py.reference import Reference

if TYPE_CHECKING:
    from docker_credential_ecr_py.aws.repositories import Image, Repositories, Repository


@click.group(cls=Group)
def repo() -> None:
    """List, create and remove repositories.

    \b
    ecr-py repo ls                        of the only registry
    ecr-py repo ls dev                    of the registry of profile dev
    ecr-py repo create kalle --if-missing
    ecr-py repo rm kalle --registry dev

    A repository may be written as in docker, HOST/NAME: HOST is its registry.
    """


@repo.command("ls")
@click.argument("name", default="", metavar="[REGISTRY]", shell_complete=REGISTRIES)
@target_options
@json_option
def list_repositories(name: str, options: TargetOptions, as_json: bool) -> None:
    """List the repositories of a registry.

    \b
    ecr-py repo ls                        of the only registry
    ecr-py repo ls dev                    of the registry of profile dev
    ecr-py repo ls 642976147714.dkr.ecr.eu-west-1.amazonaws.com
    ecr-py repo ls dev --json | jq -r '.[].name'
    """
    host, repository = registry_and_repository(name)
    there = open_registry([host], options)
    if repository:
        found = there.named([repository])
    else:
        with counting("repositories") as counter:
            found = there.all(counter)
    if as_json:
        show_json([_as_json(repository) for repository in found])
    elif found:
        _show(found)
    else:
        click.echo(f"ecr-py: {there.host} has no repositories", err=True)


@repo.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--if-missing", is_flag=True, help="Succeed if the repository already exists.")
@click.option("--scan", is_flag=True, help="Scan each image when it is pushed.")
@click.option("--immutable", is_flag=True, help="Do not allow a tag to be pushed again.")
@target_options
@json_option
def create(
    names: tuple[str, ...],
    if_missing: bool,
    scan: bool,
    immutable: bool,
    options: TargetOptions,
    as_json: bool,
) -> None:
    """Create repositories, and print their names in docker.

    \b
    ecr-py repo create kalle
    ecr-py repo create kalle --if-missing     before a push, in a script
    ecr-py repo create team/web team/worker --scan --immutable --registry dev
    """
    references = [Reference.parse(name).without_image() for name in names]
    hosts = [reference.host for reference in references]
    there = open_registry(hosts, options)
    made: list[Repository] = []
    try:
        for reference in references:
            name = reference.repository
            try:
                made.append(there.create(name, immutable=immutable, scan_on_push=scan))
            except AlreadyThere:
                if not if_missing:
                    raise
                made += there.named([name])
                _say_what_differs(made[-1], scan=scan, immutable=immutable)
            if not as_json:
                report(made[-1].uri)
    finally:
        # Also those that were created before one failed.
        if as_json and made:
            show_json([_as_json(repository) for repository in made])


@repo.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=REPOSITORIES)
@click.option("--force", is_flag=True, help="Remove the images in it too.")
@yes_option
@target_options
def rm(names: tuple[str, ...], force: bool, yes: bool, options: TargetOptions) -> None:
    """Remove repositories. Shows what would go, and asks.

    \b
    ecr-py repo rm kalle
    ecr-py repo rm kalle --force --yes        images and all, in a script
    ecr-py repo rm 642976147714.dkr.ecr.eu-west-1.amazonaws.com/kalle
    """
    references = [Reference.parse(name).without_image() for name in names]
    hosts = [reference.host for reference in references]
    there = open_registry(hosts, options)
    found = there.named(list(dict.fromkeys(reference.repository for reference in references)))
    images = _images(there, found)
    if not force:
        _check_empty(there, images)
    if not yes:
        _show_what_to_remove(images)
    confirm(f"Remove {_counted(images)} from {there.host}?", yes=yes)
    for name, inside in images.items():
        there.remove(name, with_images=bool(inside))
        report(f"Deleted: {there.host}/{name}")


def _images(there: Repositories, found: Iterable[Repository]) -> dict[str, list[Image]]:
    with counting("images") as counter:
        return {repository.name: there.images(repository.name, counter) for repository in found}


def _check_empty(there: Repositories, images: dict[str, list[Image]]) -> None:
    for name, inside in images.items():
        if inside:
            raise EcrPyError(
                f"{name} holds {counted(len(inside), 'image')}, which would be removed too",
                hint="use --force",
                registry=there.host,
            )


def _counted(images: dict[str, list[Image]]) -> str:
    inside = sum(map(len, images.values()))
    those = counted(len(images), "repository", "repositories")
    return f"{those} with {counted(inside, 'image')}" if inside else those


def _say_what_differs(repository: Repository, *, scan: bool, immutable: bool) -> None:
    lacking = [
        f"--{option}"
        for option, wanted, has in (
            ("scan", scan, repository.scan_on_push),
            ("immutable", immutable, repository.immutable),
        )
        if wanted and not has
    ]
    but = f", without {' and '.join(lacking)}" if lacking else ""
    click.echo(f"ecr-py: repository {repository.name} already exists{but}", err=True)


def _as_json(repository: Repository) -> dict[str, Any]:
    return {
        "name": repository.name,
        "uri": repository.uri,
        "arn": repository.arn,
        "created": repository.created.astimezone(UTC).isoformat(timespec="seconds"),
        "immutable": repository.immutable,
        "scan_on_push": repository.scan_on_push,
    }


def _show(repositories: list[Repository]) -> None:
    now = datetime.now(UTC)
    rows = [
        (
            repository.name,
            "immutable" if repository.immutable else "mutable",
            "on push" if repository.scan_on_push else "-",
            ago(repository.created, now),
        )
        for repository in repositories
    ]
    show_table(("REPOSITORY", "TAGS", "SCAN", "CREATED"), rows)


def _show_what_to_remove(images: dict[str, list[Image]]) -> None:
    now = datetime.now(UTC)
    rows = [
        (
            name,
            f"{len(inside):,}",
            ago(max(image.pushed for image in inside), now) if inside else "-",
        )
        for name, inside in images.items()
    ]
    show_table(("REPOSITORY", "IMAGES", "LAST PUSH"), rows, stderr=True)
