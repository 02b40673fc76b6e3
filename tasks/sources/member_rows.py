"""Rows of a dump that is made of archives or lists: an image each, with where its bytes lie."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tasks.files import formats, left_out
from tasks.files.image_names import ending, stem, storable
from tasks.labels.pairing import bare
from tasks.sources import uri_lists
from tasks.sources.addresses import Base, name_of
from tasks.sources.member_ids import safe
from tasks.sources.members import Flaw, Member
from tasks.sources.uri_lists import ListColumns
from tasks.storage.redaction import redacted

PLACE_COLUMNS = {"object": "string", "offset": "int64", "length": "int64", "packing": "string"}
"""Where an image's bytes lie: an archive's or a file's URI, without secrets; a range, or null for
the whole file; how they are packed."""
LABEL_PLACE_COLUMNS = {f"label_{name}": kind for name, kind in PLACE_COLUMNS.items()}
NOTE_COLUMNS = {"split": "string", "caption": "string"}  # of lists
MEMBER_COLUMNS = {**PLACE_COLUMNS, **LABEL_PLACE_COLUMNS, **NOTE_COLUMNS}
"""Beside the columns of any listing or index, where the images come of archives or lists."""
ROW_COLUMNS = {
    "path": "string",
    "short": "string",  # its name without an ending
    "label": "string",
    "bytes": "int64",
    "version": "string",
    "label_version": "string",
    **MEMBER_COLUMNS,
}
"""Columns of the rows of one archive or list, before ids are chosen."""
LABEL_PARTS = ("seg", "label", "mask")
"""`KEY.seg.png` is the label of the image `KEY.jpg`, likewise `KEY.label.png`, `KEY.mask.png`."""


class Archive(NamedTuple):
    """An archive whose members become rows."""

    uri: str
    shown: str  # a name for people, unique in the dump
    version: str


class Suffixes(NamedTuple):
    """Parts of the stems of images and labels that the other one does not have."""

    image: str = ""
    label: str = ""


def rows_of_archive(
    archive: Archive, members: Iterable[Member | Flaw], suffixes: Suffixes, with_labels: bool
) -> Iterator[dict[str, Any] | Flaw]:
    """A row for each image of an archive, with its label if one has the same key.

    What becomes no image is a flaw. Of members of one name the last counts, as in tar itself.
    """
    kept: dict[str, Member] = {}
    for found in members:
        if isinstance(found, Flaw):
            yield found._replace(name=_shown(archive, found.name))
            continue
        if found.name in kept:
            yield Flaw("repeated member", _shown(archive, found.name))
        kept[found.name] = found
    images, labels = {}, {}
    for name, member in kept.items():
        kind = left_out.kind_of(name)
        if kind != left_out.IMAGE:
            kind = "archived video" if kind == left_out.CLIP else kind
            yield Flaw(kind, _shown(archive, name))
        elif label_key(name, suffixes) is None:
            images[name] = member
        else:
            labels[name] = member
    of_image = _paired(images, labels, suffixes) if with_labels else {}
    used = set(of_image.values())
    keys = {label_key(name, suffixes) for name in used}
    for name in sorted(labels.keys() - used):
        second = label_key(name, suffixes) in keys
        kind = ("second label" if second else "orphan label") if with_labels else "label"
        yield Flaw(kind, _shown(archive, name))
    for name, member in images.items():
        label = of_image.get(name)
        yield _row(archive, member, labels[label] if label is not None else None)


def label_key(name: str, suffixes: Suffixes) -> str | None:
    """What an image's stem must be for this member to be its label; None where it is none."""
    whole = stem(name)
    if suffixes.label and whole.endswith(suffixes.label) and whole != suffixes.label:
        return whole.removesuffix(suffixes.label)
    part = ending(whole).removeprefix(".")
    may_hold_ids = ending(name) in formats.LOSSLESS
    return stem(whole) if part in LABEL_PARTS and may_hold_ids else None


def _paired(images: Iterable[str], labels: Iterable[str], suffixes: Suffixes) -> dict[str, str]:
    """The label of each image that has one: by its stem, else by its name up to the first dot."""
    label_of_key: dict[str, str] = {}
    for name in sorted(labels):
        label_of_key.setdefault(label_key(name, suffixes) or "", name)
    pairs, of_key = {}, defaultdict(list)
    for name in images:
        whole = stem(name).removesuffix(suffixes.image)
        if whole in label_of_key:
            pairs[name] = label_of_key.pop(whole)
        folder, slash, last = name.rpartition("/")
        of_key[folder + slash + last.partition(".")[0]].append(name)
    for key, names in of_key.items():
        if len(names) == 1 and key in label_of_key and names[0] not in pairs:
            pairs[names[0]] = label_of_key[key]
    return pairs


def _row(archive: Archive, member: Member, label: Member | None) -> dict[str, Any]:
    row = dict.fromkeys(ROW_COLUMNS) | {
        "path": _shown(archive, member.name),
        "short": stem(safe(storable(member.name))),
        "bytes": member.bytes,
        "version": archive.version,
        **_place(archive, member, ""),
    }
    if label is not None:
        row |= {"label": _shown(archive, label.name), "label_version": archive.version}
        row |= _place(archive, label, "label_")
    return row


def _place(archive: Archive, member: Member, prefix: str) -> dict[str, Any]:
    values = (archive.uri, member.offset, member.length, member.packing)
    return {prefix + name: value for name, value in zip(PLACE_COLUMNS, values, strict=True)}


def _shown(archive: Archive, name: str) -> str:
    return f"{archive.shown}/{storable(name)}" if name else archive.shown


def rows_of_list(
    uri: str, columns: ListColumns, split: str | None
) -> Iterator[dict[str, Any] | Flaw]:
    """A row for each address of a list, of one split if that is given; others are flaws."""
    base, shown = Base.of(uri), redacted(uri)
    for found in uri_lists.rows_of(uri, columns):
        if isinstance(found, Flaw):
            yield found
            continue
        line = f"{shown}, line {found.line}"
        if split is not None and found.values.get("split") != split:
            yield Flaw("other split", line, found.values.get("split", "none"))
            continue
        try:
            address = base.absolute(found.values["url"])
            label = found.values.get("label")
            label_address = base.absolute(label) if label else None
        except ValueError as error:
            yield Flaw("list line", line, str(error))
            continue
        path = safe(name_of(found.values["url"]))
        if left_out.is_clip(path):
            yield Flaw("archived video", line)
            continue
        size, version = local_facts(address)
        row = dict.fromkeys(ROW_COLUMNS) | {
            "path": path,
            "short": safe(found.values["id"]) if "id" in found.values else stem(path),
            "bytes": size,
            "version": version,
            "object": redacted(address),
            **{name: found.values.get(name) for name in NOTE_COLUMNS},
        }
        if label_address:
            row |= {"label": safe(name_of(label or "")), "label_object": redacted(label_address)}
            row["label_version"] = local_facts(label_address)[1]
        yield row


def local_facts(address: str | None) -> tuple[int, str]:
    """Size and time of change of a file of this machine; of others they are not asked for."""
    if address is None or "://" in address:
        return 0, ""
    try:
        status = os.stat(address)
    except OSError:
        return 0, ""  # it is quarantined when it is read
    return status.st_size, str(status.st_mtime)


def bare_suffixes(image: str | None, label: str | None) -> Suffixes:
    """Suffixes as options give them, perhaps with an ending."""
    return Suffixes(bare(image), bare(label))
