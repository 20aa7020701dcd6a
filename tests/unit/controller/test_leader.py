"""The election: one leader at a time, whatever the clocks, the API server and the others do."""

from dataclasses import dataclass, field

import pytest

from docker_credential_ecr_py.controller.api_server import ApiServer
from docker_credential_ecr_py.controller.leader import Leader
from tests.standin.kubernetes import KubernetesApi
from tests.support.processes import wait_until

LEASE = ("leases", "default", "ecr-py")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Replica:
    api: ApiServer
    identity: str
    clock: Clock
    changes: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.leader = Leader(self.api, "ecr-py", self.identity, self._changed, self.clock)

    def _changed(self) -> None:
        self.changes.append(self.leader.leads())

    def turns(self, seconds: float) -> bool:
        """Take a turn every two seconds, for so many. Return whether it leads then."""
        until = self.clock.now + seconds
        self.leader.turn()
        while self.clock.now < until:
            self.clock.now += 2
            self.leader.turn()
        return self.leader.leads()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def one(api: ApiServer, clock: Clock) -> Replica:
    return Replica(api, "one", clock)


@pytest.fixture
def two(api: ApiServer, clock: Clock) -> Replica:
    return Replica(api, "two", clock)


def test_the_first_leads_and_the_second_waits(one: Replica, two: Replica) -> None:
    assert one.turns(0)
    assert not two.turns(0)
    assert two.leader.holder == "one"
    for _ in range(30):
        assert one.turns(2)
        assert not two.turns(0)
    assert (one.changes, two.changes) == ([True], [])


def test_one_that_is_killed_is_followed_after_its_lease(one: Replica, two: Replica) -> None:
    one.turns(0)
    assert not two.turns(14)
    assert not one.leader.leads()
    assert two.turns(2)
    assert two.leader.holder == "two"


def test_one_that_is_stopped_is_followed_at_once(one: Replica, two: Replica) -> None:
    one.turns(0)
    two.turns(0)
    one.leader.stop()
    assert not one.leader.leads()
    assert two.turns(0)


def test_only_the_leader_releases(one: Replica, two: Replica) -> None:
    one.turns(0)
    two.turns(0)
    two.leader.stop()
    assert not two.turns(0)
    assert one.turns(2)


def test_a_leader_that_cannot_renew_ends_before_others_begin(
    server: KubernetesApi, one: Replica, two: Replica
) -> None:
    one.turns(0)
    two.turns(0)
    server.fail("ecr-py", 500, times=7)
    assert one.turns(8)
    assert not one.turns(2)
    assert one.changes == [True, False]
    assert not two.turns(0)


def test_times_in_the_lease_do_not_matter(
    server: KubernetesApi, one: Replica, two: Replica
) -> None:
    """The leader's clock is a day behind: its renewals are seen all the same."""
    one.turns(0)
    for _ in range(20):
        server.objects[LEASE]["spec"]["renewTime"] = "2001-01-01T00:00:00.000000Z"
        assert not two.turns(2)
        assert one.turns(0)


def test_a_lease_that_ended_long_ago_is_waited_for_once(
    server: KubernetesApi, one: Replica
) -> None:
    spec = {
        "holderIdentity": "gone",
        "leaseDurationSeconds": 15,
        "renewTime": "2001-01-01T00:00:00Z",
    }
    server.put("leases", {"metadata": {"name": "ecr-py", "namespace": "default"}, "spec": spec})
    assert not one.turns(14)
    assert one.turns(2)


def test_of_two_at_once_one_gets_it(server: KubernetesApi, one: Replica, two: Replica) -> None:
    """Both have seen that there is no lease; and both that it is free."""
    server.fail("GET", 404)
    one.turns(0)
    server.fail("GET", 404)
    assert not two.turns(0)
    assert one.leader.leads()


def test_a_lease_that_is_taken_from_a_leader(
    server: KubernetesApi, one: Replica, two: Replica
) -> None:
    one.turns(0)
    server.put(
        "leases",
        {**server.objects[LEASE], "spec": {"holderIdentity": "two", "leaseDurationSeconds": 15}},
    )
    assert not one.turns(0)
    assert one.changes == [True, False]


def test_a_lease_that_was_deleted_is_made_again(server: KubernetesApi, one: Replica) -> None:
    one.turns(0)
    server.remove(*LEASE)
    assert one.turns(2)
    assert server.objects[LEASE]["spec"]["holderIdentity"] == "one"


@pytest.mark.parametrize("spec", [{}, {"holderIdentity": None}, {"leaseDurationSeconds": 0}])
def test_a_lease_without_a_holder_is_free(
    server: KubernetesApi, one: Replica, spec: dict[str, object]
) -> None:
    server.put("leases", {"metadata": {"name": "ecr-py", "namespace": "default"}, "spec": spec})
    assert one.turns(0)


def test_nothing_that_the_server_answers_raises(server: KubernetesApi, one: Replica) -> None:
    for status in (400, 401, 403, 409, 422, 429, 500):
        server.fail("lease", status)
        one.turns(0)
    server.put("leases", {"metadata": {"name": "ecr-py", "namespace": "default"}, "spec": "odd"})
    assert not one.turns(0)


def test_a_problem_is_logged_once(
    server: KubernetesApi, one: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server.fail("lease", 403, times=3)
    one.turns(6)
    logged = [record.getMessage() for record in caplog.records if "the lease" in record.msg]
    assert logged == [
        "the lease cannot be taken or renewed: the API server: told to fail with 403",
        "the lease can be taken or renewed again",
    ]


def test_transitions_are_counted(server: KubernetesApi, one: Replica, two: Replica) -> None:
    one.turns(0)
    two.turns(0)
    one.leader.stop()
    two.turns(0)
    spec = server.objects[LEASE]["spec"]
    assert (spec["leaseTransitions"], spec["leaseDurationSeconds"]) == (1, 15)


def test_in_a_thread(one: Replica) -> None:
    one.leader.start()
    wait_until(one.leader.leads)
    one.leader.stop()
    assert not one.leader.leads()
