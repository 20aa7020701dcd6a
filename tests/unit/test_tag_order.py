"""The order of tags."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_credential_ecr_py.tag_order import version_order


@pytest.mark.parametrize(
    "ordered",
    [
        ["1.0.0", "1.0.1", "1.0.2", "1.0.10", "1.0.11", "1.0.12", "1.1", "2"],
        ["1.0-dev", "1.0-alpha", "1.0-alpha.1", "1.0-beta.2", "1.0-rc.2", "1.0-rc.10", "1.0"],
        ["1.0", "1.0-alpine", "1.0-arm64", "1.0-1", "1.0-2", "1.0.1-rc1", "1.0.1"],
        ["v1.2", "1.3", "v1.4"],
        ["latest", "stable", "1.0"],
        ["build-9", "build-10"],
        ["2024-01-31", "2024-02-01", "2024-10-01"],
        ["1.0-SNAPSHOT", "1.0-RC1", "1.0"],
    ],
)
def test_as_versions_are(ordered: list[str]) -> None:
    shuffled = ordered[:]
    random.Random(1).shuffle(shuffled)
    assert sorted(shuffled, key=version_order) == ordered


tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)


@given(st.lists(tag, unique=True), st.randoms())
def test_any_tags_have_one_order(tags: list[str], chance: random.Random) -> None:
    shuffled = tags[:]
    chance.shuffle(shuffled)
    assert sorted(shuffled, key=version_order) == sorted(tags, key=version_order)
