"""Docker's config as text: what is ours goes in and out again, all else stays to the byte."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from docker_credential_ecr_py.config import docker_edit
from docker_credential_ecr_py.errors import DockerConfigError

HOST, OTHER = "642976147714.dkr.ecr.eu-west-1.amazonaws.com", "images.example.com"
OURS = {HOST: "ecr-py"}

names = st.text(max_size=8).filter(lambda name: name not in ("credHelpers", "credsStore", "auths"))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
hosts = st.sampled_from([HOST, OTHER, "gcr.io", 'a"b\\', "é"])
helper_names = st.sampled_from(["ecr-py", "ecr-login", "desktop"])
auths = st.dictionaries(hosts, st.fixed_dictionaries({}, optional={"auth": st.just("bWU6cHc=")}))
optional_keys = {
    "credHelpers": st.dictionaries(hosts, helper_names) | st.none(),
    "credsStore": helper_names,
    "auths": auths | st.none(),
}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A docker config, its keys in any order."""
    ours = draw(st.fixed_dictionaries({}, optional=optional_keys))
    found = ours | draw(st.dictionaries(names, anything, max_size=3))
    return {key: found[key] for key in draw(st.permutations(list(found)))}


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A document in one of the layouts that people, editors and programs leave."""
    document = draw(documents())
    indent = draw(st.sampled_from(["\t", 2, 4, 0, None]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")]))
    ascii_only = draw(st.booleans())
    text = json.dumps(document, indent=indent, separators=separators, ensure_ascii=ascii_only)
    text = draw(st.sampled_from(["", " ", "\n"])) + text + draw(st.sampled_from(["", "\n", "\n\n"]))
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


edits = st.fixed_dictionaries(
    {
        "helpers": st.dictionaries(hosts, st.just("ecr-py"), max_size=4),
        "store": st.sampled_from(["", "ecr-py"]),
        "drop_auths": st.sets(hosts),
    }
)


def expected(document: dict[str, Any], edit: dict[str, Any]) -> dict[str, Any]:
    made = dict(document)
    if edit["helpers"]:
        made["credHelpers"] = (made.get("credHelpers") or {}) | edit["helpers"]
    if edit["store"]:
        made["credsStore"] = edit["store"]
    if made.get("auths"):
        kept = {host: made["auths"][host] for host in made["auths"]}
        made["auths"] = {h: kept[h] for h in kept if h not in edit["drop_auths"]}
    return made


@given(texts(), edits)
def test_it_says_what_is_wanted_and_keeps_the_rest_and_its_order(
    text: str, edit: dict[str, Any]
) -> None:
    before = json.loads(text)
    after = json.loads(docker_edit.edited(text, **edit))
    assert after == expected(before, edit)
    assert [key for key in after if key in before] == list(before)


@given(texts(), edits)
def test_undone_it_says_what_it_said_before(text: str, edit: dict[str, Any]) -> None:
    after = docker_edit.edited(text, **edit)
    undone = docker_edit.undone(after, text, after)
    assert undone is not None
    was, now = json.loads(text), json.loads(undone)
    for key in ("credHelpers", "auths"):  # null says what an empty one says
        if was.get(key, "") is None:
            was[key], now[key] = {}, now[key] or {}
    assert now == was


@given(texts())
def test_entries_that_come_on_top_go_without_a_trace(text: str) -> None:
    assume(json.loads(text))  # an empty object loses the blanks that were in it
    assume(json.loads(text).get("credHelpers", True))
    after = docker_edit.edited(text, helpers={"new.example": "ecr-py"})
    assert after != text
    assert docker_edit.undone(after, text, after) == text


@given(texts(), edits, documents())
def test_what_somebody_changed_meanwhile_stays(
    text: str, edit: dict[str, Any], theirs: dict[str, Any]
) -> None:
    after = docker_edit.edited(text, **edit)
    was, made = json.loads(text), json.loads(after)
    undone = docker_edit.undone(json.dumps(theirs), text, after)
    assert undone is not None
    left = json.loads(undone)
    others = {key for key in theirs if key not in ("credHelpers", "credsStore", "auths")}
    assert {key: left.get(key) for key in others} == {key: theirs[key] for key in others}
    for key in ("credHelpers", "auths"):
        old, new, now = (document.get(key) or {} for document in (was, made, left))
        for host, value in (theirs.get(key) or {}).items():
            untouched_by_them = new.get(host) == value
            assert now.get(host) == (old.get(host) if untouched_by_them else value)


@given(texts())
def test_nothing_wanted_is_nothing_done(text: str) -> None:
    assert docker_edit.edited(text, helpers={}) == text


@given(texts())
def test_a_secret_is_not_shown(text: str) -> None:
    assert "bWU6cHc=" not in docker_edit.masked(text)
    assert json.loads(docker_edit.masked(text)).keys() == json.loads(text).keys()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '{\n\t"credHelpers": {\n\t\t"H": "ecr-py"\n\t}\n}\n'),
        ("\ufeff{}", '{\n\t"credHelpers": {\n\t\t"H": "ecr-py"\n\t}\n}'),
        ('{"a":1}', '{"a":1,"credHelpers":{"H":"ecr-py"}}'),
        ('{"a": 1}\n', '{"a": 1, "credHelpers": {"H": "ecr-py"}}\n'),
        ('{\n  "a": []\n}', '{\n  "a": [],\n  "credHelpers": {\n    "H": "ecr-py"\n  }\n}'),
        (
            '{\r\n    "credHelpers": {}\r\n}',
            '{\r\n    "credHelpers": {\r\n        "H": "ecr-py"\r\n    }\r\n}',
        ),
        (
            '{\n\t"credHelpers": {\n\t\t"a": "b"\n\t},\n\t"z": 1.50\n}',
            '{\n\t"credHelpers": {\n\t\t"a": "b",\n\t\t"H": "ecr-py"\n\t},\n\t"z": 1.50\n}',
        ),
        (
            '{\n\t"credHelpers": {"a": "b"}\n}',
            '{\n\t"credHelpers": {"a": "b", "H": "ecr-py"}\n}',
        ),
        ('{"credHelpers" : {"H" : "ecr-login"}}', '{"credHelpers" : {"H" : "ecr-py"}}'),
    ],
)
def test_it_is_written_as_its_neighbours_are(before: str, after: str) -> None:
    assert docker_edit.edited(before, helpers={"H": "ecr-py"}) == after


def test_a_file_that_was_not_there_is_not_left_behind() -> None:
    made = docker_edit.edited("", helpers=OURS, store="ecr-py")
    assert docker_edit.undone(made, None, made) is None
    logged_in = docker_edit.edited(made, helpers={"gcr.io": "gcloud"})
    left = docker_edit.undone(logged_in, None, made)
    assert left is not None
    assert json.loads(left) == {"credHelpers": {"gcr.io": "gcloud"}}


def test_a_thousand_registries_at_once() -> None:
    many = {f"{number:012}.dkr.ecr.eu-west-1.amazonaws.com": "ecr-py" for number in range(1000)}
    made = docker_edit.edited('{"auths": {}}', helpers=many)
    assert json.loads(made) == {"auths": {}, "credHelpers": many}
    assert docker_edit.undone(made, '{"auths": {}}', made) == '{"auths": {}}'


@pytest.mark.parametrize("name", ["credHelpers", "credsStore", "auths"])
def test_a_key_that_stands_twice_is_refused(name: str) -> None:
    value = '""' if name == "credsStore" else "{}"
    with pytest.raises(DockerConfigError, match=f"config.json: {name} appears twice"):
        docker_edit.check(f'{{"{name}": {value}, "{name}": {value}}}', Path("config.json"))
