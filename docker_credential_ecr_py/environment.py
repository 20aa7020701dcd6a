"""The environment of this process: as the user set it, and as the libraries that we use get it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from docker_credential_ecr_py.programs import drop_relative_folders

_given: Mapping[str, str] | None = None


@contextmanager
def prepared_for_libraries() -> Iterator[None]:
    """Prepare os.environ for botocore and keyring; a decorator for what a program runs first.

    PATH loses its empty and relative folders, because both run programs by name. Variables of
    AWS's that are empty are removed: botocore takes them as set, the rules of selection do not.
    It has to be done before there are threads: they read os.environ.
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

    The fingerprint that a selection is kept under is made of that, because a hit knows no other.
    """
    return os.environ if _given is None else _given
