"""What lies where the page points, before work is spent: images, their forms, what is left out."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from flows.explorer.home.run_request import Order
from flows.runs.class_count import DEFAULT_CLASSES
from stego_core.errors import InputError, StegoError
from tasks.corpus.frozen_list import listed
from tasks.corpus.listing import ListedRows
from tasks.corpus.member_list import counted, has_members
from tasks.features import enough_images, hub
from tasks.files import video_files
from tasks.files.image_names import ending
from tasks.files.left_out import is_clip, is_image
from tasks.labels.taxonomies import load_taxonomy
from tasks.options import LEAST_CLASSES
from tasks.storage.spool import Spool
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace

FEWEST_NEIGHBORS = 5
"""The crops of a single image are so many. Of more images it is half: some may be broken."""


@dataclass
class Found:
    """What lies at a place.

    `forms`: images by the ending of their files, the most frequent first; `labelled`: images with
    a label, None without labels or where these are a COCO file; `named`: classes of the taxonomy;
    `neighbors`: how many fit, where the images are fewer than by default; `left_out`: sentences;
    `problems`: why no run can be started; `name_taken`: one of them is that
    another dump has the name; `sample`: paths of a few images, for the server alone.
    """

    place: str
    dump: str
    images: int = 0
    videos: int = 0
    bytes: int = 0
    forms: list[tuple[str, int]] = field(default_factory=list)
    labelled: int | None = None
    left_out: list[str] = field(default_factory=list)
    named: int = 0
    neighbors: int | None = None
    remarks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    name_taken: bool = False
    sample: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For the page."""
        return {name: value for name, value in asdict(self).items() if name != "sample"}

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note the error that ends the block as a problem."""
        try:
            yield
        except StegoError as error:
            self.problems.append(str(error))


def look(workspace: Workspace, order: Order) -> Found:
    """What an order's images are; nothing is read but names, sizes and the taxonomy.

    Each part is looked at even if another has a problem, so that people learn of all at once.

    Raises:
        InputError: it points at none.
    """
    corpus = order.options.corpus
    if corpus.images is None:
        raise InputError("a retraining points at no images; there is nothing to look at")
    found = Found(Storage.at(corpus.images).uri, order.dump)
    with found.noting():
        _check_name(found, workspace)
    with found.noting():
        _count(found, workspace, order)
    with found.noting():
        taxonomy = load_taxonomy(corpus.taxonomy)
        found.named = len(set(taxonomy.classes)) if taxonomy else 0
        if order.kind == "run":
            _check_count(found, order)
    if order.kind == "run" and order.options.features.weights is None:
        with found.noting():
            hub.require(order.options.features.backbone)
    return found


def _check_name(found: Found, workspace: Workspace) -> None:
    """InputError for a dump's name that is taken by images from elsewhere, or is none."""
    manifest = workspace.corpus(found.dump).manifest_or_none()
    if manifest and manifest["images_uri"] != found.place:
        found.name_taken = True
        raise InputError(
            f"there are images named {found.dump} already, from {manifest['images_uri']}; give "
            "these another name"
        )


def _count(found: Found, workspace: Workspace, order: Order) -> None:
    corpus = order.options.corpus
    if has_members(corpus):
        objects, missing = counted(corpus)
        found.bytes = sum(each.bytes for each in objects)
        what = "archive or list" if len(objects) == 1 else "archives or lists"
        found.remarks.append(f"{len(objects):,} {what}; the run counts the images in them")
        found.left_out = [f"{uri} cannot be read: {why}" for uri, why in missing.items()]
        return
    has_images, clips = False, []
    for file in video_files.root_and_each(Storage(found.place))[1]:
        has_images = has_images or is_image(file.path)
        clips += [file] if is_clip(file.path) else []
    found.videos, found.bytes = len(clips), sum(clip.bytes for clip in clips)
    if not clips or has_images:  # else the images will be frames
        with Spool() as spool:
            _describe(found, listed(spool, workspace, corpus), spool)


def _describe(found: Found, rows: ListedRows, spool: Spool) -> None:
    """Rows pass by a part at a time, so that a look at many takes no more memory."""
    counts, total, labelled = Counter[str](), len(rows.entries), 0

    def sizes() -> Iterator[tuple[int, str]]:
        nonlocal labelled
        for part in rows.parts():
            found.bytes += sum(part["bytes"])
            counts.update(ending(path) or "no ending" for path in part["path"])
            labelled += sum(label is not None for label in part["label"])
            yield from zip(part["bytes"], part["path"], strict=True)

    places = [total * part // 4 for part in (1, 2, 3)]
    by_size = enumerate(spool.sorted(sizes(), tuple))
    chosen = {place: path for place, (_, path) in by_size if place in places}
    found.sample = [chosen[place] for place in places]
    found.images, found.forms = total, counts.most_common()
    found.left_out = rows.left_out.lines()
    if rows.labels and rows.labels.coco is None:
        found.labelled = labelled


def default_classes(found: Found) -> int:
    """K where nobody says one."""
    return max(found.named or DEFAULT_CLASSES, LEAST_CLASSES)


def _check_count(found: Found, order: Order) -> None:
    """CapacityError where the images are too few for the classes that would be made."""
    options = order.options
    classes = options.clusters.classes or default_classes(found)
    if not found.images or found.videos:
        return  # nobody knows yet how many frames there will be
    clusters = options.clusters.model_copy(update={"classes": classes})
    neighbors = options.neighbors
    if found.images < neighbors.k and "k" not in neighbors.model_fields_set:
        found.neighbors = max(found.images // 2, FEWEST_NEIGHBORS)
        found.remarks.append(
            f"the images are few: each piece is compared with {found.neighbors} that are like it, "
            f"instead of {neighbors.k}, and classes will be rough"
        )
        neighbors = neighbors.model_copy(update={"k": found.neighbors})
    found.remarks += enough_images.require_enough(
        found.images, options.features, neighbors, clusters
    )
