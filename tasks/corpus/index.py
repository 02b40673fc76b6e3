"""A dump's frozen index, as the stages read it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, InputError, WorkspaceError
from stego_core.images.rendering import Picture
from stego_core.labels.taxonomy import Taxonomy
from tasks.engine.prefetch import ahead
from tasks.files import tiff_pages, video_files
from tasks.images import image_codecs as images
from tasks.images import number_meaning
from tasks.images.rendering import Renderer
from tasks.labels.label_decoding import class_ids
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.workspace import Workspace

INDEX, QUARANTINE = layout.INDEX_FILE, layout.QUARANTINE_FILE
FETCHES_AHEAD = 4
"""Image files that are fetched while the one before them is being worked on."""
DECODED_AHEAD = 1
"""Images that are decoded meanwhile; a large one takes much memory."""
Entry = dict[str, Any]


@dataclass(frozen=True)
class IndexReader:
    """Rows of a dump's index and the pixels they stand for; small and picklable.

    Attributes:
        workspace: where the index lies.
        dump: whose index.
    """

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

    def entries(self, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Index entries of some rows, in their order."""
        path = f"{self.workspace.corpus(self.dump).path}/{INDEX}"
        return tables.read_rows(self.workspace.storage, path, np.asarray(rows))

    def entry(self, row: int) -> Entry:
        """The index entry of one row.

        Raises:
            InputError: there is no such dump, or no such row in it.
        """
        try:
            count = int(self.manifest["images"])
        except WorkspaceError:
            raise InputError(f"there is no dump {self.dump!r}") from None
        if not 0 <= row < count:
            raise InputError(f"dump {self.dump} has no image {row}; they are 0 to {count - 1}")
        (entry,) = self.entries(np.array([row], np.int64))
        return entry

    def column(self, name: str) -> Iterator[list[Any]]:
        """A column, a few thousand rows at a time."""
        path = f"{self.workspace.corpus(self.dump).path}/{INDEX}"
        return tables.stream_column(self.workspace.storage, path, name)

    def images(self, entries: Iterable[Entry]) -> Iterator[tuple[Entry, Picture | ImageError]]:
        """Pictures of entries, in order; files are fetched and decoded ahead.

        An entry that cannot be read any more, or is not what was indexed, comes with the reason.
        """
        fetched = ahead(entries, self._content, FETCHES_AHEAD)
        for (entry, _), image in ahead(fetched, self._decoded, DECODED_AHEAD):
            yield entry, image

    def _decoded(self, fetched: tuple[Entry, bytes | ImageError]) -> Picture | ImageError:
        _, content = fetched
        if isinstance(content, ImageError):
            return content
        try:
            return self.picture(content)
        except ImageError as error:
            return error

    def picture(self, content: bytes) -> Picture:
        """What the bytes of one of its files show, as displayed.

        Of dumps from before the corpus decided what numbers mean, it is as it was then: sixteen
        bits at full scale, white behind transparent parts, and data everywhere.

        Raises:
            ImageError: they cannot be decoded, or none of the pixels holds data.
        """
        manifest = self.manifest
        if "values" not in manifest:
            return Picture(images.decode(content, manifest["max_pixels"]))
        return _renderer(self.workspace, self.dump).picture(content, manifest["max_pixels"])

    def image(self, entry: Entry) -> Picture:
        """An entry's picture.

        Raises:
            ImageError: it cannot be read any more, or is not what was indexed.
        """
        ((_, image),) = self.images([entry])
        if isinstance(image, ImageError):
            raise image
        return image

    def content(self, entry: Entry) -> bytes:
        """The bytes of an entry's file; of a file with several pages only that page.

        Raises:
            ImageError: it cannot be read any more, or is not what was indexed.
        """
        content = _read(*self.file(entry), entry["digest"])
        page = entry.get("page")
        return content if page is None else tiff_pages.page_file(content, page)

    def file(self, entry: Entry) -> tuple[Storage, str]:
        """Where an entry's image file lies: a video's frame in the workspace, others outside."""
        if entry.get("clip") is not None:
            return self.workspace.storage, video_files.frame_path(self.dump, entry["path"])
        manifest = self.manifest
        return Storage(manifest.get("images_root") or manifest["images_uri"]), entry["path"]

    def _content(self, entry: Entry) -> bytes | ImageError:
        try:
            return self.content(entry)
        except ImageError as error:
            return error

    def labels(self, entry: dict[str, Any]) -> NDArray[np.int16] | None:
        """Class ids (H, W) int16 of an entry, void −1; None if it has no label.

        Raises:
            ImageError: the label cannot be read any more, or is not what was indexed.
        """
        if entry["label_digest"] is None:
            return None
        manifest, taxonomy = self.manifest, self.taxonomy()
        if manifest.get("coco"):
            path = drawn_label(self.dump, entry["image_id"])
            content = _read(self.workspace.storage, path, entry["label_digest"])
            return class_ids(content, manifest["max_pixels"], taxonomy.with_ids())
        place = Storage(manifest.get("labels_root") or manifest["labels_uri"])
        content = _read(place, entry["label"], entry["label_digest"])
        return class_ids(content, manifest["max_pixels"], taxonomy, entry.get("page"))

    def stated_taxonomy(self) -> Taxonomy | None:
        """The taxonomy that the dump was given; None without."""
        document = self.manifest["taxonomy"]
        return None if document is None else Taxonomy.parse(document)

    def taxonomy(self) -> Taxonomy:
        """The dump's taxonomy; a numbered one if labels came without.

        Raises:
            InputError: the dump has no labels.
        """
        if stated := self.stated_taxonomy():
            return stated
        if self.manifest["highest_label"] < 0:
            raise InputError(f"dump {self.dump} has no labels")
        return Taxonomy.numbered(self.manifest["highest_label"] + 1)

    def quarantine(self) -> list[dict[str, str]]:
        """Paths and reasons of the files that never got a row."""
        path = f"{self.workspace.corpus(self.dump).path}/{QUARANTINE}"
        rows: list[dict[str, str]] = tables.read_table(self.workspace.storage, path).to_pylist()
        return rows


def drawn_label(dump: str, image_id: str) -> str:
    """Where a label that was drawn lies in the workspace."""
    return layout.label(dump, image_id)


@remembered(16)
def _manifest(workspace: Workspace, dump: str) -> dict[str, Any]:
    return workspace.corpus(dump).manifest()


@remembered(16)
def _renderer(workspace: Workspace, dump: str) -> Renderer:
    return number_meaning.renderer(_manifest(workspace, dump)["values"])


def _read(storage: Storage, path: str, digest: str) -> bytes:
    """A file as it was indexed.

    Raises:
        ImageError: it is gone, may not be read or is another. What may be the network's weather
            is raised as it is.
    """
    try:
        content = storage.read(path)
    except OSError as error:
        if not (storage.is_local or isinstance(error, FileNotFoundError | PermissionError)):
            raise
        raise ImageError(f"cannot be read any more: {error.strerror or error}") from None
    if keys.digest(content) != digest:
        raise ImageError(
            "its bytes changed since it was indexed; dumps are immutable, give it as a new dump"
        )
    return content
