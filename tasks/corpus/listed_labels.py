"""Which image of a listing has which label, and what to tell where none has one."""

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import chain, islice

from stego_core.errors import InputError
from tasks.files.entries import Entry
from tasks.files.image_names import stem, storable
from tasks.files.left_out import LeftOutCounts
from tasks.labels import pairing
from tasks.labels.label_files import LabelFiles
from tasks.labels.label_pairs import LabelPairs, labelled, pair_all
from tasks.storage.spool import Rows, Spool
from tasks.storage.storage import File

COMPARED = 10_000  # names of each side that a hint on suffixes is drawn from


def by_number(given: Iterable[tuple[int, File]], count: int) -> Iterator[File | None]:
    """What is given to each of so many images."""
    rows = iter(given)
    row = next(rows, None)
    for number in range(count):
        if row is not None and row[0] == number:
            yield row[1]
            row = next(rows, None)
        else:
            yield None


def labels_of(
    entries: Rows[Entry],
    labels: LabelFiles,
    suffixes: tuple[str, str],
    counts: LeftOutCounts,
    uri: str,
    spool: Spool,
) -> Iterable[tuple[int, File]]:
    """Each image's label, by the images' numbers.

    Args:
        entries: the images.
        labels: what may be their labels; no COCO file.
        suffixes: parts of an image's stem, and of a label's, that are not compared.
        counts: get what is no image's label.
        uri: where the images lie, for errors.
        spool: where rows are kept.

    Raises:
        InputError: no label belongs to an image.
    """
    if labels.single and len(entries) == 1 and labels.files:
        return [(0, next(iter(labels.files)))]
    names = enumerate(entry.short for entry in entries)
    pairs = pair_all(names, labels.files, spool, *suffixes, total=len(entries))
    _share_labels_of_files(pairs, entries, suffixes, spool)
    if not pairs.labels:
        raise InputError(_no_label_belongs(uri, entries, labels))
    orphan = next((file.path for file in pairs.orphans), "")
    counts.add_count("orphan label", len(pairs.orphans), orphan)
    for kind, found in (("second label", pairs.seconds), ("other label", pairs.others)):
        counts.add_count(kind, found.count, found.first)
    if unread := labels.unread:
        counts.add_count(unread.kind, unread.count, unread.example, unread.note)
    if pairs.inexact.count:
        counts.remarks.append(
            f"labels: {pairs.inexact.count:,} were found under a name that differs from their "
            f"image's in case or Unicode form (for example that of {pairs.inexact.first[1]})"
        )
    return pairs.labels


def _share_labels_of_files(
    pairs: LabelPairs, entries: Rows[Entry], suffixes: tuple[str, str], spool: Spool
) -> None:
    """Give the label of a file with several pages to all its pages that have no own label."""
    labels = by_number(pairs.labels, len(entries))
    pages = (
        (number, stem(storable(entry.file.path)))
        for number, (entry, label) in enumerate(zip(entries, labels, strict=True))
        if entry.page is not None and label is None
    )
    if (first := next(pages, None)) is None:
        return
    by_file = pair_all(chain([first], pages), pairs.orphans, spool, *suffixes, total=len(entries))
    pairs.labels = spool.keep(merge(pairs.labels, by_file.labels), labelled)
    pairs.orphans = by_file.orphans


def _no_label_belongs(uri: str, entries: Rows[Entry], labels: LabelFiles) -> str:
    """Why no label belongs to an image, with a name of each and what could help."""
    text = f"none of the {len(entries)} images under {uri} has a label under {labels.root.uri}"
    label = next(iter(labels.files), None)
    if label is None:
        what = "no file ending as an image does"
        if labels.unread:
            what = f"only files that cannot be labels (for example {labels.unread.example})"
        return f"{text}, which holds {what}; a label is a PNG or TIFF of class ids, or a COCO JSON"
    pair = f"an image is called {next(iter(entries)).file.path}, a label {label.path}"
    suffixes = pairing.suggested_suffixes(
        [entry.short for entry in islice(entries, COMPARED)],
        [stem(file.path) for file in islice(labels.files, COMPARED)],
    )
    if suffixes:
        flags = zip(("--image-suffix", "--label-suffix"), suffixes, strict=True)
        hint = " ".join(f"{flag}={suffix}" for flag, suffix in flags if suffix)
        return f"{text}: {pair}; they would match with {hint}"
    return (
        f"{text}: {pair}; a label has the same relative path and stem as its image, but for what "
        "--image-suffix and --label-suffix name"
    )
