"""Times as people say them."""

import pytest

from flows.explorer.times.spoken import spoken


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0, 0, "less than a minute"),
        (20, 60, "less than a minute"),
        (20, 70, "up to 2 minutes"),
        (61, 119, "about 1 to 2 minutes"),
        (120, 120, "about 2 minutes"),
        (7 * 60, 13 * 60, "about 6 to 15 minutes"),
        (3600, 90 * 60, "about 60 to 90 minutes"),
        (1800, 7200, "up to 2 hours"),
        (2.5 * 3600, 6.5 * 3600, "about 2 to 8 hours"),
        (30 * 3600, 60 * 3600, "about 1 to 3 days"),
        (86400, 250 * 86400, "about 1 to 300 days"),
    ],
)
def test_rounded_outwards(low: float, high: float, said: str) -> None:
    assert spoken(low, high) == said
