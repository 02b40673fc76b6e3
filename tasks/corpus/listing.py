"""The images of a folder: their list, their ids, the labels that belong to them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from stego_core.errors import ImageError, InputError
from tasks.corpus.listed_labels import by_number, labels_of
from tasks.files import formats, left_out, patterns, video_files
from tasks.files.entries import Entry, entries_of
from tasks.files.image_ids import image_ids
from tasks.files.image_names import composed, storable
from tasks.files.left_out import LeftOutCounts
from tasks.labels import pairing
from tasks.labels.label_files import LabelFiles, but_for, find_labels
from tasks.labels.label_pairs import label_like
from tasks.sources.forms import Form, form_of
from tasks.sources.member_rows import MEMBER_COLUMNS
from tasks.sources.reading import image_errors
from tasks.storage.spool import Rows, Spool
from tasks.storage.storage import File, Storage
from tasks.workspace import layout, tables
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
    """The images of a folder, in memory."""

    columns: dict[str, list[Any]]  # by the names of LISTING_COLUMNS
    left_out: LeftOutCounts
    labels: LabelFiles | None  # without their files
    label_paths: list[str]  # of image files that are labels


class ListedRows(NamedTuple):
    """The images of a folder, kept on the local disk."""

    schema: dict[str, str]  # columns and their types
    entries: Rows[Entry]
    names: Rows[tuple[str, str]]  # whole and short name of each
    given: Iterable[tuple[int, File]]  # number of an image and its label
    left_out: LeftOutCounts
    labels: LabelFiles | None
    label_paths: Rows[str]  # of image files that are labels

    def parts(self) -> Iterator[dict[str, list[Any]]]:
        """Columns of the listing, a part of the rows at a time."""
        ids = image_ids(lambda: self.names)
        rows = zip(self.entries, ids, by_number(self.given, len(self.entries)), strict=True)
        while part := list(islice(rows, tables.ROW_GROUP)):
            columns = _columns(part)
            yield {name: columns[name] for name in self.schema}

    def in_memory(self) -> Listing:
        """All rows; the paths of labels that are no images as a list."""
        columns: dict[str, list[Any]] = {name: [] for name in self.schema}
        for part in self.parts():
            for name, values in part.items():
                columns[name] += values
        return Listing(columns, self.left_out, self.labels, list(self.label_paths))


def file_at(location: str) -> tuple[Storage, str]:
    """The folder of a user's file, and the file's name in it; raises as `Storage.at`."""
    folder, _, name = Storage.at(location).uri.rpartition("/")
    return Storage(folder or "/"), name


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
    with image_errors(storage.is_local, problem):
        return storage.read(path)


def default_dump(images_uri: str) -> str:
    """The dump's name where none is given: that of the images' folder, or of the one file."""
    path = PurePosixPath(patterns.name_of(composed(images_uri)))
    single = left_out.is_clip(path.name) or left_out.is_image(path.name)
    name = path.stem if single or form_of(images_uri) is not Form.FILES else path.name
    cleaned = "".join(c if c.isalnum() or c in "._-" else "-" for c in name).lstrip(".-")
    return cleaned[:100].rstrip("-") or "images"


def list_images(
    source: Storage,
    labels: Storage | None,
    frames: Iterable[Mapping[str, Any]] | None = None,
    request: ListingRequest | None = None,
) -> Listing:
    """As `list_rows`, in memory."""
    with Spool() as spool:
        return list_rows(spool, source, labels, frames, request).in_memory()


def list_rows(
    spool: Spool,
    source: Storage,
    labels: Storage | None,
    frames: Iterable[Mapping[str, Any]] | None = None,
    request: ListingRequest | None = None,
) -> ListedRows:
    """Every image of a folder, its id, its label where there is one, and what is left out.

    Args:
        spool: where rows are kept, so that memory does not grow with the images.
        source: where the images lie; a folder, or one file.
        labels: where the labels lie: a folder, perhaps the same one, or a file.
        frames: rows of the frames of the videos among the images, which are listed as well.
        request: how it is listed.

    Raises:
        InputError: there are no images, or there are labels and none belongs to an image.
    """
    request = request or ListingRequest()
    root, each_file = video_files.root_and_each(source)
    counts, passed = LeftOutCounts(), left_out.Passed()
    each_file = _without_workspace(root, each_file, request.workspace, counts)
    files = spool.keep(_images(each_file, passed), File._make)
    paths = spool.keep((file.path for file in files), str)
    label_files = find_labels(root, paths, labels, request.label_suffix, spool)
    label_paths = label_files.among_images if label_files else label_like(root, paths, spool)
    kind = "label" if label_files else "label-like"
    counts.add_count(kind, len(label_paths), next(iter(label_paths), ""))
    passed.add_to(counts)
    images = but_for(files, label_paths)
    entries = spool.keep(entries_of(root, images, frames, request.every_page, spool), Entry.of)
    if not entries:
        raise InputError(_no_images(source, counts))
    given: Iterable[tuple[int, File]] = ()
    if label_files and label_files.coco is None:  # a COCO file names its images itself
        suffixes = pairing.bare(request.image_suffix), pairing.bare(request.label_suffix)
        given = labels_of(entries, label_files, suffixes, counts, source.uri, spool)
    schema = column_names(LISTING_COLUMNS, frames is not None, request.every_page)
    names = spool.keep(((entry.whole, entry.short) for entry in entries), _two)
    return ListedRows(schema, entries, names, given, counts, label_files, label_paths)


def facts_of(folder: Folder) -> dict[str, Any]:
    """What was written beside the listing; empty for a listing of an earlier version."""
    return folder.storage.document(f"{folder.path}/{layout.FACTS_FILE}") or {}


def column_names(
    columns: Mapping[str, str], clips: bool = False, pages: bool = False, members: bool = False
) -> dict[str, str]:
    """Columns of the listing or the index of a dump, with those of clips, pages and members."""
    further = ((clips, CLIP_COLUMNS), (pages, PAGE_COLUMNS), (members, MEMBER_COLUMNS))
    return {**columns, **{k: v for has, more in further if has for k, v in more.items()}}


def index_columns(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Columns of the index of a dump with this manifest."""
    return column_names(INDEX_COLUMNS, *(key in manifest for key in ("frames", "pages", "members")))


def _without_workspace(
    root: Storage, files: Iterable[File], workspace: str | None, counts: LeftOutCounts
) -> Iterator[File]:
    """The files that do not belong to the workspace itself; the others are counted."""
    start = f"{root.uri.rstrip('/')}/"
    inside = (
        f"{workspace.removeprefix(start)}/" if workspace and workspace.startswith(start) else ""
    )
    for file in files:
        if inside and file.path.startswith(inside):
            counts.add_count("workspace", 1, file.path)
        else:
            yield file


def _images(files: Iterable[File], passed: left_out.Passed) -> Iterator[File]:
    """Files that are images by their names; others that become none are counted."""
    for file in files:
        kind = left_out.kind_of(file.path)
        if kind == left_out.IMAGE:
            yield file
        elif kind != left_out.CLIP:
            passed.add(kind, file.path)


def _two(row: Sequence[str]) -> tuple[str, str]:
    return row[0], row[1]


def _columns(rows: Sequence[tuple[Entry, str, File | None]]) -> dict[str, list[Any]]:
    entries = [entry for entry, _, _ in rows]
    labels = [label for _, _, label in rows]
    moments = [entry.moment or (None, None) for entry in entries]
    return {
        "path": [storable(entry.file.path) for entry in entries],
        "image_id": [image_id for _, image_id, _ in rows],
        "label": [label and label.path for label in labels],
        "bytes": [entry.file.bytes for entry in entries],
        "version": [entry.file.version for entry in entries],
        "label_version": [label and label.version for label in labels],
        "clip": [clip for clip, _ in moments],
        "seconds": [seconds for _, seconds in moments],
        "page": [entry.page for entry in entries],
    }


def _no_images(source: Storage, counts: LeftOutCounts) -> str:
    endings = " ".join((*formats.endings(), *sorted(video_files.EXTENSIONS)))
    parts = [kind.sentence() for kind in counts.kinds.values()]
    packed = counts.kinds.get("other ending")
    if packed and form_of(packed.example) in (Form.TAR, Form.ZIP):
        ending = packed.example.rpartition(".")[2]
        parts.append(f"to read archives, give them: --images '{source.uri}/*.{ending}'")
    return "; ".join(
        [f"no images under {source.uri}", *parts, f"expected files ending in {endings}"]
    )
