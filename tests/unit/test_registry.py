import json
import re
from itertools import product
from pathlib import Path

import botocore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_credential_ecr_py.errors import BadInput, BadServerURL, NotEcr, WrongPartition
from docker_credential_ecr_py.registry import (
    LONGEST_URL,
    PUBLIC_REGION,
    SUFFIXES,
    Registry,
    host_of,
    is_registry,
    may_name_registries,
    partition_of,
)
from docker_credential_ecr_py.store import record

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
DUAL = "123456789012.dkr-ecr.eu-west-1.on.aws"
DATA = Path(botocore.__file__).parent / "data"
PARTITIONS = json.loads((DATA / "partitions.json").read_text())["partitions"]
ENDPOINTS = json.loads((DATA / "endpoints.json").read_text())["partitions"]
# The dual-stack names of registries, which botocore's files do not have.
# Source: https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-requests.html
DUAL_STACK = {
    "aws": "on.aws",
    "aws-us-gov": "on.aws",
    "aws-cn": "on.amazonwebservices.com.cn",
}
REGIONS = {
    region: str(partition["id"])
    for partition in PARTITIONS
    for region in partition["regions"]
    if not region.endswith("-global")
}


@pytest.mark.parametrize(
    ("host", "region", "partition", "fips", "dual_stack"),
    [
        (HOST, "eu-west-1", "aws", False, False),
        (HOST.replace("ecr", "ecr-fips"), "eu-west-1", "aws", True, False),
        (DUAL, "eu-west-1", "aws", False, True),
        (DUAL.replace("ecr", "ecr-fips"), "eu-west-1", "aws", True, True),
        ("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com", "us-gov-west-1", "aws-us-gov", 0, 0),
        (
            "123456789012.dkr.ecr-fips.us-gov-east-1.amazonaws.com",
            "us-gov-east-1",
            "aws-us-gov",
            1,
            0,
        ),
        ("123456789012.dkr-ecr.us-gov-east-1.on.aws", "us-gov-east-1", "aws-us-gov", 0, 1),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1", "aws-cn", 0, 0),
        (
            "123456789012.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn",
            "cn-northwest-1",
            "aws-cn",
            0,
            1,
        ),
        ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1", "aws-eusc", 0, 0),
        ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1", "aws-iso", 0, 0),
        ("123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1", "aws-iso-b", 0, 0),
        ("123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "eu-isoe-west-1", "aws-iso-e", 0, 0),
        (
            "123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov",
            "us-isof-south-1",
            "aws-iso-f",
            0,
            0,
        ),
    ],
)
def test_each_form_of_host(
    host: str, region: str, partition: str, fips: bool, dual_stack: bool
) -> None:
    registry = Registry.parse(host)
    assert registry == Registry(
        host, "123456789012", region, partition, bool(fips), bool(dual_stack)
    )
    assert not registry.public


@pytest.mark.parametrize("host", ["public.ecr.aws", "ecr-public.aws.com"])
def test_ecr_public_belongs_to_nobody(host: str) -> None:
    registry = Registry.parse(f"https://{host}/v2/")
    assert (registry.public, registry.region, registry.account) == (True, PUBLIC_REGION, "")


@pytest.mark.parametrize(
    "server_url",
    [
        f"https://{HOST}",
        f"http://{HOST}",
        f"HTTPS://{HOST.upper()}",
        f"{HOST}/",
        f"{HOST}.",
        f"https://{HOST}./v2/",
        f"{HOST}:443",
        f"https://{HOST}:5000/some/repository:tag",
        f"{HOST}/path%20/~user/@sha256:0a",
        HOST.title(),
    ],
)
def test_what_stands_round_a_host(server_url: str) -> None:
    assert Registry.parse(server_url) == Registry.parse(HOST)


@pytest.mark.parametrize(
    "host",
    [
        f"{HOST}.evil.example",
        f"evil.{HOST}",
        f"evil-{HOST}",
        f"1{HOST}",
        HOST[1:],
        HOST.replace("amazonaws", "amazonaws.evil"),
        HOST.replace(".amazonaws.com", ".amazonaws.com.evil"),
        HOST.replace(".amazonaws.com", "-amazonaws.com"),
        HOST.replace("amazonaws.com", "amazonaws.co"),
        HOST.replace(".dkr.ecr.", ".dkr.ecrx."),
        HOST.replace(".dkr.ecr.", ".dkrxecr."),
        HOST.replace("eu-west-1", "eu-west"),
        HOST.replace("eu-west-1", "x.eu-west-1"),
        HOST.replace("eu-west-1.", ""),
        "registry-1.docker.io",
        "index.docker.io",
        "localhost",
        "[::1]",
        "amazonaws.com",
        "ecr.eu-west-1.amazonaws.com",
        "evil.public.ecr.aws",
        "public.ecr.aws.evil.example",
        "xpublic.ecr.aws",
    ],
)
def test_look_alikes_are_somebody_elses(host: str) -> None:
    with pytest.raises(NotEcr):
        Registry.parse(host)


@pytest.mark.parametrize(
    "server_url",
    [
        "",
        " ",
        ".",
        "https://",
        "/",
        f"user@{HOST}",
        f"https://AWS:password@{HOST}",
        f"https://{HOST}@evil.example",
        f"https://evil.example@{HOST}/",
        f"{HOST}\n",
        f"{HOST}\n.evil.example",
        f"{HOST}\r",
        f"{HOST}\0",
        f"{HOST}\0.evil.example",
        f"{HOST} ",
        f" {HOST}",
        f"{HOST}/a b",
        f"{HOST}/\u00e9",
        HOST.replace("1", "\u0661"),  # an Arabic-Indic digit
        HOST.replace("1", "\uff11"),  # a full-width digit
        HOST.replace("k", "\u212a"),  # the Kelvin sign, whose lower case is k
        HOST.replace("s", "\u017f"),  # the long s, whose upper case is S
        f"{HOST}:0",
        f"{HOST}:65536",
        f"{HOST}:999999",
        f"{HOST}:port",
        f"{HOST}..",
        f"ftp://{HOST}",
        f"{HOST}?query",
        f"{HOST}/path?token=secret",
        f"{HOST}/path#fragment",
        f"https:///{HOST}",
        f"https://https://{HOST}",
        f"\\\\{HOST}",
        f"{HOST}/" + "a" * LONGEST_URL,
    ],
)
def test_what_is_no_server_url(server_url: str) -> None:
    with pytest.raises(BadServerURL) as refused:
        host_of(server_url)
    assert "\n" not in str(refused.value)
    assert str(refused.value).isascii()


def test_a_refused_url_shows_no_password() -> None:
    password = "cGFzc3dvcmQ" * 200
    for server_url in (f"https://AWS:{password[:1000]}@{HOST}", f"AWS:{password[:1000]}@{HOST}"):
        with pytest.raises(BadServerURL) as refused:
            host_of(server_url)
        assert password[:20] not in str(refused.value)


@pytest.mark.parametrize("partition", PARTITIONS, ids=lambda partition: str(partition["id"]))
def test_each_region_of_botocores_partitions_is_known(partition: dict[str, object]) -> None:
    """Red where AWS has opened a partition that SUFFIXES lacks."""
    outputs, regions = partition["outputs"], partition["regions"]
    assert isinstance(outputs, dict)
    assert isinstance(regions, dict)
    real = [region for region in regions if not region.endswith("-global")]
    assert real
    for region in real:
        registry = Registry.parse(f"123456789012.dkr.ecr.{region}.{outputs['dnsSuffix']}")
        assert (registry.partition, registry.region) == (partition["id"], region)


def test_a_region_and_a_suffix_belong_together() -> None:
    """Each region with each suffix: the registry of one partition gets no other's token."""
    suffixes = {(str(one["id"]), str(one["outputs"]["dnsSuffix"])) for one in PARTITIONS}
    suffixes |= {(one["partition"], one["dnsSuffix"]) for one in ENDPOINTS}
    suffixes |= set(DUAL_STACK.items())
    assert {suffix for _, suffix in suffixes} == set(SUFFIXES)
    for (region, partition), suffix in product(REGIONS.items(), SUFFIXES):
        for service in ("dkr.ecr", "dkr.ecr-fips", "dkr-ecr", "dkr-ecr-fips"):
            host = f"123456789012.{service}.{region}.{suffix}"
            if (partition, suffix) in suffixes:
                assert Registry.parse(host).partition == partition
                continue
            with pytest.raises(WrongPartition) as refused:
                Registry.parse(host)
            assert region in refused.value.what
            assert f"123456789012.dkr.ecr.{region}." in refused.value.hint
            assert not is_registry(host)


@pytest.mark.parametrize("partition", ENDPOINTS, ids=lambda partition: str(partition["partition"]))
@given(st.data())
def test_regions_to_come_are_of_the_partition_that_botocore_says(
    partition: dict[str, str], data: st.DataObject
) -> None:
    pattern = partition["regionRegex"].replace(r"\w", "[a-z]").replace(r"\d+", "[1-9]")
    region = data.draw(st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True))
    host = f"123456789012.dkr.ecr.{region}.{partition['dnsSuffix']}"
    assert partition_of(region) == partition["partition"]
    assert Registry.parse(host).partition == partition["partition"]
    assert Registry.of_account("123456789012", region).host == host


@pytest.mark.parametrize("region", ["us-isox-east-1", "us-gov-iso-east-1", "nowhere-east-1"])
def test_a_region_of_no_partition(region: str) -> None:
    for suffix in SUFFIXES:
        with pytest.raises(WrongPartition, match=f"{region} in .* of any AWS partition"):
            Registry.parse(f"123456789012.dkr.ecr.{region}.{suffix}")
    with pytest.raises(BadInput, match="not a region"):
        Registry.of_account("123456789012", region)


HOSTS = st.sampled_from([HOST, DUAL, "public.ecr.aws", "docker.io", "localhost"])


@given(st.text(max_size=300) | st.builds(lambda a, h, b: a + h + b, st.text(), HOSTS, st.text()))
def test_any_text_is_a_registry_or_refused(server_url: str) -> None:
    try:
        registry = Registry.parse(server_url)
    except (BadServerURL, NotEcr) as error:
        assert "\n" not in str(error)
    else:
        assert registry.host in server_url.lower()
        assert registry.host.isascii()
        assert registry == Registry.parse(registry.host)


PLAIN = st.text("abcxyz0189.-:/_ A%", max_size=60)


@given(
    st.builds(lambda a, h, b: a + h + b, st.sampled_from(["", "https://"]), HOSTS | PLAIN, PLAIN)
)
def test_a_hit_and_the_parser_agree_on_the_host(server_url: str) -> None:
    """`plain_host` decides what is looked up; only a host that `host_of` returned is kept."""
    plain = record.plain_host(server_url.encode())
    if plain is None:
        return
    try:
        host = host_of(server_url)
    except BadServerURL:
        return  # never kept, so never found
    assert plain.decode().rstrip(".") == host


@given(st.binary(max_size=100))
def test_a_plain_host_can_stand_in_json_and_in_a_path(server_url: bytes) -> None:
    plain = record.plain_host(server_url)
    if plain is not None:
        assert b"/" not in plain
        assert json.loads(b'"%b"' % server_url) == server_url.decode()


def test_a_hit_takes_no_url_that_the_parser_refuses_for_its_length() -> None:
    server_url = f"https://{HOST}/" + "a" * LONGEST_URL
    assert record.plain_host(server_url.encode()) is None


@pytest.mark.parametrize(
    ("glob", "possible"),
    [
        ("642976147714.*", True),
        ("*.dkr.ecr.us-gov-west-1.amazonaws.com", True),
        ("[0-9]*.dkr.ecr.*", True),
        ("*-fips*", True),
        ("64297614771?.dkr-ecr.eu-west-1.on.aws", True),
        ("*.eu-west-1.*", True),
        ("public.*", True),
        ("*", True),
        ("", False),
        ("[!0-9]*", True),  # ECR Public
        ("[!0-9ep]*", False),
        ("642976147714", False),
        ("64297614771.*", False),
        ("6429761477140.*", False),
        ("*.ghcr.io", False),
        ("*.dkr.ecr.eu_west_1.amazonaws.com", False),
        ("*.eu-west-1.amazonaws.co", False),
        ("[*", False),
    ],
)
def test_a_glob_that_can_match_a_registry(glob: str, possible: bool) -> None:
    assert may_name_registries(glob) == possible


@given(st.sampled_from(sorted(SUFFIXES)), st.sampled_from(["", "-fips"]), st.data())
def test_a_glob_made_from_a_registry_can_match_it(
    suffix: str, fips: str, data: st.DataObject
) -> None:
    host = f"642976147714.dkr.ecr{fips}.eu-west-1.{suffix}"
    start = data.draw(st.integers(0, len(host)))
    end = data.draw(st.integers(start, len(host)))
    for wildcards in ("*", "?" * (end - start), "[!_]" * (end - start)):
        assert may_name_registries(host[:start] + wildcards + host[end:])
