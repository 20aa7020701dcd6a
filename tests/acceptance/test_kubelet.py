"""A node, as docs/kubelet.md sets it up: three accounts, and one cache with docker."""

from pathlib import Path

import yaml

from tests.standin.aws import Aws
from tests.support.home import DEV, PROD, STAGE, Home, registry
from tests.support.kubelet import Kubelet, node
from tests.support.processes import wait_until
from tests.support.records import HALF_LIFE, let_pass
from tests.support.user import User

ROLES = {account: f"arn:aws:iam::{account}:role/node" for account in (DEV, STAGE, PROD)}
TOKEN = "GetAuthorizationToken"


def aws_config(token_file: Path) -> str:
    """The instance's own role is for one account; profiles lead to the others."""
    return f"""\
[profile stage]
role_arn = {ROLES[STAGE]}
credential_source = Ec2InstanceMetadata
[profile prod]
role_arn = {ROLES[PROD]}
web_identity_token_file = {token_file}
"""


def test_three_accounts_from_one_cache(home: Home, aws: Aws, tmp_path: Path) -> None:
    aws.instance_role = ROLES[DEV]
    for account in (STAGE, PROD):
        aws.allow_role(ROLES[account])
    aws.web_identity_tokens.add("web-identity")
    token_file = home.write(tmp_path / "token", "web-identity")
    file = home.write(tmp_path / "etc" / "aws", aws_config(token_file))
    home.environment |= aws.instance_environment() | {"AWS_CONFIG_FILE": str(file)}

    words = ("kubelet", "config", "--env", f"AWS_CONFIG_FILE={file}")
    document = yaml.safe_load(User(home, aws).invoke_ok(*words).stdout)
    kubelet = node(home)
    del kubelet.environment["AWS_CONFIG_FILE"]
    (provider,) = document["providers"]
    variables = {each["name"]: each["value"] for each in provider["env"]}
    kubelet = Kubelet(kubelet.environment | variables, kubelet.plugin.with_name(provider["name"]))

    images = {account: f"{registry(account)}/team/app" for account in ROLES}
    pulled = {account: kubelet.pull(image) for account, image in images.items()}
    assert {aws.issued[one.password].account for one in pulled.values()} == set(ROLES)
    assert aws.count(TOKEN) == 3
    # docker on the node, and the kubelet after a restart, ask AWS for nothing.
    calls = aws.count()
    for account, image in images.items():
        assert home.get(registry(account)).password == pulled[account].password
        assert kubelet.pull(image).password == pulled[account].password
    assert aws.count() == calls
    # Half a day later the kubelet comes back: it has an answer at once, and soon a new one.
    let_pass(home, HALF_LIFE + 60)
    assert kubelet.pull(images[STAGE]).password == pulled[STAGE].password
    wait_until(lambda: home.get(registry(STAGE)).password != pulled[STAGE].password)
