"""Charts: what they compute before they draw."""

import numpy as np

from tasks.report import charts


def test_running_mean_is_the_mean_of_the_last_records() -> None:
    values = np.arange(150, dtype=np.float64)
    smooth = charts._running_mean(values)
    assert smooth is not None
    expected = [values[max(0, end - 3) : end].mean() for end in range(1, 151)]
    np.testing.assert_allclose(smooth, expected)
