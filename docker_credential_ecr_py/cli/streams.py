"""Standard output and standard error of ecr-py, without what a terminal would obey.

What is shown has names in it that AWS, the portal, files and the environment have made. Whatever
is written by print, click.echo or click's own messages goes through here. Only rich, which has
colours and cursor movements of its own, writes past it: see output.console.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from docker_credential_ecr_py.printable import printable

# A tab does no harm; fish's completion separates by it.
_KEPT = "\n\t"


class _PrintableStream:
    """A text stream that escapes unprintable characters, and otherwise behaves as `stream`."""

    # Used for characters that the stream's own encoding does not have.
    encoding = "utf-8"

    def __init__(self, stream: TextIO) -> None:
        self.unfiltered = stream

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError("a text stream takes text")  # click tries bytes, to tell streams apart
        shown = printable(text, keep=_KEPT)
        try:
            self.unfiltered.write(shown)
        except UnicodeEncodeError:
            self.unfiltered.flush()
            self.unfiltered.buffer.write(shown.encode(self.encoding))
            self.unfiltered.buffer.flush()
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unfiltered, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """Escape unprintable characters on standard output and error while the context lasts."""
    before = sys.stdout, sys.stderr
    if sys.platform == "win32":
        for stream in filter(None, before):
            stream.reconfigure(encoding="utf-8")  # not the code page, which lacks most letters
    # A stream that was closed at start is None.
    sys.stdout, sys.stderr = (
        cast(TextIO, stream and _PrintableStream(stream)) for stream in before
    )
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def unfiltered(stream: TextIO) -> TextIO:
    """Return the stream behind a printable one, for text that is escaped already."""
    return stream.unfiltered if isinstance(stream, _PrintableStream) else stream
