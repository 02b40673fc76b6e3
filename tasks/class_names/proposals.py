"""Names for clusters, proposed from labels: those of scored dumps, or of a few labelled images."""

from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, InputError, OptionError
from stego_core.images.rendering import Picture
from stego_core.labels.class_names import Proposal, proposals
from stego_core.scores.metrics import Confusion
from tasks.class_names import classes_file
from tasks.corpus.index import IndexReader
from tasks.corpus.listing import ListingRequest, list_images, read_file
from tasks.corpus.member_list import has_members
from tasks.files import video_files
from tasks.images import image_codecs
from tasks.labels.label_decoding import class_ids, taxonomy_or_numbers
from tasks.labels.taxonomies import load_taxonomy
from tasks.log import Log
from tasks.options import CorpusOptions
from tasks.storage.storage import Storage
from tasks.workspace import layout
from tasks.workspace.ledger import Folder
from tasks.workspace.summary import Summary

log = Log(__name__)
COMPARED_IMAGES = 50
"""Images of a dump whose masks before and after a retraining are compared."""
Segment = Callable[[Picture], NDArray[np.uint8]]
"""Turns a picture into cluster ids (H, W) uint8, 255 where there is no data."""
Read = Callable[[bytes, int], Picture]
"""Turns an image file, of so many pixels at most, into a picture; raises ImageError."""


def from_scores(summary: Summary, taxonomy: str | None = None) -> list[Proposal]:
    """Names from the labels of every scored dump.

    Args:
        taxonomy: JSON file whose class names are used instead of the dumps' own.

    Raises:
        InputError: no dump is scored.
        OptionError: the taxonomy has another number of classes than the dumps.
    """
    scored = [scores for dump in summary.dumps if (scores := summary.scores(dump))]
    if not scored:
        raise InputError(
            "no dump of the workspace has labels; give some labelled images with --images, "
            "--labels and --taxonomy"
        )
    names = [str(name) for name in scored[0]["classes"]]
    same = [scores for scores in scored if scores["classes"] == scored[0]["classes"]]
    if len(same) < len(scored):
        log.warning("dumps have other classes and are left out", left_out=len(scored) - len(same))
    given = load_taxonomy(taxonomy)
    if given is not None and len(given.classes) != len(names):
        raise OptionError(
            f"--taxonomy {taxonomy} has {len(given.classes)} classes, the labels {len(names)}: "
            f"{', '.join(names)}"
        )
    confusion = np.sum([scores["confusion"]["stego"] for scores in same], axis=0)
    return proposals(confusion, given.classes if given else names)


def from_previous(summary: Summary) -> tuple[list[Proposal], dict[str, str]]:
    """Names that classes had before a retraining, from the masks that both clusterings made.

    Returns:
        a proposal per cluster, and the colour of each name.

    Raises:
        InputError: nothing was named before, or no image has masks of both.
    """
    before = classes_file.names_of_previous_clusters(summary.workspace)
    if before is None:
        raise InputError("the classes of earlier clusters are not in classes.toml; name some first")
    kept, shown = before.classes.kept(), before.classes.display_table()
    names = [before.classes.entries[number].name for number in kept]
    rows = np.full(256, -1, np.int16)  # of the confusion matrix, by shown id
    rows[kept] = np.arange(len(kept))
    confusion = Confusion(len(kept), len(summary.automatic_names()))
    for dump in summary.dumps:
        now, old = summary.folder("masks", dump), _masks_of(summary, before.clusters_key, dump)
        if now is None or old is None:
            continue
        for image_id in _compared_images(IndexReader(summary.workspace, dump)):
            old_mask, new_mask = _stored_mask(old, image_id), _stored_mask(now, image_id)
            if old_mask is not None and new_mask is not None:
                confusion.add(rows[shown[old_mask]], new_mask)
    if not confusion.counts.any():
        raise InputError(
            f"no image has masks of the current clusters and of the ones before "
            f"({before.clusters_key}); label a dump again with `stego masks`"
        )
    entries = (before.classes.entries[number] for number in kept)
    return proposals(confusion.counts, names), {entry.name: entry.colour for entry in entries}


def _masks_of(summary: Summary, clusters_key: str, dump: str) -> Folder | None:
    """A dump's finished masks that were made with other clusters."""
    for key in summary.workspace.storage.names("masks"):
        folder = summary.workspace.folder(layout.masks(key, dump))
        if folder.finished and folder.manifest()["inputs"]["clusters"] == clusters_key:
            return folder
    return None


def _compared_images(index: IndexReader) -> list[str]:
    """Ids of a few images, spread evenly over a dump."""
    total = int(index.manifest["images"])
    rows = np.unique(np.linspace(0, total - 1, min(COMPARED_IMAGES, total)).astype(np.int64))
    return [str(entry["image_id"]) for entry in index.entries(rows)]


def _stored_mask(folder: Folder, image_id: str) -> NDArray[np.uint8] | None:
    try:
        return image_codecs.decode_mask(folder.storage.read(layout.mask(folder.path, image_id)))
    except FileNotFoundError:
        return None  # it is quarantined


def from_labelled(
    options: CorpusOptions, read: Read, segment: Segment, clusters: int
) -> tuple[list[Proposal], list[str]]:
    """Names from labelled images that need not be of any dump, for so many clusters.

    Returns:
        a proposal per cluster, and a sentence for each image that could not be used.

    Raises:
        InputError: no image with a label can be used.
    """
    if has_members(options):
        raise InputError(
            f"names are proposed from labelled files of a folder; {options.images} is an archive "
            "or a list: index it with `stego backfill`, and its own labels propose names"
        )
    source, labels = Storage.at(options.images), Storage.at(options.labels or options.images)
    taxonomy = taxonomy_or_numbers(load_taxonomy(options.taxonomy))
    confusion = Confusion(len(taxonomy.classes), clusters)
    request = ListingRequest(options.image_suffix or "", options.label_suffix or "")
    listing = list_images(source, labels, None, request)
    if listing.labels is None or listing.labels.coco:
        raise InputError("names are proposed from a folder of label images; give one with --labels")
    source, _ = video_files.root_and_files(source)
    labels, pairs = listing.labels.root, listing.columns
    unusable: list[str] = []
    used = 0
    for path, label in zip(pairs["path"], pairs["label"], strict=True):
        if label is None:
            continue
        try:
            image = read(read_file(source, path), options.max_pixels)
            ids = class_ids(read_file(labels, label), options.max_pixels, taxonomy)
            _require_size(ids, image.pixels, label)
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


def _require_size(ids: NDArray[np.int16], image: NDArray[np.uint8], path: str) -> None:
    if ids.shape != image.shape[:2]:
        sizes = ["×".join(map(str, shape)) for shape in (ids.shape, image.shape[:2])]
        raise InputError(f"{PurePosixPath(path).name} is {sizes[0]}, its image {sizes[1]}")
