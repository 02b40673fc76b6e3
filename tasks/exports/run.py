"""The one loop of all formats: masks of dumps, image by image, into a writer."""

from collections.abc import Iterator, Sequence
from functools import partial
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
from tasks.exports.scratch_files import Scratch
from tasks.exports.skipped_images import LeftOut
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
AHEAD = 2
"""Images that are read while the one before them is written."""
LABEL_REASON = "label: "
"""How reasons begin that concern an image's label only; the image has a mask."""


def export(
    workspace: Workspace,
    kind: str,
    out: Storage,
    dumps: Sequence[str] | None = None,
    options: ExportOptions | None = None,
    progress: Listener = announce,
) -> dict[str, Any]:
    """Write the current masks of dumps in a format, with the classes as classes.toml has them now.

    Holds a few images at a time. `export.json` is written last: without it an export is not whole,
    and the same call makes it so, from the beginning.

    Args:
        workspace: whose masks.
        kind: one of WRITERS.
        out: an empty place, or one with an earlier export of this format, which is replaced.
        dumps: their names; None for all.
        options: what the export holds beyond masks.
        progress: told of every image.

    Returns:
        what export.json holds, of `skipped` the first few.

    Raises:
        OptionError: there is no such format, an option is not for it, or classes do not fit it.
        InputError: the place is not free, there is no such dump, or no image can be exported.
        WorkspaceError: a dump has no masks.
    """
    chosen = options or ExportOptions()
    writer_class = _writer(kind, chosen)
    named, summary = classes_file.current(workspace), Summary(workspace)
    sources = _sources(summary, dumps, named.classes.shown())
    total = sum(int(source.index.manifest["images"]) for source in sources)
    shown = Progress(f"export {kind}", total, "images", tell=progress)
    target_folder.claim(out, kind, writer_class.names, _taken(workspace, sources, out))
    with Scratch() as scratch:
        left_out = LeftOut(scratch.file("skipped"))
        with Uploads(out) as uploads:
            writer = writer_class(Target(uploads, scratch), chosen)
            writer.begin(named.classes, [source.dump for source in sources])
            counts = _write(writer, summary, sources, left_out, shown)
        images = sum(count["images"] for count in counts.values())
        if not images:
            raise InputError(f"no image can be exported as {kind}; the first: {left_out.first}")
        manifest = {
            "format": kind,
            "options": chosen.model_dump(mode="json"),
            "workspace": workspace.storage.uri,
            "masks": summary.require("masks"),
            "clusters": named.clusters_key,
            "revision": named.revision,
            "stamp": named.stamp,
            "classes": legend(named.classes),
            "images": images,
            "dumps": counts,
        }
        for path, file in writer.end().items():
            out.upload(path, file)
        out.upload(target_folder.MANIFEST, left_out.behind(scratch.file("manifest"), manifest))
    target_folder.finish(out)
    return {**manifest, "skipped": left_out.told}


def _writer(kind: str, options: ExportOptions) -> type[Writer]:
    """The writer of a format.

    Raises:
        OptionError: there is none, or an option is not for it.
    """
    if kind not in WRITERS:
        raise OptionError(f"there is no format {kind!r}; there are {', '.join(WRITERS)}")
    given = options.model_dump(exclude_defaults=True)
    for name in given.keys() - WRITERS[kind].options:
        fit = ", ".join(each for each, writer in WRITERS.items() if name in writer.options)
        raise OptionError(f"--{name.replace('_', '-')} is for {fit}, not for {kind}")
    return WRITERS[kind]


def _sources(
    summary: Summary, dumps: Sequence[str] | None, shown: NDArray[np.uint8]
) -> list[Source]:
    """The current masks of dumps.

    Raises:
        InputError: there is no such dump.
        WorkspaceError: a dump has no masks.
    """
    summary.require("masks")
    chosen = summary.dumps if dumps is None else list(dict.fromkeys(dumps))
    unknown = [dump for dump in chosen if dump not in summary.dumps]
    if unknown or not chosen:
        raise InputError(
            f"no dump {', '.join(unknown)} in the workspace; it has "
            f"{', '.join(summary.dumps) or 'none'}"
        )
    found = []
    for dump in chosen:
        folder = summary.folder("masks", dump)
        if folder is None:
            raise WorkspaceError(
                f"dump {dump} has no current masks; label it with `stego masks --dumps {dump}`, or "
                "name other dumps with --dumps"
            )
        manifest = folder.manifest()
        invalid = {int(row): why for row, why in manifest["invalid"].items()}
        sure = MarginSums.from_document(manifest) if confidence_table.complete(folder) else None
        index = IndexReader(summary.workspace, dump)
        found.append(Source(index, folder.path, shown, invalid, sure))
    return found


def _taken(workspace: Workspace, sources: Sequence[Source], out: Storage) -> dict[str, str]:
    """Places that an export must not be mixed with; a workspace has folders in exports/ for it."""
    images = {
        f"the images of dump {source.dump}": str(source.index.manifest["images_uri"])
        for source in sources
    }
    own = (
        {}
        if target_folder.below(out, workspace.exports)
        else {"the workspace": workspace.storage.uri}
    )
    return {**own, **images}


def _write(
    writer: Writer,
    summary: Summary,
    sources: Sequence[Source],
    left_out: LeftOut,
    progress: Progress,
) -> dict[str, dict[str, int]]:
    """Give every image that has a mask to the writer; returns counts by dump."""
    counts = {source.dump: {"images": 0, "skipped": 0} for source in sources}

    def skip(dump: str, path: str, reason: str) -> None:
        left_out.add(dump, path, reason)
        counts[dump]["skipped"] += 1

    with progress:
        for source in sources:
            broken = unprepared(summary, layout.FRAMES, source.dump)
            for row in [*broken, *source.index.quarantine()]:
                if not row["reason"].startswith(LABEL_REASON):
                    skip(source.dump, row["path"], row["reason"])
            for image, reason in ahead(_images(source), partial(_read, writer.reads), AHEAD):
                try:
                    if reason is not None:
                        raise ImageError(reason)
                    writer.add(image)
                    counts[source.dump]["images"] += 1
                except ImageError as error:
                    skip(source.dump, image.entry["path"], str(error))
                progress.advance(1)
    return counts


def _images(source: Source) -> Iterator[LabelledImage]:
    """Every image of a dump's index, in its order."""
    total = int(source.index.manifest["images"])
    for first in range(0, total, ENTRIES_AT_ONCE):
        rows = np.arange(first, min(first + ENTRIES_AT_ONCE, total), dtype=np.int64)
        for row, entry in zip(rows.tolist(), source.index.entries(rows), strict=True):
            yield LabelledImage(source, row, entry)


def _read(names: Sequence[str], image: LabelledImage) -> str | None:
    """Read what a writer asks for; returns why that cannot be, None where it can."""
    if image.row in image.source.invalid:
        return image.source.invalid[image.row]
    try:
        for name in ("ids", *names):
            getattr(image, name)
    except ImageError as error:
        return str(error)
    return None
