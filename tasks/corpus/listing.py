"""What lies in a folder of images: the list, the ids, the labels that belong, what is left out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from stego_core.errors import ImageError, InputError
from tasks.files import formats, left_out, video_files
from tasks.files.entries import Entry, entries_of
from tasks.files.image_names import composed, image_ids, require_distinct, stem, storable
from tasks.files.left_out import LeftOutCounts
from tasks.labels import pairing
from tasks.labels.label_files import LabelFiles, found_labels
from tasks.storage.storage import File, Storage
from tasks.workspace import layout
from tasks.workspace.ledger import Folder

LISTING, FACTS = layout.LISTING_FILE, layout.FACTS_FILE
ESCAPED_NAME = "\\udc"
"""What `storable` leaves in a name for a byte that is not UTF-8."""
LISTING_COLUMNS = {
    "path": "string",
    "image_id": "string",
    "label": "string",
    "bytes": "int64",
    "version": "string",
    "label_version": "string",
}
CLIP_COLUMNS = {"clip": "string", "seconds": "double"}
"""Beside those, in dumps with videos: the clip of a frame and its moment; null of an image."""
PAGE_COLUMNS = {"page": "int64"}
"""Beside those, where every page is an image: its number, from 0; null of a file that has one."""


class ListingRequest(NamedTuple):
    """How a place is listed.

    Attributes:
        image_suffix: what the stem of an image has beyond what it shares with its label.
        label_suffix: what the stem of a label has beyond it.
        every_page: whether every page of a TIFF is an image.
        workspace: URI of a folder that is passed over, should it lie among the images.
    """

    image_suffix: str = ""
    label_suffix: str = ""
    every_page: bool = False
    workspace: str | None = None


class Listed(NamedTuple):
    """A place, listed.

    Attributes:
        columns: of the listing.
        told: what a person should know.
        labels: the label files; None without.
        passed: paths of image files that are labels.
    """

    columns: dict[str, list[Any]]
    told: LeftOutCounts
    labels: LabelFiles | None
    passed: list[str]


def read_file(storage: Storage, path: str) -> bytes:
    """A user's file.

    Raises:
        ImageError: it is not there or may not be read. What may be the network's weather is
            raised as it is, to be tried again rather than frozen into a dump.
    """
    if ESCAPED_NAME in path:
        raise ImageError("its file name is not UTF-8; rename it and give it as a new dump")
    if ".." in path.split("/"):  # an object's key may hold what no path can
        raise ImageError("its name has a part '..'; rename it and give it as a new dump")
    try:
        return storage.read(path)
    except OSError as error:
        if not (storage.is_local or isinstance(error, FileNotFoundError | PermissionError)):
            raise
        raise ImageError(f"cannot be read: {error.strerror or error}") from None


def default_dump(images_uri: str) -> str:
    """The dump's name where none is given: the last part of where the images lie.

    Of a single file it is the file's name without the ending.
    """
    path = PurePosixPath(composed(images_uri).rstrip("/"))
    single = left_out.is_clip(path.name) or left_out.is_image(path.name)
    name = path.stem if single else path.name
    cleaned = "".join(c if c.isalnum() or c in "._-" else "-" for c in name).lstrip(".-")
    return cleaned[:100] or "images"


def listed(
    source: Storage,
    labels: Storage | None,
    frames: Mapping[str, list[Any]] | None = None,
    wish: ListingRequest | None = None,
) -> Listed:
    """Every image of a place, its id, its label where there is one, and what is left out.

    The id is the relative path without extension where that is unambiguous (`names.image_ids`).

    Args:
        source: where the images lie; a folder, or one file.
        labels: where the labels lie: a folder, perhaps the same one, or a file.
        frames: columns of the frames of the videos among the images; they are listed as well,
            with the columns of CLIP_COLUMNS.
        wish: how it is listed.

    Raises:
        InputError: no image is found, or labels are and none belongs to an image.
    """
    wish = wish or ListingRequest()
    root, present = video_files.found(source)
    kept, told = _passed_over(root, present, wish)
    kinds = left_out.sorted_out(file.path for file in kept)
    given = found_labels(root, kinds.get(left_out.IMAGE, []), labels, wish.label_suffix)
    likely = pairing.label_like(root, kinds.get(left_out.IMAGE, [])) if given is None else set()
    serving = given.serving if given else likely
    told.add("label-like" if given is None else "label", sorted(serving))
    for kind, names in kinds.items():
        if kind not in (left_out.IMAGE, left_out.CLIP):
            told.add(kind, names, left_out.endings_note(names) if kind == "other ending" else "")
    wanted = [f for f in kept if left_out.is_image(f.path) and f.path not in serving]
    entries = entries_of(root, wanted, frames, wish.every_page)
    if not entries:
        raise InputError(_nothing(source, told))
    columns = _columns(entries)
    if given:
        _label(columns, entries, given, told, (source.uri, wish))
    shown = column_names(frames is not None, wish.every_page)
    require_distinct(columns["image_id"], columns["path"])
    return Listed({name: columns[name] for name in shown}, told, given, sorted(serving))


def facts_of(folder: Folder) -> dict[str, Any]:
    """What was written beside the list; nothing of one from before."""
    try:
        return dict(json.loads(folder.storage.read(f"{folder.path}/{FACTS}")))
    except FileNotFoundError:
        return {}


def column_names(has_clips: bool, every_page: bool) -> dict[str, str]:
    """Names and types of the listing's columns."""
    return {
        **LISTING_COLUMNS,
        **(CLIP_COLUMNS if has_clips else {}),
        **(PAGE_COLUMNS if every_page else {}),
    }


def _passed_over(
    root: Storage, present: Sequence[File], wish: ListingRequest
) -> tuple[list[File], LeftOutCounts]:
    """The files without those of the workspace itself."""
    told = LeftOutCounts()
    inside = _below(root, wish.workspace) if wish.workspace else None
    own = [f.path for f in present if inside and f.path.startswith(f"{inside}/")]
    told.add("workspace", own)
    taken = set(own)
    return [file for file in present if file.path not in taken], told


def _below(root: Storage, uri: str) -> str | None:
    """The relative path of a place below a folder; None of one that is not below it."""
    start = f"{root.uri.rstrip('/')}/"
    return uri.removeprefix(start) if uri.startswith(start) else None


def _columns(entries: Sequence[Entry]) -> dict[str, list[Any]]:
    ids = image_ids([entry.whole for entry in entries], [entry.short for entry in entries])
    nobody = [None] * len(entries)
    moments = [entry.moment or (None, None) for entry in entries]
    return {
        "path": [storable(entry.file.path) for entry in entries],
        "image_id": ids,
        "label": list(nobody),
        "bytes": [entry.file.bytes for entry in entries],
        "version": [entry.file.version for entry in entries],
        "label_version": list(nobody),
        "clip": [clip for clip, _ in moments],
        "seconds": [seconds for _, seconds in moments],
        "page": [entry.page for entry in entries],
    }


def _label(
    columns: dict[str, list[Any]],
    entries: Sequence[Entry],
    given: LabelFiles,
    told: LeftOutCounts,
    asked: tuple[str, ListingRequest],
) -> None:
    """Give each image its label.

    Raises:
        InputError: no label belongs to an image.
    """
    uri, wish = asked
    if given.coco is not None:
        return  # its file names the images: `cocolabels`
    names = [entry.short for entry in entries]
    suffixes = pairing.bare(wish.image_suffix), pairing.bare(wish.label_suffix)
    if given.single and len(entries) == 1:
        pairs = pairing.Pairs([given.files[0]])
    else:
        pairs = pairing.paired(names, given.files, *suffixes)
        _label_pages(pairs, entries, given, suffixes)
    if not pairs.count:
        raise InputError(_unmatched(uri, entries, given))
    columns["label"] = [label and label.path for label in pairs.labels]
    columns["label_version"] = [label and label.version for label in pairs.labels]
    told.add("orphan label", pairs.orphans)
    told.add("second label", pairs.seconds)
    told.add("other label", pairs.others)
    told.add("unread label", given.unread, left_out.endings_note(given.unread))
    if pairs.loosely:
        told.remarks.append(
            f"labels: {len(pairs.loosely):,} were found under a name that differs from their "
            f"image's in case or Unicode form (for example that of {pairs.loosely[0]})"
        )


def _label_pages(
    pairs: pairing.Pairs, entries: Sequence[Entry], given: LabelFiles, suffixes: tuple[str, str]
) -> None:
    """The label of a file with several pages is that of all of them that have none of their own."""
    places = [n for n, e in enumerate(entries) if e.page is not None and pairs.labels[n] is None]
    if not places:
        return
    orphans = set(pairs.orphans)
    left = [file for file in given.files if file.path in orphans]
    found = pairing.paired(
        [stem(storable(entries[place].file.path)) for place in places], left, *suffixes
    )
    for place, label in zip(places, found.labels, strict=True):
        pairs.labels[place] = label
    pairs.orphans = found.orphans


def _nothing(source: Storage, told: LeftOutCounts) -> str:
    known = " ".join((*formats.endings(), *sorted(video_files.EXTENSIONS)))
    seen = "; ".join(each.sentence() for each in told.kinds.values())
    return f"no images under {source.uri}; " + (
        f"{seen}; expected files ending in {known}" if seen else f"expected files ending in {known}"
    )


def _unmatched(uri: str, entries: Sequence[Entry], given: LabelFiles) -> str:
    """Why no label belongs to an image, with a name of each and what could help."""
    text = f"none of the {len(entries)} images under {uri} has a label under {given.root.uri}"
    if not given.files:
        what = "no file ending as an image does"
        if given.unread:
            what = f"only files that cannot be labels (for example {given.unread[0]})"
        return f"{text}, which holds {what}; a label is a PNG or TIFF of class ids, or a COCO JSON"
    ends = pairing.suggested(
        [entry.short for entry in entries], [stem(file.path) for file in given.files]
    )
    pair = f"an image is called {entries[0].file.path}, a label {given.files[0].path}"
    if ends:
        flags = zip(("--image-suffix", "--label-suffix"), ends, strict=True)
        hint = " ".join(f"{flag}={end}" for flag, end in flags if end)
        return f"{text}: {pair}; they would match with {hint}"
    return (
        f"{text}: {pair}; a label has the same relative path and stem as its image, but for what "
        "--image-suffix and --label-suffix name"
    )
