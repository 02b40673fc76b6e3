"""A mask that somebody corrected, and what its lessons have to be."""

import numpy as np

from tasks.class_names import classes_file
from tasks.images.image_codecs import decode_mask
from tasks.teaching.point_files import ReadPoints
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

TOP, BOTTOM, LEFT, RIGHT = 20, 50, 8, 40
"""A square of road where there was none, of the image s001."""


def current_mask(workspace: Workspace) -> np.ndarray:
    """The current mask of the second image, after two of its classes got names."""
    classes = classes_file.current_names(workspace).classes
    classes_file.edit(workspace, classes.edited(0, "road").edited(1, "tree"), "named")
    path = layout.mask(layout.masks(workspace.last_run()["keys"]["masks"], "first"), "s001")
    return decode_mask(workspace.storage.read(path))


def require_road(found: ReadPoints, current: np.ndarray) -> None:
    """The lessons are of the square, and of nothing else."""
    assert found.problems == []
    assert {(lesson.dump, lesson.image_id, lesson.name) for lesson in found.lessons} == {
        ("first", "s001", "road")
    }
    for lesson in found.lessons:
        assert TOP <= lesson.y < BOTTOM
        assert LEFT <= lesson.x < RIGHT
        assert current[lesson.y, lesson.x] != 0
