"""Which label belongs to which image, whatever the form of the name."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from piles import kinds

from stego_core.errors import InputError
from tasks.corpus.listing import ListingRequest, list_images
from tasks.labels import pairing
from tasks.storage.storage import File, Storage


class TestPairs:
    def pairs(
        self, tmp_path: Path, images: list[str], labels: list[str], wish: ListingRequest
    ) -> list[Any]:
        for folder, names in (("i", images), ("l", labels)):
            (tmp_path / folder).mkdir()
            for name in names:
                (tmp_path / folder / name).write_bytes(b"x")
        self.left_out = list_images(
            Storage.at(str(tmp_path / "i")), Storage.at(str(tmp_path / "l")), None, wish
        )
        return self.left_out.columns["label"]

    def test_names_in_another_form_or_case(self, tmp_path: Path) -> None:
        mac = unicodedata.normalize("NFD", "münchen.png")
        images, labels = ["DSC_1.JPG", mac], ["dsc_1.png", "münchen.png"]
        assert self.pairs(tmp_path, images, labels, ListingRequest()) == labels
        assert self.left_out.left_out.remarks[0].startswith("labels: 2 were found under a name")

    def test_case_that_leaves_a_doubt(self, tmp_path: Path) -> None:
        pairs = self.pairs(
            tmp_path, ["a.jpg", "B.jpg", "b.jpg"], ["a.png", "b.png"], ListingRequest()
        )
        assert pairs == [None, "a.png", "b.png"]

    def test_cityscapes(self, tmp_path: Path) -> None:
        images = [f"aachen_{n}_leftImg8bit.png" for n in range(3)]
        labels = [f"aachen_{n}_gtFine_{k}.png" for n in range(3) for k in ("color", "labelIds")]
        wish = ListingRequest("_leftImg8bit", "_gtFine_labelIds")
        assert self.pairs(tmp_path, images, labels, wish) == labels[1::2]
        assert kinds(self.left_out.left_out) == {"other label": (3, labels[0])}

    def test_what_would_match_is_told(self, tmp_path: Path) -> None:
        images = [f"aachen_{n}_leftImg8bit.png" for n in range(3)]
        labels = [f"aachen_{n}_gtFine_labelIds.png" for n in range(3)]
        expected = "--image-suffix=_leftImg8bit --label-suffix=_gtFine_labelIds"
        with pytest.raises(InputError, match=expected) as refused:
            self.pairs(tmp_path, images, labels, ListingRequest())
        assert images[0] in str(refused.value)
        assert labels[0] in str(refused.value)


def files(*paths: str) -> list[File]:
    return [File(path, 1, "v", 0.0) for path in paths]


def belonging(pairs: pairing.Pairs) -> list[str | None]:
    return [label and label.path for label in pairs.labels]


class TestPair:
    def test_the_likeliest_to_hold_ids_wins(self) -> None:
        labels = files("a.jpg", "a.bmp", "a.tif", "a.png", "b.webp", "b.gif")
        pairs = pairing.pair(["a", "b"], labels)
        assert belonging(pairs) == ["a.png", "b.gif"]
        assert pairs.seconds == ["a.bmp", "a.jpg", "a.tif", "b.webp"]
        assert (pairs.count, pairs.orphans, pairs.inexact, pairs.others) == (2, [], [], [])

    def test_an_exact_name_wins_over_another_case(self) -> None:
        pairs = pairing.pair(["x", "Y"], files("X.png", "x.png", "y.png", "z.png"))
        assert belonging(pairs) == ["x.png", "y.png"]
        assert (pairs.inexact, pairs.orphans) == ([1], ["X.png", "z.png"])

    def test_suffixes_are_left_out_of_the_comparison(self) -> None:
        pairs = pairing.pair(
            ["a_rgb", "b"], files("a_ids.png", "b_ids.png", "c.png"), "_rgb", "_ids"
        )
        assert belonging(pairs) == ["a_ids.png", None]
        assert (pairs.orphans, pairs.others) == (["b_ids.png"], ["c.png"])

    def test_a_name_that_is_only_a_suffix_has_none(self) -> None:
        assert pairing.pair(["_rgb"], files("_ids.png"), "_rgb", "_ids").count == 0

    def test_nothing(self) -> None:
        assert pairing.pair([], []) == pairing.Pairs([])


@pytest.mark.parametrize(
    ("given", "means"),
    [("_mask.png", "_mask"), ("_mask", "_mask"), (".png", ""), ("_v1.5", "_v1.5"), (None, "")],
)
def test_a_suffix_may_come_with_an_ending(given: str | None, means: str) -> None:
    assert pairing.bare(given) == means


@pytest.mark.parametrize(
    ("images", "labels", "suffixes"),
    [
        (["a_rgb", "b_rgb"], ["a_ids", "b_ids"], ("_rgb", "_ids")),
        (["d/a", "d/b"], ["d/a_ids", "d/b_ids"], ("", "_ids")),
        (["imga", "imgb"], ["imga-x", "imgb-x"], ("", "-x")),
        (["a", "b"], ["c", "d"], None),
        (["a"], [], None),
        ([], ["a"], None),
    ],
)
def test_suggested_suffixes(
    images: list[str], labels: list[str], suffixes: tuple[str, str] | None
) -> None:
    assert pairing.suggested_suffixes(images, labels) == suffixes


def test_beside() -> None:
    paths = ["a.jpg", "a.png", "b.png", "c.jpg", "c.jpeg", "d/a.png", "e.tif", "e.png"]
    assert pairing.beside(paths) == {"a.png": "a.jpg", "e.png": "e.tif"}
