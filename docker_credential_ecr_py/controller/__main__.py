"""The controller's process, as `ecr-py controller run` starts it: builds its parts, and ends them.

Its one argument is `Options` as JSON. The command line's own modules would stay in memory.
"""

import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from docker_credential_ecr_py.controller.api_server import ApiServer
from docker_credential_ecr_py.controller.cluster import WatchedCluster
from docker_credential_ecr_py.controller.controller import PACE, Controller
from docker_credential_ecr_py.controller.credentials import Credentials, Result
from docker_credential_ecr_py.controller.leader import Leader
from docker_credential_ecr_py.controller.metrics import Metrics, MetricsServer, result_name
from docker_credential_ecr_py.controller.resolve import Source
from docker_credential_ecr_py.environment import as_given, prepared_for_libraries
from docker_credential_ecr_py.errors import EcrPyError
from docker_credential_ecr_py.hardening import forbid_dumps
from docker_credential_ecr_py.log import log, log_to

# Seconds without a turn of the loop after which the process should be started again.
_HANGS = 180.0


@dataclass(frozen=True)
class Options:
    """What `ecr-py controller run` was told; `pace` is in writes a second, 0 for no limit."""

    grants: str
    lease: str
    listen: str
    pace: float = PACE
    log_json: bool = False


@prepared_for_libraries()
def main() -> int:
    forbid_dumps()
    options = Options(**json.loads(sys.argv[1]))
    log_to(sys.stderr, os.environ, as_json=options.log_json)
    try:
        run(options)
    except EcrPyError as error:
        log.error("%s", error)
        return 1
    return 0


def run(options: Options) -> None:
    """Run until SIGTERM or SIGINT.

    Raises EcrPyError if the grants cannot be used, there is no cluster, or the address is taken.
    """
    api = ApiServer.connect()
    metrics = Metrics()

    def count(result: Result) -> None:
        name = result_name(result) if isinstance(result, EcrPyError) else "ok"
        metrics.aws_calls.labels(name).inc()

    credentials = Credentials(lambda: controller.came(), time.time, count=count)
    cluster = WatchedCluster(api, lambda namespace: controller.wake(namespace))
    identity = _identity()
    leader = Leader(api, options.lease, identity, lambda: controller.wake())
    source = Source(Path(options.grants), as_given())
    controller = Controller(cluster, source, credentials, leader.leads, metrics, pace=options.pace)
    controller.look_at_files()
    if source.error is not None:
        raise source.error
    metrics.cluster_current.set_function(lambda: not cluster.problem)
    server = MetricsServer(
        options.listen,
        metrics,
        lambda: "the loop hangs" if time.monotonic() > controller.last_turn + _HANGS else "",
        lambda: "" if cluster.synced else "the cluster has not been listed yet",
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: controller.stop())
    server.start()
    leader.start()
    log.info("controller started, as %s", identity)
    controller.run()
    leader.stop()
    cluster.stop()
    server.stop()
    log.info("controller ended")


def _identity() -> str:
    """Return a name for this process that no other one has had, for the lease."""
    return f"{socket.gethostname()}_{token_hex(4)}"


if __name__ == "__main__":
    # Threads that wait for an answer must not delay the end.
    code = main()
    sys.stderr.flush()
    os._exit(code)
