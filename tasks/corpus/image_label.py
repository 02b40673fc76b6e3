"""One image's label while a dump is indexed: read or drawn, checked, and counted."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stego_core.errors import ImageError, InputError
from stego_core.labels.taxonomy import Taxonomy
from tasks.corpus.index import drawn_label
from tasks.corpus.listing import read_file
from tasks.images import image_codecs
from tasks.images.decoding_memory import Room
from tasks.labels import coco_labels, label_decoding
from tasks.storage.storage import Storage
from tasks.workspace import keys
from tasks.workspace.workspace import Workspace

Entry = dict[str, Any]


@dataclass(frozen=True)
class Labelling:
    """Where a dump's labels come from and what they mean.

    Attributes:
        workspace: keeps labels that are drawn.
        dump: whose labels.
        place: the folder that their paths are relative to; None without labels.
        taxonomy: what they mean; None where nothing says so.
        max_pixels: of a label.
        coco: whether they are drawn from a COCO file.
    """

    workspace: Workspace
    dump: str
    place: Storage | None
    taxonomy: Taxonomy | None
    max_pixels: int
    coco: bool = False

    def describe(self, row: Entry, size: tuple[int, int], image: bytes, room: Room) -> Entry:
        """The label's part of an image's entry: an unreadable one is quarantined, a wrong one is
        a problem.

        Args:
            row: of the listing.
            size: (H, W) of the image as displayed.
            image: the bytes of its file.
            room: asked before the label is decoded.
        """
        entry: Entry = {
            "label": None,
            "label_digest": None,
            "highest_label": -1,
            "label_pixels": [],
            "unnamed_void": 0,
        }
        if row["label"] is None or self.place is None:
            return entry
        try:
            content = self._content(self.place, row, size)
            with room.for_decoding(row["label"], content, self.max_pixels):
                ids, unnamed = self._ids(content, row)
        except ImageError as error:
            return {**entry, "label": row["label"], "label_reason": f"label: {error}"}
        except InputError as error:
            return {**entry, "problem": f"{row['label']}: {error}"}
        if ids.shape != size:
            return {
                **entry,
                "problem": f"{row['label']} {label_decoding.misfit(ids.shape, size, image)}",
            }
        return {
            **entry,
            "label": row["label"],
            "label_digest": keys.digest(content),
            "highest_label": int(ids.max()),
            "label_pixels": label_decoding.counted(ids),
            "unnamed_void": unnamed,
        }

    def _content(self, place: Storage, row: Entry, size: tuple[int, int]) -> bytes:
        """The bytes of a label file; one that is drawn is also kept in the workspace."""
        if not self.coco:
            return read_file(place, row["label"])
        content = image_codecs.encode_png(Image.fromarray(coco_labels.draw(row["areas"], size)))
        self.workspace.storage.write(drawn_label(self.dump, row["image_id"]), content)
        return content

    def _ids(self, content: bytes, row: Entry) -> tuple[NDArray[np.int16], int]:
        if self.coco and self.taxonomy:
            return label_decoding.ids_and_unnamed(
                content, self.max_pixels, self.taxonomy.with_ids()
            )
        return label_decoding.ids_and_unnamed(
            content, self.max_pixels, self.taxonomy, row.get("page")
        )
