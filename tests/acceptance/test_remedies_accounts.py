"""Whose credentials answer? Each message names a command; with it, the pull works."""

from __future__ import annotations

import pytest

from tests.acceptance.remedies import command_in, commands_in, opens, shell
from tests.standin.aws import Aws
from tests.support.home import DEV, Home, registry
from tests.support.user import User

# Amazon's own, with the add-ons of EKS.
ADD_ONS = "602401143452"
HOST = registry(ADD_ONS)


@pytest.fixture
def user(home: Home, aws: Aws) -> User:
    return User(home, aws)


# Registries of another account


def test_a_registry_of_another_account(user: User) -> None:
    line = user.home.get(HOST).line
    assert "looked at dev, stage, prod" in line
    opens(user.home.get(HOST, AWS_PROFILE="dev"), user, DEV)
    [command] = commands_in(line)
    shell(user, command)
    opens(user.home.get(HOST), user, DEV)


def test_configure_says_so(user: User) -> None:
    said = shell(user, f"ecr-py configure --registry {HOST}").stderr
    assert user.read_config()["credHelpers"] == {HOST: "ecr-py"}
    shell(user, command_in(said))
    opens(user.home.get(HOST), user, DEV)
    done = shell(user, f"ecr-py configure --registry {HOST}")
    assert f"{HOST}   dev" in done.stdout
    assert done.stderr == ""


def test_configure_offers_to_do_it(user: User) -> None:
    with user.at_terminal(f"ecr-py configure --registry {HOST}") as terminal:
        terminal.wait_for(r"Use which profile for it \(dev, stage, prod; none\)")
        terminal.type("stagge\r")
        terminal.wait_for("'stagge' is not one of")
        terminal.type("dev\r")
        assert terminal.wait() == 0
    opens(user.home.get(HOST), user, DEV)
    user.home.settings.write_text(user.home.settings.read_text() + '[defaults]\nlogin = "never"\n')
    user.run("ecr-py", "configure", "--undo")
    assert user.home.settings.read_text().strip() == '[defaults]\nlogin = "never"'
    assert "config set" in user.home.get(HOST).line


def test_configure_takes_no_for_an_answer(user: User) -> None:
    with user.at_terminal(f"ecr-py configure --registry {HOST}") as terminal:
        terminal.wait_for("Use which profile")
        terminal.type("none\r")
        assert terminal.wait() == 0
    assert not user.home.settings.exists()
    assert user.read_config()["credHelpers"] == {HOST: "ecr-py"}


def test_configure_does_it_if_there_is_one_profile(user: User) -> None:
    config = user.home.aws_config
    config.write_text(config.read_text().partition("[profile stage]")[0])
    shown = shell(user, f"ecr-py configure --yes --dry-run --registry {HOST}").stdout
    assert f'+[registries."{ADD_ONS}.*"]' in shown
    assert not user.home.settings.exists()
    shell(user, f"ecr-py configure --yes --registry {HOST}")
    opens(user.home.get(HOST), user, DEV)
    shell(user, "ecr-py configure --undo")
    assert not user.home.settings.exists()


def test_doctor_and_status_say_so(user: User) -> None:
    user.write_docker_config({"credHelpers": {HOST: "ecr-py"}})
    wanted = command_in(user.home.get(HOST).line)
    for command in ("status", "doctor", "explain"):
        done = user.ecr_py(command, *[HOST] * (command == "explain"))
        assert f"`{wanted}`" in done.said, command
