"""What can go wrong, in a person's words. An error's text is one line and holds no secret."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from shlex import quote

from docker_credential_ecr_py.printable import one_line, printable
from docker_credential_ecr_py.redact import redact

NOT_FOUND = "credentials not found in native keychain"
NO_SERVER_URL = "no credentials server URL"
NO_USERNAME = "no credentials username"
# What mends it where no profile is there yet.
LOG_IN_FIRST = "run `ecr-py login --start-url URL --sso-region REGION`"
_MOST_NAMED = 5


class EcrPyError(Exception):
    """What happened, to which registry and profile, and the one command that mends it.

    `aside` is for the terminal of the person alone, and not part of the text: another program
    wrote it, and it may hold a secret.
    """

    def __init__(
        self,
        what: str,
        *,
        hint: str = "",
        registry: str = "",
        profile: str = "",
        aside: str = "",
    ) -> None:
        self.aside = aside
        self.what = one_line(redact(what))
        super().__init__(self.what)
        self.hint = hint
        self.registry = registry
        self.profile = profile

    def add_context(self, *, registry: str, profile: str = "") -> None:
        """Fills in what the place that raised it could not know."""
        self.registry = self.registry or registry
        self.profile = self.profile or profile

    def __str__(self) -> str:
        context = [f"registry {self.registry}"] if self.registry else []
        context += [f"profile {self.profile}"] if self.profile else []
        where = f" ({', '.join(context)})" if context else ""
        hint = f": {self.hint}" if self.hint else ""
        return one_line(f"ecr-py: {self.what}{where}{hint}")

    def to_dict(self) -> dict[str, str]:
        """What another process needs to raise it again, by `error_from_dict`."""
        return {"kind": type(self).__name__, "what": self.what, "hint": self.hint}


class ProtocolError(EcrPyError):
    """One of the messages that docker's clients compare letter for letter."""

    def __init__(self, what: str, **context: str) -> None:
        super().__init__(what, **context)
        self.what = printable(redact(what))  # with its blanks

    def __str__(self) -> str:
        return self.what


class CredentialsNotFound(ProtocolError):
    """Not ours, or nobody to ask: the client goes on without credentials."""

    def __init__(self, what: str = NOT_FOUND, **about: str) -> None:
        super().__init__(what, **about)


class BadServerURL(EcrPyError):
    """What the client named is not a server URL."""


class NotEcr(EcrPyError):
    """The host is a registry of somebody else's."""


class WrongPartition(NotEcr):
    """The host looks like ECR's, but its region and its domain are of different partitions.

    It is a NotEcr because it names no registry. But no other helper may answer for it either.
    """


class BadInput(EcrPyError):
    """What came on standard input or the command line is not the protocol."""


class SettingsError(EcrPyError):
    """config.toml is not as it should be."""


class AwsConfigError(EcrPyError):
    """The AWS config cannot be read, or a profile in it is not complete."""


class DockerConfigError(EcrPyError):
    """Docker's config cannot be read, or is not what docker would take."""


class NoProfile(EcrPyError):
    """Nothing says whose credentials open this registry."""


class LoginNeeded(EcrPyError):
    """The SSO session is absent or has ended; a person must log in."""


class MfaCodeNeeded(EcrPyError):
    """A role wants the code of an MFA device, and nobody may be asked for it."""


class LoginRefused(EcrPyError):
    """Somebody said no to a login: the person, or the portal."""


class LoginExpired(EcrPyError):
    """Nobody allowed a login in time."""


class AccessDenied(EcrPyError):
    """AWS knows who asks, and refuses."""


class InvalidKeys(EcrPyError):
    """AWS does not know the access key, or no longer."""


class ClockSkew(EcrPyError):
    """The clock of this machine is too far from AWS's."""


class NotThere(EcrPyError):
    """The registry has no such repository, or the repository no such image."""


class AlreadyThere(EcrPyError):
    """The registry has a repository of that name."""


class Throttled(EcrPyError):
    """Too many calls; AWS asks to wait."""


class Unreachable(EcrPyError):
    """The network, a proxy, TLS or a time limit stood between us and AWS."""


class NotKept(EcrPyError):
    """The store could not take a credential: a full disk, a keyring that is locked."""


class BadAnswer(EcrPyError):
    """AWS, or what stands in for it, answered with something that is no credential."""


class CannotInstall(EcrPyError):
    """There is nobody here to run a service, or a file is in the way."""


class CannotRun(EcrPyError):
    """Another daemon runs, or there is no place for its socket, or no longer."""


class NoKey(EcrPyError):
    """The keyring has no sealing key, so nothing can be sealed under it."""


class KeyringUnavailable(EcrPyError):
    """No keyring, a locked one, one that refuses or does not answer."""


class KeyringTimeout(KeyringUnavailable):
    """It hangs, or waits for a person who is not there."""


class UnwritableSsoCache(EcrPyError):
    """A login cannot be kept."""


class UnknownRegistration(EcrPyError):
    """The portal does not know us any more, whatever our registration's expiry says."""


class RefreshRefused(EcrPyError):
    """The refresh token is not good any more: a person must log in."""


class Unsealable(EcrPyError):
    """What is there was sealed under a key that the keyring no longer has, or was damaged."""


class FallbackFailed(EcrPyError):
    """The other helper is not there, or did not answer."""


class Usage(ProtocolError):
    """Not one of the protocol's actions."""


class NoCredentialsInProfile(AwsConfigError):
    """A profile that leaves the credentials to somebody else: a region, say, and no more."""


def login_needed(name: str) -> LoginNeeded:
    """Return the error for a session that is missing or has ended. `name` is what logs in to it."""
    return LoginNeeded("not logged in, or the session has expired", hint=login_command(name))


def login_refused(name: str, what: str) -> LoginRefused:
    """Return the error for a login that was refused, for the reason `what`."""
    return LoginRefused(what, hint=f"{login_command(name)}, or try again in a minute")


def login_command(name: str) -> str:
    """Return the hint to log in: to an SSO session, or to that of a profile."""
    return f"run `ecr-py login {quote(name)}`"


def nearest(name: str, names: Iterable[str]) -> str:
    """`; nearest: a, b`, for the end of a sentence, or nothing where none is near."""
    near = difflib.get_close_matches(name, list(names), 3)
    return f"; nearest: {', '.join(near)}" if near else ""


def some(names: Sequence[str]) -> str:
    """`a, b, c, d, e and 2 more`: the first few of what may be many."""
    shown = ", ".join(names[:_MOST_NAMED])
    return shown + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")


def error_from_dict(note: Mapping[str, str]) -> EcrPyError:
    """The error that another process made a dict of."""
    kind = globals().get(note.get("kind", ""), EcrPyError)
    known = isinstance(kind, type) and issubclass(kind, EcrPyError)
    return (kind if known else EcrPyError)(note.get("what", ""), hint=note.get("hint", ""))
