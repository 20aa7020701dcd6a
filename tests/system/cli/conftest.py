"""Somebody who has profiles for three accounts, and has not set up docker for any."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.standin.aws import Aws
from tests.support.home import DEV, PROD, STAGE, Home, registry
from tests.support.user import Done, Person

THREE = [registry(account) for account in (DEV, STAGE, PROD)]


@dataclass
class Owner(Person):
    """Of a docker config."""

    @property
    def config(self) -> Path:
        return self.home.path / ".docker" / "config.json"

    def has(self, text: str | bytes, file: Path | None = None) -> bytes:
        """Writes a config, docker's unless said. The bytes of it."""
        file = file or self.config
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file.read_bytes()

    def says(self, file: Path | None = None) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((file or self.config).read_text("utf-8-sig"))
        return document

    def does(self, *arguments: str, **environment: str) -> Done:
        """ecr-py, which succeeds."""
        done = self.invokes(*arguments, **environment)
        assert done.code == 0, done
        return done


@pytest.fixture
def owner(home: Home, aws: Aws) -> Owner:
    return Owner(home, aws)


@pytest.fixture
def person(home: Home, aws: Aws) -> Person:
    """Somebody with a live session."""
    return Person(home, aws)
