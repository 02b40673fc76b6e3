"""The seed figure: which neighbours it shows, and how its cosines are scaled."""

import numpy as np

from tasks.report.seed_figure import _heats, other_images


def test_one_row_of_each_other_image() -> None:
    nearest = np.array([7, 6, 11, 12, -1, 1, 20, 30])  # five rows an image; query in image 1
    assert other_images(nearest, query=5, crops=5) == [11, 1, 20]


def test_the_mean_of_the_first_image_is_zero_and_equal_patches_are_one() -> None:
    patches = np.array([[[[1.0, 0.0], [0.0, 1.0]]], [[[0.0, 2.0], [3.0, 0.0]]]], np.float32)
    heats = _heats(patches, [(0, 0)])  # cosines 1 and 0, whose mean is 0.5
    assert heats.shape == (2, 1, 1, 2)
    np.testing.assert_allclose(heats[0, 0, 0], [1.0, -1.0], atol=1e-6)
    np.testing.assert_allclose(heats[1, 0, 0], [-1.0, 1.0], atol=1e-6)
