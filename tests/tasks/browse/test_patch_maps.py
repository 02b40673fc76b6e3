"""Features of single images: stored and computed ones, and how often they are computed."""

from typing import Any

import numpy as np
import pytest
from explored_workspace import GRID
from numpy.typing import NDArray

from stego_core.errors import ImageError
from tasks.browse import correspondences, patch_maps
from tasks.features.rows import FeatureRows
from tasks.storage.threads import ContextThreadPool
from tasks.workspace.workspace import Workspace


@pytest.fixture
def workspace(searchable_workspace: Workspace) -> Workspace:
    return searchable_workspace


def test_computed_patches_resemble_the_stored_ones_there(workspace: Workspace) -> None:
    """The middle columns of a wide image are read in a window of their own."""
    stored, computed = (
        f(workspace, "later", 0) for f in (patch_maps.stitched_map, patch_maps.computed_map)
    )
    assert stored is not None
    alike, others = [], []
    for row in range(2 * GRID):
        for column in range(2 * GRID):
            patch = stored.patch(row, column)
            place = computed.at(patch.y + patch.height / 2, patch.x + patch.width / 2)
            cosines = stored.unit @ computed.unit[place]
            alike.append(cosines[row, column])
            others.append(np.median(cosines))
    assert np.mean(alike) > np.mean(others) + 0.2


def test_features_are_read_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that ask at the same time wait for the same pass of the backbone."""
    passes = []
    compute_features = patch_maps.image_features

    def counted(*arguments: Any) -> NDArray[np.float32]:
        passes.append(1)
        return compute_features(*arguments)

    monkeypatch.setattr(patch_maps, "image_features", counted)
    patch_maps.computed_map.cache_clear()
    with ContextThreadPool(4) as pool:
        list(pool.map(lambda _: patch_maps.display_map(workspace, "later", 2), range(4)))
    correspondences.heat(workspace, "later", 2, 0.1, 0.1)
    assert len(passes) == 1


def test_a_failure_is_not_kept(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> NDArray[np.float32]:
        raise ImageError("gone")

    patch_maps.computed_map.cache_clear()
    with monkeypatch.context() as broken:
        broken.setattr(patch_maps, "image_features", fail)
        with pytest.raises(ImageError):
            patch_maps.computed_map(workspace, "later", 2)
    assert patch_maps.computed_map(workspace, "later", 2) is patch_maps.computed_map(
        workspace, "later", 2
    )


def test_images_that_were_not_sampled_have_no_number(workspace: Workspace) -> None:
    rows = patch_maps.feature_rows_of(workspace, "first")
    assert isinstance(rows, FeatureRows)
    assert [patch_maps.sample_number(rows, row) for row in (0, 5, 6)] == [0, 5, None]
    assert patch_maps.valid_images(rows).tolist() == list(range(6))
