"""The one loop of all formats: masks of dumps, image by image, into a writer."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, InputError, OptionError, WorkspaceError
from stego_core.masks.margins import MarginSums
from tasks.class_names import classes_file
from tasks.corpus.index import IndexReader
from tasks.corpus.quarantine import unprepared
from tasks.engine.prefetch import ahead
from tasks.engine.progress import Listener, Progress, announce
from tasks.exports import target_folder
from tasks.exports.coco import Coco
from tasks.exports.cvat import Cvat
from tasks.exports.geojson import GeoJson
from tasks.exports.geotiff import GeoTiff
from tasks.exports.label_studio import LabelStudio
from tasks.exports.mask_pngs import Masks
from tasks.exports.overlay_video import Video
from tasks.exports.skipped_images import SkippedImages
from tasks.exports.voc import Voc
from tasks.exports.writer import LabelledImage, Source, Target, Writer, legend
from tasks.masks import confidence_table
from tasks.options import ExportOptions
from tasks.storage.storage import Storage
from tasks.storage.uploads import Uploads
from tasks.workspace import layout
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

WRITERS: dict[str, type[Writer]] = {
    "masks": Masks,
    "coco": Coco,
    "voc": Voc,
    "cvat": Cvat,
    "labelstudio": LabelStudio,
    "geotiff": GeoTiff,
    "geojson": GeoJson,
    "video": Video,
}
"""The formats by name."""
ENTRIES_AT_ONCE = 64
"""Rows of a dump's index that are read together."""
AHEAD = 2
"""Images that are read while the one before them is written."""
LABEL_REASON = "label: "
"""How reasons begin that concern an image's label only; the image has a mask."""


def export(
    workspace: Workspace,
    kind: str,
    out: Storage,
    dumps: Sequence[str] | None = None,
    options: ExportOptions = ExportOptions(),
    progress: Listener = announce,
) -> dict[str, Any]:
    """Write the current masks of dumps in a format, with the classes as they are named now.

    Holds a few images at a time. `export.json` is written last: without it an export is not whole,
    and the same call makes it so, from the beginning.

    Args:
        workspace, dumps: whose masks; all dumps' by default.
        kind: one of WRITERS.
        out: an empty folder, or one with an earlier export of this format, which is replaced.
        options: what the export holds beyond masks.
        progress: is called after every image.

    Returns:
        the content of export.json, with the first few of `skipped`.

    Raises:
        OptionError: there is no such format, an option is not for it, or classes do not fit it.
        InputError: the folder is not free, there is no such dump, or no image can be exported.
        WorkspaceError: a dump has no masks.
    """
    writer_class = _writer(kind, options)
    named, summary = classes_file.current_names(workspace), Summary(workspace)
    sources = _sources(summary, dumps, named.classes.display_table())
    total = sum(int(source.index.manifest["images"]) for source in sources)
    bar = Progress(f"export {kind}", total, "images", tell=progress)
    target_folder.prepare(out, kind, writer_class.names, _reserved(workspace, sources, out))
    with TemporaryDirectory(prefix="stego-export-") as folder, ExitStack() as on_exit:
        with Uploads(out) as uploads:
            target = Target(uploads, Path(folder), on_exit)
            skipped = SkippedImages(target.scratch("skipped"))
            writer = writer_class(target, options)
            writer.begin(named.classes, [source.dump for source in sources])
            images = _write(writer, summary, sources, skipped, bar)
        if not images:
            raise InputError(f"no image can be exported as {kind}; the first: {skipped.example()}")
        manifest = {
            "format": kind,
            "options": options.model_dump(mode="json"),
            "workspace": workspace.storage.uri,
            "masks": summary.require("masks"),
            "clusters": named.clusters_key,
            "revision": named.revision,
            "stamp": named.stamp,
            "classes": legend(named.classes),
            "images": images.total(),
            "dumps": {
                source.dump: {
                    "images": images[source.dump],
                    "skipped": skipped.counts[source.dump],
                }
                for source in sources
            },
        }
        for path, file in writer.end().items():
            out.upload(path, file)
        file = skipped.write_manifest(target.scratch("manifest"), manifest)
        out.upload(target_folder.MANIFEST, file)
    out.remove(target_folder.BEGUN)
    return {**manifest, "skipped": skipped.first}


def _writer(kind: str, options: ExportOptions) -> type[Writer]:
    """The writer of a format.

    Raises:
        OptionError: there is none, or an option is not for it.
    """
    if kind not in WRITERS:
        raise OptionError(f"there is no format {kind!r}; there are {', '.join(WRITERS)}")
    changed = options.model_dump(exclude_defaults=True)
    for name in changed.keys() - WRITERS[kind].accepts:
        formats = ", ".join(other for other, writer in WRITERS.items() if name in writer.accepts)
        raise OptionError(f"--{name.replace('_', '-')} is for {formats}, not for {kind}")
    return WRITERS[kind]


def _sources(
    summary: Summary, dumps: Sequence[str] | None, class_of: NDArray[np.uint8]
) -> list[Source]:
    """The current masks of dumps.

    Raises:
        InputError: there is no such dump.
        WorkspaceError: a dump has no masks.
    """
    summary.require("masks")
    dumps = summary.dumps if dumps is None else list(dict.fromkeys(dumps))
    unknown = [dump for dump in dumps if dump not in summary.dumps]
    if unknown or not dumps:
        raise InputError(
            f"no dump {', '.join(unknown)} in the workspace; it has "
            f"{', '.join(summary.dumps) or 'none'}"
        )
    sources = []
    for dump in dumps:
        folder = summary.folder("masks", dump)
        if folder is None:
            raise WorkspaceError(
                f"dump {dump} has no current masks; label it with `stego masks --dumps {dump}`, or "
                "name other dumps with --dumps"
            )
        manifest = folder.manifest()
        invalid = {int(row): why for row, why in manifest["invalid"].items()}
        sums = (
            MarginSums.from_document(manifest) if confidence_table.has_confidence(folder) else None
        )
        index = IndexReader(summary.workspace, dump)
        sources.append(Source(index, folder.path, class_of, invalid, sums))
    return sources


def _reserved(workspace: Workspace, sources: Sequence[Source], out: Storage) -> dict[str, str]:
    """Folders that an export must not lie in: the workspace, but for exports/, and the images."""
    folders = {
        f"the images of dump {source.dump}": str(source.index.manifest["images_uri"])
        for source in sources
    }
    if target_folder.below(out, workspace.exports):
        return folders
    return {"the workspace": workspace.storage.uri, **folders}


def _write(
    writer: Writer,
    summary: Summary,
    sources: Sequence[Source],
    skipped: SkippedImages,
    progress: Progress,
) -> Counter[str]:
    """Give every image that has a mask to the writer; returns how many of each dump."""
    images = Counter[str]()
    with progress:
        for source in sources:
            videos = unprepared(summary, layout.FRAMES, source.dump)
            for row in [*videos, *source.index.quarantine()]:
                if not row["reason"].startswith(LABEL_REASON):
                    skipped.add(source.dump, row["path"], row["reason"])
            for image, reason in ahead(_images(source), partial(_read, writer.reads), AHEAD):
                try:
                    if reason is not None:
                        raise ImageError(reason)
                    writer.add(image)
                    images[source.dump] += 1
                except ImageError as error:
                    skipped.add(source.dump, image.entry["path"], str(error))
                progress.advance(1)
    return images


def _images(source: Source) -> Iterator[LabelledImage]:
    """Every image of a dump's index, in its order."""
    total = int(source.index.manifest["images"])
    for first in range(0, total, ENTRIES_AT_ONCE):
        rows = np.arange(first, min(first + ENTRIES_AT_ONCE, total), dtype=np.int64)
        for row, entry in zip(rows.tolist(), source.index.entries(rows), strict=True):
            yield LabelledImage(source, row, entry)


def _read(names: Sequence[str], image: LabelledImage) -> str | None:
    """Read ahead what a writer needs; returns why that is not possible, None where it is."""
    if image.row in image.source.invalid:
        return image.source.invalid[image.row]
    try:
        for name in ("ids", *names):
            getattr(image, name)
    except ImageError as error:
        return str(error)
    return None
