"""Takes the arguments of OpenSSH's ssh apart: its options, the destination and the command.

Source: ssh.c of OpenSSH 9.2, which looks for options before and behind the destination.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_FLAGS = "1246AaCfGgKkMNnqsTtVvXxYy"
_WITH_VALUE = "BbcDEeFIiJLlmOopPQRSWw"
# What an option does to the connection, not to the session in it.
_OF_CONNECTION = "46BbCcEeFIiJKklmopqvy"


@dataclass(frozen=True)
class SshCommand:
    """`options` are pairs of a letter and a value ("" for a flag); `host` is the destination."""

    options: tuple[tuple[str, str], ...]
    host: str
    command: tuple[str, ...]

    @property
    def of_connection(self) -> list[str]:
        """The options that decide how the host is reached, as arguments."""
        return [
            argument
            for letter, value in self.options
            if letter in _OF_CONNECTION
            for argument in (f"-{letter}", value)
            if argument
        ]

    def has(self, letter: str) -> bool:
        return any(letter == one for one, _ in self.options)


def parse_ssh(arguments: Sequence[str]) -> SshCommand | None:
    """Return the parts of ssh's arguments; None if ssh would not accept them."""
    options: list[tuple[str, str]] = []
    rest, host = list(arguments), ""
    while rest:
        word = rest.pop(0)
        if word == "--" or not word.startswith("-") or word == "-":
            if host:
                return SshCommand(tuple(options), host, (*([word] if word != "--" else []), *rest))
            if word == "--":
                word = rest.pop(0) if rest else ""
            host = word
            continue
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _FLAGS:
                options.append((letter, ""))
            elif letter in _WITH_VALUE and (letters or rest):
                options.append((letter, letters or rest.pop(0)))
                letters = ""
            else:
                return None
    return SshCommand(tuple(options), host, ()) if host else None
