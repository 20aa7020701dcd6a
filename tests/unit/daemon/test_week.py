"""The daemon's planning over days of somebody's life, at an accelerated clock."""

from pathlib import Path

import pytest

from benchmarks.week import live


@pytest.mark.timeout(600)  # it computes for six seconds: minutes on a machine that is busy
def test_days_in_which_nobody_waits(tmp_path: Path) -> None:
    week = live(tmp_path / "home", days=3)
    assert week.logins == 3
    assert week.gets > 2500
    assert week.waited == 0
    assert week.calls["GetAuthorizationToken"] <= 2 * week.least_tokens
    assert week.told <= week.logins
