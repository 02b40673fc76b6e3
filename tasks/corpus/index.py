"""A dump's frozen index, as the stages read it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, InputError, WorkspaceError
from stego_core.images.rendering import Picture
from stego_core.labels.taxonomy import Taxonomy
from tasks.corpus.listing import read_file
from tasks.corpus.own_places import with_places_now
from tasks.engine.prefetch import ahead
from tasks.files import tiff_pages
from tasks.images import image_codecs, number_meaning
from tasks.images.rendering import Renderer
from tasks.labels.label_decoding import class_ids
from tasks.sources.reading import Block, MemberReader, runs
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.workspace import Workspace

FETCHES_AHEAD = 4  # image files that are fetched while the one before them is being worked on
GONE = "cannot be read any more"
DECODED_AHEAD = 1  # images that are decoded meanwhile; a large one takes much memory
PINNED = ("image_id", "digest", "label_digest")
"""Columns that make the index digest: equal ones mean equal images and labels."""
Entry = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class IndexReader:
    """Rows of a dump's index and the pixels they stand for; small and picklable."""

    workspace: Workspace
    dump: str

    @property
    def has_clips(self) -> bool:
        """Whether its entries have `clip` and `seconds`: the video of a frame and the moment."""
        return "frames" in self.manifest

    @property
    def manifest(self) -> dict[str, Any]:
        """The corpus stage's manifest."""
        return _manifest(self.workspace, self.dump)

    def _path(self, file: str) -> str:
        return f"{self.workspace.corpus(self.dump).path}/{file}"

    def entries(self, rows: NDArray[np.int64], columns: Sequence[str] | None = None) -> list[Entry]:
        """Index entries of some rows, in their order: some columns of them, or all."""
        path = self._path(layout.INDEX_FILE)
        return tables.read_rows(self.workspace.storage, path, np.asarray(rows), columns)

    def entry(self, row: int) -> Entry:
        """The index entry of one row; an InputError if there is no such dump or row."""
        try:
            count = int(self.manifest["images"])
        except WorkspaceError:
            raise InputError(f"there is no dump {self.dump!r}") from None
        if not 0 <= row < count:
            raise InputError(f"dump {self.dump} has no image {row}; they are 0 to {count - 1}")
        return self.entries(np.array([row], np.int64))[0]

    def column(self, name: str) -> Iterator[list[Any]]:
        """A column, a few thousand rows at a time."""
        return tables.stream_column(self.workspace.storage, self._path(layout.INDEX_FILE), name)

    def columns(self, names: Sequence[str]) -> Iterator[dict[str, NDArray[Any]]]:
        """Some columns of all rows, in order, a few thousand rows at a time."""
        return tables.stream_columns(self.workspace.storage, self._path(layout.INDEX_FILE), names)

    def images(self, entries: Iterable[Entry]) -> Iterator[tuple[Entry, Picture | ImageError]]:
        """Pictures of entries, in order; files are fetched and decoded ahead.

        An entry that cannot be read any more, or is not what was indexed, comes with the error.
        """
        fetched = ahead(self._runs(entries), self._contents, FETCHES_AHEAD)
        contents = (pair for run, parts in fetched for pair in zip(run, parts, strict=True))
        for (entry, _), picture in ahead(contents, self._picture_or_error, DECODED_AHEAD):
            yield entry, picture

    def _runs(self, entries: Iterable[Entry]) -> Iterator[list[Entry]]:
        """Entries in order; those that are fetched together are together."""
        return runs(entries) if self._members else ([entry] for entry in entries)

    def _contents(self, run: Sequence[Entry]) -> list[bytes | ImageError]:
        block = self._members.block(run) if self._members else None
        return [_or_error(partial(self.content, block=block), entry) for entry in run]

    def _picture_or_error(self, pair: tuple[Entry, bytes | ImageError]) -> Picture | ImageError:
        content = pair[1]
        return content if isinstance(content, ImageError) else _or_error(self.picture, content)

    def image(self, entry: Entry) -> Picture:
        """An entry's picture; raises as `content` and `picture`."""
        return self.picture(self.content(entry))

    def picture(self, content: bytes) -> Picture:
        """The bytes of one of its files as RGB, as displayed.

        Dumps of an earlier version, which did not decide what numbers mean, look as they did then:
        sixteen bits at full scale, white behind transparent parts, and data everywhere.

        Raises:
            ImageError: they cannot be decoded, or none of the pixels holds data.
        """
        max_pixels = self.manifest["max_pixels"]
        if "values" not in self.manifest:
            return Picture(image_codecs.decode(content, max_pixels))
        return _renderer(self.workspace, self.dump).picture(content, max_pixels)

    def content(self, entry: Entry, block: Block | None = None) -> bytes:
        """The bytes of an entry's file; of a file with several pages only that page.

        Of an archive's member, those in `block` are not fetched again.

        Raises:
            ImageError: it cannot be read any more, or is not what was indexed.
        """
        content = self._read_indexed(entry, block)
        page = entry.get("page")
        return content if page is None else tiff_pages.page_file(content, page)

    def _read_indexed(self, entry: Entry, block: Block | None) -> bytes:
        """A file as it was indexed; an ImageError if it is gone, may not be read or is another."""
        if members := self._members:
            content = members.read(entry, problem=GONE, block=block)
        else:
            content = read_file(*self.file(entry), GONE)
        _require_digest(content, entry["digest"])
        return content

    @property
    def _members(self) -> MemberReader | None:
        return MemberReader.of(self.manifest.get("members"))

    def uri(self, entry: Entry) -> str:
        """Where an entry's image lies, without secrets; of a member its archive, '#' and path."""
        if self._members is None:
            storage, path = self.file(entry)
            return storage.full(path)
        in_archive = entry["packing"] is not None
        return f"{entry['object']}#{entry['path']}" if in_archive else str(entry["object"])

    def file(self, entry: Entry) -> tuple[Storage, str]:
        """Where an entry's image file lies: a video's frame in the workspace, others outside."""
        if entry.get("clip") is not None:
            return self.workspace.storage, layout.frame(self.dump, entry["path"])
        root = self.manifest.get("images_root") or self.manifest["images_uri"]
        return Storage(root), entry["path"]

    def label_blocks(self, entries: Sequence[Entry]) -> list[Block | None]:
        """For each entry, in order, what `labels` need not fetch: labels that lie together."""
        if not (members := self._members):
            return [None] * len(entries)
        parts = runs(entries, "label_")
        return [block for run in parts for block in [members.block(run, "label_")] * len(run)]

    def labels(self, entry: Entry, block: Block | None = None) -> NDArray[np.int16] | None:
        """Class ids (H, W) int16 of an entry, void −1; None if it has no label.

        Of an archive's member, what is in `block` is not fetched again.

        Raises:
            ImageError: the label cannot be read any more, or is not what was indexed.
        """
        if entry["label_digest"] is None:
            return None
        manifest, taxonomy, page = self.manifest, self.taxonomy(), entry.get("page")
        storage = Storage(manifest.get("labels_root") or manifest["labels_uri"])
        path = entry["label"]
        if manifest.get("coco"):
            storage, path = self.workspace.storage, layout.label(self.dump, entry["image_id"])
            taxonomy, page = taxonomy.with_ids(), None
        if members := self._members:
            content = members.read(entry, "label_", GONE, block)
        else:
            content = read_file(storage, path, GONE)
        _require_digest(content, entry["label_digest"])
        return class_ids(content, manifest["max_pixels"], taxonomy, page)

    def stated_taxonomy(self) -> Taxonomy | None:
        """The taxonomy that the dump was given; None without."""
        document = self.manifest["taxonomy"]
        return None if document is None else Taxonomy.parse(document)

    def taxonomy(self) -> Taxonomy:
        """The dump's taxonomy, numbered if labels came without; an InputError without labels."""
        if not self.stated_taxonomy() and self.manifest["highest_label"] < 0:
            raise InputError(f"dump {self.dump} has no labels")
        return dump_taxonomy(self.manifest)

    def quarantine(self) -> list[dict[str, str]]:
        """Paths and reasons of the files that never got a row."""
        table = tables.read_table(self.workspace.storage, self._path(layout.QUARANTINE_FILE))
        return list(table.to_pylist())


def dump_taxonomy(manifest: Mapping[str, Any]) -> Taxonomy:
    """The taxonomy of a dump with labels, numbered if they came without, from its manifest."""
    if (document := manifest.get("taxonomy")) is not None:
        return Taxonomy.parse(document)
    return Taxonomy.numbered(manifest["highest_label"] + 1)


def _or_error(make: Callable[[T], R], argument: T) -> R | ImageError:
    try:
        return make(argument)
    except ImageError as error:
        return error


@remembered(2048)  # dumps; those of a head are asked again and again
def _manifest(workspace: Workspace, dump: str) -> dict[str, Any]:
    return with_places_now(workspace, dump, workspace.corpus(dump).manifest())


@remembered(16)
def _renderer(workspace: Workspace, dump: str) -> Renderer:
    return number_meaning.renderer_of([_manifest(workspace, dump)])


def _require_digest(content: bytes, digest: str) -> None:
    """Raise an ImageError for a file that is not what was indexed."""
    if keys.digest(content) != digest:
        raise ImageError(
            "its bytes changed since it was indexed; dumps are immutable, give it as a new dump"
        )
