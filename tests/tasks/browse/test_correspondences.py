"""A click and what answers it: on its image, on its neighbours, in all images, in the plane."""

import numpy as np
import pytest
from explored_workspace import GRID, SIDE
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.errors import InputError, OptionError
from stego_core.images.geometry import training_crops
from tasks.browse import correspondences, gallery, patch_maps
from tasks.corpus.index import IndexReader
from tasks.features import backbones
from tasks.workspace.workspace import Workspace

Clicked = tuple[str, int, float, float]
CLICK: Clicked = ("first", 2, 0.3, 0.6)


@pytest.fixture
def workspace(searchable_workspace: Workspace) -> Workspace:
    return searchable_workspace


def crop_features(workspace: Workspace, dump: str, row: int) -> NDArray[np.float32]:
    """(5, GRID, GRID, C) of an image's crops, computed anew and as they are stored."""
    index = IndexReader(workspace, dump)
    crops = training_crops(index.image(index.entry(row)).pixels, SIDE, True)
    rows = patch_maps.feature_rows_of(workspace, dump)
    assert rows is not None
    backbone = backbones.load_backbone(workspace.storage, rows.backbone(), "cpu")
    return np.asarray(backbone.features(crops).astype(np.float16), np.float32)


class TestHeat:
    def test_is_the_cosine_with_each_patch(self, workspace: Workspace) -> None:
        """A square image's quarters side by side; summed up slowly, in float64."""
        found = correspondences.heat(workspace, *CLICK)
        assert found.seen.all()
        crops = crop_features(workspace, "first", 2).astype(np.float64)
        whole = np.block([[[crops[0]], [crops[1]]], [[crops[2]], [crops[3]]]]).reshape(
            2 * GRID, 2 * GRID, -1
        )
        row, column = int(0.3 * 2 * GRID), int(0.6 * 2 * GRID)
        asked = whole[row, column]
        for y in range(2 * GRID):
            for x in range(2 * GRID):
                there = whole[y, x]
                slow = asked @ there / np.linalg.norm(asked) / np.linalg.norm(there)
                assert found.values[y, x] == pytest.approx(slow, abs=1e-4)
        assert found.values[row, column] == pytest.approx(1, abs=1e-5)
        size = 1 / (2 * GRID)
        assert found.clicked == pytest.approx((row * size, column * size, size, size))

    def test_of_an_image_with_gaps_is_computed_for_all_of_it(self, workspace: Workspace) -> None:
        stored = patch_maps.stitched_map(workspace, "later", 1)
        assert stored is not None
        assert not stored.seen.all()
        found = correspondences.heat(workspace, "later", 1, 0.5, 0.5)
        assert found.seen.all()
        assert found.values.shape == (2 * GRID, 3 * GRID)
        assert found.values.max() == pytest.approx(1, abs=1e-5)

    def test_what_is_not_there_is_refused(self, workspace: Workspace) -> None:
        for y, x in ((-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.5)):
            with pytest.raises(OptionError, match="0 to 1"):
                correspondences.heat(workspace, "first", 0, y, x)
        with pytest.raises(InputError, match="no image 6"):
            correspondences.heat(workspace, "first", 6, 0.5, 0.5)
        with pytest.raises(InputError, match="no dump"):
            correspondences.heat(workspace, "nothing", 0, 0.5, 0.5)


class TestNeighbours:
    def test_are_other_images_by_their_most_similar_crops(self, workspace: Workspace) -> None:
        found = correspondences.neighbours(workspace, *CLICK, k=3)
        assert found is not None
        rows = patch_maps.feature_rows_of(workspace, "first")
        assert rows is not None
        pooled = rows.read("pooled", np.arange(rows.total)).reshape(6, 5, -1)
        best = {other: float((pooled[2] @ pooled[other].T).max()) for other in (0, 1, 3, 4, 5)}
        nearest = max(best, key=lambda other: best[other])
        assert (found[0].dump, found[0].row) == ("first", nearest)
        assert found[0].similarity == pytest.approx(best[nearest], abs=1e-5)
        assert all(each.row != 2 for each in found)
        similarities = [each.similarity for each in found]
        assert similarities == sorted(similarities, reverse=True)

    def test_their_heat_is_that_of_the_clicked_patch(self, workspace: Workspace) -> None:
        asked = patch_maps.stitched_map(workspace, "first", 2)
        assert asked is not None
        query = asked.unit[asked.at(*CLICK[2:])]
        for each in correspondences.neighbours(workspace, *CLICK, k=2) or ():
            crops = unit(crop_features(workspace, each.dump, each.row))
            assert each.heat.values[0, 0] == pytest.approx(float(crops[0, 0, 0] @ query), abs=1e-3)
            expected = float(crops[3, -1, -1] @ query)
            assert each.heat.values[-1, -1] == pytest.approx(expected, abs=1e-3)
            assert each.heat.clicked == correspondences.heat(workspace, *CLICK).clicked

    def test_of_a_later_dump_are_sought_in_those_before_it_too(self, workspace: Workspace) -> None:
        found = correspondences.neighbours(workspace, "later", 0, 0.5, 0.5, k=8)
        assert found is not None
        places = [(each.dump, each.row) for each in found]
        assert len(set(places)) == len(places) >= 3
        assert ("later", 0) not in places
        assert {dump for dump, _ in places} <= {"first", "later"}

    def test_without_a_table_there_are_none(self, workspace: Workspace) -> None:
        before = workspace.last_run()
        try:
            workspace.update_last_run(neighbors={})
            assert correspondences.neighbours(workspace, *CLICK) is None
        finally:
            workspace.update_last_run(neighbors=before["neighbors"])


class TestMatches:
    def test_are_the_best_patch_of_every_other_image(self, workspace: Workspace) -> None:
        found = correspondences.matches(workspace, *CLICK, k=100)
        asked = patch_maps.stitched_map(workspace, "first", 2)
        assert asked is not None
        query = asked.unit[asked.at(*CLICK[2:])]
        best = {}
        for dump, row in gallery.browsable(workspace):
            image = patch_maps.stitched_map(workspace, dump, row)
            if image is not None and (dump, row) != ("first", 2):
                cosines = image.unit @ query
                where = np.unravel_index(cosines.argmax(), cosines.shape)
                best[dump, row] = (float(cosines.max()), image.patch(*map(int, where)))
        assert len(found) == len(best) == 8
        for each in found:
            cosine, patch = best[each.dump, each.row]
            assert each.similarity == pytest.approx(cosine, abs=1e-5)
            assert each.patch == pytest.approx(patch)
        similarities = [each.similarity for each in found]
        assert similarities == sorted(similarities, reverse=True)
        assert correspondences.matches(workspace, *CLICK, k=3) == found[:3]
