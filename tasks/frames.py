"""Stage frames: the videos of a dump become image files, so many a second, that corpus indexes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from stego_core.errors import ImageError, InputError
from tasks import clips, images
from tasks.index import QUARANTINE
from tasks.listing import ESCAPED_NAME, LISTING, is_image, refuse_changed, storable
from tasks.options import CorpusOptions
from tasks.stage import Stage, Stopwatch
from tasks.steps import Step
from tasks.video import Clip, Facts, Sampled, Watched
from tasks.workspace import keys, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.storage import File, Storage
from tasks.workspace.uploads import Uploads
from tasks.workspace.workspace import Workspace

VERSION = 1
STRETCH_SECONDS = 60
STRETCH_BYTES = 16 * 2**10
"""At least so much of a clip is a stretch: a header may lie about the length."""
PROBES = 8
"""Clips whose headers are read at the same time."""
PIXEL_BYTES = 64
"""Held for each pixel of a frame: what the decoder refers back to, RGB, JPEG."""
SHORT_SECONDS, SHORT_SHARE = 1.0, 0.05
"""A clip that ends earlier than it states, by more than this, was cut off. The share counts where
it states the length of pictures and sound together."""
STRETCHES = "stretches.parquet"
STRETCH_COLUMNS = {
    "clip": "string",
    "folder": "string",
    "origin": "int64",
    "base_numerator": "int64",
    "base_denominator": "int64",
    "first": "int64",
    "last": "int64",
}
QUARANTINE_COLUMNS = {"path": "string", "reason": "string"}


@dataclass(frozen=True)
class FramesWork:
    """Decodes one stretch of a clip and writes the frames on display at its moments."""

    source: Storage
    folder: Folder
    rate: Fraction
    max_pixels: int

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """Frames of one stretch; where it breaks, those before are kept and the reason listed."""
        watch, invalid = Stopwatch(), {}
        rows: dict[str, list[Any]] = {name: [] for name in clips.FRAME_COLUMNS}
        digests: list[str] = []
        end: Fraction | None = None
        path = f"{self.folder.path}/{STRETCHES}"
        (stretch,) = tables.read_rows(self.folder.storage, path, np.array([shard]))
        base = Fraction(stretch["base_numerator"], stretch["base_denominator"])
        facts = Facts(stretch["origin"], base, None, True, 0)
        with Uploads(self.folder.storage) as uploads:
            try:
                with opened(self.source, stretch["clip"], self.max_pixels) as clip:
                    found = clip.sampled(facts, self.rate, stretch["first"], stretch["last"])
                    for sampled in watch.each("decode", found):
                        with watch("write"):
                            digests.append(self._store(uploads, stretch, sampled, rows))
                    end = clip.end
            except ImageError as error:
                invalid[shard] = str(error)
        part = {name: rows[name] for name in clips.FRAME_COLUMNS}
        tables.write_table(
            self.folder.storage, part_file(self.folder, shard), part, clips.FRAME_COLUMNS
        )
        record = Record(
            shard,
            (shard, shard + 1),
            sum(rows["bytes"]),
            keys.digest(keys.canonical(digests)),
            watch.seconds,
            invalid,
            {"frames": len(digests), "end": None if end is None else float(end)},
        )
        self.folder.record(record)
        return record

    def _store(
        self,
        uploads: Uploads,
        stretch: dict[str, Any],
        sampled: Sampled,
        rows: dict[str, list[Any]],
    ) -> str:
        """Write a frame and add its row; returns its digest."""
        seconds = sampled.moment / self.rate
        name = f"{stretch['folder']}/{frame_name(seconds)}"
        content = images.encode_frame(sampled.pixels)
        uploads.write(f"{self.folder.path}/{clips.IMAGES}/{name}", content)
        values = (name, stretch["clip"], float(seconds), sampled.pts, len(content))
        for column, value in zip(clips.FRAME_COLUMNS, values, strict=True):
            rows[column].append(value)
        return keys.digest(content)


@contextmanager
def opened(source: Storage, path: str, max_pixels: int) -> Iterator[Clip]:
    """A clip for reading.

    Raises:
        ImageError: it is broken, is not there or may not be read. What may be the network's
            weather is raised as it is.
    """
    try:
        with source.opened(path) as file:
            yield Clip(Watched(file), max_pixels)
    except OSError as error:
        if not (source.is_local or isinstance(error, FileNotFoundError | PermissionError)):
            raise
        raise ImageError(f"cannot be read: {error.strerror or error}") from None


def frame_name(seconds: Fraction) -> str:
    """A frame's file name, by the moment of its clip; sorts by time."""
    milliseconds = round(1000 * seconds)
    return f"t{milliseconds // 1000:06d}.{milliseconds % 1000:03d}.jpg"


def wanted(workspace: Workspace, dump: str, options: CorpusOptions) -> bool:
    """Whether a dump has clips, or will have.

    A dump that was indexed without clips stays without: it is immutable.

    Raises:
        InputError: there is no such place.
    """
    if clips.listed(workspace, dump) is not None:
        return True
    corpus = workspace.corpus(dump)
    if corpus.storage.exists(f"{corpus.path}/{LISTING}"):
        return False
    _, files = clips.found(Storage.at(options.images))
    return any(clips.is_clip(file.path) for file in files)


def plan(workspace: Workspace, dump: str, options: CorpusOptions) -> Stage | None:
    """Look into every clip, cut it into stretches, freeze the list; None if the frames are there.

    Raises:
        WorkspaceError: the dump was begun from somewhere else or at another rate.
        InputError: clips changed since the dump was begun.
    """
    folder = clips.folder_of(workspace, dump)
    place = Storage.at(options.images)
    pins = {
        "images_uri": place.uri,
        "fps": options.fps,
        "max_pixels": options.max_pixels,
        "version": VERSION,
    }
    if folder.finished:
        folder.plan(pins)
        return None
    source, files = clips.found(place)
    if clips.listed(workspace, dump) is None:
        folder.plan(pins)
        _freeze(folder, source, files, options)
    folder.plan(pins)
    pixels = tables.read_table(folder.storage, f"{folder.path}/{clips.CLIPS}").column("pixels")
    memory = PIXEL_BYTES * max(pixels.to_pylist())
    present = {file.path: file for file in files}
    refuse_changed(dump, clips.changed(workspace, dump, source, present))
    count = tables.row_count(folder.storage, f"{folder.path}/{STRETCHES}")
    work = FramesWork(source, folder, rate(options), options.max_pixels)
    manifest = {"stage": "frames", "dump": dump, **pins}
    return Stage(folder, f"frames {dump}", "stretches", count, count, work, manifest, memory)


def rate(options: CorpusOptions) -> Fraction:
    """Moments per second, as exactly as they were written."""
    return Fraction(str(options.fps))


def _freeze(folder: Folder, source: Storage, files: Sequence[File], options: CorpusOptions) -> None:
    """Write the lists of stretches and clips; the latter says that both are there."""
    found = [file for file in files if clips.is_clip(file.path)]
    beside = [storable(file.path) for file in files if is_image(file.path)]
    paths = [storable(file.path) for file in found]
    with ThreadPoolExecutor(PROBES) as pool:
        known = list(pool.map(lambda file: _probed(source, file, options.max_pixels), found))
    columns: dict[str, list[Any]] = {name: [] for name in clips.CLIP_COLUMNS}
    stretches: dict[str, list[Any]] = {name: [] for name in STRETCH_COLUMNS}
    names = clips.folders(paths, beside)
    for file, path, name, probed in zip(found, paths, names, known, strict=True):
        facts = probed.facts
        stated = (facts.pixels, facts.seconds, facts.exact) if facts else (0, None, False)
        values = (path, name, file.bytes, file.version, probed.mark, *stated, probed.reason)
        for column, value in zip(clips.CLIP_COLUMNS, values, strict=True):
            columns[column].append(value)
        if facts is None:
            continue
        base = facts.base
        for first, last in _cut(facts, file.bytes, rate(options)):
            row = (path, name, facts.origin, base.numerator, base.denominator, first, last)
            for column, value in zip(STRETCH_COLUMNS, row, strict=True):
                stretches[column].append(value)
    tables.write_table(folder.storage, f"{folder.path}/{STRETCHES}", stretches, STRETCH_COLUMNS)
    tables.write_table(folder.storage, f"{folder.path}/{clips.CLIPS}", columns, clips.CLIP_COLUMNS)


class Probed(NamedTuple):
    """A clip's fingerprint, what its header tells, and why it cannot be used; each if known."""

    mark: str | None
    facts: Facts | None
    reason: str | None = None


def _probed(source: Storage, file: File, max_pixels: int) -> Probed:
    """Look into a clip."""
    if ESCAPED_NAME in storable(file.path):
        reason = "its file name is not UTF-8; rename it and give it as a new dump"
        return Probed(None, None, reason)
    mark = None
    try:
        if not file.bytes:
            raise ImageError("the file is empty (0 bytes)")
        with opened(source, file.path, max_pixels) as clip:
            mark = clips.fingerprint(source, file)
            return Probed(mark, clip.facts())
    except ImageError as error:
        return Probed(mark, None, str(error))


def _cut(facts: Facts, size: int, rate: Fraction) -> Iterator[tuple[int, int | None]]:
    """Moments of each stretch of a clip; the last one goes on to the clip's end."""
    most = max(size // STRETCH_BYTES, 1)
    count = min(max(int((facts.seconds or 0) // STRETCH_SECONDS), 1), most)
    edges = [round(number * STRETCH_SECONDS * rate) for number in range(count)]
    yield from zip(edges, [*edges[1:], None], strict=True)


def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Join the tables of frames, list the clips that broke, and write the manifest.

    Raises:
        InputError: no clip can be used, and there is no image beside them.
    """
    folder, records = stage.folder, stage.folder.records(stage.shards)
    parts = [part_file(folder, shard) for shard in range(stage.shards)]
    path = f"{folder.path}/{clips.FRAMES}"
    tables.join_tables(folder.storage, parts, path, clips.FRAME_COLUMNS)
    broken = _broken(folder, records)
    quarantine = {"path": list(broken), "reason": list(broken.values())}
    tables.write_table(
        folder.storage, f"{folder.path}/{QUARANTINE}", quarantine, QUARANTINE_COLUMNS
    )
    count = sum(record.results["frames"] for record in records)
    listed = tables.row_count(folder.storage, f"{folder.path}/{clips.CLIPS}")
    if not count and not _images_beside(stage):
        raise InputError(
            f"none of the {listed} clips under {stage.manifest['images_uri']} can be used; the "
            f"first: {quarantine['path'][0]}: {quarantine['reason'][0]}; give readable clips as "
            "another --dump"
        )
    return stage.finish(
        seconds,
        computed,
        digest=keys.digest(keys.canonical([record.checksum for record in records])),
        clips=listed,
        frames=count,
        quarantined=len(broken),
    )


def _images_beside(stage: Stage) -> bool:
    _, files = clips.found(Storage(stage.manifest["images_uri"]))
    return any(is_image(file.path) for file in files)


def _broken(folder: Folder, records: Sequence[Record]) -> dict[str, str]:
    """The reason of each clip that cannot be used, or not to its end."""
    table = tables.read_table(folder.storage, f"{folder.path}/{clips.CLIPS}").to_pylist()
    stretches = tables.read_table(folder.storage, f"{folder.path}/{STRETCHES}").column("clip")
    frames: dict[str, int] = {}
    ends: dict[str, float] = {}
    reasons = {clip["path"]: clip["reason"] for clip in table if clip["reason"]}
    for name, record in zip(stretches.to_pylist(), records, strict=True):
        frames[name] = frames.get(name, 0) + record.results["frames"]
        ends[name] = max(ends.get(name, 0.0), record.results["end"] or 0.0)
        for reason in record.invalid.values():
            reasons.setdefault(name, reason)
    for clip in table:
        name, stated = clip["path"], clip["seconds"]
        end = ends.get(name, 0.0)
        spare = max(SHORT_SECONDS, 0 if clip["exact"] else SHORT_SHARE * (stated or 0))
        if name not in reasons and stated is not None and end < stated - spare:
            reasons[name] = f"it ends at {end:.2f} s but states {stated:.2f} s: it was cut off"
        if name in reasons and frames.get(name):
            kept = "its one frame is" if frames[name] == 1 else f"{frames[name]} frames are"
            reasons[name] += f"; {kept} kept"
    return reasons


def part_file(folder: Folder, shard: int) -> str:
    """Where one stretch's part of the table of frames lies."""
    return f"{folder.path}/parts/frames-{shard:06d}.parquet"
