"""Tab in bash, zsh and fish, each on a terminal of its own.

There is no PowerShell to run: its script is parsed, and asked for what it would ask.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import tree_sitter
import tree_sitter_powershell

from tests.standin.aws import Aws
from tests.support.home import DEV, PROD, STAGE, registry
from tests.support.programs import need
from tests.support.terminal import Terminal
from tests.support.user import User

SHELLS = {
    "bash": (
        "bash --norc --noprofile -i",
        'PS1="ready> "; bind "set enable-bracketed-paste off"; eval "$(ecr-py completion bash)"',
    ),
    "zsh": (
        "zsh -f -i",
        'PS1="ready> "; autoload -U compinit; compinit -D -u; eval "$(ecr-py completion zsh)"',
    ),
    "fish": (
        "fish --private -i",
        "ecr-py completion fish | source; function fish_prompt; echo 'ready> '; end",
    ),
}


@contextmanager
def at_prompt(user: User, shell: str) -> Iterator[Terminal]:
    """A shell that completes by our script and waits for input."""
    need(shell)
    command, setup = SHELLS[shell]
    with user.at_terminal(f"exec {command}", LC_ALL="C.UTF-8") as terminal:
        terminal.type(f"{setup}; echo is''ready\n")
        terminal.wait_for(r"isready\s[^\x00]*ready> ")
        yield terminal


def completed(terminal: Terminal, typed: str) -> str:
    """The line that Tab made of what was typed, echoed by the shell."""
    before = terminal.shown.count("so it is: ")
    terminal.type(f"{typed}\t\x01echo so''\" it is: \" \x05\n")
    found = terminal.wait_for(rf"(?:so it is:  [^\x00]*){{{before}}}so it is:  ([^\r\n]*)\n")
    return found[1].rstrip()


every_shell = pytest.mark.parametrize("shell", list(SHELLS))


@every_shell
def test_commands_profiles_and_registries(user: User, shell: str) -> None:
    with at_prompt(user, shell) as terminal:
        assert completed(terminal, "ecr-py tok") == "ecr-py token"
        assert completed(terminal, "ecr-py token sta") == "ecr-py token stage"
        assert completed(terminal, "ecr-py token 88") == f"ecr-py token {registry(PROD)}"
        assert completed(terminal, "ecr-py token --profile d") == "ecr-py token --profile dev"


@every_shell
def test_an_aws_config_that_cannot_be_read_shows_nothing(user: User, shell: str) -> None:
    user.home.aws_config.write_text("no section\n")
    with at_prompt(user, shell) as terminal:
        before = len(terminal.shown)
        assert completed(terminal, "ecr-py token d") == "ecr-py token d"
        for word in ("Traceback", "section", "Error", "ecr-py:"):
            assert word not in terminal.shown[before:]


# What is suggested, as the scripts ask for it.


def suggested(user: User, line: str, **environment: str) -> list[str]:
    words = line.split(" ")
    asking = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = user.ecr_py(**asking, **environment, _ECR_PY_COMPLETE="bash_complete")
    assert done.stderr == ""
    assert done.code == 0
    return [entry.partition(",")[2] for entry in done.stdout.split()]


def test_an_alias_and_a_session(user: User) -> None:
    user.use_session_profiles()
    alias = f'[registries."images.corp.se"]\nalias = "{registry(DEV)}"\n'
    user.home.write(user.home.settings, alias)
    assert suggested(user, "ecr-py explain i") == ["images.corp.se"]
    assert suggested(user, "ecr-py login te") == ["telia"]
    assert suggested(user, "ecr-py token --region e") == ["eu-west-1"]


def test_settings_and_their_values(user: User) -> None:
    assert suggested(user, "ecr-py config set lo") == ["login", "login_timeout"]
    key = f"registries.{registry(DEV)}"
    assert suggested(user, f"ecr-py config set registries.{DEV}") == [
        f"{key}.profile",
        f"{key}.alias",
    ]
    assert suggested(user, "ecr-py config set store m") == ["memory"]
    assert suggested(user, "ecr-py config set fallback k") == ["keyring"]
    assert suggested(user, f"ecr-py config set {key}.profile s") == ["stage"]
    assert suggested(user, "ecr-py config get pref") == ["prefer"]
    assert "dev" in suggested(user, "ecr-py configure ")
    assert "dev" in suggested(user, "ecr-py status ")


def test_names_that_a_shell_would_take_apart_are_left_out(user: User) -> None:
    with user.home.aws_config.open("a") as config:
        config.write("[profile 'a b']\nregion=x\n[profile $(touch_x)]\nregion=x\n")
    assert suggested(user, "ecr-py login ")[:3] == ["dev", "stage", "prod"]
    assert not [name for name in suggested(user, "ecr-py login ") if "$" in name or " " in name]


def test_a_thousand_profiles(user: User) -> None:
    profiles = (
        f"[profile p{number}]\nsso_account_id = {number:012}\nregion = eu-west-1\n"
        for number in range(1000)
    )
    user.home.aws_config.write_text("".join(profiles))
    assert len(suggested(user, "ecr-py token p")) == 1000


def test_completing_asks_nobody_and_writes_nothing_for_registries(user: User, aws: Aws) -> None:
    user.end_session()
    assert "dev" in suggested(user, "ecr-py token ")
    assert aws.calls == []
    assert not user.home.cache.exists()


def test_powershell(user: User) -> None:
    asking = {"_ECR_PY_COMPLETE": "powershell_complete", "COMP_WORDS": "ecr-py\ntoken"}
    done = user.ecr_py(**asking, COMP_TYPED="sta")
    assert (done.code, done.stdout, done.stderr) == (0, f"stage\t{registry(STAGE)}\n", "")
    done = user.ecr_py(**asking)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()][:2] == ["dev", "stage"]
    commands = user.ecr_py(_ECR_PY_COMPLETE="powershell_complete", COMP_WORDS="ecr-py").stdout
    assert "token\tPrint" in commands
    assert all(line.count("\t") == 1 for line in commands.splitlines())


def test_the_script_for_powershell_is_powershell(user: User) -> None:
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    script = user.ecr_py("completion", "powershell").stdout
    assert not parser.parse(script.encode()).root_node.has_error
    assert parser.parse(script.replace("}", "", 1).encode()).root_node.has_error


def test_the_script_names_what_it_is_for(user: User) -> None:
    for shell in (*SHELLS, "powershell"):
        done = user.ecr_py("completion", shell)
        assert done.code == 0
        assert "_ECR_PY_COMPLETE" in done.stdout
    assert user.ecr_py("completion", "csh").code == 2


# Repositories

DESCRIBE = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories"
HOST = registry(DEV)
COMPLETES = """
import click, sys
from docker_credential_ecr_py.cli.suggestions import repositories
context = click.Context(click.Command("rm"))
context.params = {"registry": sys.argv[1]}
print(*repositories(context, sys.argv[2]))
"""


@pytest.fixture
def has_repositories(aws: Aws) -> None:
    answer = {"repositories": [{"repositoryName": name} for name in ("kalle", "team/web")]}
    aws.fault(DESCRIBE, "answer", document=answer)


def repositories(user: User, name: str, incomplete: str = "", **environment: str) -> list[str]:
    done = user.try_run(sys.executable, "-c", COMPLETES, name, incomplete, **environment)
    return done.stdout.split()


@pytest.mark.usefixtures("has_repositories")
def test_repositories_are_asked_for_once(user: User, aws: Aws) -> None:
    assert repositories(user, "dev") == ["kalle", "team/web"]
    assert repositories(user, "", f"{HOST}/k") == [f"{HOST}/kalle", f"{HOST}/team/web"]
    assert aws.count(DESCRIBE) == 1
    [kept] = (user.home.cache / "repositories").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


@pytest.mark.usefixtures("has_repositories")
def test_no_repository_is_worth_a_login(user: User, aws: Aws) -> None:
    user.add_browser()
    user.end_session()
    assert repositories(user, "dev") == []
    process = "[profile dev]\naws_account_id=642976147714\nregion=eu-west-1\n"
    asked = user.home.path / "asked"
    user.home.aws_config.write_text(f"{process}credential_process = touch {asked}\n")
    assert repositories(user, "dev") == []
    assert not asked.exists()
    assert user.addresses == []
    assert aws.calls == []


def test_an_aws_that_hangs_is_not_waited_for(user: User, aws: Aws) -> None:
    aws.fault(DESCRIBE, "hang")
    done = user.try_run(sys.executable, "-c", COMPLETES, "dev", "")
    assert "no answer within 3 seconds" in done.stderr
