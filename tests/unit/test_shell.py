"""The commands in hints are those of the user's shell."""

import pytest

from docker_credential_ecr_py import shell


def test_in_sh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_ON_WINDOWS", False)
    assert shell.quote("my profile") == "'my profile'"
    assert shell.export("AWS_CA_BUNDLE", "FILE") == "export AWS_CA_BUNDLE=FILE"
    assert shell.unset("https_proxy", "HTTPS_PROXY") == "unset https_proxy HTTPS_PROXY"


def test_in_powershell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_ON_WINDOWS", True)
    assert shell.quote("Jo's profile") == "'Jo''s profile'"
    assert shell.export("AWS_CA_BUNDLE", "FILE") == "$env:AWS_CA_BUNDLE = 'FILE'"
    assert shell.unset("A", "B") == "Remove-Item Env:A, Env:B"
