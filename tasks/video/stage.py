"""Stage frames: extracts images from a dump's videos at a given rate, for corpus to index."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from stego_core.errors import ImageError, InputError
from tasks.corpus.changed_files import begin, refuse_changed
from tasks.corpus.listing import QUARANTINE_COLUMNS
from tasks.corpus.member_list import has_members
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import CpuWork
from tasks.files import video_files
from tasks.files.left_out import is_clip, is_image
from tasks.images import image_codecs
from tasks.options import CorpusOptions
from tasks.storage.storage import Storage
from tasks.storage.uploads import Uploads
from tasks.video import stretches
from tasks.video.broken_clips import broken_clips
from tasks.video.decoding import Facts, Sampled
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 1
PIXEL_BYTES = 64
"""Memory for each pixel of a frame: the decoder's reference frames, RGB, JPEG."""
Frame = tuple[str, str, float, int, int]
"""A row of the table of frames: FRAME_COLUMNS."""


@dataclass(frozen=True)
class FramesWork(CpuWork):
    """Decodes one stretch of a clip and writes the frames on display at its moments."""

    source: Storage
    folder: Folder
    rate: Fraction
    max_pixels: int

    def shard(self, shard: int) -> Record:
        """Frames of one stretch; where it breaks, those before are kept and the reason listed."""
        watch, invalid = Stopwatch(), dict[int, str]()
        rows, digests = list[Frame](), list[str]()
        end: Fraction | None = None
        path = f"{self.folder.path}/{layout.STRETCHES_FILE}"
        (stretch,) = tables.read_rows(self.folder.storage, path, np.array([shard]))
        base = Fraction(stretch["base_numerator"], stretch["base_denominator"])
        facts = Facts(stretch["origin"], base, None, True, 0)
        with Uploads(self.folder.storage) as uploads:
            try:
                with stretches.opened(self.source, stretch["clip"], self.max_pixels) as clip:
                    frames = clip.sampled(facts, self.rate, stretch["first"], stretch["last"])
                    for sampled in watch.each("decode", frames):
                        with watch("write"):
                            row, digest = self._store(uploads, stretch, sampled)
                        rows.append(row)
                        digests.append(digest)
                    end = clip.end
            except ImageError as error:
                invalid[shard] = str(error)
        stretches.write_rows(self.folder, part_name(shard), rows, video_files.FRAME_COLUMNS)
        results = {"frames": len(rows), "end": None if end is None else float(end)}
        checksum, size = keys.digest(keys.canonical(digests)), sum(row[-1] for row in rows)
        span = (shard, shard + 1)
        record = Record(shard, span, size, checksum, watch.seconds, invalid, results)
        return self.folder.record(record)

    def _store(
        self, uploads: Uploads, stretch: dict[str, Any], sampled: Sampled
    ) -> tuple[Frame, str]:
        """Write a frame; returns its row and its digest."""
        seconds = sampled.moment / self.rate
        name = f"{stretch['folder']}/{frame_name(seconds)}"
        content = image_codecs.encode_photo(sampled.pixels)
        uploads.write(f"{self.folder.path}/{layout.IMAGES}/{name}", content)
        row = (name, stretch["clip"], float(seconds), sampled.pts, len(content))
        return row, keys.digest(content)


def frame_name(seconds: Fraction) -> str:
    """A frame's file name, by the moment of its clip; sorts by time."""
    milliseconds = round(1000 * seconds)
    return f"t{milliseconds // 1000:06d}.{milliseconds % 1000:03d}.jpg"


def has_clips(workspace: Workspace, dump: str, options: CorpusOptions) -> bool:
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
    if has_members(options):
        return False
    _, files = video_files.root_and_files(Storage.at(options.images))
    return any(is_clip(file.path) for file in files)


def plan(workspace: Workspace, dump: str, options: CorpusOptions) -> Stage | None:
    """Probe every clip, cut it into stretches, freeze the list; None if the frames are there.

    Raises:
        WorkspaceError: the dump was begun from somewhere else or at another rate.
        InputError: clips changed since the dump was begun.
    """
    folder = workspace.folder(layout.FRAMES, dump)
    location = Storage.at(options.images)
    pins = {
        "images_uri": location.uri,
        "fps": options.fps,
        "max_pixels": options.max_pixels,
        "version": VERSION,
    }
    begin(folder, dump, pins)
    if folder.finished:
        return None
    source, files = video_files.root_and_files(location)
    if video_files.clip_columns(workspace, dump) is None:
        stretches.freeze(folder, source, files, rate(options), options.max_pixels)
    clips = tables.read_table(folder.storage, f"{folder.path}/{layout.CLIPS_FILE}")
    memory = PIXEL_BYTES * max(clips.column("pixels").to_pylist())
    present = {file.path: file for file in files}
    refuse_changed(dump, video_files.changed_clips(workspace, dump, source, present))
    count = tables.row_count(folder.storage, f"{folder.path}/{layout.STRETCHES_FILE}")
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
    folder, records = stage.folder, list(stage.records())
    parts = [f"{folder.path}/{part_name(shard)}" for shard in range(stage.shards)]
    path = f"{folder.path}/{layout.FRAMES_FILE}"
    tables.join_tables(folder.storage, parts, path, video_files.FRAME_COLUMNS)
    broken = broken_clips(folder, records)
    quarantine = {"path": list(broken), "reason": list(broken.values())}
    tables.write_table(
        folder.storage, f"{folder.path}/{layout.QUARANTINE_FILE}", quarantine, QUARANTINE_COLUMNS
    )
    count = sum(record.results["frames"] for record in records)
    clips = tables.row_count(folder.storage, f"{folder.path}/{layout.CLIPS_FILE}")
    if not count and not _images_beside(stage):
        raise InputError(
            f"none of the {clips} clips under {stage.manifest['images_uri']} can be used; the "
            f"first: {quarantine['path'][0]}: {quarantine['reason'][0]}; give readable clips as "
            "another --dump"
        )
    return stage.finish(
        seconds,
        computed,
        digest=keys.digest(keys.canonical([record.checksum for record in records])),
        clips=clips,
        frames=count,
        quarantined=len(broken),
    )


def _images_beside(stage: Stage) -> bool:
    _, files = video_files.root_and_files(Storage(stage.manifest["images_uri"]))
    return any(is_image(file.path) for file in files)


def part_name(shard: int) -> str:
    """The file of one stretch's part of the table of frames."""
    return f"{layout.PARTS}/frames-{shard:06d}.parquet"
