"""Docker's config.json as docker reads it, and what it may not be."""

import json
from pathlib import Path

import pytest

from docker_credential_ecr_py.config.docker_config import DockerConfig, load_docker_config
from docker_credential_ecr_py.errors import DockerConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


def test_who_is_asked_for_whom(file: Path) -> None:
    document = {
        "auths": {"ghcr.io": {}, "quay.io": {"auth": "bWU6cGFzc3dvcmQ="}},
        "credsStore": "secretservice",
        "credHelpers": {"a.example": "ecr-py", "b.example": "gcloud"},
        "HttpHeaders": {"X": "1"},
    }
    file.write_text("\ufeff" + json.dumps(document), encoding="utf-8")
    found = load_docker_config(file)
    assert found.ours == ["a.example"]
    assert found.store == "secretservice"
    assert found.auths == ("ghcr.io", "quay.io")
    assert found.with_password == ("quay.io",)


@pytest.mark.parametrize("text", ["", " \n", "{}", '{"auths": null}'])
def test_nothing_is_said(file: Path, text: str) -> None:
    file.write_text(text)
    assert load_docker_config(file) == DockerConfig(source=str(file))


def test_no_file_says_nothing(file: Path) -> None:
    assert load_docker_config(file) == DockerConfig(source=str(file))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1: not JSON"),
        ('{\n// mine\n"auths": {}}', "line 2: not JSON"),
        ("[]", "not a JSON object"),
        ('{"credHelpers": ["ecr-py"]}', "credHelpers must be an object"),
        ('{"credHelpers": {"a": 1}}', "credHelpers: a takes the name"),
        ('{"credsStore": {}}', "credsStore takes the name"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_docker_would_not_take(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(DockerConfigError, match=said):
        load_docker_config(file)


def test_what_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe{}")
    with pytest.raises(DockerConfigError, match="not UTF-8"):
        load_docker_config(file)


def test_a_folder_in_its_place(file: Path) -> None:
    file.mkdir()
    with pytest.raises(DockerConfigError, match="cannot be read"):
        load_docker_config(file)
