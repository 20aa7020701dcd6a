"""Workers: how many run at once, and what comes of those that cannot be started."""

from __future__ import annotations

import errno
import os
import selectors
from pathlib import Path

import pytest

from docker_credential_ecr_py.daemon import worker_pool
from docker_credential_ecr_py.daemon.worker_pool import MOST_AT_ONCE, Report, Worker, Workers


def none_left() -> tuple[int, int]:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_where_no_file_is_left_a_job_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Report] = []
    monkeypatch.setattr(os, "pipe", none_left)
    Workers(selectors.DefaultSelector()).start(Worker({"do": "unseal"}, {}, ended.append))
    (result,) = ended
    assert os.strerror(errno.EMFILE) in result["died"]


def test_where_no_file_is_left_those_end_too_that_waited_for_their_turn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended: list[Report] = []
    selector = selectors.DefaultSelector()
    workers = Workers(selector)
    for _ in range(MOST_AT_ONCE + 3):
        workers.start(Worker({"do": "no such job"}, {"HOME": str(tmp_path)}, ended.append))
    monkeypatch.setattr(os, "pipe", none_left)
    while selector.get_map():
        for key, events in selector.select():
            key.data(events)
    assert len(ended) == MOST_AT_ONCE + 3
    assert len([result for result in ended if "died" in result]) == 3


def test_jobs_that_the_user_began_run_beside_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps = ["/bin/sh", "-c", "exec sleep 100", "sh"]
    monkeypatch.setattr(worker_pool, "python_for", lambda module: sleeps)
    ended: list[Report] = []
    selector = selectors.DefaultSelector()
    workers = Workers(selector)
    others = [Worker({"do": "renew"}, {}, ended.append) for _ in range(MOST_AT_ONCE + 1)]
    logins = [Worker({"do": "log in"}, {}, ended.append, by_user=True) for _ in range(3)]

    def end(worker: Worker) -> None:
        before = len(ended)
        worker.kill()
        while len(ended) == before:
            for key, events in selector.select():
                key.data(events)

    try:
        for worker in (*others, *logins):
            workers.start(worker)
        assert all(worker.process for worker in (*others[:-1], *logins))
        end(logins[0])
        assert others[-1].process is None  # the login made no room for it
        end(others[0])
        assert others[-1].process
    finally:
        workers.stop()
