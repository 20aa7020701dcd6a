from pathlib import Path

from tests.unit.controller.week import live_a_week


def test_in_a_week_with_outages_no_secret_holds_an_expired_token(tmp_path: Path) -> None:
    """A small cluster; `make bench ROWS=cluster_week` lives it with 2,000 namespaces."""
    week = live_a_week(tmp_path, identities=3, regions=2, namespaces=9)
    assert week.expired == 0
    assert week.tokens <= 2 * week.least
    assert week.writes < 2 * 9 * 40
    assert week.failed_tokens > 4 * 3 * 2
    assert week.failed_writes > 4
