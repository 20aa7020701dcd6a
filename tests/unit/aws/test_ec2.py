from pathlib import Path

import pytest

from docker_credential_ecr_py.aws.ec2 import on_ec2

VENDOR, BIOS, UUID = (
    "sys/class/dmi/id/sys_vendor",
    "sys/class/dmi/id/bios_vendor",
    "sys/hypervisor/uuid",
)
ENDPOINT = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}
DISABLED = {"AWS_EC2_METADATA_DISABLED": "True"}


def write(root: Path, file: str, content: bytes) -> None:
    path = root / file
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        (VENDOR, b"Amazon EC2\n", True),
        (BIOS, b"Amazon EC2\n", True),
        (UUID, b"ec2e1916-9099-7caf-fd21-012345abcdef\n", True),
        (VENDOR, b"QEMU\n", False),
        (VENDOR, b"Not Amazon EC2\n", False),
        (UUID, b"45e12aec-dcd1-b213-94ed-012345abcdef\n", False),
        (VENDOR, b"", False),
        (VENDOR, b"\xff\xfe", False),
        ("sys/else", b"ec2", False),
    ],
)
def test_the_signs(tmp_path: Path, file: str, content: bytes, expected: bool) -> None:
    write(tmp_path, file, content)
    assert on_ec2({}, root=tmp_path) is expected


def test_a_sign_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / VENDOR).mkdir(parents=True)
    assert not on_ec2({}, root=tmp_path)


def test_an_endpoint_says_that_there_is_one(tmp_path: Path) -> None:
    assert on_ec2(ENDPOINT, root=tmp_path)


def test_disabled_wins(tmp_path: Path) -> None:
    write(tmp_path, VENDOR, b"Amazon EC2\n")
    assert not on_ec2(DISABLED | ENDPOINT, root=tmp_path)
    assert on_ec2({"AWS_EC2_METADATA_DISABLED": "false"}, root=tmp_path)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_only_the_endpoint_tells(
    tmp_path: Path, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, VENDOR, b"Amazon EC2\n")
    monkeypatch.setattr("sys.platform", platform)
    assert not on_ec2({}, root=tmp_path)
    assert on_ec2(ENDPOINT, root=tmp_path)
