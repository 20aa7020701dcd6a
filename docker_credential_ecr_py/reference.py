"""Parses the name of a repository or an image, and checks it by ECR's rules.

Works offline. The rules are in ECR's API reference, CreateRepository and PutImage.
"""

import re
from dataclasses import dataclass

from docker_credential_ecr_py.errors import BadInput, BadServerURL
from docker_credential_ecr_py.registry import host_of, is_registry

# The schemes that docker, podman and skopeo show, from where users copy a name.
_SCHEME = re.compile(r"(?:https|docker|oci)://", re.IGNORECASE)
_PART = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_REPOSITORY_LENGTH = range(2, 257)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST = 4096


@dataclass(frozen=True)
class Reference:
    """`HOST/REPOSITORY:TAG@DIGEST`; only the repository is required.

    `host` is in lower case, and may be an alias of the settings rather than ECR's own.
    """

    repository: str
    host: str = ""
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Parse a reference. Raises BadInput for a name that ECR refuses.

        As with docker, the part before the first slash is a host if it has a dot or a colon.
        """
        if len(text) > _LONGEST:
            raise BadInput(f"a reference of {len(text)} characters is too long")
        place = _SCHEME.sub("", text, count=1)
        host, rest = _host_and_rest(place)
        rest, at, digest = rest.partition("@")
        repository, colon, tag = rest.partition(":")
        if host and not repository:
            raise BadInput(f"{text!a} names a registry but no repository")
        check_repository(repository)
        if colon:
            check_tag(tag)
        if at:
            check_digest(digest)
        return cls(repository, host, tag, digest)

    def without_image(self) -> "Reference":
        """Return it if it names a repository alone. Raises BadInput if it names an image."""
        if self.tag or self.digest:
            image = f"{self.repository}:{self.tag}" if self.tag else f"{self.repository}@…"
            raise BadInput(f"{image} is an image; the repository is {self.repository}")
        return self


def _host_and_rest(place: str) -> tuple[str, str]:
    first, slash, rest = place.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        try:
            return host_of(first), rest
        except BadServerURL:
            raise BadInput(f"{first[:80]!a} is neither a registry nor part of a name") from None
    if not slash and is_registry(place):
        return place, ""
    return "", place


def check_repository(name: str) -> None:
    """Raise BadInput, with the reason, for a name that ECR refuses."""
    if not name:
        raise BadInput("the name of a repository is empty: is a variable unset?")
    if _REPOSITORY.fullmatch(name) and len(name) in _REPOSITORY_LENGTH:
        return
    reason = (
        "use 2 to 256 characters: a-z, 0-9, and single . _ - or / between them"
        if name == name.lower()
        else "it must be lower case"
    )
    raise BadInput(f"ECR does not accept the repository name {_shortened(name)}: {reason}")


def check_tag(tag: str) -> None:
    """Raise BadInput for a tag that ECR refuses."""
    if not tag:
        raise BadInput("a tag is empty: is a variable unset?")
    if not _TAG.fullmatch(tag):
        raise BadInput(
            f"ECR does not accept the tag {_shortened(tag)}: use up to 128 letters, digits, "
            ". _ and -, and begin with a letter, a digit or _"
        )


def check_digest(digest: str) -> None:
    """Raise BadInput if a text is not a digest."""
    if not _DIGEST.fullmatch(digest):
        raise BadInput(
            f"{_shortened(digest)} is not a digest: sha256: and 64 hexadecimal digits, "
            "as `ecr-py image ls --digests` shows them"
        )


def _shortened(name: str) -> str:
    return ascii(name if len(name) <= 80 else f"{name[:79]}…")
