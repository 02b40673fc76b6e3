"""What is known of a dump's videos: which files are clips, their list, and whether they changed."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from tasks.files.image_names import folded
from tasks.storage.storage import File, Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

EXTENSIONS = {
    ".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".vob",
    ".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".ogv", ".mxf", ".dv",
}  # fmt: skip
STAGE = layout.FRAMES
"""Where frames lie, by dump."""
IMAGES, CLIPS, FRAMES = layout.IMAGES, layout.CLIPS_FILE, layout.FRAMES_FILE
CLIP_COLUMNS = {
    "path": "string",
    "folder": "string",
    "bytes": "int64",
    "version": "string",
    "fingerprint": "string",
    "pixels": "int64",
    "seconds": "double",
    "exact": "bool",
    "reason": "string",
}
"""Of each clip: its file, the folder of its frames, the store's mark and our own of its content,
the pixels of a frame, the length that it states, and why it cannot be used."""
FRAME_COLUMNS = {
    "path": "string",
    "clip": "string",
    "seconds": "double",
    "pts": "int64",
    "bytes": "int64",
}
"""Of each frame: its file below IMAGES, the clip, the moment of the clip at which it is first on
display, and its timestamp in the clip's own units."""
PIECE = 2**20
"""Bytes at the beginning, in the middle and at the end of a clip that make its fingerprint."""


def found(source: Storage) -> tuple[Storage, list[File]]:
    """Every file below a place, and the folder that their paths are relative to.

    A place that is one file lies in its own folder, and is the only one there.

    Raises:
        InputError: the place does not exist or cannot be listed.
    """
    files = source.files()
    if [file.path for file in files] != ["."]:
        return source, files
    folder, _, name = source.uri.rpartition("/")
    return Storage(folder or "/"), [files[0]._replace(path=name)]


def folders(clips: Sequence[str], others: Iterable[str]) -> list[str]:
    """The folder of each clip's frames: its path without the extension.

    The extension stays where another clip, an image or a folder would have the same path without
    it, whatever the case of its letters.

    Args:
        clips: relative paths.
        others: relative paths of the images beside them.
    """
    stems = [str(PurePosixPath(path).with_suffix("")) for path in clips]
    taken: dict[str, int] = {}
    for stem in stems:
        taken[folded(stem)] = taken.get(folded(stem), 0) + 1
    others = list(others)
    beside = {folded(str(PurePosixPath(path).with_suffix(""))) for path in others}
    for path in (*clips, *others):
        beside |= {folded(str(parent)) for parent in PurePosixPath(path).parents}
    distinct = []
    for path, stem in zip(clips, stems, strict=True):
        name = stem if taken[folded(stem)] == 1 and folded(stem) not in beside else path
        while folded(name) in beside:  # an object store may have a folder of a file's name
            name += "~"
        beside.add(folded(name))
        distinct.append(name)
    return distinct


def folder_of(workspace: Workspace, dump: str) -> Folder:
    """Where a dump's frames lie."""
    return workspace.folder(STAGE, dump)


def frame_path(dump: str, path: str) -> str:
    """A frame's file inside the workspace, from its path in the index."""
    return f"{STAGE}/{dump}/{IMAGES}/{path}"


def listed(workspace: Workspace, dump: str) -> dict[str, list[Any]] | None:
    """Columns of the dump's clips; None where it has none."""
    return _table(workspace, dump, CLIPS)


def frames(workspace: Workspace, dump: str) -> dict[str, list[Any]] | None:
    """Columns of the dump's frames, once all of them are there; None where it has no clips."""
    return _table(workspace, dump, FRAMES) if folder_of(workspace, dump).finished else None


def _table(workspace: Workspace, dump: str, name: str) -> dict[str, list[Any]] | None:
    folder = folder_of(workspace, dump)
    try:
        table = tables.read_table(folder.storage, f"{folder.path}/{name}")
    except FileNotFoundError:
        return None
    columns: dict[str, list[Any]] = table.to_pydict()
    return columns


def fingerprint(storage: Storage, file: File) -> str:
    """A digest of a clip's size and of three pieces of it: reading it whole would take long.

    Raises:
        FileNotFoundError: it is gone.
    """
    starts = sorted({0, max(file.bytes - PIECE, 0) // 2, max(file.bytes - PIECE, 0)})
    pieces = []
    with storage.opened(file.path) as opened:
        for start in starts:
            opened.seek(start)
            pieces.append(keys.digest(opened.read(PIECE)))
    return keys.digest(keys.canonical([file.bytes, pieces]))


def changed(
    workspace: Workspace, dump: str, source: Storage, present: Mapping[str, File]
) -> list[str]:
    """Clips of a dump whose files are others by now, under the same names.

    Args:
        workspace: holds the dump.
        dump: whose clips.
        source: the folder that they lie in.
        present: files that are there now, by their path in it.
    """
    clips = listed(workspace, dump) or {name: [] for name in CLIP_COLUMNS}
    others = []
    for path, version, known in zip(
        clips["path"], clips["version"], clips["fingerprint"], strict=True
    ):
        file = present.get(path)
        if file is None or file.version == version or known is None:
            continue
        try:
            if fingerprint(source, file) != known:
                others.append(path)
        except FileNotFoundError:
            continue  # finished work stands without it
    return others
