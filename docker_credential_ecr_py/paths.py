"""Where things lie: the operating system's own folders, by platformdirs."""

import os
from collections.abc import Mapping
from pathlib import Path

from platformdirs import PlatformDirs

from docker_credential_ecr_py.store import entry

_DIRS = PlatformDirs("ecr-py", appauthor=False)


def settings_file(environ: Mapping[str, str]) -> Path:
    named = environ.get("ECR_PY_CONFIG")
    return Path(named) if named else Path(_DIRS.user_config_dir) / "config.toml"


def cache_folder() -> Path | None:
    """None where there is no place for one: then nothing is kept."""
    root = entry.cache_root(as_bytes(os.environ))
    return _usable(os.fsdecode(root) if root else _DIRS.user_cache_dir)


def logins_folder() -> Path | None:
    folder = _usable(_DIRS.user_data_dir)
    return folder and folder / "logins"


def log_file() -> Path | None:
    folder = _usable(_DIRS.user_log_dir)
    return folder and folder / "ecr-py.log"


def state_folder() -> Path | None:
    """What is kept until it is asked for, unlike the cache. None as for cache_folder."""
    return _usable(_DIRS.user_state_dir)


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


def _usable(folder: str) -> Path | None:
    """A home that does not exist (a service account's) is not ours to make."""
    home = os.path.expanduser("~")
    inside = folder.startswith(home.rstrip("/") + "/")
    return Path(folder) if os.path.isabs(folder) and (os.path.isdir(home) or not inside) else None
