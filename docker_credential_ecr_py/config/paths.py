"""The paths of every file and folder that is read or written; folders are by platformdirs."""

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
    """Return the cache folder, or None if there is no place for one: then nothing is stored.

    None too for root in another user's home: root's files there would be in that user's way.
    """
    folder = _cache_place()
    return None if folder is None or other_owner(folder) is not None else folder


def why_root_keeps_nothing() -> str:
    """Return a sentence that the cache would be in another user's folder, or "" if not so."""
    return _why_not("keeps nothing", _cache_place())


def why_root_runs_no_daemon(environ: Mapping[str, str]) -> str:
    """As why_root_keeps_nothing, for the daemon's socket, which is for that user's own daemon.

    And for the home: the daemon could store nothing there, and its service would be that user's.
    """
    what = "runs no daemon"
    return _why_not(what, runtime_folder(environ)) or _why_not(what, home())


def logins_folder() -> Path | None:
    """Return the folder of other registries' logins; in another user's home, root may read it."""
    folder = _usable(_DIRS.user_data_dir)
    return folder and folder / "logins"


def log_file() -> Path | None:
    """Return the log file, or None. For root in another user's home, it is in root's folder."""
    folder = _usable(_DIRS.user_log_dir)
    owner = None if folder is None else other_owner(folder)
    if owner is not None:
        folder = _place_of_root(owner)
    return folder and folder / "ecr-py.log"


def state_folder() -> Path | None:
    """Return the folder for files that, unlike the cache, are not disposable; None if no home."""
    return _usable(_DIRS.user_state_dir)


def session_locks() -> Path | None:
    """Return the folder of the locks by which processes share a session.

    For root in another user's home that is a folder of root's: two that refresh at once with one
    refresh token could end the session.
    """
    cache = cache_folder()
    owner = other_owner(home())
    if cache is not None or owner is None:
        return cache and cache / "locks"
    return _place_of_root(owner)


def own_places(environ: Mapping[str, str]) -> list[Path]:
    """Return each folder that we write to. The SSO cache is shared with the AWS CLI."""
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
    """Return the folder of the daemon's socket, as record.runtime_folder."""
    folder = record.runtime_folder(as_bytes(environ))
    return Path(os.fsdecode(folder)) if folder else None


def forward_socket(environ: Mapping[str, str]) -> Path | None:
    """Return the path of the socket that other machines may ask, whether or not it exists.

    It has a folder of its own, which containers can mount: that outlasts the daemon.
    """
    folder = runtime_folder(environ)
    return folder and folder / "forward" / "forward.sock"


def aws_config_file(environ: Mapping[str, str]) -> Path:
    return aws_path(environ.get("AWS_CONFIG_FILE") or "~/.aws/config")


def aws_credentials_file(environ: Mapping[str, str]) -> Path:
    return aws_path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials")


def aws_path(name: str) -> Path:
    """Expand a path as botocore does (configloader.raw_config_parse): `~` and variables."""
    return Path(os.path.expanduser(os.path.expandvars(name)))


def config_home(environ: Mapping[str, str]) -> Path:
    """Return the folder in which other programs look for their configuration."""
    return Path(environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))


def docker_config_file(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")) / "config.json"


def podman_auth_file(environ: Mapping[str, str]) -> Path:
    """Return the auth.json of podman, buildah and skopeo that outlasts a login to the machine.

    Source: containers/image, docs/containers-auth.json.5.md.
    """
    named = environ.get("REGISTRY_AUTH_FILE")
    return Path(named) if named else config_home(environ) / "containers" / "auth.json"


def podman_login_file(environ: Mapping[str, str]) -> Path | None:
    """Return the auth.json that `podman login` writes, which goes when the user logs out."""
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
    """Return the folder of SSO tokens, which the AWS CLI and botocore use too."""
    return Path(os.path.expanduser("~/.aws/sso/cache"))


def login_cache_folder() -> Path:
    """Return the folder of the tokens of `aws login`, where the AWS CLI and botocore have it."""
    named = os.environ.get("AWS_LOGIN_CACHE_DIRECTORY")
    return Path(os.path.expanduser(os.path.expandvars(named or "~/.aws/login/cache")))


def as_bytes(environ: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return an environment as a bare interpreter has it."""
    return {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}


def _why_not(what: str, place: Path | None) -> str:
    owner = None if place is None else other_owner(place)
    return (
        "" if owner is None else f"root {what} in {place}, which belongs to user {user_name(owner)}"
    )


def _place_of_root(owner: int) -> Path:
    """Return root's folder for files that it must not write in the home of the user `owner`."""
    return Path(_ROOTS_RUNTIME, "ecr-py", str(owner))


def _cache_place() -> Path | None:
    root = record.cache_root(as_bytes(os.environ))
    return _usable(os.fsdecode(root) if root else _DIRS.user_cache_dir)


def _usable(folder: str) -> Path | None:
    """Return a folder, or None if it is in a home that does not exist (a service account's)."""
    place, owner = Path(folder), home()
    usable = place.is_absolute() and (owner.is_dir() or not place.is_relative_to(owner))
    return place if usable else None
