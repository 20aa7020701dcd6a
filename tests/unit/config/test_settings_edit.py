"""config.toml as text: a value goes in and out, and what people wrote round it stays."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_credential_ecr_py.config import settings_edit

paths = st.sampled_from(
    [
        ("defaults", "store"),
        ("defaults", "fallback"),
        ("registries", "*.eu-west-1.amazonaws.com", "profile"),
        ("registries", "images.example.com", "alias"),
    ]
)
FILES = (
    "",
    "# nothing yet\n",
    "[defaults]\n# store = ...\n",
    '[defaults] # all\nstore = "file" # why\n\n# of other people\n',
    'defaults.store = "file"\n',
    'defaults = {store = "file", login = "auto"}\n',
    '[registries."*.eu-west-1.amazonaws.com"]\nprofile = "dev"\n\n[defaults]\nprefer = "account"\n'
    '[registries."images.example.com"] # ours\nprofile = "stage"',
    '[registries]\n"images.example.com" = {profile = "dev"}\n',
)
files = st.sampled_from([*FILES, *(file.replace("\n", "\r\n") for file in FILES)])


def found(text: str, path: tuple[str, ...]) -> object:
    place: object = tomllib.loads(text)
    for name in path:
        place = place.get(name) if isinstance(place, dict) else None
    return place


def comments(text: str) -> list[str]:
    return [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line]


@given(files, paths, paths)
def test_in_and_out_again(text: str, path: tuple[str, ...], other: tuple[str, ...]) -> None:
    made = settings_edit.with_value(text, path, "x")
    assert found(made, path) == settings_edit.value_at(made, path) == "x"
    if other != path:
        assert found(made, other) == found(text, other)
    out = settings_edit.without_value(made, path)
    assert found(out, path) is None
    if other != path:
        assert found(out, other) == found(text, other)
    assert comments(made) == comments(text)
    assert sorted(comments(out)) == sorted(comments(text)) or found(text, path)
    assert ("\r\n" in text) <= ("\n" not in made.replace("\r\n", ""))


@given(files, st.sampled_from(["", "\ufeff"]))
def test_without_what_is_not_there_nothing_happens(text: str, mark: str) -> None:
    path = ("registries", "nobody.example", "profile")
    assert settings_edit.without_value(mark + text, path) == mark + text


@given(files)
def test_the_fallback_goes_back_to_what_it_was(text: str) -> None:
    made = settings_edit.with_value(text, settings_edit.FALLBACK, "desktop")
    edited = settings_edit.with_value(made, ("defaults", "login"), "never")
    back = settings_edit.undone(edited, text, made)
    assert back is not None
    assert found(back, settings_edit.FALLBACK) is None
    assert found(back, ("defaults", "login")) == "never"
    theirs = settings_edit.with_value(made, settings_edit.FALLBACK, "pass")
    assert settings_edit.undone(theirs, text, made) == theirs


@given(files)
def test_the_profile_of_an_account_goes_back_to_what_it_was(text: str) -> None:
    path = settings_edit.profile_of("602401143452.*")
    made = settings_edit.with_value(text, path, "dev")
    edited = settings_edit.with_value(made, ("defaults", "login"), "never")
    back = settings_edit.undone(edited, text, made)
    assert back is not None
    assert found(back, path) == found(text, path)
    assert found(back, ("defaults", "login")) == "never"
    theirs = settings_edit.with_value(made, path, "stage")
    assert settings_edit.undone(theirs, text, made) == theirs


def test_a_file_for_the_fallback_alone_is_not_left_behind() -> None:
    made = settings_edit.with_value("", settings_edit.FALLBACK, "desktop")
    assert settings_edit.undone(made, None, made) is None


@pytest.mark.parametrize("text", ["defaults = 3\n", "registries = []\n"])
def test_what_is_no_table_becomes_one(text: str) -> None:
    name = text.partition(" ")[0]
    path = (name, "h.example", "profile") if name == "registries" else (name, "store")
    assert found(settings_edit.with_value(text, path, "x"), path) == "x"
