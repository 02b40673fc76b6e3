"""Options of the corpus: which files, how their numbers are read, where dumps arrive."""

from typing import Literal

from pydantic import Field, model_validator

from stego_core.images.value_range import parsed_bands, parsed_range
from tasks.options.base import Options


class ReadOptions(Options):
    """What is taken from the files of a dump."""

    max_pixels: int = Field(
        128_000_000,
        gt=0,
        description="An image of more pixels is quarantined, as it may be a decompression bomb.",
    )
    fps: float = Field(
        1.0, gt=0, le=240, description="This many frames per second are taken from videos."
    )
    bands: str | None = Field(
        None,
        description="These bands, counted from 1, become red, green and blue, such as 4,3,2, or "
        "this one becomes grey. By default it is as the files say, else the first three or the "
        "first.",
    )
    value_range: str = Field(
        "auto",
        description="These values become black and white. With auto, eight bits stay as they are, "
        "others span all that the files' bits hold where their values use it, else what the whole "
        "corpus holds; with file, they span what the files state, else all that their bits hold; "
        "or two numbers are given, such as 0,3000.",
    )

    @model_validator(mode="after")
    def _values_mean_something(self) -> "ReadOptions":
        parsed_bands(self.bands)
        parsed_range(self.value_range)
        return self


class CorpusOptions(ReadOptions):
    """Which images, and what is known about them."""

    images: str = Field(
        description="This is a folder or URI of images and videos, which is searched recursively; "
        "one image or video; a pattern of files (imgs/**/*.jpg); tar or zip archives "
        "(x-{000000..000099}.tar); or a list of addresses (.csv, .tsv, .jsonl, .parquet, .txt)."
    )
    labels: str | None = Field(
        None,
        description="This is a folder or URI of label images (same relative path and stem; it may "
        "be the images' own folder), or a COCO JSON file.",
    )
    taxonomy: str | None = Field(
        None,
        description="This JSON file holds the class names, the void id and, where wanted, colours "
        "or a fine-to-coarse table.",
    )
    image_suffix: str | None = Field(
        None,
        description="This is what the name of an image has beyond what it shares with its label, "
        "such as _leftImg8bit.",
    )
    label_suffix: str | None = Field(
        None,
        description="This is what the name of a label has beyond what it shares with its image, "
        "such as _gtFine_labelIds; other files under --labels are then no labels. Without "
        "--labels, labels lie among the images.",
    )
    pages: Literal["first", "all"] = Field(
        "first",
        description="Of a TIFF with several pages, the first becomes an image, or each of them "
        "does.",
    )

    url_column: str | None = Field(
        None,
        description="This column of a list (CSV, TSV, JSON lines, Parquet) has the images' "
        "addresses. By default it is url, uri, path, image, file or filename.",
    )
    id_column: str | None = Field(
        None,
        description="This column of a list has the images' ids, which name their masks. By default "
        "it is id, image_id or key if there is such a column, else ids are made of the addresses.",
    )
    label_column: str | None = Field(
        None,
        description="This column of a list has the addresses of the labels. By default it is label "
        "or mask, if it holds files.",
    )
    split_column: str | None = Field(
        None,
        description="This column of a list says which split a row is of. By default it is split.",
    )
    caption_column: str | None = Field(
        None,
        description="This column of a list has captions, which the index keeps. By default it is "
        "caption.",
    )
    split: str | None = Field(None, description="Only rows of this split of a list are taken.")

    def list_options(self) -> dict[str, str]:
        """The options of lists that are given."""
        names = ("url_column", "id_column", "label_column", "split_column", "caption_column")
        given = {name: getattr(self, name) for name in (*names, "split")}
        return {name: value for name, value in given.items() if value is not None}

    def suffixes(self) -> dict[str, str]:
        """The suffixes that are given."""
        given = {"image_suffix": self.image_suffix, "label_suffix": self.label_suffix}
        return {name: suffix for name, suffix in given.items() if suffix}


class InboxOptions(ReadOptions):
    """Where dumps arrive, each in a folder of its own."""

    inbox: str = Field(description="Every new folder of this folder or URI is a dump.")
    quiet_minutes: float = Field(
        0.0,
        ge=0,
        description="Folders of the inbox that changed within this many minutes are left alone.",
    )
