"""Images in four columns: image, label, PiCIE and STEGO, all in the colours of their classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError
from stego_core.images.palette import coloured, palette
from stego_core.labels.void import VOID, VOID_BYTE
from tasks.corpus.index import Entry, IndexReader
from tasks.images import image_codecs
from tasks.report.contents import ComparedImage, Comparison
from tasks.workspace import layout
from tasks.workspace.summary import Summary

IMAGES = 6
"""Images of each dump."""
SOURCES = {"PiCIE": ("picie", "picie"), "STEGO": ("stego", "masks")}
"""Each method's name in the scores' matching, and that of its masks among the scores' inputs."""


def comparisons(summary: Summary, dumps: Sequence[str]) -> list[Comparison]:
    """Of those dumps that PiCIE is scored on: labelled images, spread evenly over each."""
    scored = {dump: summary.scores(dump) for dump in dumps}
    return [
        comparison(summary, dump, manifest)
        for dump, manifest in scored.items()
        if manifest and "picie" in manifest["matching"]
    ]


def comparison(summary: Summary, dump: str, scored: Mapping[str, Any]) -> Comparison:
    """Labelled images of a dump, spread evenly over it, beside all methods that it is scored with.

    `scored` is the manifest of its scores.
    """
    index, names = IndexReader(summary.workspace, dump), scored["classes"]
    colours = palette(len(names))
    legend = list(zip(names, colours.tolist(), strict=True))
    rows = np.arange(index.manifest["images"], dtype=np.int64)
    labelled = [e for e in index.entries(rows) if e["label_digest"]]
    chosen = np.unique(np.linspace(0, len(labelled) - 1, min(IMAGES, len(labelled))).astype(int))
    images = [_compared(index, labelled[number], scored, colours) for number in chosen.tolist()]
    return Comparison(dump, legend, [image for image in images if image is not None])


def _compared(
    index: IndexReader, entry: Entry, scored: Mapping[str, Any], colours: NDArray[np.uint8]
) -> ComparedImage | None:
    """An image's columns; None where its files are gone, which the quarantine tells."""
    storage, columns = index.workspace.storage, {}
    try:
        image, labels = index.image(entry).pixels, index.labels(entry)
        assert labels is not None  # only labelled images are shown
        columns["label"] = coloured(labels, colours)
        for method, (name, source) in SOURCES.items():
            if name in scored["matching"]:
                path = layout.mask(scored["inputs"][source], entry["image_id"])
                ids = image_codecs.decode_mask(storage.read(path))
                columns[method] = coloured(matched(ids, scored["matching"][name]), colours)
    except (ImageError, FileNotFoundError):
        return None
    return ComparedImage(entry["image_id"], image, columns)


def matched(ids: NDArray[np.uint8], matching: Sequence[int]) -> NDArray[np.int16]:
    """Cluster ids (H, W) as ids of the classes they match: VOID where there is none."""
    table = np.full(VOID_BYTE + 1, VOID, np.int16)
    table[: len(matching)] = matching
    return table[ids]
