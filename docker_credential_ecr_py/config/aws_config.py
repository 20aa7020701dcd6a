"""Reads the AWS config and credentials files as botocore does, but accepts more.

Repeated sections are merged, and a byte-order mark is skipped. Secrets are not read: of the access
keys, only their IDs are.
"""

import base64
import configparser
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from docker_credential_ecr_py.atomic_file import BYTE_ORDER_MARK
from docker_credential_ecr_py.config.text_file import read_text
from docker_credential_ecr_py.errors import LOG_IN_FIRST, AwsConfigError, nearest

_ROLE_ACCOUNT = re.compile(r"arn:[a-z-]+:iam::([0-9]{12}):role/")
_PRINCIPAL_ACCOUNT = re.compile(r"arn:[a-z-]+:(?:iam|sts)::([0-9]{12}):")
# Keys made since 2019. Older ones begin with I or J, and do not contain the account.
_KEY_WITH_ACCOUNT = re.compile(r"(?:AKIA|ASIA)([Q-Z2-7][A-Z2-7]{15})")
# Keys of profiles: a section with one of them is meant as a profile.
_OF_PROFILES = {
    *("region", "sso_account_id", "sso_session", "sso_start_url", "role_arn", "source_profile"),
    *("credential_process", "aws_access_key_id", "aws_account_id", "login_session"),
}
_SECRET = ("aws_secret_access_key", "aws_session_token", "aws_security_token")

Sections = dict[str, dict[str, str]]


@dataclass(frozen=True)
class AwsConfig:
    """Profiles and SSO sessions by name, each with the keys of its section.

    `profiles` has the keys of both files; `shared_keys` are the access key IDs in the
    credentials file, which take precedence over the config's. `source` names the config file, and
    `exists` says whether it is there. `misnamed` are its sections that lack the word `profile`.
    """

    profiles: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sso_sessions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    shared_keys: Mapping[str, str] = field(default_factory=dict)
    source: str = "~/.aws/config"
    exists: bool = True
    misnamed: tuple[str, ...] = ()

    @property
    def why_empty(self) -> str:
        """Say why there are no profiles, if there are none."""
        lacking = "has no profiles" if self.exists else "does not exist"
        return f"{self.source} {lacking}" + "".join(map(self.nearest, self.misnamed[:1]))

    @property
    def hint_if_empty(self) -> str:
        """The hint if there are no profiles."""
        return "" if self.misnamed else LOG_IN_FIRST

    def nearest(self, name: str) -> str:
        """Return the end of a sentence that says that a profile does not exist, or ""."""
        if name in self.misnamed:
            return f"; [{name}] has to be [profile {name}]"
        return nearest(name, self.profiles)

    def for_account(self, account: str) -> list[str]:
        """Return the profiles for an account, in the order of the files.

        If no profile names the account, those whose access key belongs to it.
        """
        named, by_key = self._by_account
        return named.get(account) or by_key.get(account, [])

    @cached_property
    def _by_account(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        named: dict[str, list[str]] = {}
        by_key: dict[str, list[str]] = {}
        for name, values in self.profiles.items():
            table = named if _named_accounts(values) else by_key
            for account in accounts_of(values):
                table.setdefault(account, []).append(name)
        return named, by_key


def accounts_of(values: Mapping[str, str]) -> set[str]:
    """Return the accounts that a profile names, or else the one of its access key."""
    return _named_accounts(values) or {_account_of_key(values.get("aws_access_key_id", ""))} - {""}


def _named_accounts(values: Mapping[str, str]) -> set[str]:
    accounts = {values.get("sso_account_id", ""), values.get("aws_account_id", "")}
    accounts.add(values.get("granted_sso_account_id", ""))
    if role := _ROLE_ACCOUNT.match(values.get("role_arn", "")):
        accounts.add(role[1])
    # What `aws login` and saml2aws write.
    for key in ("login_session", "x_principal_arn"):
        if principal := _PRINCIPAL_ACCOUNT.match(values.get(key, "")):
            accounts.add(principal[1])
    # The role that aws-sso-cli, okta-aws-cli and others are told to take.
    if role := _ROLE_ACCOUNT.search(values.get("credential_process", "")):
        accounts.add(role[1])
    return accounts - {""}


def _account_of_key(key_id: str) -> str:
    """Return the account that an access key ID contains, or "".

    It is in the second to the 41st bit after the prefix. AWS does not document this; see
    https://awsteele.com/blog/2020/09/26/aws-access-key-format.html and
    trufflesecurity/trufflehog#2305.
    """
    match = _KEY_WITH_ACCOUNT.fullmatch(key_id)
    if not match:
        return ""
    account = int.from_bytes(base64.b32decode(match[1])) >> 39 & (1 << 40) - 1
    return f"{account:012}" if account < 10**12 else ""


def profiles_without_account(aws: AwsConfig) -> list[str]:
    """Return the profiles with credentials of their own that do not tell whose they are.

    A profile that is only the source of another's role is not meant for registries.
    """
    sources = {values.get("source_profile") for values in aws.profiles.values()}
    return [
        name
        for name, values in aws.profiles.items()
        if {"aws_access_key_id", "credential_process"} & values.keys()
        if not accounts_of(values) and name not in sources
    ]


def load_aws_config(config_file: Path, credentials_file: Path) -> AwsConfig:
    """Read both files; an absent one counts as empty. Raises AwsConfigError."""
    config = read_sections(config_file)
    credentials = read_sections(credentials_file)
    profiles: Sections = {}
    sessions: Sections = {}
    misnamed = []
    for section, values in config.items():
        kind, name = parse_heading(section)
        if not kind and _OF_PROFILES & values.keys():
            misnamed.append(section)
        table = {"profile": profiles, "sso-session": sessions}.get(kind)
        if table is not None:
            table.setdefault(name, {}).update(values)
    for name, values in credentials.items():
        profiles.setdefault(name, {}).update(values)
    keys = {
        name: values["aws_access_key_id"]
        for name, values in credentials.items()
        if "aws_access_key_id" in values
    }
    exists = os.path.exists(config_file)
    return AwsConfig(profiles, sessions, keys, str(config_file), exists, tuple(misnamed))


def read_sections(path: Path, *, with_secrets: bool = False) -> Sections:
    """Return the sections of an AWS INI file; none if it is absent. Raises AwsConfigError."""
    return parse_sections(read_text(path, AwsConfigError) or "", path, with_secrets=with_secrets)


def parse_sections(text: str, path: Path, *, with_secrets: bool = False) -> Sections:
    """Return the sections in the text of the file at `path`. Raises AwsConfigError."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text.removeprefix(BYTE_ORDER_MARK))
    except configparser.MissingSectionHeaderError as error:
        raise AwsConfigError(f"{path}, line {error.lineno}: a [section] must come first") from None
    except configparser.ParsingError as error:
        line = f", line {error.errors[0][0]}" if error.errors else ""
        raise AwsConfigError(f"{path}{line}: neither [section] nor KEY = VALUE") from None
    except configparser.Error as error:
        raise AwsConfigError(f"{path}: {error}") from None
    return {
        section: {
            key: value for key, value in parser.items(section) if with_secrets or key not in _SECRET
        }
        for section in parser.sections()
    }


def parse_heading(section: str) -> tuple[str, str]:
    """Split `profile dev` into ("profile", "dev"). `default` alone is a profile too."""
    try:
        words = shlex.split(section)
    except ValueError:
        return "", ""
    if words == ["default"]:
        return "profile", "default"
    return (words[0], words[1]) if len(words) == 2 else ("", "")
