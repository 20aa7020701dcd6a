"""Where things lie: the operating system's own folders, by platformdirs."""

import os
from collections.abc import Mapping
from pathlib import Path

from platformdirs import PlatformDirs

from docker_credential_ecr_py.folder import other_owner, user_name
from docker_credential_ecr_py.store import record

_DIRS = PlatformDirs("ecr-py", appauthor=False)
_ROOTS_RUNTIME = "/run" if os.path.isdir("/run") else "/var/run"


def settings_file(environ: Mapping[str, str]) -> Path:
    named = environ.get("ECR_PY_CONFIG")
    return Path(named) if named else Path(_DIRS.user_config_dir) / "config.toml"


def cache_folder() -> Path | None:
    """None where there is no place for one: then nothing is kept.

    Nor is there, for root, in another user's home: what root keeps there is in that user's way.
    """
    folder = _cache_place()
    return None if folder is None or other_owner(folder) is not None else folder


def why_root_keeps_nothing() -> str:
    """That the place for the cache is another user's, in words; "" if it is not so."""
    return _why_not("keeps nothing", _cache_place())


def why_root_runs_no_daemon(environ: Mapping[str, str]) -> str:
    """The same for the place of the daemon's socket: that user's own daemon must find it free.

    And for the home: it could keep nothing there, and its service would be that user's.
    """
    what = "runs no daemon"
    return _why_not(what, runtime_folder(environ)) or _why_not(what, home())


def logins_folder() -> Path | None:
    """Also for root in another user's home, who may read and remove what is there."""
    folder = _usable(_DIRS.user_data_dir)
    return folder and folder / "logins"


def log_file() -> Path | None:
    """None if there is no place for one. For root in another user's home, in a folder of root's."""
    folder = _usable(_DIRS.user_log_dir)
    owner = None if folder is None else other_owner(folder)
    if owner is not None:
        folder = _place_of_root(owner)
    return folder and folder / "ecr-py.log"


def state_folder() -> Path | None:
    """What is kept until it is asked for, unlike the cache. None where there is no home."""
    return _usable(_DIRS.user_state_dir)


def session_locks() -> Path | None:
    """Where processes that share a session wait for each other.

    For root in another user's home that is a folder of root's: two that refresh at once with one
    refresh token could end the session.
    """
    cache = cache_folder()
    owner = other_owner(home())
    if cache is not None or owner is None:
        return cache and cache / "locks"
    return _place_of_root(owner)


def own_places(environ: Mapping[str, str]) -> list[Path]:
    """Each folder that we keep something in, if we may. The SSO cache is the AWS CLI's too."""
    log = _usable(_DIRS.user_log_dir)
    state = state_folder()
    places = (
        *(sso_cache_folder(), _cache_place(), log, state and state / "undo"),
        *(logins_folder(), runtime_folder(environ)),
    )
    return [place for place in places if place is not None]


def home() -> Path:
    return Path(os.path.expanduser("~"))


def runtime_folder(environ: Mapping[str, str]) -> Path | None:
    """Where the daemon's socket is, as record.runtime_folder has it."""
    folder = record.runtime_folder(as_bytes(environ))
    return Path(os.fsdecode(folder)) if folder else None


def aws_config_file(environ: Mapping[str, str]) -> Path:
    return aws_path(environ.get("AWS_CONFIG_FILE") or "~/.aws/config")


def aws_credentials_file(environ: Mapping[str, str]) -> Path:
    return aws_path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials")


def aws_path(name: str) -> Path:
    """As botocore reads it (configloader.raw_config_parse): `$HOME/aws` is a file in HOME."""
    return Path(os.path.expanduser(os.path.expandvars(name)))


def docker_config_file(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")) / "config.json"


def podman_auth_file(environ: Mapping[str, str]) -> Path:
    """Of podman, buildah and skopeo: the one that outlasts the session of the machine.

    Source: containers/image, docs/containers-auth.json.5.md.
    """
    folder = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(environ.get("REGISTRY_AUTH_FILE") or os.path.join(folder, "containers/auth.json"))


def podman_login_file(environ: Mapping[str, str]) -> Path | None:
    """Where `podman login` writes, and podman looks first: it is gone with the session."""
    folder = environ.get("XDG_RUNTIME_DIR")
    named = environ.get("REGISTRY_AUTH_FILE")
    return Path(folder, "containers/auth.json") if folder and not named else None


def singularity_config_file(environ: Mapping[str, str]) -> Path:
    folder = environ.get("SINGULARITY_CONFIGDIR") or os.path.expanduser("~/.singularity")
    return Path(folder) / "docker-config.json"


def apptainer_config_file(environ: Mapping[str, str]) -> Path:
    folder = environ.get("APPTAINER_CONFIGDIR") or os.path.expanduser("~/.apptainer")
    return Path(folder) / "docker-config.json"


def sso_cache_folder() -> Path:
    """Shared with the AWS CLI and botocore, which both always look there."""
    return Path(os.path.expanduser("~/.aws/sso/cache"))


def as_bytes(environ: Mapping[str, str]) -> dict[bytes, bytes]:
    """The environment as a bare interpreter sees it."""
    return {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}


def _why_not(what: str, place: Path | None) -> str:
    owner = None if place is None else other_owner(place)
    return (
        "" if owner is None else f"root {what} in {place}, which belongs to user {user_name(owner)}"
    )


def _place_of_root(owner: int) -> Path:
    """Where root has what it may not keep in the home of the user `owner`."""
    return Path(_ROOTS_RUNTIME, "ecr-py", str(owner))


def _cache_place() -> Path | None:
    root = record.cache_root(as_bytes(os.environ))
    return _usable(os.fsdecode(root) if root else _DIRS.user_cache_dir)


def _usable(folder: str) -> Path | None:
    """A home that does not exist (a service account's) is not ours to make."""
    home = os.path.expanduser("~")
    inside = folder.startswith(home.rstrip("/") + "/")
    return Path(folder) if os.path.isabs(folder) and (os.path.isdir(home) or not inside) else None
