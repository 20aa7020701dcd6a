"""Run the AWS stand-in in the foreground: `python -m tests.standin [--registries]`.

Prints one JSON line with its `url`, `environment` (the variables by which AWS SDKs find it) and
`proxy` (those for programs that know real host names only). With --registries the proxy leads to
registries that hold images too (docker-registry must be installed), and `engine` is the variable
that leads docker to an engine which pulls from them. Serves the control API (see `control`), and
ends on SIGTERM, SIGINT, or the end of its standard input.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from contextlib import ExitStack

from tests.standin.aws import Aws
from tests.standin.engine import Engine
from tests.standin.proxy import Proxy
from tests.standin.registry import RegistryFront


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.standin", description="AWS on loopback.")
    parser.add_argument("--registries", action="store_true", help="registries and an engine too")
    with_registries = parser.parse_args().registries
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())

    def wait_for_end_of_input() -> None:
        while os.read(0, 4096):
            pass
        ended.set()

    with ExitStack() as stack:
        aws = stack.enter_context(Aws())
        front = stack.enter_context(RegistryFront(aws)) if with_registries else None
        proxy = stack.enter_context(Proxy(aws, front))
        shown = {"url": aws.url, "environment": aws.environment(), "proxy": proxy.environment()}
        if front:
            shown["engine"] = stack.enter_context(Engine(front)).environment()
        sys.stdout.write(json.dumps(shown) + "\n")
        sys.stdout.flush()
        threading.Thread(target=wait_for_end_of_input, daemon=True).start()
        ended.wait()


if __name__ == "__main__":
    main()
