import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_credential_ecr_py.config.settings import Settings, load_settings, parse_settings
from docker_credential_ecr_py.errors import NotEcr, SettingsError

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


def parse(text: str) -> Settings:
    return parse_settings(text, "config.toml")


def refused(text: str) -> str:
    with pytest.raises(SettingsError) as error:
        parse(text)
    return str(error.value).removeprefix("ecr-py: ")


def test_all_of_it() -> None:
    settings = parse(
        '[defaults]\nprefer = "account"\nstore = "none"\nlogin = "never"\nlogin_timeout = 60\n'
        'fallback = "docker-credential-pass"\n'
        f'[registries."{HOST.upper()}"]\nprofile = "Dev"\n'
        f'[registries."ecr.example.com"]\nalias = "https://{HOST}/"\nprofile = "other"\n'
        '[registries."*.dkr.ecr.*.amazonaws.com"]\nprofile = "any"\n'
    )
    assert (settings.prefer, settings.store, settings.fallback) == ("account", "none", "pass")
    assert (settings.login, settings.login_timeout) == ("never", 60)
    assert settings.profiles == {
        HOST: "Dev",
        "ecr.example.com": "other",
        "*.dkr.ecr.*.amazonaws.com": "any",
    }
    assert settings.aliases == {"ecr.example.com": HOST}
    assert settings.source == "config.toml"


@pytest.mark.parametrize("text", ["", "# nothing\n", "[defaults]\n", "[registries]\n"])
def test_nothing_said_is_the_defaults(text: str) -> None:
    settings = parse(text)
    assert (settings.prefer, settings.store, settings.fallback) == ("environment", "file", "")
    assert (settings.login, settings.profiles, settings.aliases) == ("auto", {}, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "x = 1",
            "config.toml, line 1: x: is unknown at the top; allowed: defaults, registries, forward",
        ),
        (
            '\n\nprefer = "account"',
            "config.toml, line 3: prefer: is unknown at the top; allowed: defaults, registries, "
            "forward; it belongs under [defaults]",
        ),
        (
            "[default]\n",
            "config.toml, line 1: default: is unknown at the top; allowed: defaults, "
            "registries, forward",
        ),
        (
            '[defaults]\nprofile = "x"',
            "line 2: profile: is unknown under [defaults]; allowed: prefer, store,",
        ),
        (
            '[defaults]\nprefer = "accounts"',
            "line 2: prefer: 'accounts' is not one of environment, account",
        ),
        (
            '[defaults]\nstore = "disk"',
            "line 2: store: 'disk' is not one of file, keyring, memory, none",
        ),
        ('[defaults]\nlogin = "yes"', "line 2: login: 'yes' is not one of auto, never"),
        (
            "[defaults]\nlogin_timeout = 5",
            "line 2: login_timeout: must be a number of seconds, 10 to 3600",
        ),
        ("[defaults]\nlogin_timeout = true", "line 2: login_timeout: must be a number of seconds"),
        ('[defaults]\nlogin_timeout = "60"', "line 2: login_timeout: must be a number of seconds"),
        ("[defaults]\nprefer = 1", "line 2: prefer: under [defaults] must be a string in quotes"),
        (
            '[defaults]\nfallback = ""',
            "line 2: fallback: under [defaults] must be a string in quotes",
        ),
        ('[defaults]\nfallback = "ecr-py"', "line 2: fallback: ecr-py cannot be its own fallback"),
        ('[defaults]\nfallback = "docker-credential-ecr-py"', "ecr-py cannot be its own fallback"),
        (
            '[defaults]\nfallback = "../x"',
            "line 2: fallback: '../x' is not the name of a credential helper",
        ),
        ("defaults = 1", "line 1: defaults: must be a table, written [defaults]"),
        ("registries = []", "line 1: registries: must be a table, written [registries]"),
        (
            f'[registries]\n"{HOST}" = "dev"',
            f'line 2: {HOST}: must be written [registries."HOST"], with profile',
        ),
        (
            '[registries."a b"]\nprofile = "x"',
            "line 1: a b: 'a b' is not a registry host or a glob",
        ),
        (
            '[registries."https://h"]\nprofile = "x"',
            "is not a registry host or a glob of hosts",
        ),
        (
            f'[registries."{HOST}"]\nprofil = "x"',
            f"line 2: profil: is unknown under [{HOST}]; allowed: profile, alias",
        ),
        (
            f'[registries."{HOST}"]\nprofile = 3',
            f"line 2: profile: under [{HOST}] must be a string in quotes",
        ),
        (
            f'[registries."a.b"]\nprofile = "x"\n[registries."{HOST}"]\nprofile = 3',
            "config.toml, line 4: profile: ",
        ),
        (
            '[registries."a.b"]\nalias = "docker.io"',
            "line 2: alias: docker.io is not an Amazon ECR registry",
        ),
        ('[registries."a.b"]\nalias = "a b"', "line 2: alias: not a server URL: 'a b'"),
        (
            f'[registries."*.b"]\nalias = "{HOST}"',
            "line 2: alias: '*.b' is a glob; an alias must be one host",
        ),
        ("[defaults", "config.toml is not TOML: "),
        ("a = 1\na = 2\n", "line 2"),
        ("x = \n", "line 1"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    assert said in refused(text)


@pytest.mark.parametrize(
    "text",
    [
        "# prefer\n[defaults]\nprefer = 1",
        '[defaults]\nfallback = "prefer"\n\nprefer = 1',
        '[registries."prefer.example"]\nprofile = "prefer"\n[defaults]\nprefer = 1',
        "[registries]\n[defaults]\n# prefer = 2\n  'prefer'  = 1",
    ],
)
def test_the_line_is_the_one_that_is_wrong(text: str) -> None:
    wrong = text.splitlines().index(next(line for line in text.splitlines() if "= 1" in line)) + 1
    assert f"config.toml, line {wrong}: prefer" in refused(text)


def test_the_same_host_twice_is_said() -> None:
    text = f'[registries."{HOST}"]\nprofile = "a"\n[registries."{HOST.upper()}"]\nprofile = "b"\n'
    assert HOST in refused(text).lower()


@pytest.mark.parametrize(
    "text",
    ["x = " + "9" * 5000, "x = " + "[" * 5000, "x = 1979-99-99", "x = 99:99:99", "x = '\0'"],
)
def test_toml_that_trips_the_parser(text: str) -> None:
    assert "config.toml" in refused(text)


def settings_with(*globs: str) -> Settings:
    return Settings(profiles={glob: f"profile of {glob}" for glob in globs})


@pytest.mark.parametrize(
    ("globs", "best"),
    [
        (["*", HOST], HOST),
        ([HOST, "*"], HOST),
        (["*", "*.amazonaws.com", "1234*.amazonaws.com"], "1234*.amazonaws.com"),
        (["1234*.amazonaws.com", "*.amazonaws.com", "*"], "1234*.amazonaws.com"),
        (
            ["123456789012.*", "*.dkr.ecr.eu-west-1.amazonaws.com"],
            "*.dkr.ecr.eu-west-1.amazonaws.com",
        ),
        (["[0-9]*", "*"], "*"),
        (
            ["?23456789012.dkr.ecr.eu-west-1.amazonaws.com", "*"],
            "?23456789012.dkr.ecr.eu-west-1.amazonaws.com",
        ),
        (["999*", "*.example.com"], ""),
        ([HOST + "x", "x" + HOST, HOST[:-1]], ""),
        ([], ""),
    ],
)
def test_the_most_specific_glob_wins(globs: list[str], best: str) -> None:
    found = settings_with(*globs).profile_for(HOST)
    if best == "*":
        assert found[0] in ("*", "[0-9]*")
    else:
        assert found == (best, f"profile of {best}" if best else "")


def test_the_alias_itself_wins_over_a_glob_for_what_it_stands_for() -> None:
    settings = settings_with("*.amazonaws.com", "ecr.example.com")
    assert settings.profile_for("ecr.example.com", HOST)[0] == "ecr.example.com"
    assert settings.profile_for("other.example.com", HOST)[0] == "*.amazonaws.com"


def test_an_alias_is_the_registry_that_it_stands_for() -> None:
    settings = Settings(aliases={"ecr.example.com": HOST})
    assert settings.registry_for("ecr.example.com").host == HOST
    with pytest.raises(NotEcr):
        settings.registry_for("x.ecr.example.com")


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    assert load_settings(file) == Settings()
    file.write_bytes(b'\xef\xbb\xbf[defaults]\r\nprefer = "account"\r\n')
    assert load_settings(file).prefer == "account"
    assert load_settings(file / "below") == Settings()
    why = "Permission denied" if os.name == "nt" else "Is a directory"
    with pytest.raises(SettingsError, match=re.escape(f"{tmp_path} cannot be read: {why}")):
        load_settings(tmp_path)
    file.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"config\.toml is not UTF-8 text"):
        load_settings(file)


KEYS = st.sampled_from(["defaults", "registries", "prefer", "profile", "alias", HOST, "*", "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | KEYS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def toml(value: object) -> str:
    match value:
        case dict():
            return (
                "{"
                + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items())
                + "}"
            )
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case bool() | None:
            return "true" if value else "false"
        case str():
            return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
    return str(value)


@given(
    st.dictionaries(KEYS, VALUES, max_size=4).map(
        lambda document: "\n".join(
            f"{toml(key)} = {toml(value)}" for key, value in document.items()
        )
    )
    | st.text(max_size=60)
)
def test_any_document_is_settings_or_one_line(text: str) -> None:
    try:
        settings = parse(text)
    except SettingsError as error:
        assert "config.toml" in str(error)
        assert "\n" not in str(error)
    else:
        assert settings.prefer in ("environment", "account")
        assert all(isinstance(profile, str) for profile in settings.profiles.values())
