"""Files of a finished dump that changed since, and files that came later."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stego_core.errors import InputError, OutageError, WorkspaceError
from tasks.corpus.listing import facts_of
from tasks.files import video_files
from tasks.files.image_names import folded, storable
from tasks.files.left_out import is_clip, is_image
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
    "frames": "set of frames",
}
"""Names for people of what a dump is made from."""


def begin(folder: Folder, dump: str, pins: Mapping[str, Any]) -> None:
    """Write down what a dump's folder is made from; an unfinished one may be begun anew.

    A WorkspaceError if a finished one, or frames of videos, were made from something else.
    """
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
    folder.plan(dict(pins))


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
    known = set(_columns(folder, layout.LISTING_FILE)["path"])
    known.update(facts_of(folder).get("passed", []))
    known.update((video_files.clip_columns(workspace, dump) or {"path": []})["path"])
    root, files = _files_now(str(folder.manifest()["images_uri"]))
    return [
        path
        for path in files
        if (is_image(path) or is_clip(path))
        and storable(path) not in known
        and not f"{root.uri}/{path}".startswith(f"{workspace.storage.uri}/")
    ]


def check_unchanged(workspace: Workspace, dump: str) -> None:
    """Raise an InputError that names files of a finished dump that have other content now.

    Files whose mark in the store differs are read again and compared with the index; those that
    are gone or out of reach change nothing, finished work stands without them.
    """
    folder = workspace.corpus(dump)
    manifest = folder.manifest()
    listing, index = _columns(folder, layout.LISTING_FILE), _columns(folder, layout.INDEX_FILE)
    root, files = _files_now(manifest["images_uri"])
    changed = video_files.changed_clips(workspace, dump, root, files)
    clips = listing.get("clip", [None] * len(listing["path"]))
    images = zip(listing["path"], listing["version"], listing["bytes"], clips, strict=True)
    suspects = [
        (path, files[path].bytes != size)
        for path, version, size, clip in images
        if clip is None and path in files and files[path].version != version
    ]
    digests = dict(zip(index["path"], index["digest"], strict=True))
    changed += _changed(root, suspects, digests)
    if uri := _labels_uri(manifest):
        root, files = _files_now(uri)
        labels = zip(listing["label"], listing["label_version"], strict=True)
        suspects = [
            (path, False) for path, mark in labels if path in files and files[path].version != mark
        ]
        digests = dict(zip(index["label"], index["label_digest"], strict=True))
        changed += _changed(root, suspects, digests)
    refuse_changed(dump, [*changed, *_changed_coco_file(manifest)])


def _changed(
    root: Storage, suspects: Sequence[tuple[str, bool]], digests: Mapping[str, str | None]
) -> Iterator[str]:
    """Files below `root` whose content is not what was indexed.

    Args:
        suspects: path of each file, and whether its size differs: that alone counts where it was
            quarantined and has no digest.
        digests: of the indexed files, by path.
    """
    for first in range(0, len(suspects), CHECKED_AT_ONCE):
        part = suspects[first : first + CHECKED_AT_ONCE]
        contents = root.read_many([path for path, _ in part])
        for (path, resized), content in zip(part, contents, strict=True):
            digest = digests.get(path)
            if digest is None:
                differs = resized
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
    file = [(coco["path"], False)]
    return list(_changed(Storage(manifest["labels_root"]), file, {coco["path"]: coco["digest"]}))


def refuse_changed(dump: str, changed: Sequence[str]) -> None:
    """Raise an InputError that names files of a dump that changed, if there are any."""
    if changed:
        more = f" and {len(changed) - NAMED_FILES} more" if len(changed) > NAMED_FILES else ""
        raise InputError(
            f"dump {dump} is immutable, and {len(changed)} of its files changed since it was "
            f"indexed: {', '.join(changed[:NAMED_FILES])}{more}; put the old ones back, or give "
            "the new ones under another name with --dump"
        )


def _columns(folder: Folder, file: str) -> dict[str, list[Any]]:
    return dict(tables.read_table(folder.storage, f"{folder.path}/{file}").to_pydict())


def _files_now(uri: str) -> tuple[Storage, dict[str, File]]:
    """The folder and its files by path; none where it is gone or out of reach."""
    try:
        root, files = video_files.root_and_files(Storage(uri))
    except (InputError, OutageError):
        return Storage(uri), {}
    return root, {file.path: file for file in files}
