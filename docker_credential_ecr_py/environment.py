"""The environment of this process: as the user set it, and as libraries get it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from docker_credential_ecr_py.programs import drop_relative_folders

_given: Mapping[str, str] | None = None


@contextmanager
def prepared_for_libraries() -> Iterator[None]:
    """Prepare os.environ for botocore and keyring; a decorator for a process's main function.

    PATH loses its empty and relative folders, because both run programs by name. Empty AWS_*
    variables are removed: botocore takes them as set, the rules of selection do not. It must be
    done before there are threads, which read os.environ.
    """
    global _given
    _given = dict(os.environ)
    drop_relative_folders(os.environ)
    for name, value in _given.items():
        if name.startswith("AWS_") and not value:
            del os.environ[name]
    try:
        yield
    finally:
        _given = None


def as_given() -> Mapping[str, str]:
    """Return the environment as the user set it.

    The context of a selection is made of that, because a hit knows no other environment.
    """
    return os.environ if _given is None else _given
