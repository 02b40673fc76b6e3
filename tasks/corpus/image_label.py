"""One image's label while a dump is indexed: read or rasterised, checked, and counted."""

from dataclasses import dataclass
from typing import Any

from PIL import Image

from stego_core.errors import ImageError, InputError
from stego_core.labels.taxonomy import Taxonomy
from tasks.corpus.listing import read_file
from tasks.images import image_codecs
from tasks.images.decoding_memory import MemoryBudget
from tasks.labels import coco_labels, label_decoding
from tasks.sources.reading import Block, MemberReader
from tasks.storage.http_client import HostError
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout
from tasks.workspace.workspace import Workspace

Entry = dict[str, Any]
WITHOUT_LABEL: Entry = {
    "label": None,
    "label_digest": None,
    "highest_label": -1,
    "label_pixels": [],
    "unnamed_void": 0,
}
"""The label's part of the entry of an image that has none."""


@dataclass(frozen=True)
class LabelSource:
    """Where a dump's labels come from and what they mean."""

    workspace: Workspace  # keeps labels that are rasterised
    dump: str  # whose labels
    root: Storage | None  # the folder that their paths are relative to; None without labels
    taxonomy: Taxonomy | None  # what they mean; None where nothing says so
    max_pixels: int  # of a label
    coco: bool = False  # whether they are rasterised from a COCO file
    members: MemberReader | None = None  # of archives or lists; None where labels are files

    def describe(
        self,
        row: Entry,
        size: tuple[int, int],
        image: bytes,
        memory: MemoryBudget,
        block: Block | None = None,
    ) -> Entry:
        """The label's part of an image's entry.

        An unreadable label has a `label_reason` and is quarantined, a wrong one is a `problem`.

        Args:
            row: of the listing.
            size: (H, W) of the image as displayed.
            image: the bytes of its file.
            memory: taken while the label is decoded.
            block: of an archive; a label in it is not fetched again.
        """
        path = row["label"]
        if path is None or self.root is None:
            return WITHOUT_LABEL
        page, taxonomy = row.get("page"), self.taxonomy
        if self.coco and taxonomy:
            page, taxonomy = None, taxonomy.with_ids()
        try:
            content = self._content(self.root, row, size, block)
            with memory.for_decoding(path, content, self.max_pixels):
                ids, unnamed = label_decoding.ids_and_unnamed(
                    content, self.max_pixels, taxonomy, page
                )
        except (ImageError, HostError) as error:
            return {**WITHOUT_LABEL, "label": path, "label_reason": f"label: {error}"}
        except InputError as error:
            return {**WITHOUT_LABEL, "problem": f"{path}: {error}"}
        if ids.shape != size:
            problem = f"{path} {label_decoding.size_mismatch(ids.shape, size, image)}"
            return {**WITHOUT_LABEL, "problem": problem}
        return {
            "label": path,
            "label_digest": keys.digest(content),
            "highest_label": int(ids.max()),
            "label_pixels": label_decoding.pixels_of_classes(ids),
            "unnamed_void": unnamed,
        }

    def _content(
        self, root: Storage, row: Entry, size: tuple[int, int], block: Block | None
    ) -> bytes:
        """The bytes of a label file; one that is rasterised is also kept in the workspace."""
        if self.members:
            return self.members.read(row, "label_", block=block)
        if not self.coco:
            return read_file(root, row["label"])
        ids = coco_labels.rasterise(row["areas"], size)
        content = image_codecs.encode_png(Image.fromarray(ids))
        self.workspace.storage.write(layout.label(self.dump, row["image_id"]), content)
        return content
