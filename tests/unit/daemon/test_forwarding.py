"""The daemon's socket for other machines, and a client that asks for much and hangs up."""

import selectors
import socket
from pathlib import Path

from docker_credential_ecr_py.config.settings import Settings
from docker_credential_ecr_py.daemon.boundary import Boundary
from docker_credential_ecr_py.daemon.forwarding import Forwarding
from docker_credential_ecr_py.daemon.memory import Records
from docker_credential_ecr_py.daemon.worker_pool import Worker
from tests.support.daemon import short_folder

FAILED = {"result": {"kind": "EcrPyError", "what": "no"}}


def test_who_has_hung_up_keeps_no_worker_busy() -> None:
    workers: list[Worker] = []
    with short_folder() as folder, selectors.DefaultSelector() as selector:
        boundary = Boundary({"HOME": str(folder)}, None)
        path = Path(folder) / "ecr-py" / "forward" / "forward.sock"
        forwarding = Forwarding(
            path, selector, Records(None, boundary), boundary, workers.append, lambda *_: None
        )
        forwarding.apply(Settings(forward=("*",)))
        for account in range(100_000_000_000, 100_000_000_100):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(f"ecr-py/1 get {account}.dkr.ecr.eu-west-1.amazonaws.com\n".encode())
                for key, events in selector.select(1):
                    key.data(events)
        assert len(workers) == 4
        for worker in list(workers):
            worker.ends(FAILED)
        assert len(workers) == 4
        forwarding.close()
