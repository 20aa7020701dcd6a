"""What the daemon starts when: by the records, the clock and the files, and no worker."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.daemon.boundary import Boundary
from docker_credential_ecr_py.daemon.memory import Records
from docker_credential_ecr_py.daemon.notified_sessions import NotifiedSessions
from docker_credential_ecr_py.daemon.scheduler import MOST_REGISTRIES, Ending, Scheduler
from docker_credential_ecr_py.daemon.worker_pool import Report
from docker_credential_ecr_py.errors import AccessDenied, LoginNeeded, Unreachable
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import SsoSession
from docker_credential_ecr_py.sso.token_cache import Registration, SsoFiles, Token
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.file_backend import FileStore
from docker_credential_ecr_py.store.store import StoredSelection

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
OTHER = "123456789012.dkr.ecr.eu-west-2.amazonaws.com"
HOUR, DAY = 3600.0, 86400.0
DONE: Report = {"result": None}
SESSION = SsoSession("https://example.awsapps.com/start", "eu-west-1", "mine", "")


@dataclass
class World:
    """A keeper whose workers only write down what they were started for."""

    root: Path
    now: float
    named: set[str] = field(default_factory=set)
    started: list[tuple[Report, Mapping[str, str], Callable[[Report], None]]] = field(
        default_factory=list
    )
    told: list[Ending] = field(default_factory=list)
    network: bytes = b"home"

    def __post_init__(self) -> None:
        self.settings = self.root / "settings"
        self.store = FileStore(self.root / "cache", {b"AWS_PROFILE": b"dev"})
        self.files = SsoFiles(self.root / ".aws" / "sso" / "cache")
        cache = os.fsencode(self.root / "cache")
        environ = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s", "AWS_PROFILE": "other"}
        self.boundary = Boundary(environ, cache)
        self.records = Records(cache, self.boundary)
        self.starts()

    def starts(self, salt: bytes = b"machine") -> None:
        """The daemon starts, or starts again."""
        self.scheduler = Scheduler(
            self.records,
            lambda job, environ, ends: self.started.append((job, environ, ends)),
            self.told.append,
            self.boundary,
            lambda: self.named,
            [os.fsencode(self.settings)],
            clock=lambda: self.now,
            told=NotifiedSessions(self.root / "told.json"),
            salt=salt,
            network=lambda: self.network,
        )

    def keeps(self, host: str = HOST, key: str = "key", token_file: str = "") -> None:
        """A registry that was used now, with a credential fresh from AWS."""
        fresh = Credential.from_aws("AWS", "p", now=self.now, expires=self.now + 12 * HOUR)
        self.store.save(key, fresh)
        path = os.fsencode(self.files.folder / token_file)
        stamps = {path: record.PRESENT} if token_file else {}
        details = {"profile": "dev", "region": Registry.parse(host).region}
        self.store.save_selection(StoredSelection(host, key, stamps, details))

    def turns(self, end: Report | None = None) -> list[Report]:
        """What a turn starts. `end` is how each job ends at once."""
        self.started.clear()
        self.records.new_turn()
        self.scheduler.turn()
        jobs = list(self.started)
        for _, _, ends in jobs:
            if end is not None:
                ends(end)
        return [job for job, _, _ in jobs]

    def session(self, *, ends_in: float, refresh: bool) -> None:
        registration = Registration("id", "secret", self.now + 90 * DAY)
        token = Token(
            SESSION.start_url, "eu-west-1", "t", self.now + ends_in, registration, "r" * refresh
        )
        self.files.keep_token(SESSION, token)
        self.keeps(token_file=SESSION.token_file)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[profile dev]\n[profile other]\n")
    marker = tmp_path / "marker"
    marker.touch()
    return World(tmp_path, marker.stat().st_mtime)


def test_a_fresh_credential_is_left_alone(world: World) -> None:
    world.keeps()
    assert world.turns() == []


def test_one_is_renewed_before_it_ages_and_once(world: World) -> None:
    world.keeps()
    world.now += 5.7 * HOUR
    begun: list[Report] = []
    while not begun:
        world.now += 60
        begun = world.turns()
    assert world.now < world.store.load("key").renew_at  # type: ignore[union-attr]
    assert [(job["do"], job["host"]) for job in begun] == [("renew", HOST)]
    assert world.now + begun[0]["ahead"] >= world.store.load("key").renew_at  # type: ignore[union-attr]
    assert world.turns() == []


def test_registries_of_one_identity_cost_one_renewal(world: World) -> None:
    world.keeps(HOST)
    world.keeps(OTHER)
    world.now += 7 * HOUR
    assert len(world.turns()) == 1


def test_the_worker_sees_who_asked_and_no_secret(world: World) -> None:
    world.keeps()
    world.now += 7 * HOUR
    world.turns()
    [(_, environ, _)] = world.started
    assert environ == {"PATH": "/bin", "AWS_PROFILE": "dev"}


def test_what_nobody_used_for_a_week_is_let_go_unless_it_is_named(world: World) -> None:
    world.keeps()
    world.now += 8 * DAY
    assert world.turns() == []
    world.named = {HOST}
    assert [job["host"] for job in world.turns()] == [HOST]


def test_what_is_named_and_unknown_is_fetched(world: World) -> None:
    world.named = {OTHER}
    assert [(job["do"], job["host"]) for job in world.turns()] == [("renew", OTHER)]


def test_keys_in_an_environment_are_nobody_elses(world: World) -> None:
    world.store = FileStore(
        world.root / "cache", {b"AWS_ACCESS_KEY_ID": b"A", b"AWS_SECRET_ACCESS_KEY": b"s"}
    )
    world.keeps()
    world.now += 7 * HOUR
    assert world.turns() == []


def test_what_docker_login_gave_cannot_be_renewed(world: World) -> None:
    world.keeps(key="login-1")
    world.now += 7 * HOUR
    assert world.turns() == []


def test_a_failure_is_tried_again_later_and_later(world: World) -> None:
    world.keeps()
    world.now += 7 * HOUR
    failed = {"result": Unreachable("AWS is away").to_dict()}
    assert len(world.turns(failed)) == 1
    pauses = []
    for _ in range(4):
        began = world.now
        while not world.turns(failed):
            world.now += 5
        pauses.append(world.now - began)
    assert pauses == sorted(pauses)
    assert pauses[-1] > 3 * pauses[0]
    [shown] = world.scheduler.status()["failures"]
    assert "AWS is away" in shown["what"]


def test_what_has_failed_for_months_is_still_tried_each_hour(world: World) -> None:
    """2**1024, so many tries later, is too large for a float."""
    world.named = {OTHER}
    failed = {"result": Unreachable("AWS is away").to_dict()}
    for _ in range(1100):
        assert len(world.turns(failed)) == 1
        world.now += 1.5 * HOUR


AWAY: Report = {"result": Unreachable("AWS is away").to_dict()}


def fails_for_hours(world: World, error: Report = AWAY) -> None:
    """What is due has failed until the pauses are at their longest."""
    for _ in range(20):
        assert len(world.turns(error)) == len(world.scheduler.status()["failures"])
        world.now += 1.5 * HOUR
    world.turns(error)
    world.now += 60
    assert world.turns() == []


def test_an_outage_does_not_put_off_the_next_try_for_an_hour(world: World) -> None:
    """Nothing here may tell that a network far away works again."""
    world.named = {OTHER}
    fails_for_hours(world)
    world.now += 0.2 * HOUR
    assert len(world.turns()) == 1


def test_another_network_ends_the_pauses_of_an_outage(world: World) -> None:
    world.named = {OTHER}
    fails_for_hours(world)
    world.network = b"office"
    # Nothing has an address yet.
    assert len(world.turns(AWAY)) == 1
    world.now += 60
    assert len(world.turns(DONE)) == 1
    assert world.scheduler.status()["failures"] == []


def test_a_network_that_goes_and_comes_back_is_tried_once_each_time(world: World) -> None:
    world.named = {OTHER}
    fails_for_hours(world)
    tries = 0
    for network in (b"", b"home", b"", b"home"):
        world.network = network
        for _ in range(3):
            world.now += 1
            tries += len(world.turns(AWAY))
    assert tries == 4


def test_another_network_is_no_reason_to_ask_a_portal_again_that_refused(world: World) -> None:
    world.named = {OTHER}
    fails_for_hours(world, {"result": AccessDenied("no").to_dict()})
    world.network = b"office"
    assert world.turns() == []


def test_a_get_that_was_answered_ends_the_outage_for_its_region(world: World) -> None:
    """Whoever asked, and as which identity."""
    world.keeps(HOST)
    world.keeps(OTHER, key="other")
    world.now += 7 * HOUR
    fails_for_hours(world)
    same_region = HOST.replace("1234", "4321")
    world.keeps(same_region, key="third")
    assert [job["host"] for job in world.turns(DONE)] == [HOST]
    assert world.turns() == []


def test_a_renewal_that_succeeds_ends_the_outage_for_its_region(world: World) -> None:
    world.keeps(HOST)
    world.keeps(HOST.replace("1234", "4321"), key="second")
    world.now += 7 * HOUR
    fails_for_hours(world)
    world.settings.write_text("changed")  # reason to try both
    world.turns()
    (_, _, first_ends), (_, _, second_ends) = world.started
    second_ends(AWAY)
    first_ends(DONE)
    assert len(world.turns(DONE)) == 1


def test_a_session_that_was_refreshed_ends_the_outage_of_its_portal(world: World) -> None:
    world.session(ends_in=0.2 * HOUR, refresh=True)
    world.keeps(OTHER, key="other", token_file=SESSION.token_file)
    world.now += 7 * HOUR
    world.session(ends_in=0.2 * HOUR, refresh=True)
    world.now += 60
    jobs = world.turns()
    assert {job["do"] for job in jobs} == {"renew", "refresh"}
    ends = {job["do"]: end for job, _, end in world.started}
    ends["renew"](AWAY)
    ends["refresh"](DONE)
    assert [job["do"] for job in world.turns()] == ["renew"]


def test_an_answer_from_the_future_ends_no_outage(world: World) -> None:
    """The clock was set back: it would be tried at each look."""
    world.keeps(HOST)
    world.now += 2 * DAY
    world.keeps(HOST.replace("1234", "4321"), key="second")
    world.now -= DAY
    world.turns(AWAY)
    world.turns(AWAY)
    world.now += 5
    assert world.turns() == []


def test_renewals_are_spread_in_another_way_on_another_machine(world: World) -> None:
    world.keeps()
    began = world.now

    def due(salt: bytes) -> float:
        world.now = began + 5.6 * HOUR
        world.starts(salt)
        while not world.turns():
            world.now += 30
        return world.now

    machines = [due(b"%d" % number) for number in range(8)]
    assert machines == [due(b"%d" % number) for number in range(8)]
    assert len(set(machines)) > 4
    assert all(began + 5.7 * HOUR <= moment <= began + 6.01 * HOUR for moment in machines)


def test_a_file_that_changed_is_reason_to_try_at_once(world: World) -> None:
    world.keeps()
    world.now += 7 * HOUR
    assert world.turns({"result": LoginNeeded("log in").to_dict()})
    world.now += 60
    assert world.turns() == []
    world.settings.write_text("changed")
    assert len(world.turns()) == 1


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_clock_that_jumps_leads_to_one_renewal(world: World, jump: float) -> None:
    world.keeps()
    world.now += jump
    assert len(world.turns(DONE)) == 1
    assert world.turns() == []


def test_a_clock_set_back_does_not_prolong_a_pause(world: World) -> None:
    world.keeps()
    world.now += 7 * HOUR
    assert world.turns({"result": Unreachable("away").to_dict()})
    world.now -= DAY
    assert len(world.turns()) == 1


def test_a_worker_that_did_nothing_is_not_started_on_and_on(world: World) -> None:
    world.keeps()
    world.now += 7 * HOUR
    assert len(world.turns(DONE)) == 1
    assert world.turns(DONE) == []


def test_who_logged_out_is_left_alone(world: World) -> None:
    world.session(ends_in=8 * HOUR, refresh=False)
    (world.files.folder / SESSION.token_file).unlink()
    world.now += 7 * HOUR
    assert world.turns() == []


def test_a_session_is_refreshed_before_it_ends(world: World) -> None:
    world.session(ends_in=HOUR, refresh=True)
    assert world.turns() == []
    world.now += 0.75 * HOUR
    assert [job["do"] for job in world.turns()] == ["refresh"]
    assert world.told == []


def test_a_session_that_needs_a_person_is_told_once(world: World) -> None:
    world.session(ends_in=HOUR, refresh=False)
    world.turns()
    assert world.told == []
    for _ in range(20):
        world.now += 0.04 * HOUR
        world.turns()
    [ending] = world.told
    assert ending.profile == "dev"


def test_a_refused_refresh_is_told_too(world: World) -> None:
    world.session(ends_in=HOUR, refresh=True)
    world.now += 0.8 * HOUR
    refused = {"result": LoginNeeded("the portal wants a person").to_dict()}
    world.turns(refused)
    world.turns(refused)
    assert len(world.told) == 1


def test_what_was_told_is_not_told_again_by_a_daemon_that_starts_again(world: World) -> None:
    world.session(ends_in=600, refresh=False)
    world.turns()
    for _ in range(3):
        world.starts()
        world.turns()
    assert len(world.told) == 1
    assert (world.root / "told.json").stat().st_mode & 0o777 == 0o600
    world.session(ends_in=900, refresh=False)
    world.starts()
    world.turns()
    assert len(world.told) == 2


@pytest.mark.parametrize("kept", ["", "{", "[]", '{"x": "y"}', "null", '{"x": null}'])
def test_what_was_told_is_told_again_if_that_is_damaged(world: World, kept: str) -> None:
    (world.root / "told.json").write_text(kept)
    world.session(ends_in=600, refresh=False)
    world.turns()
    world.turns()
    assert len(world.told) == 1
    world.starts()
    world.turns()
    assert len(world.told) == 1


def test_what_was_told_is_known_where_it_cannot_be_written(world: World) -> None:
    (world.root / "told.json").mkdir()
    world.session(ends_in=600, refresh=False)
    for _ in range(3):
        world.turns()
    assert len(world.told) == 1


def test_what_was_told_of_sessions_that_are_gone_is_forgotten(world: World) -> None:
    told = NotifiedSessions(world.root / "told.json")
    gone = os.fsencode(world.root / "gone")
    told.add(gone, 1.0)
    (here := world.root / "here").touch()
    told.add(os.fsencode(here), 2.0)
    assert list(json.loads((world.root / "told.json").read_text())) == [str(here)]


def test_a_session_that_ended_days_ago_is_old_news(world: World) -> None:
    world.session(ends_in=-3 * DAY, refresh=False)
    world.turns()
    assert world.told == []


def test_what_is_half_written_is_no_selection(world: World) -> None:
    world.keeps()
    (file,) = (world.root / "cache" / "selections").iterdir()
    file.with_name(f"{file.name}.0123.new").write_bytes(file.read_bytes())
    assert list(world.records.selections()) == [b"selections/" + os.fsencode(file.name)]


def test_a_selection_that_goes_while_it_looks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.keeps(HOST)
    world.keeps(OTHER)
    listed = os.scandir

    def scandir(folder: bytes) -> list[os.DirEntry[bytes]]:
        found = list(listed(folder))
        os.unlink(found[0])
        return found

    monkeypatch.setattr(os, "scandir", scandir)
    assert len(world.records.selections()) == 1


# What others wrote


def test_another_environment_is_not_renewed_for(world: World) -> None:
    world.store = FileStore(world.root / "cache", {b"AWS_CONFIG_FILE": b"/tmp/config"})
    world.keeps()
    world.now += 7 * HOUR
    assert world.turns() == []
    [shown] = world.scheduler.status()["registries"]
    assert shown["differs"] == ["AWS_CONFIG_FILE"]


def test_no_path_of_others_is_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a mount that hangs, or an automount."""
    here = {b"AWS_PROFILE": b"dev"}
    world.store = FileStore(world.root / "cache", here)
    fresh = Credential.from_aws("AWS", "p", now=world.now, expires=world.now + 12 * HOUR)
    world.store.save("key", fresh)
    world.store.save_selection(
        StoredSelection(HOST, "key", {b"/net/elsewhere/x": record.PRESENT}, {})
    )
    seen: list[bytes] = []
    looked = record.stamp

    def stamp(path: bytes) -> bytes:
        seen.append(path)
        return looked(path)

    monkeypatch.setattr(record, "stamp", stamp)
    # It cannot be known whether the choice still holds: it is made anew.
    assert [job["do"] for job in world.turns()] == ["renew"]
    world.scheduler.status()
    assert seen
    assert [path for path in seen if path.startswith(b"/net")] == []


def test_as_many_registries_are_kept_alive_as_there_may_be(world: World) -> None:
    hosts = [f"{number:012}.dkr.ecr.eu-west-1.amazonaws.com" for number in range(MOST_REGISTRIES)]
    for number, host in enumerate(hosts):
        world.keeps(host, f"key-{number}")
    world.keeps(HOST, "key")
    old = world.now - 6 * DAY
    for file in (world.root / "cache" / "selections").iterdir():
        if file.name.startswith((HOST, hosts[0])):
            os.utime(file, (old, old))
    world.named = {HOST}
    shown = {one["registry"] for one in world.scheduler.status()["registries"]}
    assert len(shown) == MOST_REGISTRIES
    assert HOST in shown
    assert hosts[0] not in shown


def test_details_of_others_are_shown_only_as_far_as_they_are_expected(world: World) -> None:
    world.keeps()
    details = {"registry": "x", "profile": "\x1b[2J", "region": "r" * 1000, "rule": "account"}
    world.store.save_selection(StoredSelection(HOST, "key", {}, details))
    [shown] = world.scheduler.status()["registries"]
    assert shown["registry"] == HOST
    assert shown["rule"] == "account"
    assert "profile" not in shown
    assert "region" not in shown
