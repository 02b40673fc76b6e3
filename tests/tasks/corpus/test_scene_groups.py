"""Which images show the same scene, and what stands for an image that cannot be read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stego_core.errors import InputError
from tasks.corpus import stage as corpus
from tasks.corpus.image_cache import ImageCache
from tasks.corpus.index import IndexReader
from tasks.corpus.scene_groups import SceneGroups
from tasks.engine.steps import LoopExecutor
from tasks.options import CorpusOptions
from tasks.workspace.workspace import Workspace

SCENES = {"a/0": 10, "a/1": 20, "a/sub/0": 90, "a/2": 30, "b/0": 40, "b/1": 50}
"""Images by path, each of one grey value."""


def indexed(folder: Path, images: dict[str, int], size: tuple[int, int] = (40, 32)) -> IndexReader:
    for name, value in images.items():
        path = folder / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (value,) * 3).save(path)
    workspace = Workspace.create(str(folder / "ws"))
    stage = corpus.plan(workspace, "dump", CorpusOptions(images=str(folder / "images")))
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), stage.folder.missing(stage.shards)))
    corpus.finish(workspace, stage, 0.0, 1)
    return IndexReader(workspace, "dump")


def paths(index: IndexReader) -> list[str]:
    return [name.removesuffix(".png") for part in index.column("path") for name in part]


class TestOfFolders:
    def test_images_of_one_folder_are_one_scene(self, tmp_path: Path) -> None:
        index = indexed(tmp_path, SCENES)
        groups = SceneGroups.of_folders(index)
        names = paths(index)
        for row, name in enumerate(names):
            siblings = [names[other] for other in groups.siblings(row)]
            folder = name.rpartition("/")[0]
            assert siblings[0] == name
            assert sorted(siblings) == [n for n in sorted(SCENES) if n.rpartition("/")[0] == folder]

    def test_other_size_in_a_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "images/a").mkdir(parents=True)
        Image.new("RGB", (50, 32), (5, 5, 5)).save(tmp_path / "images/a/odd.png")
        index = indexed(tmp_path, SCENES)
        with pytest.raises(InputError, match=r"a/odd.png has 50x32 pixels and a/0.png 40x32"):
            SceneGroups.of_folders(index)

    def test_folders_of_one_image_are_refused(self, tmp_path: Path) -> None:
        index = indexed(tmp_path, {"a/0": 10, "b/0": 20})
        with pytest.raises(InputError, match="no folder has two images"):
            SceneGroups.of_folders(index)


class TestPartners:
    groups = SceneGroups.of_scenes(np.array([2, 0, 2, 1, 2, 0, 3]))

    def test_are_all_the_others_of_the_scene_and_nothing_else(self) -> None:
        rows = np.arange(7).repeat(60)
        partners = self.groups.partners(rows, np.random.default_rng(0))
        found = {row: set(partners[rows == row].tolist()) for row in range(7)}
        assert found == {0: {2, 4}, 1: {5}, 2: {0, 4}, 3: {3}, 4: {0, 2}, 5: {1}, 6: {6}}

    def test_are_equally_frequent(self) -> None:
        partners = self.groups.partners(np.zeros(4000, np.int64), np.random.default_rng(1))
        assert abs((partners == 2).mean() - 0.5) < 0.03


class TestUnreadable:
    """A row of `ImageCache` whose file is gone gets an image of its own scene."""

    def test_a_sibling_stands_for_an_image_that_is_gone(self, tmp_path: Path) -> None:
        index = indexed(tmp_path, SCENES)
        (tmp_path / "images/a/2.png").unlink()
        names = paths(index)
        cache = ImageCache(index, 32, 1, SceneGroups.of_folders(index))
        (image,) = cache(np.array([names.index("a/2")]))
        assert image[0, 0, 0] in (10, 20)
        assert list(cache.invalid) == [names.index("a/2")]

    def test_rows_of_a_scene_that_is_gone_get_the_same_image(self, tmp_path: Path) -> None:
        index = indexed(tmp_path, SCENES)
        for name in ("b/0", "b/1"):
            (tmp_path / f"images/{name}.png").unlink()
        rows = np.array([paths(index).index(name) for name in ("b/0", "b/1")])
        cache = ImageCache(index, 32, 1, SceneGroups.of_folders(index))
        first, second = cache(rows)
        np.testing.assert_array_equal(first, second)
