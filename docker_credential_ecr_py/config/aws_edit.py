"""Writes the account of a profile into the text of the AWS config. Pure: all other lines stay."""

import re
from collections.abc import Iterator

from docker_credential_ecr_py.atomic_file import BYTE_ORDER_MARK
from docker_credential_ecr_py.config.aws_config import parse_heading

_HEADING = re.compile(r"\[(.+)\]")
_ACCOUNT = re.compile(r"aws_account_id[ \t]*[=:][ \t]*(\S*)", re.IGNORECASE)
_PLAIN_NAME = re.compile(r"[\w.@+-]+")


def with_account(text: str, profile: str, account: str) -> str:
    """Return `text` with an account at the end of a profile's section, which is added if absent."""
    text = _without(text, profile, "")  # a key without a value
    end = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith("\n"):
        text += end
    lines = list(_lines(text))
    added = f"aws_account_id = {account}{end}"
    places = [at for at, (name, line) in enumerate(lines) if name == profile and _says(line)]
    if not places:
        return f"{text}{end if text else ''}{_heading(profile)}{end}{added}"
    lines.insert(places[-1] + 1, (profile, added))
    return "".join(line for _, line in lines)


def undone(text: str, before: str | None, after: str) -> str | None:
    """Return `text` without the accounts that `after` has and `before` has not.

    None if there was no file before and nothing is left for one.
    """
    had = _accounts(before or "")
    for profile, account in _accounts(after) - had:
        text = _without(text, profile, account)
        if not any(name == profile for name, _ in _lines(before or "")):
            text = _without_heading(text, profile)
    return None if before is None and not text.strip(f"{BYTE_ORDER_MARK} \t\r\n") else text


def _without(text: str, profile: str, account: str) -> str:
    """Return `text` without the lines that say that a profile is of this account."""
    return "".join(
        line
        for name, line in _lines(text)
        if name != profile or not (found := _ACCOUNT.match(line)) or found[1] != account
    )


def _without_heading(text: str, profile: str) -> str:
    """Return `text` without a profile's section, if nothing stands in it."""
    section = [line for name, line in _lines(text) if name == profile]
    if any(_says(line) for line in section[1:]):
        return text
    return "".join(line for name, line in _lines(text) if name != profile)


def _accounts(text: str) -> set[tuple[str, str]]:
    """Return each profile with an account, and that."""
    return {(name, found[1]) for name, line in _lines(text) if (found := _ACCOUNT.match(line))}


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield each line with the profile in whose section it stands, or ""."""
    profile = ""
    for line in text.splitlines(keepends=True):
        if heading := _HEADING.match(line.removeprefix(BYTE_ORDER_MARK)):
            kind, name = parse_heading(heading[1])
            profile = name if kind == "profile" else ""
        yield profile, line


def _says(line: str) -> bool:
    """Return whether a line is neither blank nor a comment, which may belong to what follows."""
    return not line.lstrip().startswith(("#", ";")) and bool(line.strip())


def _heading(profile: str) -> str:
    if profile == "default":
        return "[default]"
    return f"[profile {profile}]" if _PLAIN_NAME.fullmatch(profile) else f'[profile "{profile}"]'
