"""Makes text safe to show: control characters and invisible ones are spelled out.

Names and messages from AWS, the portal, files and the environment may hold terminal escapes, or
characters that change the direction of writing.
"""

# Harmless blanks that `str.isprintable` does not count as printable.
_BLANKS = "\u00a0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u202f\u205f\u3000"


def printable(text: str, *, keep: str = "") -> str:
    r"""Return `text` with each character that cannot be printed spelled out, as `\x1b`.

    These are control characters (C0, C1 and DEL), format characters (bidirectional overrides and
    isolates, zero-width ones), separators of lines and paragraphs, and undecodable bytes. The
    characters in `keep` stay as they are.
    """
    kept = _BLANKS + keep
    if text.translate(dict.fromkeys(map(ord, keep))).isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in kept
        else character.encode("unicode_escape").decode()
        for character in text
    )


def one_line(text: str) -> str:
    """Return `text` as `printable` does, in one line: each run of white space is one blank."""
    return printable(" ".join(text.split()))
