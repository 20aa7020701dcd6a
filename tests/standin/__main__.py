"""Run the AWS stand-in in the foreground: `python -m tests.standin`.

Prints one JSON line with its `url` and `environment`, serves the control API (see `control`), and
ends on SIGTERM, SIGINT, or the end of its standard input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

from tests.standin.aws import Aws


def main() -> None:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())

    def wait_for_end_of_input() -> None:
        while os.read(0, 4096):
            pass
        ended.set()

    with Aws() as aws:
        sys.stdout.write(json.dumps({"url": aws.url, "environment": aws.environment()}) + "\n")
        sys.stdout.flush()
        threading.Thread(target=wait_for_end_of_input, daemon=True).start()
        ended.wait()


if __name__ == "__main__":
    main()
