"""ecr-py image: lists the images of a repository, and removes tags and images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from docker_credential_ecr_py.cli.completions import REPOSITORIES
from docker_credential_ecr_py.cli.humanize import ago, counted, size
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
from docker_credential_ecr_py.cli.targets import TargetOptions, open_registry
from docker_credential_ecr_py.errors import BadInput, EcrPyError
from docker_credential_ecr_py.reference import Reference, check_digest, check_tag
from docker_credential_ecr_py.tag_order import version_order

if TYPE_CHECKING:
    from docker_credential_ecr_py.aws.repositories import Image, Repositories

_UNTAGGED = "<untagged>"


@click.group(cls=Group)
def image() -> None:
    """List and remove images.

    \b
    ecr-py image ls hc-devcon-cpp-arm64
    ecr-py image ls 642976147714.dkr.ecr.eu-west-1.amazonaws.com/lcm-backend
    ecr-py image rm hc-devcon-cpp-arm64 1.0.0 1.0.1
    ecr-py image rm 642976147714.dkr.ecr.eu-west-1.amazonaws.com/lcm-backend:2.3
    """


@image.command("ls")
@click.argument(
    "names", nargs=-1, required=True, metavar="REPOSITORY...", shell_complete=REPOSITORIES
)
@click.option("--tags", is_flag=True, help="Print only the tags, one per line.")
@click.option("--digests", is_flag=True, help="Show digests in full.")
@target_options
@json_option
def list_images(
    names: tuple[str, ...],
    tags: bool,
    digests: bool,
    options: TargetOptions,
    as_json: bool,
) -> None:
    """List the images of repositories, in the order of their versions.

    \b
    ecr-py image ls hc-devcon-cpp-arm64
    ecr-py image ls hc-devcon-cpp-arm64 --tags
    ecr-py image ls lcm-backend:2.3 --digests
    ecr-py image ls lcm-backend nats --registry dev --json
    """
    if tags and digests:
        raise click.UsageError("--tags and --digests cannot be combined")
    references = list(dict.fromkeys(Reference.parse(name) for name in names))
    hosts = [reference.host for reference in references]
    there = open_registry(hosts, options)
    with counting("images") as counter:
        rows = [
            row for reference in references for row in _rows(there, reference, counter, tagged=tags)
        ]
    rows.sort(key=_Row.order)
    several = len(references) > 1
    if tags:
        lines = [f"{row.repository}:{row.tag}" if several else row.tag for row in rows if row.tag]
        if as_json:
            show_json(lines)
        elif lines:
            click.echo("\n".join(lines))
    elif as_json:
        show_json([row.as_json() for row in rows])
    elif rows:
        _show(rows, several=several, digests=digests)
    else:
        click.echo(f"ecr-py: no images in {', '.join(names)}", err=True)


@image.command()
@click.argument(
    "names", nargs=-1, required=True, metavar="REPOSITORY TAG...", shell_complete=REPOSITORIES
)
@yes_option
@target_options
def rm(names: tuple[str, ...], yes: bool, options: TargetOptions) -> None:
    """Remove tags, and images with their last tag. Shows what would be removed, and asks.

    \b
    ecr-py image rm hc-devcon-cpp-arm64 1.0.0 1.0.1
    ecr-py image rm hc-devcon-cpp-arm64:1.0.0 nats:2.9
    ecr-py image rm nats sha256:173416b4350dbfdc92de39e051f68572be4722cc5ed46ec60acb91af369a280a
                                the image with all its tags

    Nothing is removed if one of them does not exist.
    """
    wanted = list(_wanted(names))
    there = open_registry([each.host for each in wanted], options)
    going = []
    for each in wanted:
        images = there.images_of(each.repository, each.tags, each.digests)
        going.append((each, what_to_remove(images, each.tags, each.digests)))
    if not yes:
        _show_removal(going)
    confirm(f"Remove {_counted(going)} from {there.host}?", yes=yes)
    kept = [line for each, parts in going for line in _remove(there, each, parts)]
    if kept:
        raise EcrPyError(f"not removed: {'; '.join(kept)}", registry=there.host)


@dataclass(frozen=True)
class _Row:
    """A tag of an image; "" for an image without tags."""

    repository: str
    tag: str
    image: Image

    def order(self) -> tuple[object, ...]:
        return self.repository, self.tag != "", version_order(self.tag), self.image.pushed

    def as_json(self) -> dict[str, object]:
        return {
            "repository": self.repository,
            "tag": self.tag or None,
            "digest": self.image.digest,
            "size": self.image.size,
            "pushed": self.image.pushed.astimezone(UTC).isoformat(timespec="seconds"),
        }


def _rows(
    there: Repositories, reference: Reference, counter: Callable[[int], None], *, tagged: bool
) -> list[_Row]:
    """Return what a reference names: all of a repository, a tag, or the tags of an image."""
    name, tag, digest = reference.repository, reference.tag, reference.digest
    if tag or digest:
        images = there.images_of(name, [] if digest else [tag], [digest] if digest else [])
    else:
        images = there.images(name, counter, tagged=tagged)
    return [
        _Row(name, each, image)
        for image in images
        for each in image.tags or [""]
        if tag in ("", each)
    ]


@dataclass
class _Wanted:
    """The tags and digests to remove from one repository."""

    host: str
    repository: str
    tags: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """What is removed of an image: these tags and, if `whole`, the image."""

    image: Image
    tags: tuple[str, ...]
    whole: bool

    @property
    def staying(self) -> list[str]:
        return sorted(set(self.image.tags) - set(self.tags), key=version_order)


def what_to_remove(
    images: Iterable[Image], tags: Collection[str], digests: Collection[str]
) -> list[Part]:
    """Return what is removed: an image with its last tag, and all tags with their image."""
    parts = []
    for each in images:
        whole = each.digest in digests or set(each.tags) <= set(tags)
        gone = each.tags if whole else tuple(tag for tag in each.tags if tag in tags)
        parts.append(Part(each, tuple(sorted(gone, key=version_order)), whole))
    return parts


def _wanted(names: Iterable[str]) -> Iterable[_Wanted]:
    """Parse `REPOSITORY TAG TAG`, or `REPOSITORY:TAG ...`. Raises BadInput, UsageError."""
    found: dict[tuple[str, str], _Wanted] = {}
    current: _Wanted | None = None
    for name in names:
        if current and name.startswith("sha256:"):
            check_digest(name)
            current.digests.append(name)
        elif current and "/" not in name and ":" not in name:
            check_tag(name)
            current.tags.append(name)
        else:
            reference = Reference.parse(name)
            place = reference.host, reference.repository
            current = found.setdefault(place, _Wanted(*place))
            if reference.tag and reference.digest:
                raise BadInput(f"{name} is a tag and a digest: name what to remove by one of them")
            if reference.digest:
                current.digests.append(reference.digest)
            elif reference.tag:
                current.tags.append(reference.tag)
    for each in found.values():
        if not each.tags and not each.digests:
            raise click.UsageError(f"which images of {each.repository}? Give a tag or a digest")
    return found.values()


def _remove(there: Repositories, wanted: _Wanted, parts: list[Part]) -> list[str]:
    """Remove the parts, report what was removed even after a failure, and return the rest."""
    whole = {part.image.digest for part in parts if part.image.digest in wanted.digests}
    tags = [tag for part in parts for tag in part.tags if part.image.digest not in whole]
    gone: set[str] = set()
    refused: dict[str, str] = {}
    try:
        with counting("removed") as counter:
            for batch in there.remove_images(wanted.repository, tags, sorted(whole)):
                gone.update(batch.gone)
                refused.update(batch.refused)
                counter(len(gone))
    finally:
        for part in parts:
            _report_removed(wanted.repository, part, gone)
    return [f"{wanted.repository} {name} ({reason})" for name, reason in refused.items()]


def _report_removed(repository: str, part: Part, gone: Collection[str]) -> None:
    """Report in the words of `docker rmi`."""
    with_image = part.image.digest in gone
    tags = [tag for tag in part.tags if with_image or tag in gone]
    for tag in tags:
        report(f"Untagged: {repository}:{tag}")
    if with_image or (part.whole and tags and len(tags) == len(part.image.tags)):
        report(f"Deleted: {repository}@{part.image.digest}")


def _counted(going: Iterable[tuple[_Wanted, list[Part]]]) -> str:
    parts = [part for _, parts in going for part in parts]
    tags, images = sum(len(part.tags) for part in parts), sum(part.whole for part in parts)
    counts = (counted(tags, "tag"), counted(images, "image"))
    return " and ".join(text for text, count in zip(counts, (tags, images), strict=True) if count)


def _show(rows: Sequence[_Row], *, several: bool, digests: bool) -> None:
    now = datetime.now(UTC)
    shown = [
        (
            row.repository,
            row.tag or _UNTAGGED,
            row.image.digest if digests else _short(row.image.digest),
            size(row.image.size),
            ago(row.image.pushed, now),
        )
        for row in rows
    ]
    columns = ("REPOSITORY", "TAG", "DIGEST", "SIZE", "PUSHED")
    first = 0 if several else 1
    show_table(columns[first:], [cells[first:] for cells in shown])


def _show_removal(going: Iterable[tuple[_Wanted, list[Part]]]) -> None:
    now = datetime.now(UTC)
    shown = [
        (
            wanted.repository,
            ", ".join(part.tags) or _UNTAGGED,
            _short(part.image.digest),
            ago(part.image.pushed, now),
            "removed" if part.whole else f"stays as {', '.join(part.staying)}",
        )
        for wanted, parts in going
        for part in parts
    ]
    show_table(("REPOSITORY", "TAG", "DIGEST", "PUSHED", "IMAGE"), shown, stderr=True)


def _short(digest: str) -> str:
    """Shorten a digest as docker does, to twelve digits."""
    return digest.removeprefix("sha256:")[:12]
