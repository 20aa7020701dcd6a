"""Does what the kubelet would do for an image: finds the provider, runs it, reads the response.

With the flags and the environment of the kubelet that runs here, if there is one: most of what goes
wrong with a credential provider is in these.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from docker_credential_ecr_py.errors import EcrPyError
from docker_credential_ecr_py.folder import other_owner
from docker_credential_ecr_py.kubelet.provider_config import Provider
from docker_credential_ecr_py.printable import one_line
from docker_credential_ecr_py.redact import redact

_CONFIG, _BIN_DIR = "--image-credential-provider-config", "--image-credential-provider-bin-dir"
# Where k3s and RKE2 look if these flags are not given.
_RANCHER = Path("/var/lib/rancher/credentialprovider")
# What the kubelet has if it cannot be looked at, as a service of systemd.
_USUAL_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_LIMIT = 60
_DURATION = re.compile(r"(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})(?:\.[0-9]+)?s)?")
_FIELDS = {"kind", "apiVersion", "cacheKeyType", "cacheDuration", "auth"}


@dataclass(frozen=True)
class Kubelet:
    """The kubelet of this machine. `pid` is 0 if none runs; its paths are None if not set.

    `environment` is a usual one if none runs, or if only root may read it (`hidden`).
    """

    pid: int = 0
    config: Path | None = None
    bin_dir: Path | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(_USUAL_ENVIRONMENT))
    hidden: bool = False

    def environment_for(self, provider: Provider) -> dict[str, str]:
        """Return the environment of a provider, with the HOME that ours takes if there is none."""
        found = {**self.environment, **provider.environment}
        if not found.get("HOME"):
            with suppress(ImportError, KeyError):
                import pwd

                found["HOME"] = pwd.getpwuid(os.geteuid()).pw_dir
        return found


@dataclass(frozen=True)
class Response:
    """What the kubelet makes of a response: `auth` is None if there are no credentials.

    `kept` is in seconds, or None if the kubelet's configuration says how long.
    """

    kept: int | None
    auth: tuple[str, str] | None = field(default=None, repr=False)


def find_kubelet(proc: Path = Path("/proc")) -> Kubelet:
    """Return the kubelet that runs here, or one with the usual environment.

    Every user, and every container, can call a process `kubelet`, and what its flags name we run,
    often as root. So a process of another user's or of a container's does not count, and neither
    do, for root, flags that name a place which another user controls.
    """
    for process in proc.glob("[0-9]*"):
        command = _read(process / "cmdline")
        program = os.path.basename(command[0]) if command else ""
        rancher = program.split(" ")[0] in ("k3s", "k3s-server", "k3s-agent")
        if not (program == "kubelet" or rancher) or not _is_ours_or_roots(process):
            continue
        config, bin_dir = _flag(command, _CONFIG), _flag(command, _BIN_DIR)
        if rancher and config is None and (_RANCHER / "config.yaml").exists():
            config, bin_dir = _RANCHER / "config.yaml", _RANCHER / "bin"
        if any(other_owner(path) is not None for path in (config, bin_dir) if path):
            continue
        environment = dict(
            entry.split("=", 1) for entry in _read(process / "environ") if "=" in entry
        )
        found = Kubelet(int(process.name), config, bin_dir, hidden=not environment)
        return replace(found, environment=environment) if environment else found
    return Kubelet()


def _is_ours_or_roots(process: Path) -> bool:
    """Whether a process is this user's or root's, and in no PID namespace below that of `proc`."""
    with suppress(OSError, ValueError, KeyError):
        lines = (process / "status").read_text().splitlines()
        status = {
            name: values.split() for name, _, values in (line.partition(":") for line in lines)
        }
        return {*map(int, status["Uid"])} <= {0, os.geteuid()} and len(status["NSpid"]) == 1
    return False


def _read(file: Path) -> list[str]:
    """Return the texts in a file of /proc; none if the process is gone or another user's."""
    with suppress(OSError):
        return [os.fsdecode(part) for part in file.read_bytes().split(b"\0") if part]
    return []


def _flag(command: list[str], name: str) -> Path | None:
    values = [*_values(command, name), *_values(command, name[1:])]
    return Path(values[-1]) if values else None


def _values(command: list[str], name: str) -> Iterator[str]:
    for number, word in enumerate(command):
        if word.startswith(f"{name}="):
            yield word.partition("=")[2]
        elif word == name and number + 1 < len(command):
            yield command[number + 1]


def ask(
    program: Path,
    provider: Provider,
    environment: Mapping[str, str],
    image: str,
    token: str = "",
    annotations: Mapping[str, str] | None = None,
) -> Response:
    """Run a provider as the kubelet does. Raises EcrPyError for what the kubelet would refuse."""
    request: dict[str, Any] = {"kind": "CredentialProviderRequest"}
    request |= {"apiVersion": provider.api_version, "image": image}
    request |= {"serviceAccountToken": token} if token else {}
    request |= {"serviceAccountAnnotations": dict(annotations)} if annotations else {}
    try:
        done = subprocess.run(
            [program, *provider.arguments],
            input=json.dumps(request, separators=(",", ":")).encode() + b"\n",
            capture_output=True,
            env=environment,
            timeout=_LIMIT,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EcrPyError(f"{program} gave no answer within {_LIMIT} seconds") from None
    except (OSError, ValueError) as error:  # a zero byte in an argument, "=" in a variable's name
        why = getattr(error, "strerror", None) or error
        raise EcrPyError(f"{program} cannot be run: {why}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().removeprefix("ecr-py: ")
        raise EcrPyError(
            f"{provider.name} failed (exit code {done.returncode}): {one_line(redact(said))}"
        )
    return decode(done.stdout, provider, image)


def decode(stdout: bytes, provider: Provider, image: str) -> Response:
    """Read a response as strictly as the kubelet. Raises EcrPyError, without its text."""
    try:
        document = json.loads(stdout)
        unknown = document.keys() - _FIELDS
        auths = {
            key: (auth["username"], auth["password"])
            for key, auth in (document.get("auth") or {}).items()
        }
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        raise EcrPyError(f"the response of {provider.name} cannot be decoded") from None
    if not all(isinstance(text, str) for auth in auths.values() for text in auth):
        raise EcrPyError(f"the response of {provider.name} cannot be decoded")
    if unknown:
        raise EcrPyError(f"the response of {provider.name} has an unknown field: {min(unknown)!a}")
    wanted = ("CredentialProviderResponse", provider.api_version)
    if (document.get("kind"), document.get("apiVersion")) != wanted:
        raise EcrPyError(f"the response of {provider.name} is not a {wanted[0]} of {wanted[1]}")
    if document.get("cacheKeyType") not in ("Image", "Registry", "Global"):
        raise EcrPyError(f"the response of {provider.name} has no valid cacheKeyType")
    fitting = Provider(patterns=tuple(auths)).pattern_for(image)
    return Response(_seconds(document.get("cacheDuration"), provider), auths.get(fitting))


def _seconds(duration: Any, provider: Provider) -> int | None:
    """Return the seconds of a duration as Go writes it; None for none. Raises EcrPyError."""
    if duration is None:
        return None
    match = _DURATION.fullmatch(duration) if isinstance(duration, str) and duration else None
    if match is None:
        raise EcrPyError(f"the cacheDuration in the response of {provider.name} is not a duration")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds
