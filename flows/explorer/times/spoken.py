"""A length of time as people say it: about, and never more exactly than it is known."""

import bisect

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
ROUND = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 75, 90, 100)
"""Numbers that people say of a time that is not known exactly."""


def spoken(low: float, high: float) -> str:
    """A range of seconds, rounded outwards, such as "about 6 to 12 minutes".

    Minutes are said below 90 of them, hours below 48, then days.
    """
    if high <= MINUTE:
        return "less than a minute"
    name, unit = ("minute", MINUTE) if high <= 90 * MINUTE else ("hour", HOUR)
    if high > 2 * DAY:
        name, unit = "day", DAY
    least, most = _down(low / unit), _up(high / unit)
    if least == 0:
        return f"up to {_counted(most, name)}"
    return f"about {_counted(most, name)}" if least == most else f"about {least} to {most} {name}s"


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _down(value: float) -> int:
    """The largest round number that is no larger; 0 below all of them."""
    at = bisect.bisect_right(ROUND, value)
    return ROUND[at - 1] if at else 0


def _up(value: float) -> int:
    """The smallest round number that is no smaller; above all of them the next whole hundred."""
    at = bisect.bisect_left(ROUND, value)
    return ROUND[at] if at < len(ROUND) else 100 * -int(-value // 100)
