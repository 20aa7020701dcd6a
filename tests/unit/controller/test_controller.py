import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from docker_credential_ecr_py.errors import (
    ClusterUnavailable,
    Conflict,
    Forbidden,
    TooManyRequests,
)
from tests.support.home import DEV, PROD, STAGE, registry
from tests.unit.controller.world import HOUR, World, profile

TWO_ACCOUNTS = profile("dev", DEV) + profile("stage", STAGE)
GRANTS = f"""
grants:
  - name: shop
    registries: ["{DEV}", "{STAGE}"]
    namespaces: [shop, shop-*, matchLabels: {{ecr: pull}}]
"""
WITH_ANOTHER_SECRET = f"""{GRANTS}
  - name: push
    secret: ecr-push
    registries: ["{PROD}"]
    namespaces: [shop]
    serviceAccounts: [build-*]
"""
# Issued long ago, so that they should have been replaced long ago.
OLD_TOKENS = "000000000000:1000:2000"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.aws_config(TWO_ACCOUNTS)
    world.grants(GRANTS)
    return world


def test_each_granted_namespace_gets_its_secret(world: World) -> None:
    world.cluster.add("shop")
    world.cluster.add("labelled", ecr="pull")
    world.cluster.add("other")
    world.sleep(1)
    for name in ("shop", "labelled"):
        assert list(world.cluster.passwords(name)) == [registry(DEV), registry(STAGE)]
    assert ("other", "ecr-pull") not in world.cluster.documents
    assert world.calls == {(DEV, "eu-west-1"): 1, (STAGE, "eu-west-1"): 1}
    assert world.cluster.documents["shop", "ecr-pull"].count(b'"auth":') == 2
    assert b'"username"' not in world.cluster.documents["shop", "ecr-pull"]


def test_a_new_or_labelled_namespace_gets_it_at_once_and_without_a_call(world: World) -> None:
    world.cluster.add("shop")
    world.cluster.add("other")
    world.sleep(1)
    world.cluster.add("shop-2")
    world.cluster.add("other", ecr="pull")
    world.controller.turn()
    world.controller.turn()
    assert {name for _, name, _ in world.cluster.writes} == {"shop", "shop-2", "other"}
    assert sum(world.calls.values()) == 2


def test_an_event_that_is_lost_does_not_matter(world: World) -> None:
    world.cluster.add("shop")
    world.sleep(1)
    world.cluster.deaf = True
    world.cluster.add("shop-2")
    world.cluster.remove_secret("shop", "ecr-pull")
    world.sleep(61)
    assert world.is_current("shop")
    assert world.is_current("shop-2")


def test_the_calls_do_not_depend_on_the_namespaces(world: World) -> None:
    for number in range(50):
        world.cluster.add(f"shop-{number}")
    world.sleep(7.5 * HOUR)
    assert sum(world.calls.values()) == 2 + 2
    assert len(world.cluster.writes) == 50 + 50


def test_a_secret_keeps_its_uid(world: World) -> None:
    world.cluster.add("shop")
    world.sleep(1)
    (before,) = world.cluster.secrets("shop")
    world.sleep(20 * HOUR)
    (after,) = world.cluster.secrets("shop")
    assert (after.uid, after.version) != (before.uid, before.version)
    assert after.uid == before.uid


def test_a_rotation_is_paced_and_does_not_delay_a_new_namespace(world: World) -> None:
    for number in range(200):
        world.cluster.add(f"shop-{number}")
    world.sleep(5)
    assert 60 < len(world.cluster.writes) <= 20 + 5 * 20
    world.sleep(15)
    assert len(world.cluster.writes) == 200
    world.grants(GRANTS.replace(f', "{STAGE}"', ""))
    world.sleep(6)
    world.cluster.add("shop")
    world.sleep(0.1)
    assert ("create", "shop", "ecr-pull") in world.cluster.writes
    assert len(world.cluster.writes) < 400
    world.sleep(10)
    assert len(world.cluster.writes) == 401


@pytest.mark.parametrize(
    ("down_for", "expired"), [(6 * HOUR, False), (11 * HOUR, True)], ids=["6 h", "11 h"]
)
def test_aws_is_unreachable(world: World, down_for: int, expired: bool) -> None:
    world.cluster.add("shop")
    world.sleep(5 * HOUR)
    world.down = True
    written = len(world.cluster.writes)
    world.sleep(down_for)
    assert len(world.cluster.writes) == written
    assert world.is_current("shop") != expired
    left = world.metric("first_expiry_seconds")
    assert left is not None
    assert (left < 0) == expired
    assert sum(world.calls.values()) < 2 + 2 * 8 * down_for / HOUR  # it does not hammer
    world.down = False
    world.sleep(700)
    assert world.is_current("shop")


def test_an_account_that_aws_refuses_does_not_keep_the_others_away(world: World) -> None:
    world.refused = {STAGE}
    world.cluster.add("shop")
    world.sleep(60)
    assert list(world.cluster.passwords("shop")) == [registry(DEV)]
    (event,) = set(world.cluster.events)
    assert event == (
        "shop",
        "ecr-pull",
        "NoEcrToken",
        f"no token for {registry(STAGE)}: AWS refuses",
    )
    world.refused = set()
    world.sleep(1 * HOUR)
    assert len(world.cluster.passwords("shop")) == 2


def test_a_token_that_is_refused_later_stays_until_it_expires(world: World) -> None:
    world.cluster.add("shop")
    world.sleep(1)
    world.refused = {STAGE}
    first = world.cluster.passwords("shop")
    world.sleep(8 * HOUR)
    second = world.cluster.passwords("shop")
    assert second[registry(DEV)] != first[registry(DEV)]
    assert second[registry(STAGE)] == first[registry(STAGE)]
    world.sleep(12 * HOUR)
    assert world.is_current("shop")
    assert list(world.cluster.passwords("shop")) == [registry(DEV)]


def test_a_restart_writes_nothing_and_asks_nothing(world: World) -> None:
    world.cluster.add("shop")
    world.sleep(1)
    world.start()
    world.sleep(4 * HOUR)
    assert len(world.cluster.writes) == 1
    assert sum(world.calls.values()) == 2
    world.sleep(8 * HOUR)
    assert world.is_current("shop")


def test_one_that_does_not_lead_writes_nothing(world: World) -> None:
    world.leads = False
    world.cluster.add("shop")
    world.sleep(HOUR)
    assert (world.cluster.writes, world.calls) == ([], {})
    world.leads = True
    world.sleep(6)
    assert world.is_current("shop")
    world.leads = False
    world.cluster.add("shop-2")
    world.sleep(60)
    assert len(world.cluster.writes) == 1


def test_one_that_leads_no_longer_measures_no_secrets(world: World) -> None:
    """It would count down to an expiry that the next leader has put off, and alert."""
    world.cluster.add("shop")
    world.sleep(6)
    assert world.metric("secrets", state="current") == world.metric("namespaces") == 1
    world.leads = False
    world.sleep(12 * HOUR)
    assert world.metric("secrets", state="current") == world.metric("namespaces") == 0
    assert math.isnan(world.metric("first_expiry_seconds") or 0)


def test_a_secret_that_someone_edits_is_corrected_with_growing_pauses(world: World) -> None:
    world.cluster.add("shop")
    world.sleep(1)
    world.cluster.edit_secret("shop", "ecr-pull", b"{}")
    world.controller.turn()
    assert world.is_current("shop")
    for _ in range(200):
        world.cluster.edit_secret("shop", "ecr-pull", b"{}")
        world.sleep(10)
    assert 4 <= len(world.cluster.writes) <= 10


def test_a_secret_that_someone_deletes_comes_back(world: World) -> None:
    world.cluster.add("shop")
    world.sleep(1)
    world.cluster.remove_secret("shop", "ecr-pull")
    world.controller.turn()
    assert world.is_current("shop")


def test_a_namespace_that_is_deleted_and_comes_back(world: World) -> None:
    world.cluster.add("shop")
    world.sleep(1)
    world.cluster.add("shop", terminating=True)
    world.cluster.remove_secret("shop", "ecr-pull")
    world.sleep(60)
    assert len(world.cluster.writes) == 1
    world.cluster.remove("shop")
    world.cluster.add("shop")
    world.controller.turn()
    assert world.is_current("shop")


def delete(world: World) -> None:
    if world.cluster.secret("shop-0", "ecr-pull"):
        world.cluster.remove_secret("shop-0", "ecr-pull")


def edit_annotation(name: str, pattern: str, text: str) -> Callable[[World], None]:
    def edit(world: World) -> None:
        secret = world.cluster.secret("shop-0", "ecr-pull")
        edited = re.sub(pattern, text, secret.annotations[name]) if secret else ""
        if secret and secret.annotations[name] != edited:
            world.cluster.annotate("shop-0", "ecr-pull", name, edited)

    return edit


def add_account(world: World) -> None:
    accounts = list(world.cluster.service_accounts("shop-0"))
    if all(account.pull_secrets for account in accounts):
        world.cluster.add_account("shop-0", f"build-{len(accounts)}")


@pytest.mark.parametrize(
    "undo",
    [
        delete,
        edit_annotation("ecr-py/hash", ".+", "x"),
        edit_annotation("ecr-py/tokens", ".+", ""),
        edit_annotation("ecr-py/tokens", ":[0-9]+:", ":1000:"),  # to be replaced long ago
        add_account,
    ],
    ids=["delete", "hash", "no tokens", "old tokens", "accounts"],
)
def test_an_owner_who_makes_work_delays_no_other_namespace(
    world: World, undo: Callable[[World], None]
) -> None:
    grants = f"{GRANTS}    serviceAccounts: [build-*]\n"
    world.grants(grants)
    for number in range(100):
        world.cluster.add(f"shop-{number}")
    world.sleep(10)
    wake = world.cluster.changed

    def react(name: str) -> None:
        wake(name)
        if name == "shop-0":
            undo(world)

    world.cluster.changed = react
    undo(world)
    world.sleep(5)
    world.grants(grants.replace(f', "{STAGE}"', ""))
    world.sleep(12)
    others = [world.cluster.passwords(f"shop-{number}") for number in range(1, 100)]
    assert {tuple(passwords) for passwords in others} == {(registry(DEV),)}


def test_a_secret_that_someone_deletes_again_and_again_comes_back_with_growing_pauses(
    world: World,
) -> None:
    world.cluster.add("shop")
    for _ in range(200):
        world.sleep(10)
        world.cluster.remove_secret("shop", "ecr-pull")
    assert 4 <= len(world.cluster.writes) <= 10
    world.cluster.remove("shop")
    world.cluster.add("shop")
    world.controller.turn()
    assert world.is_current("shop")  # it is another namespace


def test_a_secret_of_someone_else_is_left_alone_and_told(world: World) -> None:
    world.cluster.add("shop")
    world.cluster.add_secret("shop", "ecr-pull")
    world.sleep(10 * HOUR)
    assert world.cluster.writes == []
    assert {event[2] for event in world.cluster.events} == {"PullSecretLeftAlone"}
    assert 1 < len(world.cluster.events) < 20
    assert world.metric("secrets", state="left_alone") == 1
    world.cluster.remove_secret("shop", "ecr-pull")
    world.sleep(1)
    assert world.is_current("shop")


def test_an_immutable_secret_is_left_alone_and_told(world: World) -> None:
    world.cluster.add("shop")
    world.sleep(1)
    world.cluster.immutable.add(("shop", "ecr-pull"))
    world.sleep(20 * HOUR)
    assert len(world.cluster.writes) == 1
    assert {event[2] for event in world.cluster.events} == {"PullSecretRefused"}
    assert len(world.cluster.events) < 30
    assert (world.metric("writes_total", result="invalid") or 0) > 0
    assert (world.metric("secrets", state="expired") or 0) == 1
    world.cluster.remove_secret("shop", "ecr-pull")
    world.sleep(1)
    assert world.is_current("shop")


def test_a_secret_that_does_not_fit_names_its_grant(world: World) -> None:
    world.padding = 400_000
    world.cluster.add("shop")
    world.sleep(60)
    assert world.cluster.writes == []
    (event,) = set(world.cluster.events)
    assert event[2] == "PullSecretRefused"
    assert event[3].startswith("2 registries of the grants shop take 1,0")


def test_the_api_server_wants_us_to_wait(world: World) -> None:
    world.cluster.add("shop")
    world.cluster.fails = [TooManyRequests("slow down", retry_after=7)]
    world.sleep(6.9)
    assert world.cluster.writes == []
    world.sleep(0.2)
    assert len(world.cluster.writes) == 1


def test_the_loop_goes_on_while_writes_are_held_back(world: World) -> None:
    """A loop without a turn for three minutes counts as one that hangs."""
    world.cluster.add("shop")
    world.cluster.fails = [TooManyRequests("slow down", retry_after=300)]
    world.sleep(200)
    assert world.elapsed - world.controller.last_turn < 10
    assert world.cluster.writes == []
    world.sleep(110)
    assert len(world.cluster.writes) == 1


def test_an_api_server_that_is_down_is_asked_less_and_less(world: World) -> None:
    for number in range(100):
        world.cluster.add(f"shop-{number}")
    world.cluster.fails = [ClusterUnavailable("down")] * 1000
    world.sleep(300)
    assert 1000 - len(world.cluster.fails) < 20
    world.cluster.fails = []
    world.sleep(40)
    assert len(world.cluster.writes) == 100


@pytest.mark.parametrize("error", [Conflict("changed"), Forbidden("no")])
def test_one_write_that_fails_does_not_delay_the_others(
    world: World, error: Conflict | Forbidden
) -> None:
    for number in range(10):
        world.cluster.add(f"shop-{number}")
    world.cluster.fails = [error]
    world.sleep(1)
    assert len(world.cluster.writes) == 9
    world.sleep(40)
    assert len(world.cluster.writes) == 10


def test_a_grant_that_goes_away(world: World) -> None:
    world.cluster.add("shop")
    world.cluster.add("labelled", ecr="pull")
    world.sleep(HOUR)
    world.cluster.add("labelled")
    world.sleep(10 * HOUR)
    assert world.cluster.secret("labelled", "ecr-pull") is not None
    world.sleep(HOUR + 1)
    assert world.cluster.secret("labelled", "ecr-pull") is None
    assert world.is_current("shop")
    assert ("remove", "labelled", "ecr-pull") in world.cluster.writes


def test_a_grant_that_comes_back_in_time_keeps_the_secret(world: World) -> None:
    world.cluster.add("labelled", ecr="pull")
    world.sleep(1)
    (before,) = world.cluster.secrets("labelled")
    world.cluster.add("labelled")
    world.sleep(9 * HOUR)
    world.cluster.add("labelled", ecr="pull")
    world.sleep(0.5 * HOUR)  # it waits for more new tokens
    (after,) = world.cluster.secrets("labelled")
    assert before.uid == after.uid
    assert before.version != after.version


def test_the_grants_change_at_run_time(world: World) -> None:
    world.cluster.add("shop")
    world.sleep(1)
    world.grants(GRANTS.replace(f', "{STAGE}"', ""))
    world.sleep(6)
    assert list(world.cluster.passwords("shop")) == [registry(DEV)]
    assert sum(world.calls.values()) == 2


def test_the_grants_are_in_a_config_map(world: World) -> None:
    """The kubelet replaces a link to the folder in which all of its files are."""
    file = world.folder / "grants.yaml"

    def mount(text: str, folder: str) -> None:
        (world.folder / folder).mkdir()
        (world.folder / folder / file.name).write_text(text)
        (world.folder / "..tmp").symlink_to(folder)
        (world.folder / "..tmp").rename(world.folder / "..data")

    file.unlink()
    mount(GRANTS, "..one")
    file.symlink_to("..data/grants.yaml")
    for name in ("shop", "late"):
        world.cluster.add(name)
    world.sleep(1)
    assert world.cluster.passwords("shop")
    mount(GRANTS.replace("[shop,", "[shop, late,"), "..two")
    world.sleep(6)
    assert world.cluster.passwords("late")


def test_grants_that_are_broken_at_run_time_stay_as_they_were(world: World) -> None:
    world.cluster.add("shop")
    world.sleep(1)
    assert world.metric("grants_valid") == 1
    for text in ("grants: [", "", GRANTS.replace("registries", "registry")):
        world.grants(text)
        world.sleep(10)
        assert world.metric("grants_valid") == 0
        assert world.source.error is not None
    world.sleep(13 * HOUR)
    world.cluster.add("shop-2")
    world.sleep(1)
    assert world.is_current("shop")
    assert world.is_current("shop-2")
    world.grants(GRANTS)
    world.sleep(10)
    assert world.metric("grants_valid") == 1


def test_an_aws_config_that_is_broken_at_run_time_does_not_matter(world: World) -> None:
    world.cluster.add("shop")
    world.sleep(1)
    world.aws_config("[profile")
    world.sleep(13 * HOUR)
    assert world.is_current("shop")


def test_another_identity_for_a_registry_is_used_at_once(world: World) -> None:
    world.cluster.add("shop")
    world.sleep(1)
    before = world.cluster.passwords("shop")
    world.aws_config(profile("other", DEV).replace("role/pull", "role/x") + profile("s", STAGE))
    world.sleep(6)
    after = world.cluster.passwords("shop")
    assert after[registry(DEV)] != before[registry(DEV)]
    assert world.calls[DEV, "eu-west-1"] == 2
    assert world.calls[STAGE, "eu-west-1"] == 1
    assert world.cluster.secrets("shop")
    (secret,) = world.cluster.secrets("shop")
    assert secret.annotations["ecr-py/identities"] == "other, s"


@pytest.mark.parametrize("jump", [-40 * HOUR, -HOUR, HOUR, 11 * HOUR, 400 * HOUR])
def test_the_clock_is_set(world: World, jump: int) -> None:
    world.cluster.add("shop")
    world.sleep(2 * HOUR)
    world.now += jump
    world.sleep(61)
    assert world.is_current("shop") or jump == -40 * HOUR
    world.sleep(13 * HOUR)
    assert world.is_current("shop")
    assert sum(world.calls.values()) <= 8


def test_a_name_that_cannot_be_listed_keeps_the_others_from_nothing(world: World) -> None:
    """As if the grants named a secret that RBAC does not allow."""
    world.grants(WITH_ANOTHER_SECRET)
    world.cluster.add("shop")
    world.aws_config(TWO_ACCOUNTS + profile("prod", PROD))
    world.cluster.unknown = {"ecr-push"}
    world.sleep(9 * HOUR)
    assert world.is_current("shop")
    assert {name for _, _, name in world.cluster.writes} == {"ecr-pull"}
    assert world.metric("secrets", state="waiting") == 1
    world.cluster.unknown.clear()
    world.controller.wake()
    world.sleep(1)
    assert world.is_current("shop", "ecr-push")


def test_several_secrets_and_service_accounts(world: World) -> None:
    world.grants(WITH_ANOTHER_SECRET)
    world.aws_config(TWO_ACCOUNTS + profile("prod", PROD))
    world.cluster.add("shop")
    world.cluster.add_account("shop", "default")
    world.cluster.add_account("shop", "build-1", "mine")
    world.sleep(2)
    assert list(world.cluster.passwords("shop", "ecr-push")) == [registry(PROD)]
    accounts = {one.name: one.pull_secrets for one in world.cluster.service_accounts("shop")}
    assert accounts == {"default": (), "build-1": ("mine", "ecr-push")}
    assert world.cluster.watched == ("ecr-pull", "ecr-push")


def test_a_registry_that_no_profile_is_for_is_told(world: World) -> None:
    world.grants(GRANTS.replace(f'"{STAGE}"', registry(PROD)))
    world.cluster.add("shop")
    world.sleep(1)
    assert list(world.cluster.passwords("shop")) == [registry(DEV)]
    (problem,) = world.source.resolved.problems
    assert f"line 4: grants[0].registries: {registry(PROD)}: no AWS profile" in str(problem)


def test_a_profile_that_is_not_there_is_told_at_its_key(world: World) -> None:
    world.grants(f"{GRANTS}    profile: stge\n")
    world.sleep(1)
    (problem,) = world.source.resolved.problems
    assert "grants[0].profile: profile stge is not in" in str(problem)
    assert str(problem).endswith("nearest: stage")
