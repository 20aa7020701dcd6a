"""Whether this machine is on EC2, decided without a call to the instance metadata.

Outside EC2 a connection to 169.254.169.254 can hang for many seconds.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

_SIGNS = (
    ("/sys/class/dmi/id/sys_vendor", "Amazon EC2"),
    ("/sys/class/dmi/id/bios_vendor", "Amazon EC2"),
    ("/sys/hypervisor/uuid", "ec2"),
)


def on_ec2(environ: Mapping[str, str], *, root: Path = Path("/")) -> bool:
    """Whether the instance metadata may be called.

    An endpoint in the environment means that there is one, AWS_EC2_METADATA_DISABLED that it must
    not be called. Windows would need a subprocess to tell, so there the variable has to be set.
    """
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return False
    if environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        return True
    return sys.platform == "linux" and any(
        _starts_with(root / path.lstrip("/"), sign) for path, sign in _SIGNS
    )


def _starts_with(path: Path, sign: str) -> bool:
    try:
        return path.read_text(errors="replace").startswith(sign)
    except OSError:
        return False
