"""Sorts tags as versions rather than as text. Pure.

`packaging` does not help: it knows Python's versions, and refuses most tags, such as 1.27-alpine
or latest.
"""

import re

_BEFORE, _END, _WORD, _BUILD, _NUMBER = range(5)
_PARTS = re.compile(r"[-_]?[0-9]+|[a-z]+")
_PRE_RELEASES = ("dev", "snapshot", "alpha", "beta", "pre", "preview", "rc")

Key = tuple[tuple[tuple[int, int, str], ...], str]


def version_order(tag: str) -> Key:
    """Return a sort key for a tag: 1.0.2 < 1.0.10-rc.1 < 1.0.10 < 1.0.10-alpine < 1.0.10-1 < v1.1.

    Digits are compared as numbers, and come after words: `latest` is before all versions. A `v`
    before the first number is ignored.
    """
    parts = _PARTS.findall(re.sub(r"^v(?=[0-9])", "", tag.lower()))
    return (*map(_weight, parts), (_END, 0, "")), tag


def _weight(part: str) -> tuple[int, int, str]:
    if part.isdigit():
        return _NUMBER, int(part), ""
    if part[0] in "-_":
        return _BUILD, int(part[1:]), ""
    if part in _PRE_RELEASES:
        return _BEFORE, _PRE_RELEASES.index(part), ""
    return _WORD, 0, part
