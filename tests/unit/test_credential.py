from hypothesis import given
from hypothesis import strategies as st

from docker_credential_ecr_py.credential import LONGEST_LIFE, SPENT_BEFORE_END, Credential

HOUR = 3600
MOMENTS = st.integers(0, 2**40)


def credential(*, now: float = 0, life: float = 12 * HOUR) -> Credential:
    return Credential.from_aws("AWS", "password", now=now, expires=now + life)


def test_fresh_for_half_its_life_and_spent_five_minutes_before_its_end() -> None:
    made = credential(now=1000)
    assert (made.issued, made.expires) == (1000, 1000 + 12 * HOUR)
    assert not made.ageing(1000 + 6 * HOUR - 1)
    assert made.ageing(1000 + 6 * HOUR)
    assert made.usable(1000 + 12 * HOUR - SPENT_BEFORE_END - 1)
    assert not made.usable(1000 + 12 * HOUR - SPENT_BEFORE_END)


def test_from_the_future_is_not_usable() -> None:
    assert credential(now=1000).usable(1000)
    assert not credential(now=1000).usable(999.9)


def test_a_clock_that_is_late_does_not_prolong_it() -> None:
    made = credential(life=3 * 24 * HOUR)
    assert made.spent_at == LONGEST_LIFE - SPENT_BEFORE_END
    assert made.renew_at == LONGEST_LIFE // 2


def test_a_life_too_short_to_trust() -> None:
    made = credential(now=1000, life=SPENT_BEFORE_END)
    assert not made.usable(1000)


def test_by_login_it_does_not_age() -> None:
    made = Credential.from_login("AWS", "password", now=5.7, expires=100)
    assert made.usable(6)
    assert not made.ageing(99)
    assert not made.usable(100)


def test_it_is_valid_until_its_end() -> None:
    made = credential(now=1000, life=2 * HOUR)
    assert not made.usable(made.spent_at)
    assert made.valid(made.spent_at)
    assert made.valid(1000 + 2 * HOUR - 1)
    assert not made.valid(1000 + 2 * HOUR)
    assert not made.valid(999)
    late = credential(life=3 * 24 * HOUR)
    assert not late.valid(LONGEST_LIFE)


def test_it_shows_no_password() -> None:
    assert "password" not in repr(credential())


@given(MOMENTS, MOMENTS, MOMENTS)
def test_the_ages_follow_each_other(now: int, life: int, later: int) -> None:
    made = credential(now=now, life=life)
    assert made.issued <= made.renew_at <= made.spent_at
    assert made.spent_at - made.issued <= max(0, min(life, LONGEST_LIFE) - SPENT_BEFORE_END)
    if made.usable(later):
        assert now <= later < made.expires
