"""Sizes, ages and counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from docker_credential_ecr_py.cli.humanize import ago, counted, size

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "read"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (12_345_678, "12.3 MB"),
        (123_456_789, "123 MB"),
        (999_600_000, "1.00 GB"),
        (1_234_567_890, "1.23 GB"),
        (52_000_000_000_000, "52.0 TB"),
    ],
)
def test_sizes(count: int, read: str) -> None:
    assert size(count) == read


@pytest.mark.parametrize(
    ("age", "read"),
    [
        (timedelta(0), "0 seconds ago"),
        (timedelta(seconds=1), "1 second ago"),
        (timedelta(seconds=90), "90 seconds ago"),
        (timedelta(minutes=119), "119 minutes ago"),
        (timedelta(hours=47), "47 hours ago"),
        (timedelta(days=13), "13 days ago"),
        (timedelta(days=59), "8 weeks ago"),
        (timedelta(days=60), "2 months ago"),
        (timedelta(days=800), "2 years ago"),
        (timedelta(seconds=-5), "0 seconds ago"),
    ],
)
def test_ages(age: timedelta, read: str) -> None:
    assert ago(NOW - age, NOW) == read


def test_counts() -> None:
    assert counted(1, "image") == "1 image"
    assert counted(2500, "image") == "2,500 images"
    assert counted(0, "repository", "repositories") == "0 repositories"
