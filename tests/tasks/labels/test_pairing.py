"""Which label belongs to which image, whatever the form of the name."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from piles import kinds

from stego_core.errors import InputError
from tasks.corpus.listing import ListingRequest, list_images
from tasks.storage.storage import Storage


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
