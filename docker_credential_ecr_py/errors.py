"""Every error that a user sees. An error's text is one line and holds no secret."""

import difflib
from collections.abc import Iterable, Mapping, Sequence

from docker_credential_ecr_py.printable import one_line, printable
from docker_credential_ecr_py.redact import redact
from docker_credential_ecr_py.shell import quote

NOT_FOUND = "credentials not found in native keychain"
NO_SERVER_URL = "no credentials server URL"
NO_USERNAME = "no credentials username"
# The hint if there is no profile yet.
LOG_IN_FIRST = "run `ecr-py login --start-url URL --sso-region REGION`"
_MOST_NAMED = 5


class EcrPyError(Exception):
    """What happened, to which registry and profile, and `hint`: the command that fixes it.

    `aside` is shown on the user's terminal only, and is not part of the text: another program
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
        """Set the registry and profile, unless they are set already."""
        self.registry = self.registry or registry
        self.profile = self.profile or profile

    def __str__(self) -> str:
        context = [f"registry {self.registry}"] if self.registry else []
        context += [f"profile {self.profile}"] if self.profile else []
        where = f" ({', '.join(context)})" if context else ""
        hint = f": {self.hint}" if self.hint else ""
        return one_line(f"ecr-py: {self.what}{where}{hint}")

    def to_dict(self) -> dict[str, str]:
        """Return what another process needs to raise it again, by `error_from_dict`."""
        return {"kind": type(self).__name__, "what": self.what, "hint": self.hint}


class ProtocolError(EcrPyError):
    """One of the messages that docker's clients compare letter for letter."""

    def __init__(self, what: str, **context: str) -> None:
        super().__init__(what, **context)
        self.what = printable(redact(what))  # with its blanks

    def __str__(self) -> str:
        return self.what


class CredentialsNotFound(ProtocolError):
    """There are no credentials for a registry: the client goes on without."""

    def __init__(self, what: str = NOT_FOUND, **context: str) -> None:
        super().__init__(what, **context)


class BadServerURL(EcrPyError):
    """A text is not a server URL."""


class NotEcr(EcrPyError):
    """The host is not a registry of ECR's."""


class WrongPartition(NotEcr):
    """The host looks like ECR's, but its region and its domain are of different partitions.

    It is a NotEcr because it names no registry. But the fallback must not answer for it either.
    """


class UnknownRegion(WrongPartition):
    """The host looks like ECR's, but no AWS partition has regions like the one in it."""


class BadInput(EcrPyError):
    """Standard input or the command line is not what the protocol or a command takes."""


class SettingsError(EcrPyError):
    """config.toml cannot be read, or is not valid."""


class AwsConfigError(EcrPyError):
    """The AWS config cannot be read, or a profile in it is not complete."""


class DockerConfigError(EcrPyError):
    """Docker's config cannot be read, or docker would not accept it."""


class ContainersConfigError(EcrPyError):
    """registries.conf of podman, buildah and skopeo cannot be read, or is not valid."""


class KubeletConfigError(EcrPyError):
    """A configuration of the kubelet's cannot be read, or the kubelet would not accept it."""


class YamlMissing(KubeletConfigError):
    """A configuration of the kubelet's is YAML, and the module for that is not installed."""


class NoProfile(EcrPyError):
    """No rule leads to an identity for this registry."""


class LoginNeeded(EcrPyError):
    """The SSO session is absent or has ended; the user must log in."""


class MfaCodeNeeded(EcrPyError):
    """A role needs the code of an MFA device, and the user cannot be asked for it."""


class LoginRefused(EcrPyError):
    """The user or the portal refused a login."""


class LoginExpired(EcrPyError):
    """A login was not allowed in time."""


class AccessDenied(EcrPyError):
    """AWS knows the identity, and refuses."""


class InvalidKeys(EcrPyError):
    """AWS does not know the access key, or no longer."""


class ClockSkew(EcrPyError):
    """This machine's clock is too far from AWS's."""


class NotThere(EcrPyError):
    """The registry has no such repository, or the repository no such image."""


class AlreadyThere(EcrPyError):
    """The registry has a repository of that name."""


class Throttled(EcrPyError):
    """AWS refuses a call because there were too many."""


class Unreachable(EcrPyError):
    """AWS cannot be reached: the network, a proxy, TLS or a time limit."""


class NotKept(EcrPyError):
    """The store could not take a credential: a full disk, a keyring that is locked."""


class BadAnswer(EcrPyError):
    """AWS, or a server in its place, gave an answer that cannot be used."""


class RefusedByTunnel(EcrPyError):
    """The machine that a tunnel leads to could not get a credential, or its user refused."""


class CannotInstall(EcrPyError):
    """No service manager runs here, or a file of the same name is not ours."""


class CannotRun(EcrPyError):
    """The daemon cannot run: another one does, or its socket cannot be made or is gone."""


class NoKey(EcrPyError):
    """The keyring has no sealing key, so nothing can be sealed under it."""


class KeyringUnavailable(EcrPyError):
    """There is no keyring, or it is locked, refuses or does not answer."""


class KeyringTimeout(KeyringUnavailable):
    """The keyring hangs, or waits for a user who is not there."""


class UnwritableSsoCache(EcrPyError):
    """The folder of SSO tokens cannot be written, so a login would be lost."""


class UnknownRegistration(EcrPyError):
    """The portal no longer accepts our registration, although it has not expired."""


class RefreshRefused(EcrPyError):
    """The portal no longer accepts the refresh token: the user must log in."""


class Unsealable(EcrPyError):
    """A sealed file does not open: the keyring no longer has its key, or it is damaged."""


class FallbackFailed(EcrPyError):
    """The fallback helper is missing, or did not answer."""


class GrantsError(EcrPyError):
    """The grants of the controller cannot be read, or are not valid."""


class ClusterError(EcrPyError):
    """The API server of a Kubernetes cluster did not do what it was asked."""


class ClusterUnavailable(ClusterError):
    """The API server cannot be reached, does not answer in time, or answers with 5xx."""


class Conflict(ClusterError):
    """An object has changed since it was read, or someone else owns a field of it (409)."""


class ObjectGone(Conflict):
    """The object is gone, or its namespace is, or is being deleted (404)."""


class Expired(ClusterError):
    """The API server no longer knows the version that a watch goes on from (410)."""


class Invalid(ClusterError):
    """The API server does not accept an object: another type, immutable, too large (422, 413)."""


class SecretTooLarge(Invalid):
    """The registries of a grant do not fit into one secret."""


class Forbidden(ClusterError):
    """The API server does not allow it to us, or a quota does not (401, 403)."""


class TooManyRequests(ClusterError):
    """The API server wants us to wait (429); `retry_after` is in seconds."""

    def __init__(self, what: str, *, retry_after: float = 1.0, **context: str) -> None:
        super().__init__(what, **context)
        self.retry_after = retry_after


class Usage(ProtocolError):
    """The arguments are not one of the protocol's actions."""


class NoCredentialsInProfile(AwsConfigError):
    """A profile has no keys for credentials: only a region, say."""


def login_needed(name: str) -> LoginNeeded:
    """Return the error for a session that is missing or has ended. `name` is what logs in to it."""
    return LoginNeeded("not logged in, or the session has expired", hint=login_command(name))


def aws_login_needed(profile: str) -> LoginNeeded:
    """Return the error for a session of `aws login` that is missing or has ended."""
    return LoginNeeded(
        "not logged in, or the session has expired",
        hint=f"run `aws login --profile {quote(profile)}`",
    )


def login_refused(name: str, what: str) -> LoginRefused:
    """Return the error for a login that was refused, for the reason `what`."""
    return LoginRefused(what, hint=f"{login_command(name)}, or try again in a minute")


def login_command(name: str) -> str:
    """Return the hint to log in: to an SSO session, or to that of a profile."""
    return f"run `ecr-py login {quote(name)}`"


def assign_command(account: str, profile: str) -> str:
    """Return the command that makes a profile answer for every registry of an account."""
    return f"ecr-py config set 'registries.{account}.*.profile' {quote(profile)}"


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `; nearest: a, b` for the end of a sentence, or "" if none is near."""
    near = difflib.get_close_matches(name, list(names), 3)
    return f"; nearest: {', '.join(near)}" if near else ""


def some(names: Sequence[str]) -> str:
    """Return the first few of many names: `a, b, c, d, e and 2 more`."""
    shown = ", ".join(names[:_MOST_NAMED])
    return shown + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")


def error_from_dict(note: Mapping[str, str]) -> EcrPyError:
    """Return the error that another process turned into a dict by `to_dict`."""
    kind = globals().get(note.get("kind", ""), EcrPyError)
    known = isinstance(kind, type) and issubclass(kind, EcrPyError)
    return (kind if known else EcrPyError)(note.get("what", ""), hint=note.get("hint", ""))
