"""Format sizes, ages and counts for people, and times for programs."""

from datetime import UTC, datetime

_UNITS = (
    ("year", 365 * 86400),
    ("month", 30 * 86400),
    ("week", 7 * 86400),
    ("day", 86400),
    ("hour", 3600),
    ("minute", 60),
)


def size(count: int) -> str:
    """Format a number of bytes as docker does, in powers of 1000: `12.3 MB`."""
    value, units = float(count), ["TB", "GB", "MB", "kB", "B"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop()
    decimals = 0 if len(units) == 5 or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{decimals}f} {units[-1]}"


def lasting(seconds: float) -> str:
    """Format a duration: `11h59m`, or `5m`; in days from two days on."""
    minutes = max(0, int(seconds // 60))
    if minutes >= 2 * 24 * 60:
        return f"{minutes // (24 * 60)}d"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m"


def utc(moment: float) -> str:
    """Format a time in seconds since the epoch: `2026-11-21T19:00:00Z`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(moment: datetime, now: datetime) -> str:
    """Format an age: `3 days ago`. A unit is used from two of it on, to stay accurate."""
    seconds = max(0, int((now - moment).total_seconds()))
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}s ago"
    return f"{seconds} second{'' if seconds == 1 else 's'} ago"


def counted(count: int, one: str, many: str = "") -> str:
    """Format a count with its noun: `1 image`, `2,500 images`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
