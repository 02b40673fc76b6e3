"""Names proposed from scores, from the classes before a retraining, from labelled images."""

import json
from pathlib import Path

import numpy as np
import pytest
from labelled import MASKS_KEY, add_dump, blobs, save_photo, workspace_at
from numpy.typing import NDArray
from PIL import Image

from stego_core.errors import InputError, OptionError
from stego_core.images.rendering import Picture
from tasks.class_names import classes_file
from tasks.class_names.proposals import from_labelled, from_previous, from_scores
from tasks.images import image_codecs
from tasks.options import CorpusOptions
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

MASK = blobs(1, 9, 12)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A dump whose image has a mask of five clusters."""
    save_photo(tmp_path / "day" / "a.png", MASK.shape)
    workspace = workspace_at(str(tmp_path / "ws"))
    add_dump(workspace, "day", tmp_path / "day", {"a": MASK})
    return workspace


def score(workspace: Workspace, classes: list[str], confusion: list[list[int]]) -> None:
    workspace.folder("scores", "k", "day").finish(
        {"classes": classes, "confusion": {"stego": confusion}, "matching": {"stego": [-1] * 5}}
    )
    workspace.update_last_run(scores={"day": "k"})


class TestScores:
    def test_each_cluster_gets_the_class_of_most_of_its_pixels(self, workspace: Workspace) -> None:
        score(workspace, ["road", "sky"], [[3, 0, 1, 0, 5], [1, 2, 1, 0, 0]])
        found = from_scores(Summary(workspace))
        assert [proposal.name for proposal in found[:2]] == ["road", "sky"]
        assert found[0].support == pytest.approx(3 / 4)
        assert (found[3].name, found[3].pixels) == (None, 0)

    def test_a_taxonomy_gives_other_names(self, workspace: Workspace, tmp_path: Path) -> None:
        score(workspace, ["road", "sky"], [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]])
        file = tmp_path / "taxonomy.json"
        file.write_text(json.dumps({"classes": ["Straße", "Himmel"], "void": 255}))
        assert from_scores(Summary(workspace), str(file))[1].name == "Himmel"
        file.write_text(json.dumps({"classes": ["one"], "void": 255}))
        with pytest.raises(OptionError, match="has 1 classes, the labels 2: road, sky"):
            from_scores(Summary(workspace), str(file))

    def test_without_labels_there_is_none(self, workspace: Workspace) -> None:
        with pytest.raises(InputError, match="no dump of the workspace has labels"):
            from_scores(Summary(workspace))


class TestPrevious:
    def retrain(self, workspace: Workspace, mask: NDArray[np.uint8]) -> None:
        """Clusters and masks of a second training."""
        workspace.folder("clusters", "new").finish({"classes": 5, "options": {}})
        folder = workspace.folder("masks", "new-masks", "day")
        content = image_codecs.encode_mask(mask, np.zeros((5, 3), np.uint8))
        workspace.storage.write(f"{folder.path}/a.png", content)
        folder.finish({"inputs": {"clusters": "new"}})
        old = workspace.folder("masks", MASKS_KEY, "day")
        old.finish({**old.manifest(), "inputs": {"clusters": "clusters-key"}})
        workspace.update_last_run(keys={"clusters": "new", "masks": "new-masks"})

    def test_names_follow_the_pixels(self, workspace: Workspace) -> None:
        """The same clusters in another order have the names and colours that they had."""
        classes = classes_file.current_names(workspace).classes
        edited = classes.merged([3], 2).edited(0, "house", "#123456")
        classes_file.edit(workspace, edited, "for a test")
        self.retrain(workspace, (MASK + 1) % 5)
        found, colours = from_previous(Summary(workspace))
        assert [proposal.name for proposal in found] == ["car", "house", "road", "sky", "sky"]
        assert [proposal.support for proposal in found] == [1.0] * 5
        assert colours["house"] == "#123456"

    def test_nothing_was_named_before(self, workspace: Workspace) -> None:
        with pytest.raises(InputError, match=r"not in classes\.toml"):
            from_previous(Summary(workspace))

    def test_no_image_has_both_masks(self, workspace: Workspace) -> None:
        classes = classes_file.current_names(workspace).classes
        classes_file.edit(workspace, classes.edited(0, "house"), "for a test")
        self.retrain(workspace, MASK)
        workspace.storage.remove(f"masks/{MASKS_KEY}/day/a.png")
        with pytest.raises(InputError, match="no image has masks of the current clusters"):
            from_previous(Summary(workspace))


def read(content: bytes, max_pixels: int) -> Picture:
    return Picture(image_codecs.decode(content, max_pixels))


def by_brightness(picture: Picture) -> NDArray[np.uint8]:
    """Two clusters: dark and bright."""
    return (picture.pixels.mean(axis=2) > 127).astype(np.uint8)


class TestLabelled:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """An image whose left half is dark and of class 0, and one that cannot be read."""
        for kind in ("images", "labels"):
            (tmp_path / kind).mkdir()
        halves = np.repeat([0, 1], 4)[None].repeat(6, 0).astype(np.uint8)
        Image.fromarray(halves * 255).convert("RGB").save(tmp_path / "images" / "a.png")
        for name in "ab":
            Image.fromarray(halves).save(tmp_path / "labels" / f"{name}.png")
        (tmp_path / "images" / "b.png").write_bytes(b"not an image")
        document = {"classes": ["night", "day"], "void": 255}
        (tmp_path / "taxonomy.json").write_text(json.dumps(document))
        return tmp_path

    def options(self, folder: Path) -> CorpusOptions:
        return CorpusOptions(
            images=str(folder / "images"),
            labels=str(folder / "labels"),
            taxonomy=str(folder / "taxonomy.json"),
        )

    def test_names_are_those_of_the_labels_under_each_cluster(self, folder: Path) -> None:
        found, unusable = from_labelled(self.options(folder), read, by_brightness, 2)
        assert [(proposal.name, proposal.support) for proposal in found] == [
            ("night", 1.0), ("day", 1.0),
        ]  # fmt: skip
        (sentence,) = unusable
        assert sentence.startswith("b.png: ")

    def test_a_label_of_another_size_is_told(self, folder: Path) -> None:
        Image.new("L", (3, 2)).save(folder / "labels" / "a.png")
        with pytest.raises(InputError, match=r"the first: a\.png: a\.png is 2×3, its image 6×8"):
            from_labelled(self.options(folder), read, by_brightness, 2)
