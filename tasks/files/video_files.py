"""A dump's videos: which files are clips, the tables of clips and frames, and changed clips."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any

from tasks.files import patterns
from tasks.files.image_names import folded, stem
from tasks.storage.storage import File, Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.workspace import Workspace

EXTENSIONS = {
    ".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".vob",
    ".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".ogv", ".mxf", ".dv",
}  # fmt: skip
CLIP_COLUMNS = {
    "path": "string",
    "folder": "string",  # of its frames
    "bytes": "int64",
    "version": "string",  # the store's mark of its content
    "fingerprint": "string",  # our own mark of its content
    "pixels": "int64",  # of a frame
    "seconds": "double",  # its length, as it states it
    "exact": "bool",
    "reason": "string",  # why it cannot be used
}
"""Columns of the table of clips."""
FRAME_COLUMNS = {
    "path": "string",  # its file below layout.IMAGES
    "clip": "string",
    "seconds": "double",  # when the clip displays it first
    "pts": "int64",  # its timestamp, in the clip's own units
    "bytes": "int64",
}
"""Columns of the table of frames."""
FINGERPRINT_BYTES = 2**20
"""Bytes at the beginning, in the middle and at the end of a clip that make its fingerprint."""


def root_and_files(source: Storage) -> tuple[Storage, list[File]]:
    """As `root_and_each`, with the files as a list."""
    root, files = root_and_each(source)
    return root, list(files)


def root_and_each(source: Storage) -> tuple[Storage, Iterator[File]]:
    """The folder that paths are relative to, and every file below it; raises as `each_file`.

    A source that is one file lies in its own folder, and is the only one there; of a pattern's
    folder, the files are those that match.
    """
    is_pattern = patterns.is_pattern(source.uri)
    folder, matches = patterns.split(source.uri) if is_pattern else (source.uri, None)
    source = Storage(folder)
    files = (file for file in source.each_file() if matches is None or matches(file.path))
    first = list(islice(files, 1))
    if is_pattern or [file.path for file in first] != ["."]:
        return source, chain(first, files)
    folder, _, name = source.uri.rpartition("/")
    return Storage(folder or "/"), iter([first[0]._replace(path=name)])


def frame_folders(clips: Sequence[str], images: Sequence[str]) -> list[str]:
    """The folder of each clip's frames: its path without the extension.

    The extension stays where another clip, an image or a folder would have the same path without
    it, whatever the case of its letters. All paths are relative.
    """
    counts = Counter(folded(stem(path)) for path in clips)
    taken = {folded(stem(path)) for path in images}
    for path in (*clips, *images):
        taken |= {folded(str(parent)) for parent in PurePosixPath(path).parents}
    names = []
    for path in clips:
        key = folded(stem(path))
        name = stem(path) if counts[key] == 1 and key not in taken else path
        while folded(name) in taken:  # an object store may have a folder of a file's name
            name += "~"
        taken.add(folded(name))
        names.append(name)
    return names


def clip_columns(workspace: Workspace, dump: str) -> dict[str, list[Any]] | None:
    """Columns of the dump's clips; None where it has none."""
    path = f"{layout.FRAMES}/{dump}/{layout.CLIPS_FILE}"
    try:
        return dict(tables.read_table(workspace.storage, path).to_pydict())
    except FileNotFoundError:
        return None


def frame_rows(workspace: Workspace, dump: str) -> Iterator[dict[str, Any]] | None:
    """Rows of the dump's frames, some at a time; None where it has no clips, or not all frames."""
    path = f"{layout.FRAMES}/{dump}/{layout.FRAMES_FILE}"
    if not workspace.folder(layout.FRAMES, dump).finished or not workspace.storage.exists(path):
        return None
    return tables.stream_rows(workspace.storage, path, ["path", "bytes", "clip", "seconds"])


def fingerprint(storage: Storage, file: File) -> str:
    """A digest of a clip's size and of three pieces of it: reading it whole would take long."""
    last = max(file.bytes - FINGERPRINT_BYTES, 0)
    digests = []
    with storage.opened(file.path) as clip:
        for start in sorted({0, last // 2, last}):
            clip.seek(start)
            digests.append(keys.digest(clip.read(FINGERPRINT_BYTES)))
    return keys.digest(keys.canonical([file.bytes, digests]))


def changed_clips(
    workspace: Workspace, dump: str, source: Storage, files: Mapping[str, File]
) -> list[str]:
    """Clips of a dump whose files have other content now, under the same names.

    `files` are those in the folder `source` now, by path.
    """
    clips = clip_columns(workspace, dump) or {name: [] for name in CLIP_COLUMNS}
    rows = zip(clips["path"], clips["version"], clips["fingerprint"], strict=True)
    return [
        path
        for path, version, indexed in rows
        if path in files and files[path].version != version and indexed is not None
        if _differs(source, files[path], indexed)
    ]


def _differs(source: Storage, file: File, indexed: str) -> bool:
    """Whether a clip's fingerprint is another now; finished work stands without a clip."""
    try:
        return fingerprint(source, file) != indexed
    except FileNotFoundError:
        return False
