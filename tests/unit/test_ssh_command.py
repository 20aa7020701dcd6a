"""ssh's arguments, as ssh itself takes them apart."""

import pytest

from docker_credential_ecr_py.ssh_command import SshCommand, parse_ssh


@pytest.mark.parametrize(
    ("line", "options", "host", "command"),
    [
        ("box", "", "box", ""),
        ("ann@box uname -a", "", "ann@box", "uname -a"),
        ("-p 22 -v box", "-p22 -v", "box", ""),
        ("-p22 -tt box top", "-p22 -t -t", "box", "top"),
        ("-vNp 22 box", "-v -N -p22", "box", ""),
        ("box -p 22 -t ls -l", "-p22 -t", "box", "ls -l"),
        ("-J a,b -o ProxyJump=none box", "-Ja,b -oProxyJump=none", "box", ""),
        ("-- box -t", "-t", "box", ""),
        ("box -- -t", "", "box", "-t"),
        ("-l ann ssh://box:22 true", "-lann", "ssh://box:22", "true"),
    ],
)
def test_options_destination_and_command(line: str, options: str, host: str, command: str) -> None:
    pairs = tuple((word[1], word[2:]) for word in options.split())
    assert parse_ssh(line.split()) == SshCommand(pairs, host, tuple(command.split()))


@pytest.mark.parametrize("line", ["", "-v", "-p", "box -p", "-Z box", "--", "-é box"])
def test_what_ssh_does_not_take(line: str) -> None:
    assert parse_ssh(line.split()) is None


def test_what_decides_how_a_host_is_reached() -> None:
    parsed = parse_ssh(
        ["-tNL", "1:x:2", "-p", "22", "-o", "A=b", "-4", "-S", "x", "-w", "1", "box"]
    )
    assert parsed is not None
    assert parsed.of_connection == ["-p", "22", "-o", "A=b", "-4"]
    assert parsed.has("N")
    assert not parsed.has("f")
