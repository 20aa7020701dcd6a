"""Edits docker's config.json as text: everything else stays byte for byte. Pure.

Every text has passed `check` before.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker_credential_ecr_py.atomic_file import BYTE_ORDER_MARK
from docker_credential_ecr_py.config.docker_config import (
    OURSELVES,
    DockerConfig,
    parse_docker_config,
)
from docker_credential_ecr_py.errors import DockerConfigError

HELPERS, STORE, AUTHS = "credHelpers", "credsStore", "auths"

_ROOT = ""
_BLANK = re.compile(r"[ \t\r\n]*")
_VALUES = json.JSONDecoder()
_TEXT_VALUE = re.compile(r'(:\s*)"(?:[^"\\]|\\.)*"')
# Keys that may hold a password, or a proxy's URL with one.
_SECRET = (AUTHS, "HttpHeaders", "proxies")

Document = Mapping[str, Any]


def check(text: str, file: Path) -> DockerConfig:
    """Parse the text of a file. Raises DockerConfigError if it cannot be edited."""
    config = parse_docker_config(text, file)
    names = [member.name for member in _root(text)]
    for name in (HELPERS, STORE, AUTHS):
        if names.count(name) > 1:
            raise DockerConfigError(f"{file}: {name} appears twice: remove one of them")
    return config


def edited(
    text: str,
    *,
    helpers: Mapping[str, str],
    store: str = "",
    unset_store: bool = False,
    drop_auths: Iterable[str] = (),
) -> str:
    """Return `text` with these credHelpers and credsStore, and without some auths.

    With `unset_store` it has no credsStore but `store`. A byte-order mark, which docker does not
    accept, is removed.
    """
    text = text.removeprefix(BYTE_ORDER_MARK)
    if helpers:
        text = _with(text, HELPERS, helpers)
    if store:
        text = _with(text, _ROOT, {STORE: store})
    elif unset_store:
        text = _without(text, _ROOT, {STORE})
    return _without(text, AUTHS, set(drop_auths))


def undone(text: str, before: str | None, after: str) -> str | None:
    """Return `text` without the changes from `before` to `after`; later changes stay.

    So does a credsStore of another helper that configure wrote: it may hold logins by now. Returns
    None if there was no file before and nothing is left for one.
    """
    was, made, now = (_document(document) for document in (before or "", after, text))
    for table in (_ROOT, HELPERS, AUTHS):
        old, new, current = (_table(document, table) for document in (was, made, now))
        names = {**old, **new}
        if table == _ROOT:
            names = {STORE: OURSELVES} if new.get(STORE) == OURSELVES else {}
        ours = [
            name
            for name in names
            if old.get(name) != new.get(name) and current.get(name) == new.get(name)
        ]
        text = _with(text, table, {name: old[name] for name in ours if name in old})
        text = _without(text, table, {name for name in ours if name not in old})
    emptied = [
        table
        for table in (HELPERS, AUTHS)
        if table not in was and _document(text).get(table) == {} and _table(made, table)
    ]
    text = _without(text, _ROOT, set(emptied))
    return None if before is None and not _document(text) else text


def stripped(text: str, store: str = "") -> str:
    """Return `text` without any entry for this helper; as credsStore, `store` takes its place."""
    root = _document(text)
    ours = {host for host, helper in _table(root, HELPERS).items() if helper == OURSELVES}
    text = _without(text, HELPERS, ours)
    if ours and not _document(text)[HELPERS]:
        text = _without(text, _ROOT, {HELPERS})
    if root.get(STORE) != OURSELVES:
        return text
    return _with(text, _ROOT, {STORE: store}) if store else _without(text, _ROOT, {STORE})


def masked(text: str) -> str:
    """Return `text` to be shown: values that may be secrets are hidden."""
    for member in reversed(_root(text)):
        if member.name in _SECRET:
            hidden = _TEXT_VALUE.sub(r'\1"[hidden]"', text[member.value : member.end])
            text = text[: member.value] + hidden + text[member.end :]
    return text


@dataclass(frozen=True)
class _Member:
    """A name and its value; the numbers are positions in the text.

    `gap` is the white space before the name, `colon` the text between name and value.
    """

    name: str
    gap: str
    start: int
    colon: str
    value: int
    end: int


@dataclass(frozen=True)
class _Style:
    """How a document is laid out. `newline` is "" if it is all on one line."""

    newline: str = "\n"
    indent: str = "\t"  # docker's own
    colon: str = ": "

    def gap(self, depth: int) -> str:
        return self.newline and self.newline + self.indent * depth

    @property
    def comma(self) -> str:
        """The comma between two members on one line."""
        return ", " if self.colon.endswith(" ") else ","

    def written(self, value: Any, depth: int) -> str:
        """Return a value as text, for a line that is `depth` deep."""
        if not isinstance(value, Mapping) or not value:
            return json.dumps(value)
        gap = self.gap(depth + 1)
        comma = f",{gap}" if gap else self.comma
        members = (self.member(name, inner, depth + 1) for name, inner in value.items())
        return f"{{{gap}{comma.join(members)}{self.gap(depth)}}}"

    def member(self, name: str, value: Any, depth: int) -> str:
        return json.dumps(name) + self.colon + self.written(value, depth)


def _members(text: str, opening: int) -> tuple[list[_Member], int]:
    """Return the members of the object that begins at `opening`, and where it ends."""
    members: list[_Member] = []
    at = opening
    while text[at] != "}":
        start = _after_blank(text, at + 1)
        if text[start] == "}":
            return members, start
        name, colon = _VALUES.raw_decode(text, start)
        value = _after_blank(text, text.index(":", colon) + 1)
        end = _VALUES.raw_decode(text, value)[1]
        members.append(_Member(name, text[at + 1 : start], start, text[colon:value], value, end))
        at = _after_blank(text, end)
    return members, at


def _root(text: str) -> list[_Member]:
    """Return the members of the document; none for a blank one."""
    return [] if _is_blank(text) else _members(text, text.index("{"))[0]


def _after_blank(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _style(text: str) -> _Style:
    """Return the style of the document's first member, or docker's own."""
    members = _root(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    if not members:
        return _Style(newline)
    first = members[0]
    lines = first.gap.split("\n")
    return _Style(newline if len(lines) > 1 else "", lines[-1], first.colon)


def _with(text: str, table: str, values: Mapping[str, Any]) -> str:
    """Return `text` with values set in one of its tables; new ones are added at the end."""
    if not values:
        return text
    if _is_blank(text):
        text = "{}\n"
    style, opening, depth = _style(text), _opening(text, table), 1 if table else 0
    if opening is None:
        return _with(text, _ROOT, {table: values})
    members, closing = _members(text, opening)
    places = {member.name: member for member in members}
    added = [
        style.member(name, value, depth + 1) for name, value in values.items() if name not in places
    ]
    if added and not members:
        gap, end = style.gap(depth + 1), style.gap(depth)
        inside = (f",{gap}" if gap else style.comma).join(added)
        return f"{text[:opening]}{{{gap}{inside}{end}{text[closing:]}"
    if added:
        last = members[-1]
        on_lines = len(members) > 1 or "\n" in last.gap
        comma = f",{last.gap}" if on_lines else style.comma
        text = text[: last.end] + "".join(comma + member for member in added) + text[last.end :]
    for member in reversed(members):
        if member.name in values:
            value = style.written(values[member.name], depth + 1)
            text = text[: member.value] + value + text[member.end :]
    return text


def _without(text: str, table: str, names: set[str]) -> str:
    """Return `text` without some members of one of its tables."""
    opening = _opening(text, table) if names and not _is_blank(text) else None
    if opening is None:
        return text
    members, closing = _members(text, opening)
    kept = [member for member in members if member.name not in names]
    if members and not kept:
        return text[: opening + 1] + text[closing:]
    cuts = []
    for place, member in enumerate(members):
        if member in kept:
            continue
        if member.start < kept[0].start:
            cuts.append((member.start, members[place + 1].start))
        else:
            cuts.append((members[place - 1].end, member.end))
    for start, end in reversed(cuts):
        text = text[:start] + text[end:]
    return text


def _opening(text: str, table: str) -> int | None:
    """Return where the object of a table begins, or None if there is none."""
    if table == _ROOT:
        return text.index("{")
    start = {member.name: member.value for member in _root(text)}.get(table)
    return start if start is not None and text[start] == "{" else None


def _is_blank(text: str) -> bool:
    return not text.removeprefix(BYTE_ORDER_MARK).strip()


def _document(text: str) -> Document:
    document: Document = {}
    return document if _is_blank(text) else json.loads(text.removeprefix(BYTE_ORDER_MARK))


def _table(document: Document, table: str) -> Document:
    members: Document = document if table == _ROOT else document.get(table) or {}
    return members
