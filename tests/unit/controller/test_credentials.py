import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from docker_credential_ecr_py.controller import credentials as module
from docker_credential_ecr_py.controller import worker
from docker_credential_ecr_py.controller.credentials import Credentials, Result, fetch_by_worker
from docker_credential_ecr_py.controller.plan import Entry
from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.errors import EcrPyError, NoProfile, Throttled, Unreachable
from tests.support.home import DEV, live_in, registry

REGIONS = ["eu-west-1", "us-east-1", "eu-north-1"]
ENTRIES = {
    f"{account}{region}": Entry(registry(f"{account:012}", region), f"{account}{region}", "p", "p")
    for account in range(20)
    for region in REGIONS
}
ENTRY = Entry(registry(DEV), "k" * 32, "dev", "dev")


def credential(now: float) -> Credential:
    return Credential.from_aws("AWS", "hush", now=now, expires=now + 43200)


class Aws:
    """Answers when it is told to; `batches` are what it was asked for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.batches: list[list[Entry]] = []
        self.answer: Result | None = None
        self.calls: list[Callable[[], None]] = []
        self.credentials = Credentials(
            lambda: None,
            lambda: self.now,
            fetch=self.fetch,
            start=lambda call: self.calls.append(call),
        )

    def fetch(self, batch: list[Entry]) -> Iterator[tuple[str, Result]]:
        self.batches.append(batch)
        for entry in batch:
            yield entry.key, self.answer or credential(self.now)

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()
        self.credentials.take()


def test_each_worker_gets_a_few_of_one_region_and_two_run_at_once() -> None:
    aws = Aws()
    due = dict.fromkeys(ENTRIES, 0.0)
    aws.credentials.start_due(due, ENTRIES)
    aws.credentials.start_due(due, ENTRIES)
    assert len(aws.calls) == 2
    while aws.calls:
        aws.run()
        left = {key: 0.0 for key in ENTRIES if key not in aws.credentials.tokens}
        aws.credentials.start_due(left, ENTRIES)
    assert len(aws.credentials.tokens) == 60
    assert sum(map(len, aws.batches)) == 60
    for batch in aws.batches:
        assert len(batch) <= 8
        assert len({entry.host.split(".")[3] for entry in batch}) == 1


@pytest.mark.parametrize(
    ("error", "longest"),
    [(Unreachable("down"), 660), (Throttled("slow"), 660), (NoProfile("no"), 3960)],
)
def test_pauses_after_failures_grow_to_a_limit(error: EcrPyError, longest: float) -> None:
    aws = Aws()
    aws.answer = error
    pauses = []
    for _ in range(15):
        aws.credentials.start_due({ENTRY.key: 0.0}, {ENTRY.key: ENTRY})
        aws.run()
        again = aws.credentials.start_due({ENTRY.key: 0.0}, {ENTRY.key: ENTRY})
        assert again is not None
        pauses.append(again - aws.now)
        aws.now = again
    assert 25 < pauses[0] < 35
    assert max(pauses) == pytest.approx(longest / 1.1, rel=0.11)
    aws.credentials.retry_now()
    aws.credentials.start_due({ENTRY.key: 0.0}, {ENTRY.key: ENTRY})
    assert len(aws.calls) == 1


def test_a_clock_that_was_set_back_ends_a_pause() -> None:
    aws = Aws()
    aws.answer = Unreachable("down")
    aws.credentials.start_due({ENTRY.key: 0.0}, {ENTRY.key: ENTRY})
    aws.run()
    aws.now -= 900
    aws.credentials.start_due({ENTRY.key: 0.0}, {ENTRY.key: ENTRY})
    assert len(aws.calls) == 1


def test_a_worker_that_dies_is_a_failure() -> None:
    aws = Aws()
    aws.credentials._fetch = lambda batch: iter(())
    aws.credentials.start_due({ENTRY.key: 0.0}, {ENTRY.key: ENTRY})
    aws.run()
    assert aws.credentials.failures[ENTRY.key].error.what == "the worker gave no answer"


def test_a_real_worker_prints_no_secret_and_its_error_arrives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    live_in(tmp_path, monkeypatch)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    ((key, result),) = fetch_by_worker([ENTRY])
    assert key == ENTRY.key
    assert isinstance(result, EcrPyError)
    assert "dev" in result.what
    assert "hush" not in repr(credential(0))


def test_a_worker_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIMIT", 0.1)
    hang = "import time; time.sleep(60)"
    monkeypatch.setattr(module, "python_for", lambda name: [sys.executable, "-c", hang])
    arrived = Event()
    credentials = Credentials(arrived.set, time.time)
    credentials.start_due({ENTRY.key: 0.0}, {ENTRY.key: ENTRY})
    assert arrived.wait(20)
    assert credentials.take()
    assert ENTRY.key in credentials.failures


def test_a_worker_gives_up_a_region_that_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(key: str, host: str, profile: str) -> dict[str, object]:
        asked.append(key)
        raise {"a": NoProfile("no"), "b": Unreachable("down")}[key]

    monkeypatch.setattr(worker, "_fetch", fetch)
    lines = list(worker.fetch_all([["a", "h", ""], ["b", "h", ""], ["c", "h", ""]]))
    assert asked == ["a", "b"]
    assert [line["error"]["kind"] for line in lines] == ["NoProfile", "Unreachable", "Unreachable"]
    assert json.dumps(lines)
