"""The AWS config and credentials files, read as botocore reads them but forgiving what it is not.

Repeated sections are merged, a byte-order mark and CRLF are passed over. Secrets stay in the
files: of the keys, only their IDs are taken.
"""

import base64
import configparser
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from docker_credential_ecr_py.atomic_file import BYTE_ORDER_MARK
from docker_credential_ecr_py.config.text_file import read_text
from docker_credential_ecr_py.errors import AwsConfigError

_ROLE_ACCOUNT = re.compile(r"arn:[a-z-]+:iam::([0-9]{12}):role/")
# Of keys made since 2019: those before begin with I or J, and say nothing of the account.
_TELLING_KEY = re.compile(r"(?:AKIA|ASIA)([Q-Z2-7][A-Z2-7]{15})")
_SECRET = ("aws_secret_access_key", "aws_session_token", "aws_security_token")

Sections = dict[str, dict[str, str]]


@dataclass(frozen=True)
class AwsConfig:
    """Profiles and SSO sessions by name, each the keys that stand in its section.

    `profiles` has the keys of both files; `shared_keys` are the access key IDs in the
    credentials file, which outrank the config's own. `source` names the config file.
    """

    profiles: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sso_sessions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    shared_keys: Mapping[str, str] = field(default_factory=dict)
    source: str = "~/.aws/config"

    def for_account(self, account: str) -> list[str]:
        """The profiles that are for an account, in the order of the files.

        Where none says that it is, those whose access key does.
        """
        said, by_key = self._by_account
        return said.get(account) or by_key.get(account, [])

    @cached_property
    def _by_account(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        said: dict[str, list[str]] = {}
        by_key: dict[str, list[str]] = {}
        for name, values in self.profiles.items():
            table = said if _said(values) else by_key
            for account in accounts_of(values):
                table.setdefault(account, []).append(name)
        return said, by_key


def accounts_of(values: Mapping[str, str]) -> set[str]:
    """The accounts that a profile says it is for, or else that of its access key."""
    return _said(values) or {_account_of_key(values.get("aws_access_key_id", ""))} - {""}


def _said(values: Mapping[str, str]) -> set[str]:
    accounts = {values.get("sso_account_id", ""), values.get("aws_account_id", "")}
    if role := _ROLE_ACCOUNT.match(values.get("role_arn", "")):
        accounts.add(role[1])
    return accounts - {""}


def _account_of_key(key_id: str) -> str:
    """The account that an access key ID has in it, or "".

    The second to the 41st bit of what follows the prefix. Not AWS's documentation but what
    AWS's keys have been seen to be: https://awsteele.com/blog/2020/09/26/aws-access-key-format.html
    and trufflesecurity/trufflehog#2305.
    """
    told = _TELLING_KEY.fullmatch(key_id)
    if not told:
        return ""
    account = int.from_bytes(base64.b32decode(told[1])) >> 39 & (1 << 40) - 1
    return f"{account:012}" if account < 10**12 else ""


def load_aws_config(config_file: Path, credentials_file: Path) -> AwsConfig:
    """What both files say; an absent file says nothing. Raises AwsConfigError."""
    config = read_sections(config_file)
    credentials = read_sections(credentials_file)
    profiles: Sections = {}
    sessions: Sections = {}
    for section, values in config.items():
        kind, name = _parse_heading(section)
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
    return AwsConfig(profiles, sessions, keys, str(config_file))


def read_sections(path: Path, *, with_secrets: bool = False) -> Sections:
    """An AWS INI file's sections; none where there is no file. Raises AwsConfigError."""
    text = (read_text(path, AwsConfigError) or "").removeprefix(BYTE_ORDER_MARK)
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
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


def _parse_heading(section: str) -> tuple[str, str]:
    """`[profile dev]` -> ("profile", "dev"). The profile `default` may stand alone."""
    try:
        words = shlex.split(section)
    except ValueError:
        return "", ""
    if words == ["default"]:
        return "profile", "default"
    return (words[0], words[1]) if len(words) == 2 else ("", "")
