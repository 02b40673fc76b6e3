"""The plane of codes: which patches are sampled, and their nearest centroids."""

import numpy as np
import pytest
import torch
from explored_workspace import CLASSES, CLUSTERS, GRID, HEAD
from numpy.typing import NDArray

from tasks.browse import code_plane, correspondences, patch_maps
from tasks.head import heads
from tasks.storage import run_cache
from tasks.workspace import tables
from tasks.workspace.workspace import Workspace

CLICK = ("first", 2, 0.3, 0.6)


@pytest.fixture
def workspace(searchable_workspace: Workspace) -> Workspace:
    return searchable_workspace


class TestCodePlane:
    def test_points_are_codes_by_their_nearest_centroid(self, workspace: Workspace) -> None:
        space = code_plane.code_plane(workspace, 90)
        assert len(space.points) == 90  # ten of each image
        assert space.centroids.shape == (CLASSES, 2)
        assert 0 < space.explained <= 1
        point = space.points[40]
        image = patch_maps.fast_map(workspace, point.dump, point.row)
        head = heads.load_head(workspace.storage, HEAD, "cpu")
        codes = head(torch.from_numpy(image.features[None].astype(np.float32)))[0].numpy()
        place = image.at(
            point.patch.y + point.patch.height / 2, point.patch.x + point.patch.width / 2
        )
        centroids = stored_centroids(workspace)
        assert point.cls == int((centroids @ codes[place]).argmax())

    def test_are_the_same_again(self, workspace: Workspace) -> None:
        first = code_plane.code_plane(workspace, 50)
        with run_cache.during("another run"):
            again = code_plane.code_plane(workspace, 50)
        assert again.points == first.points

    def test_without_stored_features_a_few_images_are_read(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As an imported head has none."""
        monkeypatch.setattr(patch_maps, "feature_rows_of", lambda *_: None)
        monkeypatch.setattr(code_plane, "COMPUTED_IMAGES", 2)
        with run_cache.during("an imported head"):
            space = code_plane.code_plane(workspace, 20)
            assert len({(point.dump, point.row) for point in space.points}) == 2
            heat = correspondences.heat(workspace, *CLICK)
            assert heat.values.shape == (2 * GRID, 2 * GRID)


def stored_centroids(workspace: Workspace) -> NDArray[np.float32]:
    path = f"clusters/{CLUSTERS}/centroids.safetensors"
    return tables.read_tensors(workspace.storage, path)["centroids"]
