"""Edits TOML files, config.toml for one, as text: comments, order and layout stay. Pure.

Every text is TOML; a byte-order mark and CRLF stay as they are.
"""

import re
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import tomlkit
from tomlkit.items import Table

from docker_credential_ecr_py.atomic_file import BYTE_ORDER_MARK

FALLBACK = ("defaults", "fallback")

_Tables = MutableMapping[str, Any]


def profile_of(host: str) -> tuple[str, str, str]:
    """Return the path of the profile for a host, or for a glob of hosts."""
    return "registries", host, "profile"


def value_at(text: str, path: Sequence[str]) -> Any:
    """Return the value at a path of tables and a key, or None."""
    place: Any = tomlkit.parse(text.removeprefix(BYTE_ORDER_MARK)).unwrap()
    for name in path:
        place = place.get(name) if isinstance(place, dict) else None
    return place


def with_value(text: str, path: Sequence[str], value: Any) -> str:
    """Return `text` with a value at a path; missing tables on the way are added."""

    def put(place: _Tables) -> None:
        *tables, key = path
        for depth, name in enumerate(tables, 1):
            if not isinstance(place.get(name), MutableMapping):
                place[name] = tomlkit.table(is_super_table=depth < len(tables))
            place = place[name]
        _put_last(place, key, value)

    return _edited(text, put)


def without_value(text: str, path: Sequence[str]) -> str:
    """Return `text` without the value at a path, nor its table if that is empty then."""

    def drop(place: Any) -> None:
        *tables, key = path
        above = place
        for name in tables:
            above, place = place, place[name]
        del place[key]
        if tables and not place and "#" not in place.as_string() + place.trivia.comment:
            del above[tables[-1]]

    return text if value_at(text, path) is None else _edited(text, drop)


def undone(text: str, before: str | None, after: str) -> str | None:
    """Return `text` with the values as they were before configure changed `before` to `after`.

    None if there was no file before and nothing is left for one.
    """
    registries = value_at(after, ("registries",)) or {}
    for path in (FALLBACK, *(profile_of(host) for host in registries)):
        was, made = (value_at(other, path) for other in (before or "", after))
        if was != made and value_at(text, path) == made:
            text = without_value(text, path) if was is None else with_value(text, path, was)
    return None if before is None and not text.strip(f"{BYTE_ORDER_MARK} \t\r\n") else text


def _edited(text: str, edit: Callable[[_Tables], None]) -> str:
    bare = text.removeprefix(BYTE_ORDER_MARK)
    document = tomlkit.parse(bare)
    edit(document)
    made = tomlkit.dumps(document)
    if "\r\n" in bare:
        made = re.sub(r"\r?\n", "\r\n", made)
    return text[: len(text) - len(bare)] + made


def _put_last(table: _Tables, key: str, value: Any) -> None:
    """Set a key, after the table's last one: comments below belong to the next table."""
    below: list[Any] = []
    if isinstance(table, Table) and table and key not in table:
        body = table.value.body
        last = max(place for place, (name, _) in enumerate(body) if name is not None)
        below = body[last + 1 :]
        del body[last + 1 :]
    table[key] = value
    if below:
        table.value.body.extend(below)  # type: ignore[attr-defined]
