import configparser
import os
from pathlib import Path

import pytest
from botocore.configloader import load_config
from botocore.exceptions import BotoCoreError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docker_credential_ecr_py.config.aws_config import (
    AwsConfig,
    accounts_of,
    load_aws_config,
    read_sections,
)
from docker_credential_ecr_py.errors import AwsConfigError

KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def load(folder: Path, config: str | bytes, credentials: str | bytes = "") -> AwsConfig:
    for name, text in (("config", config), ("credentials", credentials)):
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return load_aws_config(folder / "config", folder / "credentials")


def test_profiles_sessions_and_what_is_neither(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "[default]\nregion = eu-west-1\n[profile dev]\nSSO_Region = eu-west-1\n"
        '[profile "with space"]\nregion=eu-west-2\n[sso-session corp]\nsso_region = eu-west-1\n'
        "[plugins]\nx = y\n[services local]\necr =\n  endpoint_url = http://x\n[dev]\nregion = z\n",
    )
    assert config.profiles == {
        "default": {"region": "eu-west-1"},
        "dev": {"sso_region": "eu-west-1"},
        "with space": {"region": "eu-west-2"},
    }
    assert config.sso_sessions == {"corp": {"sso_region": "eu-west-1"}}
    assert config.source == str(tmp_path / "config")


def test_the_profiles_stand_in_the_order_of_the_files(tmp_path: Path) -> None:
    config = load(tmp_path, "[profile z]\n[profile a]\n[default]\n", "[b]\n[a]\n")
    assert list(config.profiles) == ["z", "a", "default", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "[profile dev]\r\nregion = eu-west-1\r\n",
        "\ufeff[profile dev]\nregion = eu-west-1\n",
        "\ufeff[profile dev]\r\nregion: eu-west-1",
        "# [profile x]\n; y\n[profile dev]\n# region = x\nregion = eu-west-1\n",
        "[profile dev]\nregion = us-east-1\n[profile dev]\nregion = eu-west-1\n",
        "[profile dev]\nregion = us-east-1\nregion = eu-west-1\n",
        "[profile 'dev']\nregion=eu-west-1",
        "[profile  dev]\nregion=eu-west-1",
        "[profile\tdev]\nregion=eu-west-1",
    ],
)
def test_however_it_is_written(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text).profiles == {"dev": {"region": "eu-west-1"}}


def test_repeated_sections_are_merged(tmp_path: Path) -> None:
    text = "[profile dev]\nregion = eu-west-1\n[profile x]\n[profile dev]\noutput = json\n"
    assert load(tmp_path, text).profiles["dev"] == {"region": "eu-west-1", "output": "json"}


def test_names_that_are_not_ascii(tmp_path: Path) -> None:
    config = load(tmp_path, "[profile r\u00e9seau]\nregion = \u00fc\n", "[\u65e5\u672c]\n")
    assert config.profiles == {"r\u00e9seau": {"region": "\u00fc"}, "\u65e5\u672c": {}}


def test_secrets_stay_in_the_files(tmp_path: Path) -> None:
    secrets = f"AWS_Secret_Access_Key = {KEY}\naws_session_token = {KEY}\naws_security_token={KEY}"
    keys = f"aws_access_key_id = AKIA1\n{secrets}\n"
    config = load(tmp_path, f"[profile dev]\n{keys}", f"[prod]\n{keys}")
    assert config.profiles == {"dev": {"aws_access_key_id": "AKIA1"}} | {
        "prod": {"aws_access_key_id": "AKIA1"}
    }
    assert config.shared_keys == {"prod": "AKIA1"}
    assert KEY not in repr(config)
    assert (
        read_sections(tmp_path / "credentials", with_secrets=True)["prod"]["aws_secret_access_key"]
        == KEY
    )


def test_an_absent_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = load_aws_config(tmp_path / "config", tmp_path / "file" / "credentials")
    assert (config.profiles, config.sso_sessions) == ({}, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("region = eu-west-1\n[default]\n", "config, line 1: a [section] must come first"),
        ("[default]\nregion = x\nnonsense\n", "config, line 3: neither [section] nor KEY = VALUE"),
        (f"[default]\naws_secret_access_key {KEY}\n", "config, line 2: neither"),
        (b"[default]\nregion = \xff\n", "config is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(AwsConfigError) as refused:
        load(tmp_path, text)
    assert said in str(refused.value)
    assert str(tmp_path) in str(refused.value)
    assert KEY not in str(refused.value)


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    why = "Permission denied" if os.name == "nt" else "Is a directory"
    with pytest.raises(AwsConfigError, match=f"config cannot be read: {why}"):
        read_sections(tmp_path / "config")


def test_a_default_section_is_inherited_as_botocore_has_it(tmp_path: Path) -> None:
    text = "[DEFAULT]\nsso_account_id = 1\n[profile dev]\nregion = x\n"
    profiles = load(tmp_path, text).profiles
    assert profiles == load_config(str(tmp_path / "config"))["profiles"]


LINES = st.sampled_from(
    [
        *("[default]", "[profile a]", "[profile 'b c']", "[profile a", "[sso-session s]"),
        *("[DEFAULT]", "region = eu-west-1", "region=", "  indented = 1", "s3 =", "x: y"),
        *("# no", "plain", "", "=x"),
    ]
)
TEXTS = st.lists(LINES, max_size=10).map("\n".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS | st.text(max_size=100) | st.binary(max_size=100))
def test_any_text_is_read_or_refused(tmp_path: Path, text: str | bytes) -> None:
    if isinstance(text, str):
        text = text.encode(errors="surrogatepass")
    try:
        load(tmp_path, text, text)
    except AwsConfigError as error:
        assert str(tmp_path) in str(error)
        assert "\n" not in str(error)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS)
def test_what_botocore_reads_we_read_alike(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    try:
        theirs = load_config(os.fspath(tmp_path / "config"))
    except (BotoCoreError, configparser.Error):
        return
    ours = load_aws_config(tmp_path / "config", tmp_path / "absent")
    assert list(ours.profiles) == list(theirs["profiles"])
    for name, values in theirs["profiles"].items():
        flat = {key: value for key, value in values.items() if isinstance(value, str)}
        assert {key: ours.profiles[name][key] for key in flat} == flat
        assert ours.profiles[name].keys() == values.keys()


@pytest.mark.parametrize(
    ("key", "account"),
    [
        # Published with their accounts, by those who found out.
        ("AKIASP2TPHJSQH3FJRUX", {"171436882533"}),
        ("ASIAY34FZKBOKMUTVV7A", {"609629065308"}),
        ("ASIAQNZGKIQY56JQ7WML", {"029608264753"}),
        # From before 2019: its account is another than its bits say.
        ("AKIAJWMRCSBBKQO4HQCQ", set()),
        ("AKIAIOSFODNN7EXAMPLE", set()),
        # No account has so many digits.
        ("AKIA7777777777777777", set()),
        ("AKIASP2TPHJSQH3FJRU", set()),
        ("AKIASP2TPHJSQH3FJRU1", set()),
        ("AROASP2TPHJSQH3FJRUX", set()),
        ("", set()),
    ],
)
def test_an_access_key_tells_its_account(key: str, account: set[str]) -> None:
    assert accounts_of({"aws_access_key_id": key}) == account


def test_what_a_profile_says_goes_before_its_access_key() -> None:
    key = {"aws_access_key_id": "AKIASP2TPHJSQH3FJRUX"}
    assert accounts_of(key | {"aws_account_id": "642976147714"}) == {"642976147714"}
    role = {"role_arn": "arn:aws:iam::998135273239:role/deploy"}
    assert accounts_of(key | role) == {"998135273239"}
    sso = {"sso_account_id": "171436882533"}
    assert AwsConfig({"default": key, "dev": sso}).for_account("171436882533") == ["dev"]
    assert AwsConfig({"default": key, "ci": key}).for_account("171436882533") == ["default", "ci"]


@pytest.mark.parametrize(
    "values",
    [
        {"granted_sso_account_id": "642976147714", "credential_process": "granted"},
        {"x_principal_arn": "arn:aws:sts::642976147714:assumed-role/Admin/ann"},
        {"x_principal_arn": "arn:aws:sts::642976147714:assumed-role/Admin/ann"}
        | {"aws_access_key_id": "ASIAY34FZKBOKMUTVV7A"},
        {"login_session": "arn:aws:sts::642976147714:assumed-role/Admin/ann"},
        {"login_session": "arn:aws:iam::642976147714:root"},
        {"login_session": "arn:aws-cn:iam::642976147714:user/ann"},
        {
            "credential_process": "aws-sso -S Default process "
            "--arn arn:aws:iam::642976147714:role/Admin"
        },
    ],
)
def test_the_account_in_what_other_tools_write(values: dict[str, str]) -> None:
    assert accounts_of(values) == {"642976147714"}
    assert AwsConfig({"p": values}).for_account("642976147714") == ["p"]


@pytest.mark.parametrize("key", ["login_session", "x_principal_arn", "credential_process"])
@pytest.mark.parametrize("value", ["", "arn:aws:sts::1:assumed-role/x", "arn", "mine"])
def test_an_arn_that_is_none(key: str, value: str) -> None:
    assert accounts_of({key: value}) == set()
