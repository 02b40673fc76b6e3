"""Stage frames: the videos of a dump become image files, so many a second, that corpus indexes."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from stego_core.errors import ImageError, InputError
from tasks.corpus.changed_files import begin, refuse_changed
from tasks.corpus.listing import QUARANTINE_COLUMNS
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import Step
from tasks.files import video_files
from tasks.files.left_out import is_clip, is_image
from tasks.images import image_codecs
from tasks.options import CorpusOptions
from tasks.storage.storage import Storage
from tasks.storage.uploads import Uploads
from tasks.video import stretches
from tasks.video.decoding import Facts, Sampled
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 1
PIXEL_BYTES = 64
"""Held for each pixel of a frame: what the decoder refers back to, RGB, JPEG."""
SHORT_SECONDS, SHORT_SHARE = 1.0, 0.05
"""A clip that ends earlier than it states, by more than this, was cut off. The share counts where
it states the length of pictures and sound together."""


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
        rows: dict[str, list[Any]] = {name: [] for name in video_files.FRAME_COLUMNS}
        digests: list[str] = []
        end: Fraction | None = None
        path = f"{self.folder.path}/{stretches.STRETCHES}"
        (stretch,) = tables.read_rows(self.folder.storage, path, np.array([shard]))
        base = Fraction(stretch["base_numerator"], stretch["base_denominator"])
        facts = Facts(stretch["origin"], base, None, True, 0)
        with Uploads(self.folder.storage) as uploads:
            try:
                with stretches.opened(self.source, stretch["clip"], self.max_pixels) as clip:
                    found = clip.sampled(facts, self.rate, stretch["first"], stretch["last"])
                    for sampled in watch.each("decode", found):
                        with watch("write"):
                            digests.append(self._store(uploads, stretch, sampled, rows))
                    end = clip.end
            except ImageError as error:
                invalid[shard] = str(error)
        part = {name: rows[name] for name in video_files.FRAME_COLUMNS}
        tables.write_table(
            self.folder.storage, part_file(self.folder, shard), part, video_files.FRAME_COLUMNS
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
        content = image_codecs.encode_photo(sampled.pixels)
        uploads.write(f"{self.folder.path}/{layout.IMAGES}/{name}", content)
        values = (name, stretch["clip"], float(seconds), sampled.pts, len(content))
        for column, value in zip(video_files.FRAME_COLUMNS, values, strict=True):
            rows[column].append(value)
        return keys.digest(content)


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
    if video_files.clip_columns(workspace, dump) is not None:
        return True
    corpus = workspace.corpus(dump)
    if corpus.storage.exists(f"{corpus.path}/{layout.LISTING_FILE}"):
        return False
    _, files = video_files.root_and_files(Storage.at(options.images))
    return any(is_clip(file.path) for file in files)


def plan(workspace: Workspace, dump: str, options: CorpusOptions) -> Stage | None:
    """Look into every clip, cut it into stretches, freeze the list; None if the frames are there.

    Raises:
        WorkspaceError: the dump was begun from somewhere else or at another rate.
        InputError: clips changed since the dump was begun.
    """
    folder = workspace.folder(layout.FRAMES, dump)
    place = Storage.at(options.images)
    pins = {
        "images_uri": place.uri,
        "fps": options.fps,
        "max_pixels": options.max_pixels,
        "version": VERSION,
    }
    begin(folder, dump, pins)
    if folder.finished:
        return None
    source, files = video_files.root_and_files(place)
    if video_files.clip_columns(workspace, dump) is None:
        stretches.freeze(folder, source, files, rate(options), options.max_pixels)
    pixels = tables.read_table(folder.storage, f"{folder.path}/{layout.CLIPS_FILE}").column(
        "pixels"
    )
    memory = PIXEL_BYTES * max(pixels.to_pylist())
    present = {file.path: file for file in files}
    refuse_changed(dump, video_files.changed_clips(workspace, dump, source, present))
    count = tables.row_count(folder.storage, f"{folder.path}/{stretches.STRETCHES}")
    work = FramesWork(source, folder, rate(options), options.max_pixels)
    manifest = {"stage": "frames", "dump": dump, **pins}
    return Stage(folder, f"frames {dump}", "stretches", count, count, work, manifest, memory)


def rate(options: CorpusOptions) -> Fraction:
    """Moments per second, as exactly as they were written."""
    return Fraction(str(options.fps))


def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Join the tables of frames, list the clips that broke, and write the manifest.

    Raises:
        InputError: no clip can be used, and there is no image beside them.
    """
    folder, records = stage.folder, stage.folder.records(stage.shards)
    parts = [part_file(folder, shard) for shard in range(stage.shards)]
    path = f"{folder.path}/{layout.FRAMES_FILE}"
    tables.join_tables(folder.storage, parts, path, video_files.FRAME_COLUMNS)
    broken = _broken(folder, records)
    quarantine = {"path": list(broken), "reason": list(broken.values())}
    tables.write_table(
        folder.storage, f"{folder.path}/{layout.QUARANTINE_FILE}", quarantine, QUARANTINE_COLUMNS
    )
    count = sum(record.results["frames"] for record in records)
    listed = tables.row_count(folder.storage, f"{folder.path}/{layout.CLIPS_FILE}")
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
    _, files = video_files.root_and_files(Storage(stage.manifest["images_uri"]))
    return any(is_image(file.path) for file in files)


def _broken(folder: Folder, records: Sequence[Record]) -> dict[str, str]:
    """The reason of each clip that cannot be used, or not to its end."""
    table = tables.read_table(folder.storage, f"{folder.path}/{layout.CLIPS_FILE}").to_pylist()
    cut = tables.read_table(folder.storage, f"{folder.path}/{stretches.STRETCHES}").column("clip")
    frames: dict[str, int] = {}
    ends: dict[str, float] = {}
    reasons = {clip["path"]: clip["reason"] for clip in table if clip["reason"]}
    for name, record in zip(cut.to_pylist(), records, strict=True):
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
