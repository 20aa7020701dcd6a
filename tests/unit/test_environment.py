"""What libraries get to see of the environment, and when."""

from __future__ import annotations

import os

import pytest

from docker_credential_ecr_py.aws.session import Session, unsigned_client
from docker_credential_ecr_py.environment import as_given, prepared_for_libraries

# With a drive on Windows: without one a path is relative there.
BIN = os.path.abspath("bin")


@pytest.fixture(autouse=True)
def given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join(("", "bin", BIN)))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "")
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    monkeypatch.setenv("EMPTY", "")


def test_libraries_see_no_relative_folder_and_no_empty_variable_of_aws() -> None:
    given = dict(os.environ)
    with prepared_for_libraries():
        assert os.environ["PATH"] == BIN
        assert "AWS_EC2_METADATA_DISABLED" not in os.environ
        assert (os.environ["AWS_REGION"], os.environ["EMPTY"]) == ("eu-north-1", "")
        assert as_given() == given


def test_a_session_changes_nothing() -> None:
    """Other threads read the environment while it is made."""
    given = dict(os.environ)
    Session()
    unsigned_client("sso", "eu-west-1")
    assert dict(os.environ) == given
