"""Pages of the gallery: by dump, by class as people see it, by doubt."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from explored_workspace import CLASSES, CLUSTERS, finished

from stego_core.errors import InputError, OptionError, WorkspaceError
from stego_core.masks.margins import MarginSums
from tasks.browse import gallery
from tasks.class_names import classes_file
from tasks.masks import confidence_table
from tasks.storage import run_cache
from tasks.workspace import layout
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path]
) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("gallery")
    with run_cache.during(str(folder)):
        yield finished(str(folder / "ws"), folder, make_corpus)


@pytest.fixture
def workspace(made: Workspace) -> Iterator[Workspace]:
    """With the classes as found."""
    yield made
    root = Path(made.storage.uri)
    (root / layout.CLASSES_FILE).unlink(missing_ok=True)
    for path in root.glob(f"classes/{CLUSTERS}/*.toml"):
        path.unlink()


def counted(workspace: Workspace, dump: str, row: int) -> MarginSums:
    """What an image's stored maps add up to."""
    return MarginSums.of(
        gallery.mask(workspace, dump, row), gallery.margins(workspace, dump, row), CLASSES
    )


def shares(workspace: Workspace, *clusters: int) -> dict[tuple[str, int], float]:
    """Of every image, counted on its mask."""
    found = {}
    for dump, row in gallery.browsable(workspace):
        mask = gallery.mask(workspace, dump, row)
        found[dump, row] = float(np.isin(mask, clusters).mean())
    return found


def places(page: gallery.Page) -> list[tuple[str, int]]:
    return [(item.dump, item.row) for item in page.items]


class TestPage:
    def test_doubtful_images_come_first(self, workspace: Workspace) -> None:
        page = gallery.page(workspace)
        assert page.total == len(page.items) == 9
        order = [item.doubt for item in page.items]
        assert order == sorted(order, reverse=True)
        assert len(set(order)) > 1
        for item in page.items:
            sure = counted(workspace, item.dump, item.row)
            assert item.margin == pytest.approx(sure.margin, abs=1e-5)
            assert item.doubtful == pytest.approx(sure.uncertain_share, abs=1e-5)
            assert (item.height, item.width) == gallery.mask(workspace, item.dump, item.row).shape
            assert item.share is None
            assert gallery.item(workspace, item.dump, item.row) == item

    def test_in_the_order_of_the_index_part_by_part(self, workspace: Workspace) -> None:
        whole = places(gallery.page(workspace, order="index"))
        assert whole == [("first", row) for row in range(6)] + [("later", row) for row in range(3)]
        parts = [gallery.page(workspace, order="index", offset=o, limit=4) for o in (0, 4, 8, 12)]
        assert [place for part in parts for place in places(part)] == whole
        assert {part.total for part in parts} == {9}

    def test_of_one_dump_and_by_labels(self, workspace: Workspace) -> None:
        assert gallery.page(workspace, dump="later").total == 3
        assert gallery.page(workspace, labelled=True, order="index").total == 6
        assert set(places(gallery.page(workspace, labelled=False))) == {
            ("later", row) for row in range(3)
        }
        assert gallery.page(workspace, dump="later", labelled=True) == (0, [])
        assert all(item.labelled for item in gallery.page(workspace, dump="first").items)

    def test_of_a_class_are_the_images_that_show_it(self, workspace: Workspace) -> None:
        for cls in range(CLASSES):
            expected = {k: v for k, v in shares(workspace, cls).items() if v > 0.005}
            page = gallery.page(workspace, cls=cls, order="class")
            assert page.total == len(expected)
            assert dict(zip(places(page), [i.share for i in page.items], strict=True)) == (
                pytest.approx(expected, abs=1e-5)
            )
            found = [item.share or 0 for item in page.items]
            assert found == sorted(found, reverse=True)

    def test_a_class_has_what_is_merged_into_it(self, workspace: Workspace) -> None:
        alone = shares(workspace, 0), shares(workspace, 1)
        named = classes_file.current_names(workspace)
        classes_file.edit(workspace, named.classes.merged([1], 0), "1 into 0")
        page = gallery.page(workspace, cls=0, order="class", limit=1)
        (item,) = page.items
        together = {place: alone[0][place] + alone[1][place] for place in alone[0]}
        assert page.total == sum(share > 0.005 for share in together.values())
        assert item.share == pytest.approx(max(together.values()), abs=1e-5)
        assert together[item.dump, item.row] == pytest.approx(max(together.values()), abs=1e-5)
        with pytest.raises(OptionError, match="class 1 is merged"):
            gallery.page(workspace, cls=1)

    def test_what_is_not_there_is_refused(self, workspace: Workspace) -> None:
        with pytest.raises(InputError, match="no dump 'x'; there are first, later"):
            gallery.page(workspace, dump="x")
        with pytest.raises(OptionError, match="no class 5"):
            gallery.page(workspace, cls=5)
        with pytest.raises(OptionError, match="choose a class"):
            gallery.page(workspace, order="class")

    def test_masks_of_an_earlier_version_say_so(self, workspace: Workspace) -> None:
        (manifest,) = Path(workspace.storage.uri).glob("masks/*/later/manifest.json")
        content = manifest.read_bytes()
        manifest.write_text(json.dumps({**json.loads(content), "version": 3}))
        try:
            with (
                run_cache.during("another version"),
                pytest.raises(WorkspaceError, match="run `stego masks` again"),
            ):
                gallery.page(workspace)
            assert gallery.item(workspace, "later", 0) is None
            dumps = {each.dump for each in confidence_table.least_certain(Summary(workspace), 99)}
            assert dumps == {"first"}
        finally:
            manifest.write_bytes(content)


class TestPixels:
    def test_are_those_of_the_files(self, workspace: Workspace) -> None:
        image = gallery.image(workspace, "later", 1)
        assert image.shape == (64, 96, 3)
        assert gallery.mask(workspace, "later", 1).shape == (64, 96)
        assert gallery.mask(workspace, "later", 1).max() < CLASSES
        assert gallery.margins(workspace, "later", 1).dtype == np.uint8
        assert gallery.labels(workspace, "later", 1) is None
        labels = gallery.labels(workspace, "first", 1)
        assert labels is not None
        assert labels.shape == (64, 64)

    @pytest.mark.parametrize("pixels", [gallery.image, gallery.mask, gallery.labels])
    @pytest.mark.parametrize(("dump", "row"), [("first", 6), ("first", -1), ("none", 0)])
    def test_of_no_image_are_refused(
        self, workspace: Workspace, pixels: Callable[..., object], dump: str, row: int
    ) -> None:
        with pytest.raises(InputError, match=r"there is no dump|has no image"):
            pixels(workspace, dump, row)

    def test_an_image_without_a_mask_says_so(self, workspace: Workspace) -> None:
        (mask,) = Path(workspace.storage.uri).glob("masks/*/first/s003.png")
        content = mask.read_bytes()
        mask.unlink()
        try:
            with pytest.raises(InputError, match="has no mask"):
                gallery.mask(workspace, "first", 3)
        finally:
            mask.write_bytes(content)


class TestOverview:
    def test_tells_dumps_classes_and_revision(self, workspace: Workspace) -> None:
        found = gallery.overview(workspace)
        first, later = found["dumps"]
        assert (first["name"], first["images"], first["masks"], first["labelled"]) == (
            "first",
            6,
            6,
            6,
        )
        assert len(first["taxonomy"]) > 1
        assert (later["labelled"], later["taxonomy"], later["matches"]) == (0, None, False)
        assert (found["revision"], found["undo"], found["clusters"]) == (0, False, CLUSTERS)
        pixels = np.concatenate(
            [gallery.mask(workspace, *place).ravel() for place in gallery.browsable(workspace)]
        )
        for cls in found["classes"]:
            assert cls["share"] == pytest.approx(float((pixels == cls["id"]).mean()))
            assert cls["shown"] == cls["id"]

    def test_follows_an_edit(self, workspace: Workspace) -> None:
        named = classes_file.current_names(workspace)
        edited = named.classes.merged([1], 0).ignoring([2])
        classes_file.edit(workspace, edited, "tidied")
        found = gallery.overview(workspace)
        assert (found["revision"], found["undo"], found["note"]) == (1, True, "tidied")
        assert [cls["shown"] for cls in found["classes"]] == [0, 0, None, 3, 4]
        assert found["classes"][1]["merged_into"] == 0
        assert found["classes"][2]["ignored"]
        classes_file.undo(workspace)
        assert [cls["shown"] for cls in gallery.overview(workspace)["classes"]] == [0, 1, 2, 3, 4]
