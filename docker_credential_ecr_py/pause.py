"""How long to wait before what failed is tried again."""

# More than from any first pause to the longest; a limit, because 2**1024 is too large for a float.
_DOUBLINGS = 10


def pause_after(failures: int, first: float, longest: float) -> float:
    """Return the seconds after so many failures in a row: doubled each time, up to the longest."""
    return min(first * 2.0 ** min(failures - 1, _DOUBLINGS), longest)
