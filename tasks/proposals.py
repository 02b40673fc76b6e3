"""Names for clusters, proposed from labels: those of scored dumps, or of a few labelled images."""

from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from stego_core.classes import Proposal, proposals
from stego_core.errors import ImageError, InputError, OptionError
from stego_core.metrics import Confusion
from stego_core.taxonomy import Taxonomy
from tasks import images
from tasks.listing import listed, load_taxonomy, read_file
from tasks.log import Log
from tasks.options import CorpusOptions
from tasks.summary import Summary
from tasks.workspace.storage import Storage

log = Log(__name__)
MOST_LABELS = 255
"""Ids of labels that come without a taxonomy: below this."""
Segment = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Turns an image (H, W, 3) uint8 into cluster ids (H, W) uint8."""


def from_scores(summary: Summary, taxonomy: str | None = None) -> list[Proposal]:
    """Names from the labels of every scored dump.

    Args:
        summary: of the workspace.
        taxonomy: JSON file whose class names are used instead of the dumps' own.

    Raises:
        InputError: no dump is scored.
        OptionError: the taxonomy has another number of classes than the dumps.
    """
    scored = [found for dump in summary.dumps if (found := summary.scores(dump))]
    if not scored:
        raise InputError(
            "no dump of the workspace has labels; give some labelled images with --images, "
            "--labels and --taxonomy"
        )
    names = [str(name) for name in scored[0]["classes"]]
    same = [found for found in scored if found["classes"] == scored[0]["classes"]]
    if len(same) < len(scored):
        log.warning("dumps have other classes and are left out", left_out=len(scored) - len(same))
    wanted = load_taxonomy(taxonomy)
    if wanted is not None and len(wanted.classes) != len(names):
        raise OptionError(
            f"--taxonomy {taxonomy} has {len(wanted.classes)} classes, the labels {len(names)}: "
            f"{', '.join(names)}"
        )
    confusion = np.sum([found["confusion"]["stego"] for found in same], axis=0)
    return proposals(confusion, wanted.classes if wanted else names)


def from_labelled(
    options: CorpusOptions, segment: Segment, clusters: int
) -> tuple[list[Proposal], list[str]]:
    """Names from labelled images that need not be of any dump.

    Args:
        options: images, labels and taxonomy.
        segment: labels an image with the clusters.
        clusters: their number.

    Returns:
        a proposal per cluster, and a sentence for each image that could not be used.

    Raises:
        InputError: no image with a label can be used.
    """
    source, labels = Storage.at(options.images), Storage.at(options.labels or options.images)
    taxonomy = load_taxonomy(options.taxonomy) or Taxonomy.numbered(MOST_LABELS)
    confusion = Confusion.create(len(taxonomy.classes), clusters)
    pairs = listed(source, labels)
    unusable: list[str] = []
    used = 0
    for path, label in zip(pairs["path"], pairs["label"], strict=True):
        if label is None:
            continue
        try:
            image = images.decode(read_file(source, path), options.max_pixels)
            ids = _ids(labels, label, image, taxonomy, options.max_pixels)
        except (ImageError, InputError) as error:
            unusable.append(f"{path}: {error}")
            continue
        confusion.add(ids, segment(image))
        used += 1
    if not used:
        raise InputError(
            f"no labelled image under {options.images} can be used; the first: {unusable[0]}"
        )
    return proposals(confusion.counts, taxonomy.classes), unusable


def _ids(
    labels: Storage,
    path: str,
    image: NDArray[np.uint8],
    taxonomy: Taxonomy,
    max_pixels: int,
) -> NDArray[np.int16]:
    """Class ids (H, W) int16 of a label, void −1.

    Raises:
        InputError: it is not of the image's size, or has ids beyond the taxonomy.
    """
    stored = images.decode_labels(read_file(labels, path), max_pixels)
    if stored.shape != image.shape[:2]:
        found, wanted = ("×".join(map(str, shape)) for shape in (stored.shape, image.shape[:2]))
        raise InputError(f"{PurePosixPath(path).name} is {found}, its image {wanted}")
    return taxonomy.apply(stored)
