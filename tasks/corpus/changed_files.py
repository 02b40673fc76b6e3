"""Files of a finished dump that changed since, and files that came later."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from stego_core.errors import InputError, OutageError, WorkspaceError
from tasks.corpus.changed_members import changed_members, later_members
from tasks.corpus.listing import ESCAPED_NAME, facts_of
from tasks.corpus.own_places import with_places_then
from tasks.files import video_files
from tasks.files.image_names import folded, storable
from tasks.files.left_out import is_clip, is_image
from tasks.storage.spool import Spool
from tasks.storage.storage import File, Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

CHECKED_AT_ONCE = 64  # files read together where their marks say that they may have changed
NAMED_FILES = 5  # changed files that a message names
PIN_CHARACTERS = 80  # characters of a pin that a message quotes
PIN_NAMES = {
    "images_uri": "--images",
    "labels_uri": "--labels",
    "taxonomy": "--taxonomy",
    "max_pixels": "--max-pixels",
    "fps": "--fps",
    "pages": "--pages",
    "image_suffix": "--image-suffix",
    "label_suffix": "--label-suffix",
    **{f"{name}_column": f"--{name}-column" for name in ("url", "id", "label", "split", "caption")},
    "split": "--split",
    "frames": "set of frames",
}
"""Names for people of what a dump is made from."""


def begin(folder: Folder, dump: str, pins: Mapping[str, Any]) -> None:
    """Write down what a dump's folder is made from; an unfinished one may be begun anew.

    A WorkspaceError if a finished one, or frames of videos, were made from something else.
    """
    pins = with_places_then(folder, dump, pins)
    differing = folder.differing(pins)
    if differing and (folder.finished or folder.path.startswith(f"{layout.FRAMES}/")):
        parts = [
            f"another {PIN_NAMES.get(name, name)}: {_quoted(old)} then, {_quoted(new)} now"
            for name, (old, new) in differing.items()
        ]
        raise WorkspaceError(
            f"dump {dump} was made with {'; with '.join(parts)}; a dump is immutable, so name the "
            "new one with --dump"
        )
    if differing:
        folder.clear()
    folder.plan(pins)


def _quoted(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= PIN_CHARACTERS else f"{text[:PIN_CHARACTERS]}…"


def require_name(workspace: Workspace, dump: str) -> None:
    """Raise an InputError for a new dump whose name some disk would take for that of another."""
    names = workspace.storage.names(layout.CORPUS)
    other = next((n for n in names if n != dump and folded(n) == folded(dump)), None)
    if other is not None and dump not in names:
        raise InputError(
            f"there is a dump {other} already, whose name differs from {dump} in case or form "
            "only; give another with --dump"
        )


def arrived_later(workspace: Workspace, dump: str) -> list[str]:
    """Images and videos beside those of a finished dump that are not in it.

    They need a dump of their own.
    """
    folder = workspace.corpus(dump)
    if folder.manifest().get("members"):
        return later_members(folder, folder.manifest())
    clips = {*(video_files.clip_columns(workspace, dump) or {"path": []})["path"]}
    root, files = _files_now(str(folder.manifest()["images_uri"]))
    listed = (str(row["path"]) for row in _listed(folder, ["path"]))
    later = not_among((file.path for file in files), listed)
    later = not_among(later, _label_paths(folder))
    return [
        path
        for path in later
        if (is_image(path) or is_clip(path))
        and storable(path) not in clips
        and not f"{root.uri}/{path}".startswith(f"{workspace.storage.uri}/")
    ]


def check_unchanged(workspace: Workspace, dump: str) -> None:
    """Raise an InputError that names files of a finished dump that have other content now.

    Files whose mark in the store differs are read again and compared with the index; those that
    are gone or out of reach change nothing, finished work stands without them.
    """
    folder = workspace.corpus(dump)
    manifest, clips = folder.manifest(), video_files.clip_columns(workspace, dump)
    if manifest.get("members"):
        refuse_changed(dump, changed_members(folder, manifest))
        return
    root, files = _files_now(manifest["images_uri"])
    clips_now: dict[str, File] = {}
    files = _noting(files, {*clips["path"]} if clips else set(), clips_now)
    rows = _listed(folder, ["path", "version", "bytes", *(["clip"] if clips else [])])
    suspects = {
        file.path: file.bytes != row["bytes"]
        for row, file in _matched(rows, files)
        if file.version != row["version"]
    }
    changed = video_files.changed_clips(workspace, dump, root, clips_now)
    changed += _changed(root, suspects, _digests(folder, "path", "digest", suspects))
    if uri := _labels_uri(manifest):
        root, files = _files_now(uri)
        with Spool() as spool:
            labels = _listed_labels(folder, spool)
            suspects = {
                file.path: False
                for row, file in _matched(labels, files)
                if file.version != row["version"]
            }
        changed += _changed(root, suspects, _digests(folder, "label", "label_digest", suspects))
    refuse_changed(dump, [*changed, *_changed_coco_file(manifest)])


def _listed(folder: Folder, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of a listing whose images are files now, sorted by path, a part at a time.

    Frames are no files of the user's, and no path is that of a name that is not UTF-8.
    """
    for row in _stream(folder, layout.LISTING_FILE, columns):
        if row.get("clip") is None and ESCAPED_NAME not in row["path"]:
            yield row


def _listed_labels(folder: Folder, spool: Spool) -> Iterator[dict[str, Any]]:
    """Path and version of each listed label, sorted by path: images may have another order."""
    rows = _stream(folder, layout.LISTING_FILE, ["label", "label_version"])
    labels = ((row["label"], row["label_version"]) for row in rows if row["label"] is not None)
    for path, version in spool.sorted(labels, tuple):
        yield {"path": path, "version": version}


def _label_paths(folder: Folder) -> Iterator[str]:
    """Sorted paths of the files among a dump's images that are labels."""
    passed = facts_of(folder).get("passed", 0)
    if isinstance(passed, list):  # of an earlier version
        yield from passed
    elif passed:
        for row in _stream(folder, layout.LISTED_LABELS_FILE, ["path"]):
            yield row["path"]


def _noting(files: Iterable[File], names: set[str], found: dict[str, File]) -> Iterator[File]:
    """The files themselves; those of some names are noted as they pass by."""
    for file in files:
        if file.path in names:
            found[file.path] = file
        yield file


def _matched(
    rows: Iterable[dict[str, Any]], files: Iterator[File]
) -> Iterator[tuple[dict[str, Any], File]]:
    """Rows with their files, where there still are such; both are sorted by path."""
    file = next(files, None)
    for row in rows:
        while file is not None and file.path < row["path"]:
            file = next(files, None)
        if file is not None and file.path == row["path"]:
            yield row, file
    for _ in files:  # to the end: they are noted on their way
        pass


def not_among(paths: Iterable[str], others: Iterator[str]) -> Iterator[str]:
    """Paths that are not among others; both are sorted."""
    other = next(others, None)
    for path in paths:
        while other is not None and other < path:
            other = next(others, None)
        if path != other:
            yield path


def _digests(
    folder: Folder, name: str, digest: str, paths: Collection[str]
) -> dict[str, str | None]:
    """Digests of some of the indexed files, by path."""
    if not paths:
        return {}
    rows = _stream(folder, layout.INDEX_FILE, [name, digest])
    return {row[name]: row[digest] for row in rows if row[name] in paths}


def _changed(
    root: Storage, suspects: Mapping[str, bool], digests: Mapping[str, str | None]
) -> Iterator[str]:
    """Files below `root` whose content is not what was indexed.

    Args:
        suspects: by the path of each file, whether its size differs: that alone counts where it
            was quarantined and has no digest.
        digests: of the indexed files, by path.
    """
    paths = list(suspects)
    for first in range(0, len(paths), CHECKED_AT_ONCE):
        part = paths[first : first + CHECKED_AT_ONCE]
        for path, content in zip(part, root.read_many(part), strict=True):
            digest = digests.get(path)
            if digest is None:
                differs = suspects[path]
            else:
                differs = content is not None and keys.digest(content) != digest
            if differs:
                yield path


def _labels_uri(manifest: Mapping[str, Any]) -> str | None:
    """Where the label files lie; None where there are none."""
    uri: str | None = manifest.get("labels_root") or manifest["labels_uri"]
    return None if manifest.get("coco") else uri


def _changed_coco_file(manifest: Mapping[str, Any]) -> list[str]:
    """The COCO file that the labels were made from, if its content is another now."""
    if not (coco := manifest.get("coco")):
        return []
    root, path = Storage(manifest["labels_root"]), coco["path"]
    return list(_changed(root, {path: False}, {path: coco["digest"]}))


def refuse_changed(dump: str, changed: Sequence[str]) -> None:
    """Raise an InputError that names files of a dump that changed, if there are any."""
    if changed:
        more = f" and {len(changed) - NAMED_FILES} more" if len(changed) > NAMED_FILES else ""
        raise InputError(
            f"dump {dump} is immutable, and {len(changed)} of its files changed since it was "
            f"indexed: {', '.join(changed[:NAMED_FILES])}{more}; put the old ones back, or give "
            "the new ones under another name with --dump"
        )


def _stream(folder: Folder, file: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    return tables.stream_rows(folder.storage, f"{folder.path}/{file}", columns)


def _files_now(uri: str) -> tuple[Storage, Iterator[File]]:
    """The folder and its files, sorted by path; none where it is gone or out of reach."""
    try:
        root, files = video_files.root_and_each(Storage(uri))
    except (InputError, OutageError):
        return Storage(uri), iter(())
    return root, _within_reach(files)


def _within_reach(files: Iterator[File]) -> Iterator[File]:
    with suppress(InputError, OutageError):
        yield from files
