"""Errors of the package: where they are, and how they get to another process."""

import ast
from pathlib import Path

import pytest

import docker_credential_ecr_py
from docker_credential_ecr_py import errors
from docker_credential_ecr_py.errors import EcrPyError, error_from_dict

PACKAGE = Path(docker_credential_ecr_py.__file__).parent
EVERY_ERROR = [
    found
    for found in vars(errors).values()
    if isinstance(found, type) and issubclass(found, EcrPyError)
]


@pytest.mark.parametrize("error_type", EVERY_ERROR)
def test_an_error_keeps_its_type_on_the_way_to_another_process(
    error_type: type[EcrPyError],
) -> None:
    error = error_type("what happened", hint="run this")
    received = error_from_dict(error.to_dict())
    assert type(received) is error_type
    assert (str(received), received.hint) == (str(error), error.hint)


def test_every_error_is_in_the_one_module_that_knows_them_by_name() -> None:
    names = {error_type.__name__ for error_type in EVERY_ERROR}
    elsewhere = [
        f"{file.relative_to(PACKAGE)}: {node.name}"
        for file in PACKAGE.rglob("*.py")
        if file.name != "errors.py"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
        if names & {base.id for base in node.bases if isinstance(base, ast.Name)}
    ]
    assert len(names) > 20
    assert elsewhere == []
