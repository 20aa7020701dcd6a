from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pytest

from docker_credential_ecr_py.controller.grants import Grant
from docker_credential_ecr_py.controller.observed import Namespace, Secret, ServiceAccount
from docker_credential_ecr_py.controller.plan import (
    AGEING,
    CHANGED,
    EDITED,
    INCOMPLETE,
    MISSING,
    Action,
    AddPullSecret,
    AwaitToken,
    Entry,
    LeaveAlone,
    Moment,
    Remove,
    Token,
    Want,
    Wishes,
    Write,
    annotations_of,
    first_expiry,
    held_tokens,
    plan_namespace,
)

NOW = 1_800_000_000
HOUR = 3600
A, B = Entry("a.example", "a" * 32, "dev", "dev"), Entry("b.example", "b" * 32, "", "instance")
WANT = Want(("shop",), (A, B))
FRESH = Token(NOW - HOUR, NOW + 11 * HOUR)
OLD = Token(NOW - 8 * HOUR, NOW + 4 * HOUR)
NAMESPACE = Namespace("shop", "1", {})


def secret(
    held: dict[str, Token], want: Want = WANT, *, managed: bool = True, editor: str = ""
) -> Secret:
    editors = (editor,) if editor else ()
    return Secret("shop", "ecr-pull", "7", "8", annotations_of(want, held), managed, editors)


@dataclass(frozen=True)
class Plan:
    """Actions, and when each token has to be fetched."""

    actions: tuple[Action, ...]
    fetches: Mapping[str, float]


def plan(
    there: Secret | None,
    tokens: dict[str, Token],
    *,
    failed: Iterable[str] = (),
    accounts: Iterable[ServiceAccount] = (),
    wants: dict[str, Want] | None = None,
    now: int = NOW,
) -> Plan:
    wants = {"ecr-pull": WANT} if wants is None else wants
    secrets = [] if there is None else [there]
    moment = Moment(tokens, set(failed), now)
    return Plan(plan_namespace(NAMESPACE, wants, secrets, accounts, moment), moment.fetches)


def writes(found: Plan) -> list[Write]:
    return [one for one in found.actions if isinstance(one, Write)]


def test_a_secret_is_created_as_soon_as_its_tokens_are_there() -> None:
    tokens = {A.key: FRESH, B.key: FRESH}
    both = frozenset(tokens)
    write = Write("shop", "ecr-pull", WANT, MISSING, NOW, put=both)
    assert plan(None, tokens).actions == (write,)
    waits = plan(None, {A.key: FRESH})
    assert waits.actions == (AwaitToken("shop", "ecr-pull", (B.key,)),)
    assert waits.fetches[B.key] == NOW
    assert waits.fetches[A.key] > NOW


def test_a_token_that_aws_refuses_does_not_keep_the_others_waiting() -> None:
    found = plan(None, {A.key: FRESH}, failed=[B.key])
    assert [one.why for one in writes(found)] == [MISSING]
    there = secret({A.key: FRESH})
    assert not writes(plan(there, {A.key: FRESH}, failed=[B.key]))
    assert [one.why for one in writes(plan(there, {A.key: FRESH, B.key: FRESH}))] == [INCOMPLETE]


def test_nothing_to_do() -> None:
    tokens = {A.key: FRESH, B.key: FRESH}
    found = plan(secret(tokens), tokens)
    assert found.actions == ()
    assert min(found.fetches.values()) >= NOW + 4 * HOUR


def test_a_new_leader_fetches_nothing_that_the_secrets_hold() -> None:
    found = plan(secret({A.key: FRESH, B.key: OLD}), {})
    assert found.actions == ()
    assert found.fetches[A.key] >= NOW + 4 * HOUR
    assert found.fetches[B.key] < NOW


def test_a_token_is_fetched_when_the_first_secret_needs_it() -> None:
    moment = Moment({}, (), NOW)
    for token in (FRESH, OLD, FRESH):
        plan_namespace(NAMESPACE, {"ecr-pull": WANT}, [secret({A.key: token})], (), moment)
    assert moment.fetches == {A.key: OLD.renew_at(A.key), B.key: NOW}


def test_a_newer_token_of_another_leader_is_not_replaced_by_an_older_one() -> None:
    (write,) = writes(plan(secret({A.key: FRESH, B.key: OLD}), {A.key: OLD, B.key: FRESH}))
    assert write.put == {B.key}
    assert write.keep == {A.key}


def test_tokens_are_renewed_around_half_of_their_life_and_secrets_a_little_later() -> None:
    keys = [f"{number:032x}" for number in range(200)]
    moments = [(FRESH.renew_at(key) - FRESH.issued) / FRESH.life for key in keys]
    assert min(moments) >= 0.425
    assert max(moments) <= 0.575
    assert max(moments) - min(moments) <= 0.05
    assert len({round(moment, 3) for moment in moments}) > 30  # spread
    spaces = [(FRESH.replace_at(f"shop-{key}") - FRESH.issued) / FRESH.life for key in keys]
    assert min(spaces) >= max(moments)
    assert max(spaces) <= 0.625


def test_tokens_that_are_out_of_step_come_back_into_it() -> None:
    moments = []
    for start in (0, 1 * HOUR, 3 * HOUR, 5 * HOUR):
        token = Token(NOW + start, NOW + start + 12 * HOUR)
        for _ in range(8):
            issued = int(token.renew_at(A.key))
            token = Token(issued, issued + 12 * HOUR)
        moments.append(token.issued % int(0.525 * 12 * HOUR))
    assert max(moments) - min(moments) < 60


def test_a_secret_is_written_once_for_all_of_its_tokens() -> None:
    held = {A.key: Token(NOW, NOW + 12 * HOUR), B.key: Token(NOW, NOW + 12 * HOUR)}
    newer = Token(NOW + 6 * HOUR, NOW + 18 * HOUR)
    one = plan(secret(held), {A.key: newer, B.key: held[B.key]}, now=NOW + 6 * HOUR + 60)
    (write,) = writes(one)
    assert write.why == AGEING
    assert write.due >= NOW + 6.9 * HOUR  # when both have been renewed


def test_a_token_that_cannot_be_renewed_is_kept_while_it_is_valid() -> None:
    held = {A.key: OLD, B.key: OLD}
    there = secret(held)
    (write,) = writes(plan(there, {A.key: FRESH}, failed=[B.key]))
    assert write.keep == {B.key}
    assert write.due < NOW
    later = plan(there, {A.key: Token(NOW + 5 * HOUR, NOW + 17 * HOUR)}, now=NOW + 5 * HOUR)
    (write,) = writes(later)
    assert write.keep == frozenset()
    assert AwaitToken("shop", "ecr-pull", (B.key,)) in later.actions


def test_nothing_is_written_while_aws_is_unreachable() -> None:
    held = {A.key: OLD, B.key: OLD}
    for hours in range(4):
        assert not writes(plan(secret(held), {}, failed=[A.key, B.key], now=NOW + hours * HOUR))


def test_another_grant_means_another_secret_at_once() -> None:
    held = {A.key: FRESH, B.key: FRESH}
    wants = {"ecr-pull": Want(("shop",), (A,))}
    (write,) = writes(plan(secret(held), held, wants=wants))
    assert (write.why, write.due, write.uid) == (CHANGED, NOW, "7")
    # Without a call to AWS: the token that stays is in the secret.
    (write,) = writes(plan(secret(held), {}, wants=wants))
    assert write.keep == {A.key}


def test_an_edit_is_taken_back() -> None:
    held = {A.key: FRESH, B.key: FRESH}
    (write,) = writes(plan(secret(held, editor="kubectl-edit"), held))
    assert (write.why, write.due) == (EDITED, NOW)


def test_a_secret_of_someone_else_is_left_alone() -> None:
    found = plan(secret({}, managed=False), {A.key: FRESH, B.key: FRESH})
    assert [type(one) for one in found.actions] == [LeaveAlone]


def test_a_secret_that_no_grant_wants_goes_when_its_tokens_have_expired() -> None:
    (remove,) = plan(secret({A.key: OLD, B.key: FRESH}), {}, wants={}).actions
    assert isinstance(remove, Remove)
    assert remove.due == FRESH.expires
    assert plan(secret({}, managed=False), {}, wants={}).actions == ()


def test_nothing_is_done_in_a_namespace_that_is_being_deleted() -> None:
    going = Namespace("shop", "1", {}, terminating=True)
    assert Wishes([(Grant("x", ("a",), ("shop",)), (A,))]).of(going) == {}
    assert plan_namespace(going, {}, [secret({})], (), Moment({}, (), NOW)) == ()


def test_a_clock_that_was_set_back_trusts_no_token_from_the_future() -> None:
    held = {A.key: FRESH, B.key: FRESH}
    back = NOW - 10 * HOUR
    found = plan(secret(held), held, now=back)
    assert found.fetches == {A.key: back, B.key: back}
    new = Token(back, back + 12 * HOUR)
    (write,) = writes(plan(secret(held), {A.key: new, B.key: new}, now=back))
    assert write.due == back
    # The clock of another replica may be a little ahead.
    assert not writes(plan(secret(held), held, now=FRESH.issued - 200))


def test_a_clock_that_jumps_ahead_replaces_at_once() -> None:
    held = {A.key: FRESH, B.key: FRESH}
    ahead = NOW + 20 * HOUR
    assert plan(secret(held), {}, now=ahead).fetches == {A.key: ahead, B.key: ahead}
    new = Token(ahead, ahead + 12 * HOUR)
    (write,) = writes(plan(secret(held), {A.key: new, B.key: new}, now=ahead))
    assert write.due < ahead


@pytest.mark.parametrize(
    "text", ["", "x", "a:b:c", "a:1", ":::", "a:1:99999999999999", "a:²:3", "a:-1:5", "a:1:2:3"]
)
def test_annotations_that_someone_wrote_are_no_tokens(text: str) -> None:
    held = held_tokens({"ecr-py/tokens": text})
    assert all(isinstance(token, Token) for token in held.values())
    assert text == "a:1:2:3" or not held


def test_annotations_hold_all_that_the_next_leader_needs() -> None:
    held = {A.key: OLD, B.key: FRESH}
    shown = annotations_of(WANT, held)
    assert shown["ecr-py/grants"] == "shop"
    assert shown["argocd.argoproj.io/compare-options"] == "IgnoreExtraneous"
    assert shown["argocd.argoproj.io/sync-options"] == "Prune=false"
    assert shown["ecr-py/identities"] == "dev, instance"
    assert shown["ecr-py/expires"] == "2027-01-15T12:00:00Z"
    assert held_tokens(shown) == {A.key[:12]: OLD, B.key[:12]: FRESH}
    assert first_expiry(shown) == OLD.expires


def test_service_accounts_get_the_secret_that_exists() -> None:
    held = {A.key: FRESH, B.key: FRESH}
    wants = {"ecr-pull": Want(("shop",), (A, B), ("default", "build-*"))}
    accounts = [
        ServiceAccount("shop", "default", "3", ("other",)),
        ServiceAccount("shop", "build-1", "4", ("ecr-pull",)),
        ServiceAccount("shop", "web", "5"),
    ]
    there = secret(held, wants["ecr-pull"])
    found = plan(there, held, wants=wants, accounts=accounts)
    assert found.actions == (AddPullSecret(accounts[0], ("other", "ecr-pull")),)
    missing = plan(None, held, wants=wants, accounts=accounts)
    assert not any(isinstance(one, AddPullSecret) for one in missing.actions)


def test_several_grants_for_one_namespace() -> None:
    other = Entry(A.host, "c" * 32, "prod", "prod")
    wishes = Wishes(
        [
            (Grant("one", ("x",), ("shop",)), (A,)),
            (Grant("two", ("x",), ("shop", "cart")), (other, B)),
            (Grant("push", ("x",), ("shop",), secret="push"), (other,)),
        ]
    )
    found = wishes.of(NAMESPACE)
    assert found["ecr-pull"] == Want(("one", "two"), (A, B))  # the first in the file wins
    assert found["push"].entries == (other,)
    assert wishes.of(Namespace("cart", "2", {}))["ecr-pull"].entries == (other, B)
    assert wishes.of(Namespace("else", "3", {})) == {}
