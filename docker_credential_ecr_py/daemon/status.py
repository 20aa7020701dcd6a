"""Asks the daemon for its status."""

import json
from collections.abc import Mapping
from typing import Any

from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.store import daemon_client, record


def ask_status(
    environ: Mapping[str, str], *, limit: float = daemon_client.LIMIT
) -> dict[str, Any] | None:
    """Return the daemon's status; None if no daemon answers within `limit` seconds."""
    path = record.socket_path(paths.as_bytes(environ))
    answer = daemon_client.ask(path, b"status", limit=limit) if path else None
    try:
        return dict(json.loads(answer or b""))
    except (ValueError, TypeError):
        return None
