"""Which ends of sessions the user was notified of, so that a restarted daemon does not repeat it.

The file is in the runtime folder, which goes when the user logs out of the machine: after that the
notification may come again.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

from docker_credential_ecr_py.atomic_file import read_if_there, write_whole
from docker_credential_ecr_py.log import log

TOLD = "told.json"


class NotifiedSessions:
    """The token files whose end was shown, each with that end, in seconds since the epoch.

    They are stored in `file`, or if it cannot be read or written, in memory alone.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._ends: dict[str, float] | None = None

    def knows(self, token_file: bytes, expires: float) -> bool:
        return self._known().get(os.fsdecode(token_file)) == expires

    def add(self, token_file: bytes, expires: float) -> None:
        """Note an end, and drop those of token files that are gone."""
        known = self._known()
        known[os.fsdecode(token_file)] = expires
        for name in [name for name in known if not os.path.exists(name)]:
            del known[name]
        if self._file is not None:
            try:
                write_whole(self._file, json.dumps(known).encode())
            except OSError as error:
                log.info("%s cannot be written: %s", self._file, error.strerror)

    def _known(self) -> dict[str, float]:
        if self._ends is None:
            self._ends = {}
            with suppress(OSError, ValueError, TypeError, AttributeError):
                ends = json.loads((self._file and read_if_there(self._file)) or b"{}")
                self._ends = {str(name): float(end) for name, end in ends.items()}
        return self._ends
