"""The images of a folder: their list, their ids, the labels that belong to them."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from stego_core.errors import ImageError, InputError
from tasks.files import formats, left_out, video_files
from tasks.files.entries import Entry, entries_of
from tasks.files.image_names import composed, image_ids, require_distinct, stem, storable
from tasks.files.left_out import LeftOutCounts
from tasks.labels import pairing
from tasks.labels.label_files import LabelFiles, find_labels
from tasks.storage.storage import File, Storage
from tasks.workspace import layout
from tasks.workspace.ledger import Folder

ESCAPED_NAME = "\\udc"  # what `storable` leaves in a name for a byte that is not UTF-8
LISTING_COLUMNS = {
    "path": "string",
    "image_id": "string",
    "label": "string",
    "bytes": "int64",
    "version": "string",
    "label_version": "string",
}
"""Columns of a dump's listing."""
INDEX_COLUMNS = {
    "image_id": "string",
    "path": "string",
    "height": "int32",
    "width": "int32",
    "bytes": "int64",
    "digest": "string",
    "label": "string",
    "label_digest": "string",
}
"""Columns of a dump's index."""
CLIP_COLUMNS = {"clip": "string", "seconds": "double"}
"""Beside either, in dumps with videos: the clip of a frame and its moment; null of an image."""
PAGE_COLUMNS = {"page": "int64"}
"""Beside either, where every page is an image: its number, from 0; null of a file that has one."""
QUARANTINE_COLUMNS = {"path": "string", "reason": "string"}  # columns of a dump's quarantine


class ListingRequest(NamedTuple):
    """How a folder is listed."""

    image_suffix: str = ""  # the part of an image's stem that its label's does not have
    label_suffix: str = ""  # the part of a label's stem that its image's does not have
    every_page: bool = False  # whether every page of a TIFF is an image
    workspace: str | None = None  # URI of a folder that is ignored among the images


class Listing(NamedTuple):
    """The images of a folder."""

    columns: dict[str, list[Any]]  # by the names of LISTING_COLUMNS
    left_out: LeftOutCounts
    labels: LabelFiles | None
    label_paths: list[str]  # of image files that are labels


def read_file(storage: Storage, path: str, problem: str = "cannot be read") -> bytes:
    """A user's file.

    Raises:
        ImageError: it is not there or may not be read; says `problem`. A transient error is raised
            as it is, to be tried again rather than frozen into a dump.
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
        raise ImageError(f"{problem}: {error.strerror or error}") from None


def default_dump(images_uri: str) -> str:
    """The dump's name where none is given: that of the images' folder, or of the one file."""
    path = PurePosixPath(composed(images_uri).rstrip("/"))
    single = left_out.is_clip(path.name) or left_out.is_image(path.name)
    name = path.stem if single else path.name
    cleaned = "".join(c if c.isalnum() or c in "._-" else "-" for c in name).lstrip(".-")
    return cleaned[:100] or "images"


def list_images(
    source: Storage,
    labels: Storage | None,
    frames: Mapping[str, list[Any]] | None = None,
    request: ListingRequest | None = None,
) -> Listing:
    """Every image of a folder, its id, its label where there is one, and what is left out.

    Args:
        source: where the images lie; a folder, or one file.
        labels: where the labels lie: a folder, perhaps the same one, or a file.
        frames: columns of the frames of the videos among the images, which are listed as well.
        request: how it is listed.

    Raises:
        InputError: there are no images, or there are labels and none belongs to an image.
    """
    request = request or ListingRequest()
    root, files = video_files.root_and_files(source)
    files, counts = _without_workspace(root, files, request.workspace)
    kinds = left_out.by_kind(file.path for file in files)
    image_paths = kinds.get(left_out.IMAGE, [])
    label_files = find_labels(root, image_paths, labels, request.label_suffix)
    if label_files:
        label_paths = label_files.among_images
        counts.add("label", sorted(label_paths))
    else:
        label_paths = pairing.label_like(root, image_paths)
        counts.add("label-like", sorted(label_paths))
    for kind, names in kinds.items():
        if kind not in (left_out.IMAGE, left_out.CLIP):
            counts.add(kind, names, left_out.endings_note(names) if kind == "other ending" else "")
    images = [f for f in files if left_out.is_image(f.path) and f.path not in label_paths]
    entries = entries_of(root, images, frames, request.every_page)
    if not entries:
        raise InputError(_no_images(source, counts))
    columns = _columns(entries)
    if label_files and label_files.coco is None:  # a COCO file names its images itself
        _add_labels(columns, entries, label_files, counts, request, source.uri)
    require_distinct(columns["image_id"], columns["path"])
    schema = column_names(LISTING_COLUMNS, frames is not None, request.every_page)
    kept = {name: columns[name] for name in schema}
    return Listing(kept, counts, label_files, sorted(label_paths))


def facts_of(folder: Folder) -> dict[str, Any]:
    """What was written beside the listing; empty for a listing of an earlier version."""
    return folder.storage.document(f"{folder.path}/{layout.FACTS_FILE}") or {}


def column_names(columns: Mapping[str, str], clips: bool, pages: bool) -> dict[str, str]:
    """Columns of the listing or the index of a dump, with those of clips and of pages."""
    return {**columns, **(CLIP_COLUMNS if clips else {}), **(PAGE_COLUMNS if pages else {})}


def _without_workspace(
    root: Storage, files: Sequence[File], workspace: str | None
) -> tuple[list[File], LeftOutCounts]:
    """The files that do not belong to the workspace itself."""
    counts, start = LeftOutCounts(), f"{root.uri.rstrip('/')}/"
    if workspace is None or not workspace.startswith(start):
        return list(files), counts
    inside = f"{workspace.removeprefix(start)}/"
    counts.add("workspace", [file.path for file in files if file.path.startswith(inside)])
    return [file for file in files if not file.path.startswith(inside)], counts


def _columns(entries: Sequence[Entry]) -> dict[str, list[Any]]:
    moments = [entry.moment or (None, None) for entry in entries]
    return {
        "path": [storable(entry.file.path) for entry in entries],
        "image_id": image_ids([e.whole for e in entries], [e.short for e in entries]),
        "label": [None] * len(entries),
        "bytes": [entry.file.bytes for entry in entries],
        "version": [entry.file.version for entry in entries],
        "label_version": [None] * len(entries),
        "clip": [clip for clip, _ in moments],
        "seconds": [seconds for _, seconds in moments],
        "page": [entry.page for entry in entries],
    }


def _add_labels(
    columns: dict[str, list[Any]],
    entries: Sequence[Entry],
    labels: LabelFiles,
    counts: LeftOutCounts,
    request: ListingRequest,
    uri: str,
) -> None:
    """Give each image its label; an InputError if no label belongs to an image."""
    suffixes = pairing.bare(request.image_suffix), pairing.bare(request.label_suffix)
    if labels.single and len(entries) == 1:
        pairs = pairing.Pairs([labels.files[0]])
    else:
        pairs = pairing.pair([entry.short for entry in entries], labels.files, *suffixes)
        _share_labels_of_files(pairs, entries, labels, suffixes)
    if not pairs.count:
        raise InputError(_no_label_belongs(uri, entries, labels))
    columns["label"] = [label and label.path for label in pairs.labels]
    columns["label_version"] = [label and label.version for label in pairs.labels]
    counts.add("orphan label", pairs.orphans)
    counts.add("second label", pairs.seconds)
    counts.add("other label", pairs.others)
    counts.add("unread label", labels.unread, left_out.endings_note(labels.unread))
    if pairs.inexact:
        counts.remarks.append(
            f"labels: {len(pairs.inexact):,} were found under a name that differs from their "
            f"image's in case or Unicode form (for example that of {pairs.inexact[0]})"
        )


def _share_labels_of_files(
    pairs: pairing.Pairs, entries: Sequence[Entry], labels: LabelFiles, suffixes: tuple[str, str]
) -> None:
    """Give the label of a file with several pages to all its pages that have no own label."""
    pages = [n for n, e in enumerate(entries) if e.page is not None and pairs.labels[n] is None]
    if not pages:
        return
    names = [stem(storable(entries[page].file.path)) for page in pages]
    orphans = set(pairs.orphans)
    unused = [file for file in labels.files if file.path in orphans]
    by_file = pairing.pair(names, unused, *suffixes)
    for page, label in zip(pages, by_file.labels, strict=True):
        pairs.labels[page] = label
    pairs.orphans = by_file.orphans


def _no_images(source: Storage, counts: LeftOutCounts) -> str:
    endings = " ".join((*formats.endings(), *sorted(video_files.EXTENSIONS)))
    parts = [kind.sentence() for kind in counts.kinds.values()]
    return "; ".join(
        [f"no images under {source.uri}", *parts, f"expected files ending in {endings}"]
    )


def _no_label_belongs(uri: str, entries: Sequence[Entry], labels: LabelFiles) -> str:
    """Why no label belongs to an image, with a name of each and what could help."""
    text = f"none of the {len(entries)} images under {uri} has a label under {labels.root.uri}"
    if not labels.files:
        what = "no file ending as an image does"
        if labels.unread:
            what = f"only files that cannot be labels (for example {labels.unread[0]})"
        return f"{text}, which holds {what}; a label is a PNG or TIFF of class ids, or a COCO JSON"
    pair = f"an image is called {entries[0].file.path}, a label {labels.files[0].path}"
    suffixes = pairing.suggested_suffixes(
        [entry.short for entry in entries], [stem(file.path) for file in labels.files]
    )
    if suffixes:
        flags = zip(("--image-suffix", "--label-suffix"), suffixes, strict=True)
        hint = " ".join(f"{flag}={suffix}" for flag, suffix in flags if suffix)
        return f"{text}: {pair}; they would match with {hint}"
    return (
        f"{text}: {pair}; a label has the same relative path and stem as its image, but for what "
        "--image-suffix and --label-suffix name"
    )
