"""The pause between two tries."""

from docker_credential_ecr_py.pause import pause_after


def test_a_pause_doubles_up_to_the_longest() -> None:
    assert [pause_after(failures, 30, 200) for failures in (1, 2, 3, 4, 5)] == [
        30,
        60,
        120,
        200,
        200,
    ]


def test_thousands_of_failures_have_a_pause() -> None:
    assert pause_after(100_000, 0.5, 3600) == 512
