"""What a user sees and types: questions, progress, narrow and plain terminals."""

from __future__ import annotations

import fcntl
import re
import struct
import termios

import pytest

from tests.support.home import DEV, registry
from tests.support.repositories import (
    AwsWithRepositories,
    an_image,
    aws,
    builder,
    moto,
    repositories,
    tags,
    there_is,
)
from tests.support.terminal import Terminal
from tests.support.user import User, eventually

__all__ = ["aws", "builder", "moto"]

HOST = registry(DEV)
LONG = "9.1.0-alpine-with-a-rather-long-tag-that-folds"


@pytest.fixture
def dev(builder: User) -> User:
    there_is("nats", an_image("2.9", "latest"), an_image("2.8"))
    there_is("grafana/grafana", an_image(LONG))
    return builder


def narrow(terminal: Terminal, columns: int) -> None:
    fcntl.ioctl(terminal._ours, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))


def test_yes(dev: User) -> None:
    with dev.at_terminal("ecr-py image rm nats 2.8 2.9") as terminal:
        terminal.wait_for(rf"Remove 2 tags and 1 image from {HOST}\? \[y/N\]: ")
        assert "stays as latest" in terminal.shown
        terminal.type("y\n")
        assert terminal.wait() == 0
        assert "Untagged: nats:2.9" in terminal.shown
    assert tags("nats") == ["latest"]


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_no(dev: User, answer: str) -> None:
    with dev.at_terminal("ecr-py repo rm nats --force") as terminal:
        terminal.wait_for(r"Remove 1 repository with 2 images from .*\? \[y/N\]: ")
        terminal.type(answer)
        assert terminal.wait() == 1
        assert terminal.shown.endswith("\necr-py: nothing was removed\n")
    assert "nats" in repositories()


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_given_up_at_the_question(dev: User, key: str) -> None:
    with dev.at_terminal("ecr-py image rm nats 2.8") as terminal:
        terminal.wait_for(r"\[y/N\]: ")
        terminal.type(key)
        assert terminal.wait() == 130
        assert terminal.shown.endswith("\necr-py: cancelled\n")
        assert terminal.state == terminal.before
    assert "2.8" in tags("nats")


def test_given_up_while_aws_is_silent(dev: User, aws: AwsWithRepositories) -> None:
    aws.fault("DescribeImages", "hang")
    with dev.at_terminal("ecr-py image ls nats") as terminal:
        eventually(lambda: aws.count("DescribeImages"))
        terminal.wait_for("images")
        terminal.type("\x03")
        assert terminal.wait() == 130
        assert "ecr-py: cancelled\n" in terminal.shown
        assert "Traceback" not in terminal.shown
        assert "\x1b[?25h" in terminal.shown.rpartition("\x1b[?25l")[2]  # the cursor is back
        assert terminal.state == terminal.before


def test_given_up_before_the_command_has_begun(dev: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(module: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("docker_credential_ecr_py.cli.main.import_module", interrupted)
    done = dev.invoke("repo", "ls")
    assert (done.code, done.stderr) == (130, "ecr-py: cancelled\n")


def test_progress_is_for_a_terminal_and_leaves_no_trace(dev: User) -> None:
    there_is("big", *(an_image(f"1.0.{number}") for number in range(2500)))
    with dev.at_terminal("ecr-py image ls big --tags >out") as terminal:
        assert terminal.wait() == 0
        assert re.search(r"images: [12],[05]00", terminal.shown)
        assert terminal.shown.endswith("\x1b[2K")  # the line is wiped
    done = dev.ecr_py("image", "ls", "big", "--tags")
    assert done.stderr == ""
    assert (dev.home.path / "out").read_text() == done.stdout


def test_60_columns(dev: User) -> None:
    script = "read -r _; exec 2>/dev/null; clear; ecr-py image ls grafana/grafana nats"
    with dev.at_terminal(script, NO_COLOR="1") as terminal:
        narrow(terminal, 60)
        terminal.type("\n")
        assert terminal.wait() == 0
        lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.shown).splitlines()
    heading = next(line for line in lines if "DIGEST" in line)
    lines = lines[lines.index(heading) + 1 :]
    assert max(map(len, lines)) <= 60
    assert sum("3 days ago" in line for line in lines) == 4  # whole, each beside its tag
    column = slice(heading.index("TAG"), heading.index("DIGEST"))
    assert LONG in "".join(line[column].strip() for line in lines)


def test_no_colour(dev: User) -> None:
    with dev.at_terminal("ecr-py repo ls 2>/dev/null", NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        assert terminal.shown.startswith("REPOSITORY ")
        assert "\x1b" not in terminal.shown


# No terminal, and not even a stream


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_stream_that_is_closed(dev: User, closed: str) -> None:
    for command in ("repo ls", "image ls nats", f"explain {HOST}", "token dev", "status --check"):
        done = dev.try_run("sh", "-c", f"ecr-py {command} {closed}")
        assert "Traceback" not in done.stderr
        assert bool(done.stdout) == (closed != ">&-"), done
    done = dev.try_run("sh", "-c", f"ecr-py image rm nats 2.8 {closed}")
    assert done.code == 2
    assert ("--yes" in done.stderr) == (closed != "2>&-")
    assert dev.try_run("sh", "-c", f"ecr-py image rm nats 2.8 --yes {closed}").code == 0
    assert "2.8" not in tags("nats")


def test_a_disk_that_is_full(dev: User) -> None:
    for command in ("repo ls", "token dev --format docker-config", "status", "config path", "-h"):
        done = dev.try_run("sh", "-c", f"ecr-py {command} >/dev/full")
        assert done.line == "ecr-py: the output cannot be written: No space left on device"
    assert dev.try_run("sh", "-c", "ecr-py nonsense 2>/dev/full").code != 0
