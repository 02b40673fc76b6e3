"""Which label belongs to which image: by relative path and stem, whatever the form of the name."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from stego_core.errors import ImageError
from tasks.files import formats
from tasks.files.image_names import composed, ending, folded, stem
from tasks.images import image_codecs
from tasks.storage.storage import File, Storage

PHOTO_VALUES = 64  # a grey picture of more distinct values is more likely a photo than a label
SAMPLED_FILES = 8  # files of a folder that are looked into, to find out whether they are labels
SAMPLE_PIXELS = 128_000_000  # pixels of such a file, at most
SEPARATORS = "_-. "  # characters that a suggested suffix begins with, where the name has one there


@dataclass
class Pairs:
    """Images and their labels.

    Attributes:
        labels: of each image, in the order of the images; None without.
        orphans: paths of labels that belong to no image.
        seconds: paths of an image's further labels.
        inexact: numbers of images whose label's name differs in case or Unicode form.
        others: paths of files without the labels' suffix.
    """

    labels: list[File | None]
    orphans: list[str] = field(default_factory=list)
    seconds: list[str] = field(default_factory=list)
    inexact: list[int] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Images that have a label."""
        return sum(label is not None for label in self.labels)


def bare(suffix: str | None) -> str:
    """A suffix without the ending of a file, should it have been given with one."""
    text = suffix or ""
    extension = ending(f"x{text}")
    return text[: -len(extension)] if extension and formats.is_read(extension) else text


def pair(
    images: Sequence[str], labels: Sequence[File], image_suffix: str = "", label_suffix: str = ""
) -> Pairs:
    """Find each image's label.

    The names are compared without the suffixes of their stems: as they are, then in one Unicode
    form, then regardless of case where that leaves no doubt. Of several labels with one name the
    one that is likeliest to hold ids is taken. `images` are relative paths without endings.
    """
    names = [without(image, image_suffix) for image in images]
    files: dict[str, list[File]] = {}
    pairs = Pairs([None] * len(images))
    for file in sorted(labels, key=_likeliest_first):
        name = without(stem(file.path), label_suffix)
        if name is None:
            pairs.others.append(file.path)
        else:
            files.setdefault(name, []).append(file)
    label_of = {name: name for name in names if name and name in files}
    for form in (composed, folded):
        images_left = {name for name in names if name and name not in label_of}
        label_of |= _matches(form, images_left, files.keys() - label_of.values())
    for number, name in enumerate(names):
        if name in label_of:
            pairs.labels[number] = files[label_of[name]][0]
            if label_of[name] != name:
                pairs.inexact.append(number)
    used = set(label_of.values())
    pairs.orphans = sorted(f.path for name in files.keys() - used for f in files[name])
    pairs.seconds = sorted(f.path for name in used for f in files[name][1:])
    pairs.others.sort()
    return pairs


def _matches(
    form: Callable[[str], str], images: Iterable[str], labels: Iterable[str]
) -> dict[str, str]:
    """The label of each image where one image and one label only are equal in a form."""
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for side, names in enumerate((images, labels)):
        for name in names:
            groups.setdefault(form(name), ([], []))[side].append(name)
    return {a[0]: b[0] for a, b in groups.values() if len(a) == len(b) == 1}


def suggested_suffixes(images: Sequence[str], labels: Sequence[str]) -> tuple[str, str] | None:
    """Suffixes of images and labels with which most stems would match, where there are such."""
    known = set(labels)
    for image in images[:SAMPLED_FILES] if labels else ():
        label = max(labels, key=lambda other: _shared(image, other))
        folder = len(image.rpartition("/")[0]) + 1
        for length in range(_shared(image, label), folder, -1):
            image_end, label_end = image[length:], label[length:]
            matches = sum(
                other.endswith(image_end) and other.removesuffix(image_end) + label_end in known
                for other in images
            )
            if matches * 2 > min(len(images), len(labels)):
                length -= image[length - 1] in SEPARATORS
                return image[length:], label[length:]
    return None


def beside(paths: Sequence[str]) -> dict[str, str]:
    """The image of each file that may be its label: of the same name in the same folder.

    A label's ending can hold ids, its image's is another one.
    """
    if len({ending(path) for path in paths}) < 2:
        return {}
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(composed(stem(path)), []).append(path)
    image_of = {}
    for group in groups.values():
        label = min(group, key=_id_rank)
        images = [path for path in group if ending(path) != ending(label)]
        if images and ending(label) in formats.LOSSLESS:
            image_of[label] = images[0]
    return image_of


def is_label(root: Storage, label: str, image: str) -> bool:
    """Whether a file holds what only labels do, unlike its image: few grey or palette values."""
    try:
        with image_codecs.opened(root.read(label), SAMPLE_PIXELS) as opened:
            if opened.mode not in ("P", "L", "1"):
                return False
            size, values = opened.size, len(np.unique(np.asarray(opened)))
        with image_codecs.opened(root.read(image), SAMPLE_PIXELS) as opened:
            shades = len(np.unique(np.asarray(opened.convert("L"))))
            return opened.size == size and values <= PHOTO_VALUES < shades
    except (ImageError, OSError):
        return False


def without(name: str, suffix: str) -> str | None:
    """The name without the suffix; None if it has none, or is nothing else."""
    return name.removesuffix(suffix) if name.endswith(suffix) and name != suffix else None


def _id_rank(path: str) -> int:
    """0 for the ending that most likely holds ids, more for others."""
    lossless = formats.LOSSLESS
    return lossless.index(ending(path)) if ending(path) in lossless else len(lossless)


def _likeliest_first(file: File) -> tuple[str, int, str]:
    return stem(file.path), _id_rank(file.path), file.path


def _shared(first: str, second: str) -> int:
    """Length of the common beginning."""
    pairs = zip(first, second, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
