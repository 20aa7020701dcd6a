"""Lines that are wrapped for a terminal."""

import pytest

from docker_credential_ecr_py.cli.output import folded

COMMAND = "`ecr-py configure --for podman`"
LINE = (
    f"note  podman asks no helper for 642976147714.dkr.ecr.eu-west-1.amazonaws.com: run {COMMAND}"
)


@pytest.mark.parametrize("width", [10, 40, 60, 80, 120])
def test_neither_a_word_nor_a_command_is_broken(width: int) -> None:
    lines = folded(LINE, width, 6).split("\n")
    assert COMMAND in "\n".join(lines)
    assert " ".join(line.strip() for line in lines).split() == LINE.split()
    for line in lines[1:]:
        assert line.startswith(" " * 6)
        assert len(line) <= width or " " not in line.strip().replace(COMMAND, "")
