"""What a terminal would obey, or a reader would not see, is spelled out; all else stays."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_credential_ecr_py.errors import CredentialsNotFound, EcrPyError, error_from_dict
from docker_credential_ecr_py.printable import one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain", "plain"),
        ("Größe, 日本\u3000語, \u00a0, 🐳", "Größe, 日本\u3000語, \u00a0, 🐳"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("a\x00b\x08c\x7f", r"a\x00b\x08c\x7f"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2066\u2069\u061c\u200e", r"\u2066\u2069\u061c\u200e"),
        ("dev\u200b\u2060\ufeff", r"dev\u200b\u2060\ufeff"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("\udc9b", r"\udc9b"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_it_makes_of_a_text(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_is_kept() -> None:
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


@given(st.text())
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    for shown in (printable(text), one_line(text)):
        assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert printable(shown) == shown
    assert "  " not in one_line(text)


@given(st.text(), st.text(), st.text())
def test_an_error_is_one_printable_line(what: str, hint: str, profile: str) -> None:
    error = EcrPyError(what, hint=hint, registry="registry", profile=profile)
    for shown in (str(error), error.what, str(error_from_dict(error.to_dict()))):
        assert printable(shown) == shown


def test_the_messages_that_clients_compare_are_as_they_were() -> None:
    assert str(CredentialsNotFound()) == "credentials not found in native keychain"
