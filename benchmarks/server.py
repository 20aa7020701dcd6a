"""AWS on loopback in a process of its own, so that it takes no turn from whoever holds the watch.

Like `python -m tests.standin`, and with the HTTPS proxy for programs that know real host names
only. Prints one JSON line, and ends with its standard input.
"""

import json
import os
import sys

from tests.standin.aws import Aws
from tests.standin.proxy import Proxy


def main() -> None:
    with Aws() as aws, Proxy(aws) as proxy:
        found = {"url": aws.url, "endpoints": aws.environment(), "proxy": proxy.environment()}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
        while os.read(0, 4096):
            pass


if __name__ == "__main__":
    main()
