"""Chooses the identity that answers for a registry, and says why. Pure: values in, a value out.

The first rule that fits wins:

0. the command line names a profile;
1. the settings name a profile for the registry;
2. the environment names an identity;
3. a profile in the AWS config is for the registry's account;
4. the default profile, or this EC2 instance.

`prefer = "account"` in the settings puts 3 before 2.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from docker_credential_ecr_py import shell
from docker_credential_ecr_py.config.aws_config import AwsConfig, accounts_of
from docker_credential_ecr_py.config.settings import Settings
from docker_credential_ecr_py.errors import (
    LOG_IN_FIRST,
    AwsConfigError,
    NoCredentialsInProfile,
    NoProfile,
    assign_command,
    some,
)
from docker_credential_ecr_py.registry import REGION_PATTERN, Registry, partition_of
from docker_credential_ecr_py.shell import quote

FIPS, DUAL_STACK = "fips", "dualstack"
_SSO_KEYS = ("sso_account_id", "sso_role_name", "sso_session", "sso_start_url", "sso_region")
# As the AWS CLI does if [sso-session] has no sso_registration_scopes.
DEFAULT_SCOPE = "sso:account:access"
START_URL = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[\x21-\x7e]*)?")
_REGION = re.compile(REGION_PATTERN)
_HTTP_HOST = re.compile(r"https?://(?:[^/?#@]*@)?([\w.-]+)(?::[0-9]+)?(?:[/?#]|$)")
_PROFILE_VARIABLES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
_LONGEST_CHAIN = 20


@dataclass(frozen=True)
class SsoSession:
    """A session at IAM Identity Center, as the AWS config describes it.

    `name` is that of its [sso-session] section, or "" if a profile describes it itself (legacy);
    `profile` leads to it, and its settings say how the portal is reached. Only a session with
    `scopes` can be refreshed.
    """

    start_url: str
    region: str
    name: str
    profile: str = field(compare=False)
    scopes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.name} ({self.start_url})" if self.name else self.start_url

    @property
    def login_name(self) -> str:
        """The argument of `ecr-py login` for this session."""
        return self.name or self.profile

    @property
    def token_file(self) -> str:
        """The name of the token file, as AWS CLI and botocore choose it (SSOTokenLoader)."""
        from hashlib import sha1  # loads OpenSSL, which the daemon does not need

        key = (self.name or self.start_url).encode()
        return sha1(key, usedforsecurity=False).hexdigest() + ".json"


@dataclass(frozen=True)
class AwsLogin:
    """A session of `aws login`: the `arn` of who logged in, by the `profile` that leads to it."""

    arn: str
    profile: str = field(compare=False)

    @property
    def token_file(self) -> str:
        """The name of the token file, as AWS CLI and botocore choose it (LoginTokenLoader)."""
        from hashlib import sha256

        return sha256(self.arn.encode()).hexdigest() + ".json"


@dataclass(frozen=True)
class Identity:
    """Whom AWS sees. Two are equal if AWS would issue tokens for the same principal.

    `kind` is "sso", "role", "keys", "web-identity", "process", "login", "container", "instance"
    or "service-account" (of Kubernetes); `name` identifies it among those of its kind, and holds no
    secret. `hidden` is the part of it that may hold one: it is compared too, and never shown.
    `renewed_by` is the command that gets new keys if AWS refuses them, or "".
    """

    kind: str
    name: str
    sso: SsoSession | None = None
    mfa_serial: str = ""
    hidden: str = field(default="", repr=False)
    aws_login: "AwsLogin | None" = None
    renewed_by: str = field(default="", compare=False)


@dataclass(frozen=True)
class Step:
    """One rule that was tried: what it saw, and whether it won."""

    rule: str
    saw: str
    won: bool = False


@dataclass(frozen=True)
class Selection:
    """The identity that answers for a registry, and the rules that led to it.

    `profile` is "" if the identity comes from no profile. `others` are profiles for the same
    account that lead to another identity, and were not chosen. `variants` are those of ECR's
    endpoint, as botocore calls them: FIPS, DUAL_STACK, both or none.
    """

    identity: Identity
    profile: str
    steps: tuple[Step, ...]
    others: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        return self.steps[-1].rule


@dataclass(frozen=True)
class _Found:
    identity: Identity
    profile: str
    saw: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Question:
    registry: Registry
    host: str
    settings: Settings
    aws: AwsConfig
    environ: Mapping[str, str]
    on_ec2: bool
    profile: str

    def identity(self, profile: str, named_by: str = "") -> Identity:
        return identity_of(profile, self.aws, on_ec2=self.on_ec2, named_by=named_by)


def select(
    registry: Registry,
    host: str,
    settings: Settings,
    aws: AwsConfig,
    environ: Mapping[str, str],
    *,
    on_ec2: bool,
    profile: str = "",
) -> Selection:
    """Return the selection for `registry`, which the client called `host`.

    `profile` is the one that the command line names, or "".

    Raises NoProfile if no rule fits, and AwsConfigError if the one that does names a profile that
    is absent or incomplete.
    """
    question = _Question(registry, host, settings, aws, environ, on_ec2, profile)
    rules: list[tuple[str, Callable[[_Question], _Found | str]]] = [
        ("settings", _by_settings),
        ("environment", _by_environment),
        ("account", _by_account),
        ("default", _by_default),
    ]
    if settings.prefer == "account":
        rules[1], rules[2] = rules[2], rules[1]
    if profile:
        rules.insert(0, ("command line", _by_command_line))
    steps: tuple[Step, ...] = ()
    for name, rule in rules:
        found = rule(question)
        if isinstance(found, _Found):
            steps += (Step(name, found.saw, won=True),)
            variants = _variants(question, found)
            return Selection(found.identity, found.profile, steps, found.others, variants)
        steps += (Step(name, found),)
    raise _no_profile(question)


def _variants(question: _Question, found: _Found) -> tuple[str, ...]:
    profile = question.aws.profiles.get(found.profile or "default", {})
    return endpoint_variants(question.registry, question.environ, profile)


def endpoint_variants(
    registry: Registry, environ: Mapping[str, str], profile: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the variants of the endpoint that the registry's host implies, or the user has set.

    A host of ECR Public's implies none. The user's are those of botocore: a variable, or else a
    key in the profile.
    """
    implied = {FIPS: registry.fips, DUAL_STACK: registry.dual_stack and not registry.public}
    names = {FIPS: "use_fips_endpoint", DUAL_STACK: "use_dualstack_endpoint"}
    return tuple(
        variant
        for variant, key in names.items()
        if implied[variant]
        or environ.get(f"AWS_{key.upper()}", profile.get(key, "")).lower() == "true"
    )


def _by_command_line(question: _Question) -> _Found | str:
    profile = question.profile
    return _Found(question.identity(profile, "--profile"), profile, f"--profile {profile}")


def _by_settings(question: _Question) -> _Found | str:
    glob, profile = question.settings.profile_for(question.host, question.registry.host)
    if not profile:
        return "no [registries] entry matches"
    where = f'[registries."{glob}"] in {question.settings.source}'
    return _Found(question.identity(profile, where), profile, f'"{glob}" names profile {profile}')


def _by_environment(question: _Question) -> _Found | str:
    environ = question.environ
    # Before AWS_PROFILE, because the AWS CLI and botocore do so too.
    if found := _keys_in(environ):
        return found
    for variable in _PROFILE_VARIABLES:
        if profile := environ.get(variable):
            identity = question.identity(profile, variable)
            return _Found(identity, profile, f"{variable}={profile}")
    nothing = "no AWS_PROFILE, access key, web identity or container credentials"
    return _role_in(environ) or nothing


def _keys_in(environ: Mapping[str, str]) -> _Found | None:
    key = environ.get("AWS_ACCESS_KEY_ID")
    if key and environ.get("AWS_SECRET_ACCESS_KEY"):
        return _Found(Identity("keys", key), "", f"AWS_ACCESS_KEY_ID={key}")
    return None


def _role_in(environ: Mapping[str, str]) -> _Found | None:
    """Return the role that the environment of a CI job or a container has."""
    role, token_file = environ.get("AWS_ROLE_ARN"), environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    if role and token_file:
        identity = Identity("web-identity", f"{role} {token_file}")
        return _Found(identity, "", f"AWS_WEB_IDENTITY_TOKEN_FILE={token_file}")
    for variable in (
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ):
        if uri := environ.get(variable):
            identity = Identity("container", _host_in(uri), hidden=uri)
            return _Found(identity, "", f"{variable} is set")
    return None


def account_of_environment(environ: Mapping[str, str]) -> str | None:
    """Return the account of the credentials in the environment; "" if it is not known.

    None if the environment has no credentials, or names a profile.
    """
    found = _keys_in(environ)
    if found is None and not any(map(environ.get, _PROFILE_VARIABLES)):
        found = _role_in(environ)
    if found is None:
        return None
    if account := environ.get("AWS_ACCOUNT_ID"):  # botocore's name for it
        return account
    key = {"keys": "aws_access_key_id", "web-identity": "role_arn"}.get(found.identity.kind, "")
    return "".join(accounts_of({key: found.identity.name}))


def region_of_environment(environ: Mapping[str, str], aws: AwsConfig) -> str:
    """Return the region that credentials in the environment are used in, or ""."""
    return region_variable(environ) or aws.profiles.get("default", {}).get("region", "")


def region_variable(environ: Mapping[str, str]) -> str:
    """Return the region that the environment names, as the AWS CLI reads it, or ""."""
    return environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""


def _by_account(question: _Question) -> _Found | str:
    registry, profiles = question.registry, question.aws.profiles
    if registry.public:
        return "ECR Public belongs to no account"
    candidates = sorted(
        question.aws.for_account(registry.account),
        key=lambda name: profiles[name].get("region") != registry.region,
    )
    identities: dict[str, Identity] = {}
    incomplete: list[AwsConfigError] = []
    for name in candidates:
        try:
            identities[name] = question.identity(name)
        except AwsConfigError as error:
            incomplete.append(error)
    if identities:
        name, identity = next(iter(identities.items()))
        also = [other for other in candidates if other != name]
        saw = f"profile {name} is for account {registry.account}"
        saw += f"; so are {some(also)}" if also else ""
        others = tuple(other for other, theirs in identities.items() if theirs != identity)
        return _Found(identity, name, saw, others)
    if incomplete:
        raise incomplete[0]
    return f"no profile is for account {registry.account}"


def _by_default(question: _Question) -> _Found | str:
    if "default" in question.aws.profiles:
        try:
            return _Found(question.identity("default"), "default", "profile default")
        except NoCredentialsInProfile:
            pass
    if question.on_ec2:
        return _Found(Identity("instance", ""), "", "the role of this EC2 instance")
    return "no default profile with credentials, and this is not an EC2 instance"


def identity_of(
    name: str,
    aws: AwsConfig,
    *,
    on_ec2: bool = False,
    named_by: str = "",
    above: tuple[str, ...] = (),
) -> Identity:
    """Return a profile's identity, by botocore's order of providers. Raises AwsConfigError.

    `named_by` says where the profile is named, for the error if it does not exist; `above` are
    the profiles that have it as their source, directly or not.
    """
    values = aws.profiles.get(name)
    if values is None:
        near = aws.nearest(name)
        if aws.profiles and not near:
            near = f"; profiles are {some(list(aws.profiles))}"
        hint = "" if near else LOG_IN_FIRST
        if aws.profiles and named_by in _PROFILE_VARIABLES:
            hint = f"run `{shell.unset(named_by)}`"
        raise AwsConfigError(
            f"{named_by} names profile {name}, which is not in {aws.source}{near}", hint=hint
        )
    if "role_arn" in values and name not in above:
        return _role(name, values, aws, on_ec2=on_ec2, above=above)
    if any(key in values for key in _SSO_KEYS):
        return _sso(aws, name, values)
    if name in aws.shared_keys:
        return _keys(name, aws.shared_keys[name], values)
    if "login_session" in values:
        arn = values["login_session"]
        return Identity("login", arn, aws_login=AwsLogin(arn, name))
    if "credential_process" in values:
        return Identity("process", name, hidden=values["credential_process"])
    if "aws_access_key_id" in values:
        return _keys(name, values["aws_access_key_id"], values)
    if on_ec2:
        return Identity("instance", "")
    raise NoCredentialsInProfile(f"profile {name} in {aws.source} has no credentials")


def _keys(name: str, key_id: str, values: Mapping[str, str]) -> Identity:
    """Return the identity of a profile's access key.

    Keys that expire (ASIA) are written by a program, which we know only if it is saml2aws.
    """
    command = "" if key_id.startswith("ASIA") else "aws configure"
    if "x_principal_arn" in values:
        command = "saml2aws login"
    return Identity("keys", key_id, renewed_by=command and f"{command} --profile {quote(name)}")


def _role(
    name: str,
    values: Mapping[str, str],
    aws: AwsConfig,
    *,
    on_ec2: bool,
    above: tuple[str, ...],
) -> Identity:
    role, external_id = values["role_arn"], values.get("external_id", "")
    if token_file := values.get("web_identity_token_file"):
        return Identity("web-identity", f"{role} {token_file}", hidden=external_id)
    if source_profile := values.get("source_profile"):
        if len(above) > _LONGEST_CHAIN:
            raise AwsConfigError(
                f"the chain of source_profiles at {name} in {aws.source} is too long"
            )
        if source_profile in above:
            raise AwsConfigError(
                f"the source_profile of {name} in {aws.source} leads back to {source_profile}"
            )
        source = identity_of(
            source_profile,
            aws,
            on_ec2=on_ec2,
            named_by=f"source_profile of profile {name}",
            above=(*above, name),
        )
        return Identity(
            "role",
            f"{role} by {source.kind} {source.name}",
            source.sso,
            values.get("mfa_serial", "") or source.mfa_serial,
            hidden=f"{external_id}\n{source.hidden}" if external_id or source.hidden else "",
            aws_login=source.aws_login,
            renewed_by=source.renewed_by,
        )
    if source_name := values.get("credential_source"):
        return Identity("role", f"{role} by {source_name}", hidden=external_id)
    lacking = "source_profile or credential_source"
    raise _incomplete(aws.source, f"profile {name}", lacking)


def _host_in(uri: str) -> str:
    """Return the host in the URI of a container's credentials; the rest may be a secret."""
    match = _HTTP_HOST.match(uri)
    return match[1] if match else ""


def _sso(aws: AwsConfig, name: str, values: Mapping[str, str]) -> Identity:
    session_name = values.get("sso_session", "")
    session: Mapping[str, str] = values
    if session_name:
        if session_name not in aws.sso_sessions:
            raise AwsConfigError(
                f"profile {name} names [sso-session {session_name}], which is not in {aws.source}"
            )
        session = aws.sso_sessions[session_name]
    sso = sso_session(session_name, session, name, aws.source)
    for key in ("sso_account_id", "sso_role_name"):
        if not values.get(key):
            raise _incomplete(aws.source, f"profile {name}", key)
    who = f"{session_name or sso.start_url} {values['sso_account_id']} {values['sso_role_name']}"
    return Identity("sso", who, sso)


def sso_session(
    name: str, values: Mapping[str, str], profile: str, source: str = "~/.aws/config"
) -> SsoSession:
    """Return the session that a section describes: [sso-session NAME], or a legacy profile.

    Raises AwsConfigError.
    """
    section = f"[sso-session {name}]" if name else f"profile {profile}"
    for key in ("sso_start_url", "sso_region"):
        if not values.get(key):
            raise _incomplete(source, section, key)
    for key, pattern, like in (
        ("sso_start_url", START_URL, "https://NAME.awsapps.com/start"),
        ("sso_region", _REGION, "eu-west-1"),
    ):
        if not pattern.fullmatch(values[key]):
            raise AwsConfigError(
                f"{section} in {source}: {key} must be like {like}, not {values[key]!r}"
            )
    scopes = values.get("sso_registration_scopes", DEFAULT_SCOPE) if name else ""
    return SsoSession(
        values["sso_start_url"],
        values["sso_region"],
        name,
        profile,
        tuple(scope.strip() for scope in scopes.split(",") if scope.strip()),
    )


def sso_sessions(aws: AwsConfig) -> list[SsoSession]:
    """Return every complete session of the config, each once."""
    sessions: dict[str, SsoSession] = {}
    legacy = {name: values for name, values in aws.profiles.items() if "sso_start_url" in values}
    for name, values, profile in (
        *((name, values, _profile_of(name, aws)) for name, values in aws.sso_sessions.items()),
        *(("", values, name) for name, values in legacy.items() if "sso_session" not in values),
    ):
        with suppress(AwsConfigError):
            session = sso_session(name, values, profile)
            # The key is what token_file is made from.
            sessions.setdefault(session.name or session.start_url, session)
    return list(sessions.values())


def _profile_of(session_name: str, aws: AwsConfig) -> str:
    """Return the first profile with an [sso-session], or ""."""
    profiles = aws.profiles.items()
    return next(
        (name for name, values in profiles if values.get("sso_session") == session_name), ""
    )


def _incomplete(source: str, section: str, missing: str) -> AwsConfigError:
    return AwsConfigError(f"{section} in {source} has no {missing}")


def profiles_for_other_accounts(
    registry: Registry, aws: AwsConfig, *, on_ec2: bool = False
) -> list[str]:
    """Return the profiles that could get a token for a registry although none is for its account.

    First those whose account is not known, since it may be the registry's; then those in its
    region. An identity has no rights in another partition.
    """

    def serves(name: str) -> bool:
        region = aws.profiles[name].get("region", "")
        if region and partition_of(region) != registry.partition:
            return False
        try:
            identity_of(name, aws, on_ec2=on_ec2)
        except AwsConfigError:
            return False
        return True

    def likelihood(name: str) -> tuple[bool, bool]:
        values = aws.profiles[name]
        return bool(accounts_of(values)), values.get("region") != registry.region

    return sorted(filter(serves, aws.profiles), key=likelihood)


def _no_profile(question: _Question) -> NoProfile:
    aws, registry = question.aws, question.registry
    if registry.public:
        return NoProfile("no AWS credentials here")
    without_keys = "and the environment has no AWS credentials"
    if not aws.profiles:
        return NoProfile(f"{aws.why_empty}, {without_keys}", hint=aws.hint_if_empty)
    others = profiles_for_other_accounts(registry, aws, on_ec2=question.on_ec2)
    use_other = f"run `{assign_command(registry.account, others[0])}`" if others else ""
    return NoProfile(
        f"no AWS profile in {aws.source} is for account {registry.account} "
        f"(looked at {some(list(aws.profiles))}), {without_keys}",
        hint=f"{use_other}, or set AWS_PROFILE" if others else LOG_IN_FIRST,
    )
