"""The order of things, with a fetch and a clock of our own."""

import base64
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.broker import expiry_inside
from docker_credential_ecr_py.config.paths import cache_folder, settings_file
from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.errors import (
    AccessDenied,
    AwsConfigError,
    BadAnswer,
    BadInput,
    BadServerURL,
    ClockSkew,
    CredentialsNotFound,
    EcrPyError,
    InvalidKeys,
    LoginExpired,
    LoginNeeded,
    LoginRefused,
    MfaCodeNeeded,
    NoProfile,
    NotEcr,
    Throttled,
    Unreachable,
)
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import Selection
from tests.support.home import DEV, PROD, STAGE, home_variables, live_in, registry

HOUR = 3600
SETTINGS = "config.toml"
PROFILES = "".join(
    f"[profile {name}]\naws_account_id = {account}\naws_access_key_id = AKIA{name.upper()}\n"
    f"aws_secret_access_key = x\nregion = eu-west-1\n"
    for name, account in (("dev", DEV), ("stage", STAGE))
)


@dataclass
class World:
    """A home, a clock, and an AWS that hands out passwords, or fails, and counts."""

    home: Path
    now: float = field(default_factory=lambda: float(int(time.time())))
    environ: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    fails: EcrPyError | None = None

    def app(self, profile: str = "", **environ: str) -> App:
        return App(
            self.environ | environ,
            fetch=self.fetch,
            clock=lambda: self.now,
            may_log_in=False,
            profile=profile,
        )

    def fetch(self, place: Registry, selection: Selection, mfa_code: str) -> Credential:
        self.asked.append((selection.identity.name, place.region))
        if self.fails is not None:
            raise self.fails
        secret = f"{selection.identity.name} {place.region} {len(self.asked)}"
        return Credential.from_aws("AWS", secret, now=self.now, expires=self.now + 12 * HOUR)

    def get(self, host: str = registry(DEV), **environ: str) -> str:
        return self.app(**environ).broker.get(host).secret

    def write(self, file: str, text: str) -> None:
        path = settings_file(self.environ) if file == SETTINGS else self.home / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    live_in(tmp_path, monkeypatch)
    environ = home_variables(tmp_path) | {"AWS_EC2_METADATA_DISABLED": "true"}
    made = World(tmp_path, environ=environ)
    made.write(".aws/config", PROFILES)
    yield made


def test_the_store_is_asked_before_aws(world: World) -> None:
    assert world.get() == "AKIADEV eu-west-1 1"
    assert world.get() == "AKIADEV eu-west-1 1"
    assert world.asked == [("AKIADEV", "eu-west-1")]


def test_one_credential_for_an_identity_and_region(world: World) -> None:
    world.write(SETTINGS, '[registries."*"]\nprofile = "dev"\n')
    assert len({world.get(registry(account)) for account in (DEV, STAGE, PROD)}) == 1
    world.get(f"https://{registry(DEV).upper()}/v2/")
    assert len(world.asked) == 1
    world.get(registry(DEV, "us-east-1"))
    world.get("public.ecr.aws")
    assert len(world.asked) == 3


def test_another_identity_is_another_credential(world: World) -> None:
    assert world.get() != world.get(registry(STAGE))
    assert world.get(AWS_PROFILE="stage") == world.get(registry(STAGE))


def test_a_profile_named_for_one_call_is_not_for_the_next(world: World) -> None:
    host = registry(DEV)
    named = world.app(profile="stage")
    assert named.broker.get(host).secret.startswith("AKIASTAGE")
    assert world.get().startswith("AKIADEV")
    world.app().broker.store_login(host, "AWS", password(world.now + HOUR))
    assert named.broker.get(host).secret.startswith("AKIASTAGE")


def test_what_a_named_profile_brought_is_kept_where_its_turn_would_come(world: World) -> None:
    """Or else nothing would lead to it, and no logout would find it."""
    dev = world.app(profile="dev")
    assert dev.broker.get(registry(DEV)) == dev.broker.get(registry(DEV))
    assert [chosen.details["profile"] for chosen, _ in dev.broker.stored_credentials()] == ["dev"]
    stage = world.app(profile="stage")
    assert stage.broker.get(registry(DEV)) != stage.broker.get(registry(DEV))
    assert len(list(stage.broker.stored_credentials())) == 1


def test_anything_may_be_asked_as_the_one_selected(world: World) -> None:
    def who(place: Registry, selection: Selection, mfa_code: str) -> str:
        return f"{place.account} {selection.identity.name}{mfa_code}"

    host = registry(STAGE)
    assert world.app().call_as_selected(host, who) == f"{STAGE} AKIASTAGE"
    assert world.app(profile="dev").call_as_selected(host, who) == f"{STAGE} AKIADEV"
    assert world.asked == []

    def refuses(place: Registry, selection: Selection, mfa_code: str) -> str:
        raise AccessDenied("no")

    with pytest.raises(AccessDenied, match="no") as error:
        world.app().call_as_selected(host, refuses)
    assert f"(registry {host}, profile stage)" in str(error.value)


def test_another_endpoint_is_another_credential(world: World) -> None:
    assert world.get() != world.get(AWS_ENDPOINT_URL_ECR="http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("hours", "calls"), [(0, 1), (5.9, 1), (6.1, 1), (11.8, 1), (11.95, 2), (13, 2), (-0.01, 2)]
)
def test_ages(world: World, hours: float, calls: int) -> None:
    """Ageing is answered as it is: the helper renews it in the background."""
    world.get()
    world.now += hours * HOUR
    world.get()
    assert len(world.asked) == calls


LAST_MINUTES = 12 * HOUR - 240


@pytest.mark.parametrize(
    "failure",
    [
        Unreachable("no network"),
        Throttled("less often"),
        BadAnswer("half a document"),
        ClockSkew("an hour ahead"),
        LoginNeeded("the session has ended"),
        LoginExpired("nobody allowed it"),
        LoginRefused("the user said no"),
        MfaCodeNeeded("a code"),
        NoProfile("the vault is locked"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_valid_token_is_answered_if_aws_fails_in_its_last_minutes(
    world: World, failure: EcrPyError, caplog: pytest.LogCaptureFixture
) -> None:
    first = world.get()
    world.now += LAST_MINUTES
    world.fails = failure
    log.propagate = True
    assert world.get() == first
    assert failure.what in caplog.text
    assert f"registry {registry(DEV)}, profile dev" in caplog.text
    assert "expires in 240 seconds" in caplog.text
    world.now += 241
    with pytest.raises(type(failure)):
        world.get()


@pytest.mark.parametrize("failure", [AccessDenied("no"), InvalidKeys("no")])
def test_not_if_aws_refuses(world: World, failure: EcrPyError) -> None:
    world.get()
    world.now += LAST_MINUTES
    world.fails = failure
    with pytest.raises(type(failure)):
        world.get()


def test_aws_is_not_asked_again_at_once(world: World) -> None:
    first = world.get()
    world.now += LAST_MINUTES
    world.fails = Unreachable("no network")
    assert [world.get() for _ in range(3)] == [first] * 3
    assert len(world.asked) == 2
    app = world.app()
    (key,) = (selection.key for selection in app.store.selections())
    with app.store.lock(key, wait=0) as lock:
        assert lock is not None
        assert lock.recent_failure(60)
        lock.write_note({"at": time.time() - 61, "error": Unreachable("x").to_dict()})
    world.fails = None
    assert world.get() != first


def test_a_token_from_the_future_is_not_answered_instead(world: World) -> None:
    world.get()
    world.now -= HOUR
    world.fails = Unreachable("no network")
    with pytest.raises(Unreachable):
        world.get()


def test_a_renewal_that_fails_says_so_even_then(world: World) -> None:
    """The daemon has to know, and tries again."""
    world.get()
    world.now += LAST_MINUTES
    world.fails = Unreachable("no network")
    with pytest.raises(Unreachable):
        world.app().broker.renew(registry(DEV))


@pytest.mark.parametrize(("hours", "calls"), [(1, 1), (6.1, 2), (13, 2), (-1, 2)])
def test_renewal(world: World, hours: float, calls: int) -> None:
    world.get()
    world.now += hours * HOUR
    world.app().broker.renew(registry(DEV))
    assert len(world.asked) == calls
    world.get()
    assert len(world.asked) == calls


def test_no_renewal_while_another_is_at_it(world: World) -> None:
    world.get()
    world.now += 7 * HOUR
    app = world.app()
    (key,) = (selection.key for selection in app.store.selections())
    with app.store.lock(key, wait=0):
        world.app().broker.renew(registry(DEV))
    assert len(world.asked) == 1


def test_a_failure_says_which_registry_and_profile_and_is_not_kept(world: World) -> None:
    world.fails = AccessDenied("no")
    with pytest.raises(AccessDenied) as error:
        world.get()
    assert f"no (registry {registry(DEV)}, profile dev)" in str(error.value)
    world.fails = None
    assert world.get() == "AKIADEV eu-west-1 2"


def test_a_failed_renewal_leaves_the_old_one(world: World) -> None:
    first = world.get()
    world.now += 7 * HOUR
    world.fails = LoginNeeded("ended")
    with pytest.raises(LoginNeeded):
        world.app().broker.renew(registry(DEV))
    assert world.get() == first


@pytest.mark.parametrize(
    ("change", "calls"),
    [
        ({".aws/config": PROFILES + "# more\n"}, 1),
        ({".aws/config": PROFILES.replace("AKIADEV", "AKIANEW")}, 2),
        ({".aws/credentials": "[x]\n"}, 1),
        ({".aws/credentials": "[dev]\naws_access_key_id = AKIANEW\n"}, 2),
        ({SETTINGS: '[registries."*"]\nprofile = "stage"\n'}, 2),
        ({SETTINGS: '[defaults]\nprefer = "account"\n'}, 1),
        ({SETTINGS: '[defaults]\nstore = "none"\n'}, 2),
    ],
)
def test_inputs_that_change(world: World, change: dict[str, str], calls: int) -> None:
    world.get()
    for file, text in change.items():
        world.write(file, text)
    world.get()
    assert len(world.asked) == calls


FIPS, DUAL_STACK = f"{DEV}.dkr.ecr-fips.eu-west-1.amazonaws.com", f"{DEV}.dkr-ecr.eu-west-1.on.aws"


def test_one_credential_for_each_variant_of_the_endpoint(world: World) -> None:
    both = f"{DEV}.dkr-ecr-fips.eu-west-1.on.aws"
    hosts = [registry(DEV), FIPS, DUAL_STACK, both]
    first = [world.get(host) for host in hosts]
    assert len(set(first)) == len(world.asked) == 4
    assert [world.get(host) for host in hosts] == first
    # By botocore's variables the plain name leads to the same endpoints.
    assert world.get(registry(DEV), AWS_USE_FIPS_ENDPOINT="true") == first[1]
    assert world.get(registry(DEV), AWS_USE_DUALSTACK_ENDPOINT="True") == first[2]
    assert world.get(FIPS, AWS_USE_DUALSTACK_ENDPOINT="true") == first[3]
    assert world.get(registry(DEV), AWS_USE_FIPS_ENDPOINT="false") == first[0]
    assert len(world.asked) == 4


def test_a_profile_may_ask_for_a_variant_of_the_endpoint(world: World) -> None:
    plain = world.get()
    world.write(".aws/config", PROFILES.replace("region", "use_fips_endpoint = true\nregion", 1))
    fips = world.get()
    assert fips != plain
    assert fips == world.get(FIPS)
    assert world.get(AWS_USE_FIPS_ENDPOINT="false") == plain


def test_without_a_store(world: World) -> None:
    for _ in range(2):
        world.get(AWS_ECR_DISABLE_CACHE="1")
    assert len(world.asked) == 2
    folder = cache_folder()
    assert folder
    assert not folder.exists()


# Whose hosts.


def test_a_host_of_somebody_elses_is_remembered_as_such(world: World) -> None:
    with pytest.raises(NotEcr):
        world.get("docker.io")
    (remembered,) = world.app().store.selections()
    assert (remembered.host, remembered.key) == ("docker.io", "")
    assert "https://docker.io" not in world.app().usernames()
    world.write(SETTINGS, '[defaults]\nfallback = "pass"\n')
    assert list(world.app().store.selections()) == []
    with pytest.raises(NotEcr):
        world.get("quay.io")
    assert list(world.app().store.selections()) == []


def test_public_images_need_no_credentials(world: World) -> None:
    with pytest.raises(CredentialsNotFound):
        world.get("public.ecr.aws")
    world.fails = AccessDenied("no")
    with pytest.raises(CredentialsNotFound):
        world.get("public.ecr.aws", AWS_PROFILE="dev")
    assert world.asked == [("AKIADEV", "us-east-1")]


def test_an_alias(world: World) -> None:
    world.write(
        SETTINGS,
        f'[registries."ecr.example.com"]\nalias = "{registry(STAGE)}"\n',
    )
    assert world.get("https://ecr.example.com") == world.get(registry(STAGE))
    assert set(world.app().usernames()) == {
        "https://ecr.example.com",
        *(f"https://{registry(account)}" for account in (DEV, STAGE)),
    }


@pytest.mark.parametrize(
    ("host", "error"),
    [(registry(PROD), NoProfile), ("a b", BadServerURL), ("", BadServerURL)],
)
def test_what_cannot_be_answered(world: World, host: str, error: type[EcrPyError]) -> None:
    with pytest.raises(error):
        world.get(host)
    assert world.asked == []


def test_a_config_that_cannot_be_read(world: World) -> None:
    world.get()
    world.write(".aws/config", "nonsense")
    with pytest.raises(AwsConfigError) as error:
        world.get()
    assert registry(DEV) in str(error.value)


# list and erase.


def test_every_registry_of_a_profile_is_named_cached_or_not(world: World) -> None:
    expected = {f"https://{registry(account)}": "AWS" for account in (DEV, STAGE)}
    assert world.app().usernames() == expected
    world.get()
    assert world.app().usernames() == expected
    assert len(world.asked) == 1


def test_what_docker_login_stored_is_named_until_it_expires(world: World) -> None:
    inside = {"expiration": world.now + HOUR}
    password = base64.b64encode(json.dumps(inside).encode()).decode()
    world.app().broker.store_login(registry(PROD), "AWS", password)
    assert f"https://{registry(PROD)}" in world.app().usernames()
    world.now += HOUR
    assert f"https://{registry(PROD)}" not in world.app().usernames()


def test_what_was_used_is_named_while_its_profile_exists(world: World) -> None:
    world.get(registry(PROD), AWS_PROFILE="dev")
    world.now += 12 * HOUR
    assert f"https://{registry(PROD)}" in world.app(AWS_PROFILE="dev").usernames()
    assert f"https://{registry(PROD)}" not in world.app().usernames()


def test_erase(world: World) -> None:
    world.get()
    other = world.get(registry(STAGE))
    world.get(AWS_PROFILE="stage")
    world.app().broker.forget(f"https://{registry(DEV)}/")
    assert list(world.app().broker.stored_credentials()) == []
    assert world.get() == "AKIADEV eu-west-1 3"
    assert world.get(registry(STAGE)) != other, "the same credential opened the erased one"
    world.app().broker.forget(registry(PROD))


def test_what_cannot_be_forgotten_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.get()
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(EcrPyError, match="cannot be removed"):
        world.app().broker.forget(registry(DEV))


def refuse(path: object, *, dir_fd: int | None = None) -> None:
    raise PermissionError


# docker login.


def password(expires: object) -> str:
    return base64.b64encode(json.dumps({"payload": "x", "expiration": expires}).encode()).decode()


def test_what_docker_login_gave_is_answered_until_its_expiry(world: World) -> None:
    given_password = password(int(world.now + HOUR))
    world.app().broker.store_login(f"https://{registry(PROD)}", "AWS", given_password)
    assert world.get(registry(PROD)) == given_password
    assert world.get(registry(PROD), AWS_PROFILE="dev") == given_password
    world.now += HOUR
    assert world.get(registry(PROD), AWS_PROFILE="dev") == "AKIADEV eu-west-1 1"


def test_it_comes_before_what_is_cached(world: World) -> None:
    world.get()
    given_password = password(int(world.now + HOUR))
    world.app().broker.store_login(registry(DEV), "AWS", given_password)
    assert world.get() == given_password
    world.app().broker.forget(registry(DEV))
    assert world.get() == "AKIADEV eu-west-1 2"


def test_it_is_kept_no_longer_than_any_token_of_ecr_s_lives(world: World) -> None:
    world.app().broker.store_login(registry(DEV), "AWS", password(int(world.now) + 40 * 24 * HOUR))
    world.now += 12 * HOUR
    assert world.get() == "AKIADEV eu-west-1 1"


def test_one_that_is_not_kept_takes_the_place_of_one_that_was(world: World) -> None:
    world.app().broker.store_login(registry(DEV), "AWS", password(int(world.now + HOUR)))
    world.app().broker.store_login(registry(DEV), "AWS", "opaque")
    assert world.get() == "AKIADEV eu-west-1 1"


@pytest.mark.parametrize("expires", [None, "x", 1, -(10**30), [], True, 1e400])
def test_without_an_expiry_it_is_accepted_and_not_kept(world: World, expires: object) -> None:
    world.app().broker.store_login(registry(DEV), "AWS", password(expires))
    assert world.get() == "AKIADEV eu-west-1 1"


def test_ecr_knows_one_user(world: World) -> None:
    with pytest.raises(BadInput, match="accepts only the user AWS, not 'me'"):
        world.app().broker.store_login(registry(DEV), "me", "x")
    with pytest.raises(NotEcr):
        world.app().broker.store_login("docker.io", "AWS", "x")


@given(st.text() | st.binary().map(lambda b: base64.b64encode(b).decode()))
def test_any_password_has_an_expiry_inside_or_none(text: str) -> None:
    found = expiry_inside(text)
    assert found is None or isinstance(found, int)


@given(st.integers(-(10**20), 10**20))
def test_the_expiry_inside(moment: int) -> None:
    assert expiry_inside(password(moment)) == moment


# What AWS hands out.


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(life=st.floats(0, 10**9), username=st.text(), secret=st.text())
def test_any_credential_of_awss_comes_back_as_it_was(
    world: World, life: float, username: str, secret: str
) -> None:
    made = Credential.from_aws(username, secret, now=world.now, expires=world.now + life)
    broker = App(world.environ, fetch=lambda *_: made, clock=lambda: world.now).broker
    broker.forget(registry(DEV))
    assert broker.get(registry(DEV)) == made
    assert broker.get(registry(DEV)) == made
