"""The daemon's planning over days of somebody's life, at an accelerated clock."""

from pathlib import Path

from benchmarks.week import live


def test_days_in_which_nobody_waits(tmp_path: Path) -> None:
    week = live(tmp_path / "home", days=3)
    assert week.logins == 3
    assert week.gets > 2500
    assert week.waited == 0
    assert week.calls["GetAuthorizationToken"] <= 2 * week.least_tokens
    assert week.told <= week.logins
