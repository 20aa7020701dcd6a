"""What ecr-credential-provider-py runs: answers the kubelet from the cache, or hands over.

It is started as docker's helper is (helper.py), in a bare interpreter, and a hit imports one module
more than the helper's. So it knows only the request that every kubelet writes, letter for letter:
any other takes the JSON parser of kubelet/protocol.py.
"""

import sys
import time

from docker_credential_ecr_py import helper
from docker_credential_ecr_py.kubelet import messages
from docker_credential_ecr_py.store import record

system = record.system

TYPE_CHECKING = False  # typing is not loaded yet
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> None:
    """Answer one request of the kubelet's, and end the process with its exit code."""
    helper.run(_main)


def _main() -> "NoReturn":
    _set_home()
    arguments = sys.argv[1:]
    if arguments[:1] == ["renew"]:
        helper.main()  # a hit starts its own program to renew an ageing credential
    given = helper.read_input(messages.LARGEST_REQUEST)
    if given is not None and arguments in messages.ARGUMENTS:
        _answer_hit(given)
    helper.complete_environment()
    from docker_credential_ecr_py.hardening import forbid_dumps

    forbid_dumps()
    from docker_credential_ecr_py.kubelet import protocol

    helper.end(b"", protocol.main(arguments, given))


def _set_home() -> None:
    """Set HOME if it is not set, as under systemd, to that of this user.

    Then the kubelet shares the cache with docker in the same user's shell, and the AWS config.
    """
    if sys.platform == "win32" or system.environ.get(b"HOME"):
        return
    import pwd

    try:
        home = pwd.getpwuid(system.geteuid()).pw_dir
    except KeyError:
        return
    system.environ[b"HOME"] = home.encode(errors="surrogateescape")
    system.putenv("HOME", home)


def _answer_hit(given: bytes) -> None:
    """Answer and end the process if it is a hit; else return."""
    environ = system.environ
    found = messages.plain_request(given)
    if found is None or environ.get(b"AWS_ECR_DISABLE_CACHE"):
        return
    version, host = found
    root = record.cache_root(environ)
    hit = root and record.find(root, host, environ)
    if not root or not hit or not hit.credential:
        return
    fields = hit.credential
    if hit.ageing:
        helper.renew_in_background(root, hit)
    renew_at, spent_at = int(fields[record.RENEW_AT]), int(fields[record.SPENT_AT])
    kept = messages.seconds_kept(renew_at, spent_at, time.time())
    answer = messages.response(version, host, fields[record.USERNAME], fields[record.SECRET], kept)
    helper.end(answer, 0)
