"""Parses and checks a server URL. Works offline: it checks the name only."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from docker_credential_ecr_py.errors import (
    BadInput,
    BadServerURL,
    NotEcr,
    UnknownRegion,
    WrongPartition,
)
from docker_credential_ecr_py.redact import redact

# The suffix of a partition's registries. A test compares this with botocore's partitions.
# "on." marks the dual-stack names; the first of a partition is the usual one.
SUFFIXES = {
    "amazonaws.com": "aws",
    "on.aws": "aws",
    "amazonaws.com.cn": "aws-cn",
    "on.amazonwebservices.com.cn": "aws-cn",
    "amazonaws.eu": "aws-eusc",
    "c2s.ic.gov": "aws-iso",
    "sc2s.sgov.gov": "aws-iso-b",
    "cloud.adc-e.uk": "aws-iso-e",
    "csp.hci.ic.gov": "aws-iso-f",
}
# The regions of each partition; the first pattern that fits wins. A test compares this with
# botocore's partitions too. A region of "aws" may be newer than this list.
_REGIONS = {
    "aws-cn": r"cn-[a-z]+-[0-9]{1,2}",
    "aws-us-gov": r"us-gov-[a-z]+-[0-9]{1,2}",
    "aws-eusc": r"eusc-[a-z]+-[a-z]+-[0-9]{1,2}",
    "aws-iso": r"us-iso-[a-z]+-[0-9]{1,2}",
    "aws-iso-b": r"us-isob-[a-z]+-[0-9]{1,2}",
    "aws-iso-e": r"eu-isoe-[a-z]+-[0-9]{1,2}",
    "aws-iso-f": r"us-isof-[a-z]+-[0-9]{1,2}",
    "aws": r"[a-z]{2}-[a-z]+-[0-9]{1,2}",
}
# Partitions whose registries end as those of another partition.
_SHARED_SUFFIXES = {"aws-us-gov": "aws"}
PUBLIC_HOSTS = ("public.ecr.aws", "ecr-public.aws.com")
PUBLIC_REGION = "us-east-1"
LONGEST_URL = 2048

REGION_PATTERN = r"[a-z]{2,8}(?:-[a-z]+)+-[0-9]{1,2}"
_PRIVATE_HOST = re.compile(
    r"(?P<account>[0-9]{12})\.dkr[.-]ecr(?P<fips>-fips)?"
    rf"\.(?P<region>{REGION_PATTERN})"
    r"\.(?P<suffix>" + "|".join(map(re.escape, SUFFIXES)) + r")"
)
_URL = re.compile(
    r"(?:https?://)?(?P<host>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])\.?"
    r"(?::(?P<port>[0-9]{1,5}))?(?:/[A-Za-z0-9._~%:@!$&'()*+,;=/-]*)?",
    re.IGNORECASE | re.ASCII,
)


_GLOB_TOKEN = re.compile(r"\[!?\]?[^\]]*\]|.")
_REGION_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-"
_REGION_LENGTHS = range(len("eu-west-1"), len("ap-northeast-10") + 4)


@dataclass(frozen=True)
class Registry:
    """One ECR registry. `account` is twelve digits, or "" for ECR Public."""

    host: str
    account: str
    region: str
    partition: str
    fips: bool = False
    dual_stack: bool = False

    @property
    def public(self) -> bool:
        return not self.account

    @classmethod
    def parse(cls, server_url: str) -> "Registry":
        """Return the registry of a server URL: a host, or a URL with scheme, port and path.

        Raises BadServerURL if it is not a URL, NotEcr if the host is not ECR's.
        """
        return cls.of_host(host_of(server_url))

    @classmethod
    def of_account(cls, account: str, region: str) -> "Registry":
        """Return the registry of an account in a region, with its usual host.

        Raises BadInput if the account is not twelve digits, or no partition has such a region.
        """
        if not (len(account) == 12 and account.isascii() and account.isdigit()):
            raise BadInput(f"an account has twelve digits: {account[:80]!r}")
        partition = partition_of(region)
        if not partition:
            raise BadInput(f"not a region (such as eu-west-1): {region[:80]!r}")
        return cls.of_host(f"{account}.dkr.ecr.{region}.{_suffixes_of(partition)[0]}")

    @classmethod
    def of_host(cls, host: str) -> "Registry":
        """Return the registry of a host that `host_of` returned.

        Raises NotEcr; WrongPartition if the name is one of ECR's, but its region and its suffix
        are of different partitions. The token of one partition must not go to another.
        """
        if host in PUBLIC_HOSTS:
            return cls(host, "", PUBLIC_REGION, "aws", dual_stack=host != PUBLIC_HOSTS[0])
        match = _PRIVATE_HOST.fullmatch(host)
        if match is None:
            raise NotEcr(f"{host} is not an Amazon ECR registry")
        account, region, suffix = match["account"], match["region"], match["suffix"]
        partition = partition_of(region)
        if not partition:
            raise UnknownRegion(f"{region} in {host} is not a region of any AWS partition")
        if suffix not in _suffixes_of(partition):
            usual = cls.of_account(account, region).host
            raise WrongPartition(
                f"{host} is not a registry: there is no region {region} in {suffix}",
                hint=f"the registry of account {account} in {region} is {usual}",
            )
        return cls(
            host,
            account,
            region,
            partition,
            fips=match["fips"] is not None,
            dual_stack=suffix.startswith("on."),
        )


@dataclass(frozen=True)
class RegistryRequest:
    """The `host` that the client named, and its registry: another one if it is an alias."""

    host: str
    registry: Registry


def partition_of(region: str) -> str:
    """Return the AWS partition of a region, or "" if no partition has regions like it."""
    names = (name for name, pattern in _REGIONS.items() if re.fullmatch(pattern, region))
    return next(names, "")


def may_name_registries(glob: str) -> bool:
    """Return whether any host of ECR's can match a glob (fnmatch's)."""
    if any(fnmatchcase(host, glob) for host in PUBLIC_HOSTS):
        return True
    tokens = [(part == "*", _matching(part)) for part in _GLOB_TOKEN.findall(glob)]
    return any(
        _can_match(tokens, ["0123456789"] * 12 + [*".dkr", ".-", *"ecr", *fips, "."] + end)
        for fips in ("", "-fips")
        for suffix in SUFFIXES
        for length in _REGION_LENGTHS
        for end in [[_REGION_CHARACTERS] * length + [".", *suffix]]
    )


def _matching(token: str) -> frozenset[str]:
    """Return the characters of hosts that a part of a glob matches: a character, `?` or [...]."""
    return frozenset(sign for sign in _REGION_CHARACTERS + "._" if fnmatchcase(sign, token))


def _can_match(tokens: list[tuple[bool, frozenset[str]]], places: list[str]) -> bool:
    """Return whether a glob matches a text with one of so many characters at each place."""

    def past_stars(states: set[int]) -> set[int]:
        for state in sorted(states):
            while state < len(tokens) and tokens[state][0]:
                state += 1
                states.add(state)
        return states

    states = past_stars({0})  # how many tokens may have matched what is before the place
    for characters in places:
        here = [(state, *tokens[state]) for state in states if state < len(tokens)]
        matched = [(state, star) for state, star, fits in here if not fits.isdisjoint(characters)]
        states = past_stars({state if star else state + 1 for state, star in matched})
    return len(tokens) in states


def _suffixes_of(partition: str) -> list[str]:
    owner = _SHARED_SUFFIXES.get(partition, partition)
    return [suffix for suffix, name in SUFFIXES.items() if name == owner]


def is_registry(server_url: str) -> bool:
    try:
        Registry.parse(server_url)
    except (NotEcr, BadServerURL):
        return False
    return True


def is_key_of_another(text: str) -> bool:
    """Whether a text that is no server URL may be a key that another helper knows.

    A credsStore is asked for such keys too: `oci://ghcr.io`, `ssh://me@host`, `<token>`. A key is
    one word that can be printed, and names no registry of ECR's.
    """
    return (
        0 < len(text) <= LONGEST_URL
        and text.isprintable()
        and not re.search(r"\s", text)
        and not any(host in text.lower() for host in PUBLIC_HOSTS)
        and not _PRIVATE_HOST.search(text.lower())
    )


def host_of(server_url: str) -> str:
    """Return the host in a server URL: lower case, without port and final dot.

    Docker names registries by host alone; older clients and users add a scheme and a path. Raises
    BadServerURL.
    """
    if len(server_url) > LONGEST_URL:
        raise BadServerURL(f"the server URL is longer than {LONGEST_URL} characters")
    match = _URL.fullmatch(server_url)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise BadServerURL(f"not a server URL: {redact(server_url)[:80]!a}")
    return match["host"].lower()
