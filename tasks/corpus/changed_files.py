"""What became of a finished dump's files since: which are others by now, and which came later."""

from collections.abc import Mapping, Sequence
from typing import Any

from stego_core.errors import InputError, OutageError, WorkspaceError
from tasks.corpus.listing import LISTING, facts_of
from tasks.files import video_files
from tasks.files.image_names import folded, storable
from tasks.files.left_out import is_clip, is_image
from tasks.storage.storage import File, Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

CHECKED_AT_ONCE = 64
"""Files read together where their marks say that they may have changed."""
NAMED_FILES = 5
SHOWN = 80
"""Characters of a pin that a message shows."""
PINNED = {
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
"""What a person calls what a dump is made from."""


def begin(folder: Folder, dump: str, pins: Mapping[str, Any]) -> None:
    """Write down what a dump's folder is made from; an unfinished one may be begun anew.

    Raises:
        WorkspaceError: a finished one, or frames of videos, were made from something else.
    """
    differing = folder.differing(pins)
    if differing and (folder.finished or folder.path.startswith(f"{video_files.STAGE}/")):
        told = [
            f"another {PINNED.get(name, name)}: {_shown(old)} then, {_shown(new)} now"
            for name, (old, new) in differing.items()
        ]
        raise WorkspaceError(
            f"dump {dump} was made with {'; with '.join(told)}; a dump is immutable, so name the "
            "new one with --dump"
        )
    if differing:
        folder.clear()
    folder.plan(dict(pins))


def require_name(workspace: Workspace, dump: str) -> None:
    """Refuse a new dump whose name some disk would take for that of another.

    Raises:
        InputError: there is such a dump.
    """
    names = workspace.storage.names("corpus")
    other = next((n for n in names if n != dump and folded(n) == folded(dump)), None)
    if other is not None and dump not in names:
        raise InputError(
            f"there is a dump {other} already, whose name differs from {dump} in case or form "
            "only; give another with --dump"
        )


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def arrived_later(workspace: Workspace, dump: str) -> list[str]:
    """Images and videos that lie beside a finished dump's but are not in it: they need a dump of
    their own."""
    known = set(_listing(workspace, dump)["path"])
    known.update(facts_of(workspace.corpus(dump)).get("passed", []))
    own = f"{workspace.storage.uri}/"
    known.update((video_files.listed(workspace, dump) or {"path": []})["path"])
    source, present = _present(str(workspace.corpus(dump).manifest()["images_uri"]))
    return [
        path
        for path in present
        if (is_image(path) or is_clip(path))
        and storable(path) not in known
        and not f"{source.uri}/{path}".startswith(own)
    ]


def check_unchanged(workspace: Workspace, dump: str) -> None:
    """Refuse a finished dump whose files are others by now, under the same names.

    Files whose mark in the store differs are read again and compared with the index; those that
    are gone or out of reach change nothing, finished work stands without them.

    Raises:
        InputError: some changed; names them.
    """
    manifest = workspace.corpus(dump).manifest()
    listing = _listing(workspace, dump)
    of_file = [clip is None for clip in listing.get("clip", [None] * len(listing["path"]))]
    entries = _digests(workspace, dump)
    changed: list[str] = []
    for uri, names, marks, column in (
        (manifest["images_uri"], "path", "version", "digest"),
        (_labels_uri(manifest), "label", "label_version", "label_digest"),
    ):
        if not uri:
            continue
        source, present = _present(uri)
        if names == "path":
            changed += video_files.changed(workspace, dump, source, present)
        suspects = [
            (name, present[name].bytes != size)
            for name, mark, size, own in zip(
                listing[names], listing[marks], listing["bytes"], of_file, strict=True
            )
            if name in present and present[name].version != mark and (own or names == "label")
        ]
        for first in range(0, len(suspects), CHECKED_AT_ONCE):
            part = suspects[first : first + CHECKED_AT_ONCE]
            contents = source.read_many([name for name, _ in part])
            for (name, resized), content in zip(part, contents, strict=True):
                digest = entries[column].get(name)
                if digest is None:  # quarantined: its bytes were not described
                    changed += [name] if resized and names == "path" else []
                elif content is not None and keys.digest(content) != digest:
                    changed.append(name)
    refuse_changed(dump, [*changed, *_other_coco(manifest)])


def _labels_uri(manifest: Mapping[str, Any]) -> str | None:
    """Where the label files lie; None where there are none."""
    uri: str | None = manifest.get("labels_root") or manifest["labels_uri"]
    return None if manifest.get("coco") else uri


def _other_coco(manifest: Mapping[str, Any]) -> list[str]:
    """The COCO file that the labels were drawn from, if it is another by now."""
    known = manifest.get("coco")
    if not known:
        return []
    (content,) = Storage(manifest["labels_root"]).read_many([known["path"]])
    return (
        [known["path"]] if content is not None and keys.digest(content) != known["digest"] else []
    )


def refuse_changed(dump: str, changed: Sequence[str]) -> None:
    """Refuse a dump whose files are others by now.

    Raises:
        InputError: some are; names them.
    """
    if changed:
        more = f" and {len(changed) - NAMED_FILES} more" if len(changed) > NAMED_FILES else ""
        raise InputError(
            f"dump {dump} is immutable, and {len(changed)} of its files changed since it was "
            f"indexed: {', '.join(changed[:NAMED_FILES])}{more}; put the old ones back, or give "
            "the new ones under another name with --dump"
        )


def _listing(workspace: Workspace, dump: str) -> dict[str, list[Any]]:
    folder = workspace.corpus(dump)
    listing: dict[str, list[Any]] = tables.read_table(
        folder.storage, f"{folder.path}/{LISTING}"
    ).to_pydict()
    return listing


def _digests(workspace: Workspace, dump: str) -> dict[str, dict[str, str]]:
    """Digests that the index holds, of images and of labels by their paths."""
    folder = workspace.corpus(dump)
    index = tables.read_table(folder.storage, f"{folder.path}/{layout.INDEX_FILE}").to_pydict()
    return {
        "digest": dict(zip(index["path"], index["digest"], strict=True)),
        "label_digest": dict(zip(index["label"], index["label_digest"], strict=True)),
    }


def _present(uri: str) -> tuple[Storage, dict[str, File]]:
    """Files that are there now, and where; none where the place is gone or out of reach."""
    try:
        source, files = video_files.found(Storage(uri))
    except (InputError, OutageError):
        return Storage(uri), {}
    return source, {file.path: file for file in files}
