"""The daemon's process, as `ecr-py daemon run` starts it."""

import os
import sys

from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.daemon.daemon import Daemon
from docker_credential_ecr_py.errors import EcrPyError
from docker_credential_ecr_py.log import log, start_log


def main() -> int:
    start_log(paths.log_file(), os.environ)
    try:
        Daemon().run()
    except EcrPyError as error:
        log.warning("%s", error)  # `ecr-py daemon start` discards standard error
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
