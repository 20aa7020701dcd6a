"""Docker's protocol on two buffers: words, exit codes, and noise."""

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docker_credential_ecr_py import protocol
from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.broker import Broker
from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.errors import CredentialsNotFound, EcrPyError
from docker_credential_ecr_py.protocol import LARGEST_INPUT, NAME, USAGE, Protocol
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import Selection
from tests.support.home import DEV, home_variables, live_in, registry

HOST = registry(DEV)
SECRET = 'p"\\\u20ac'
NOW = float(int(time.time()))
CONFIG = f"[profile dev]\naws_account_id = {DEV}\naws_access_key_id = AKIA\nregion = eu-west-1\n"


def fetch(place: Registry, selection: Selection, mfa_code: str) -> Credential:
    return Credential.from_aws("AWS", SECRET, now=NOW, expires=NOW + 12 * 3600)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("home")
    (path / ".aws").mkdir()
    (path / ".aws" / "config").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        live_in(path, patch)
        yield path


def call(home: Path, *arguments: str, stdin: bytes = b"") -> tuple[int, str]:
    """Exit code and what goes to standard output; a failure's is its message."""
    environ = home_variables(home) | {"AWS_EC2_METADATA_DISABLED": "true"}
    app = App(environ, fetch=fetch, clock=lambda: NOW, may_log_in=False)
    try:
        code, answer = Protocol(app, io.BytesIO(stdin)).call(list(arguments))
    except EcrPyError as error:
        return 1, str(error)
    return code, answer.decode()


@pytest.mark.parametrize("url", [HOST, f"https://{HOST}", f"https://{HOST}/v2/", HOST.upper()])
def test_get_echoes_the_url_trimmed(home: Path, url: str) -> None:
    expected = {"ServerURL": url, "Username": "AWS", "Secret": SECRET}
    for stdin in (url, f"{url}\n", f"  {url}\r\n"):
        code, answer = call(home, "get", stdin=stdin.encode())
        assert (code, json.loads(answer)) == (0, expected)
        assert answer.count("\n") == 1
    assert json.loads(call(home, "get", url)[1]) == expected


def test_store_list_and_erase(home: Path) -> None:
    document = {"ServerURL": f"https://{HOST}", "Username": "AWS", "Secret": "x"}
    assert call(home, "store", stdin=json.dumps(document).encode()) == (0, "")
    assert call(home, "erase", stdin=HOST.encode()) == (0, "")
    assert call(home, "erase", HOST) == (0, "")
    assert call(home, "list") == (0, f'{{"https://{HOST}":"AWS"}}\n')
    call(home, "get", HOST)
    assert call(home, "list") == (0, f'{{"https://{HOST}":"AWS"}}\n')
    assert call(home, "erase", f"https://{HOST}") == (0, "")


@pytest.mark.parametrize("word", ["version", "--version", "-v"])
def test_version(home: Path, word: str) -> None:
    code, answer = call(home, word)
    assert code == 0
    assert answer.startswith(f"{NAME} ({NAME}) ")
    assert answer.split()[-1][0].isdigit()


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_help(home: Path, word: str) -> None:
    code, answer = call(home, word)
    assert code == 0
    assert answer.startswith(USAGE)
    assert str(home) in answer


NO_URL = "no credentials server URL"
NO_USERNAME = "no credentials username"
NOT_STRINGS = "ServerURL, Username and Secret of store must be strings"
NOT_FOUND = "credentials not found in native keychain"


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        ([], b"", USAGE),
        (["get", HOST, "more"], b"", USAGE),
        (["list", "x"], b"", USAGE),
        (["store", "x"], b"", USAGE),
        (["fetch"], b"", f"{NAME}: unknown action: fetch"),
        (["GET"], b"", f"{NAME}: unknown action: GET"),
        ([""], b"", f"{NAME}: unknown action: "),
        (["get"], b"", NO_URL),
        (["get"], b" \n", NO_URL),
        (["erase"], b"", NO_URL),
        (["get"], b"https://index.docker.io/v1/", NOT_FOUND),
        (["get"], b"registry.example.com", NOT_FOUND),
        (["get"], f"{HOST}.evil.example".encode(), NOT_FOUND),
        (["get"], b"public.ecr.aws", NOT_FOUND),
        (["get"], b"\xff", "ecr-py: the server URL is not UTF-8 text"),
        (["get"], b"a\nb", "ecr-py: not a server URL: 'a\\nb'"),
        (["erase"], b"a b", "ecr-py: not a server URL: 'a b'"),
        (["store"], b"", "ecr-py: store takes a JSON object on standard input"),
        (["store"], b"[]", "ecr-py: store takes a JSON object on standard input"),
        (["store"], b"{}", NO_URL),
        (["store"], b'{"ServerURL": ""}', NO_URL),
        (["store"], b'{"ServerURL": "x"}', "no credentials username"),
        (["store"], b'{"ServerURL": "x", "Username": ""}', "no credentials username"),
        *(
            (["store"], document.encode(), f"ecr-py: {NOT_STRINGS}")
            for value in ("1", "true", "false", "0", "[]", "{}", '["x"]', '{"a": "b"}', "1.5")
            for document in (
                f'{{"ServerURL": "{HOST}", "Username": "AWS", "Secret": {value}}}',
                f'{{"ServerURL": "{HOST}", "Username": {value}, "Secret": "x"}}',
                f'{{"ServerURL": {value}, "Username": "AWS", "Secret": "x"}}',
                f'{{"ServerURL": "ghcr.io", "Username": "me", "Secret": {value}}}',
            )
        ),
        (["store"], b'{"ServerURL": "x", "Username": null, "Secret": "x"}', NO_USERNAME),
        (
            ["get"],
            b"x" * (LARGEST_INPUT + 1),
            f"ecr-py: more than {LARGEST_INPUT} bytes on standard input",
        ),
    ],
)
def test_failures_word_for_word(home: Path, arguments: list[str], stdin: bytes, said: str) -> None:
    assert call(home, *arguments, stdin=stdin) == (1, said)


KEYS_OF_OTHERS = [
    "oci://ghcr.io/team/chart",
    "ssh://git@example.com",
    "https://user@ghcr.io",
    "https://ghcr.io/v2/?scope=repository:x:pull",
    "<token>",
    "my_registry.example.com",
    "a+b.example.com",
    "bücher.example",
    "xn--bcher-kva.example",
    "git+https://example.com/x.git",
    "123456789012.dkr.ecr.not-real.amazonaws.com",
    "123456789012.dkr.ecr.not-real-1.amazonaws.com",
]


@pytest.mark.parametrize("key", KEYS_OF_OTHERS)
@pytest.mark.parametrize("ignored", ["", "true"])
def test_a_key_of_another_helper_is_not_found(
    home: Path, key: str, ignored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ECR_IGNORE_CREDS_STORAGE", ignored)
    assert call(home, "get", stdin=key.encode()) == (1, NOT_FOUND)
    assert call(home, "erase", stdin=key.encode()) == (0, "")
    document = {"ServerURL": key, "Username": "me", "Secret": "hunter2"}
    code, said = call(home, "store", stdin=json.dumps(document).encode())
    assert code == 1
    assert "is not an Amazon ECR registry, and no fallback helper is set" in said


@pytest.mark.parametrize(
    "key", [f"oci://{HOST}", f"https://me@{HOST}", f"{HOST}?x", "oci://public.ecr.aws", "a\u202eb"]
)
def test_a_key_that_names_a_registry_of_ecr_is_an_error(home: Path, key: str) -> None:
    for action in ("get", "erase"):
        code, said = call(home, action, stdin=key.encode())
        assert code == 1
        assert said.startswith("ecr-py: not a server URL")


def test_a_user_that_ecr_does_not_know(home: Path) -> None:
    document = {"ServerURL": HOST, "Username": "me", "Secret": "hunter2hunter2"}
    code, said = call(home, "store", stdin=json.dumps(document).encode())
    assert code == 1
    assert f"docker login --username AWS --password-stdin {HOST}" in said
    assert "hunter2" not in said


def test_store_for_another_registry_says_how_to_set_a_helper(home: Path) -> None:
    document = {"ServerURL": "docker.io", "Username": "me", "Secret": "x"}
    code, said = call(home, "store", stdin=json.dumps(document).encode())
    assert code == 1
    assert "docker.io" in said
    assert "fallback" in said
    assert str(home) in said
    assert call(home, "erase", "docker.io") == (0, "")


@pytest.mark.parametrize("action", ["store", "erase"])
def test_storage_that_is_to_be_ignored(
    home: Path, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(home, "get", HOST)
    monkeypatch.setenv("AWS_ECR_IGNORE_CREDS_STORAGE", "true")
    document = {"ServerURL": HOST, "Username": "me", "Secret": "x"}
    stdin = json.dumps(document) if action == "store" else HOST
    assert call(home, action, stdin=stdin.encode()) == (0, "")
    assert HOST in call(home, "list")[1]


def test_logins_of_others_are_not_ignored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ECR_IGNORE_CREDS_STORAGE", "true")
    document = {"ServerURL": "docker.io", "Username": "me", "Secret": "x"}
    code, said = call(home, "store", stdin=json.dumps(document).encode())
    assert code == 1
    assert "no fallback helper is set" in said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
URLS = st.sampled_from([HOST, f"https://{HOST}", "docker.io", "public.ecr.aws", "a b", ""])
LOGINS = st.fixed_dictionaries(
    {},
    optional={
        "ServerURL": URLS | JSON,
        "Username": st.sampled_from(["AWS", "me", ""]) | JSON,
        "Secret": JSON,
    },
)
STDIN = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=100).map(lambda text: text.encode(errors="surrogatepass")),
    URLS.map(str.encode),
    st.builds(lambda url, text: f"{url}/{text}".encode(), URLS, st.text(max_size=20)),
    JSON.map(lambda document: json.dumps(document).encode()),
    LOGINS.map(lambda document: json.dumps(document).encode()),
    st.sampled_from([b"[" * 100_000, b"9" * 5000, b'{"ServerURL":' * 5000, b'"\\ud800"']),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(action=st.sampled_from(["get", "store", "erase", "list"]), stdin=STDIN)
def test_noise_is_one_line_and_0_or_1(home: Path, action: str, stdin: bytes) -> None:
    """Any exception but EcrPyError fails this test."""
    code, said = call(home, action, stdin=stdin)
    assert code in (0, 1)
    assert said.rstrip("\n").count("\n") == 0
    if code == 0 and action in ("get", "list"):
        assert isinstance(json.loads(said), dict)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["get", "erase", "list", "store"]) | st.text(max_size=20), max_size=3)
)
def test_any_arguments_are_one_line_and_0_or_1(home: Path, arguments: list[str]) -> None:
    code, said = call(home, *arguments)
    assert code in (0, 1)
    if code == 1:
        assert len(said.splitlines()) == 1 or not said


def test_an_unexpected_exception_is_one_line_with_the_log(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Broker, server_url: str) -> Credential:
        raise ZeroDivisionError("token=abcdefghijklmnop")

    monkeypatch.setattr(Broker, "get", fail)
    assert protocol.main(["get"], HOST.encode()) == 1
    shown = capfd.readouterr()
    assert shown.out == shown.err
    assert shown.out.startswith("ecr-py: unexpected ZeroDivisionError: ")
    assert shown.out.count("\n") == 1
    logged = Path(shown.out.split()[3]).read_text()
    assert "Traceback" in logged
    assert "abcdefghijklmnop" not in logged


def test_not_found_is_said_to_the_protocol_alone(
    home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_found(self: Broker, server_url: str) -> Credential:
        raise CredentialsNotFound

    monkeypatch.setattr(Broker, "get", not_found)
    assert protocol.main(["get"], HOST.encode()) == 1
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == (f"{NOT_FOUND}\n", "")
