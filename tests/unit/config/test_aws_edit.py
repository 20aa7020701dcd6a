"""The AWS config's text with an account in it, and without it again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_credential_ecr_py.config import aws_edit
from docker_credential_ecr_py.config.aws_config import load_aws_config, parse_sections
from tests.support.home import DEV, STAGE, THREE_ACCOUNTS

LINES = (
    "",
    "# a note",
    "[default]",
    "[profile dev]",
    '[profile "my team"]',
    "[sso-session dev]",
    "region = eu-west-1",
    "s3 =",
    "  max_queue = 3",
    "aws_account_id =",
)
texts = st.tuples(
    st.lists(st.sampled_from(LINES)),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\ufeff"]),
).map(lambda parts: parts[2] + parts[1].join(["[plugins]", *parts[0]]))


def lines(text: str) -> list[str]:
    """Return what a text says, besides accounts."""
    return [line for line in text.splitlines() if line.strip() and "aws_account_id" not in line]


@pytest.mark.parametrize(
    ("before", "profile", "after"),
    [
        ("", "default", f"[default]\naws_account_id = {DEV}\n"),
        ("", "my team", f'[profile "my team"]\naws_account_id = {DEV}\n'),
        (
            "[profile dev]\nregion = x\n\n# b\n[profile b]\nregion = y\n",
            "dev",
            f"[profile dev]\nregion = x\naws_account_id = {DEV}\n\n# b\n[profile b]\nregion = y\n",
        ),
        (
            "[default]\r\ns3 =\r\n  a = b",
            "default",
            f"[default]\r\ns3 =\r\n  a = b\r\naws_account_id = {DEV}\r\n",
        ),
        (
            "[profile b]\nc = d",
            "dev",
            f"[profile b]\nc = d\n\n[profile dev]\naws_account_id = {DEV}\n",
        ),
        ("[profile dev]\naws_account_id =\n", "dev", f"[profile dev]\naws_account_id = {DEV}\n"),
    ],
)
def test_the_account_stands_in_the_profile(before: str, profile: str, after: str) -> None:
    assert aws_edit.with_account(before, profile, DEV) == after


@given(texts, st.sampled_from(["default", "dev", "my team", "new"]))
def test_it_is_read_back_and_the_rest_stays(
    tmp_path_factory: pytest.TempPathFactory, text: str, profile: str
) -> None:
    made = aws_edit.with_account(text, profile, DEV)
    file = tmp_path_factory.mktemp("aws") / "config"
    file.write_bytes(made.encode())
    config = load_aws_config(file, Path("absent"))
    assert config.for_account(DEV) == [profile]
    assert parse_sections(made, file).keys() >= parse_sections(text, file).keys()
    assert lines(made)[: len(lines(text))] == lines(text)
    edited = made + "[profile later]\nregion = eu-west-1\n"
    back = aws_edit.undone(edited, text, made)
    assert back is not None
    assert DEV not in back
    assert back.endswith("[profile later]\nregion = eu-west-1\n")


def test_what_somebody_changed_meanwhile_stays() -> None:
    made = aws_edit.with_account(THREE_ACCOUNTS, "ci", DEV)
    theirs = made.replace(f"aws_account_id = {DEV}", f"aws_account_id = {STAGE}")
    assert aws_edit.undone(theirs, THREE_ACCOUNTS, made) == theirs
    assert aws_edit.undone(made, None, made) is not None
    alone = aws_edit.with_account("", "ci", DEV)
    assert aws_edit.undone(alone, None, alone) is None
