"""Which label belongs to which image: by relative path and stem, whatever the form of the name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from stego_core.errors import ImageError
from tasks.files import formats
from tasks.files.image_names import composed, folded, stem
from tasks.images import image_codecs
from tasks.storage.storage import File, Storage

MANY = 64
"""Distinct values from which on a grey picture is more likely a photo than a label."""
LOOKED_INTO = 8
"""Files of a folder that are looked into, to find out whether they are labels."""
MOST_PIXELS = 128_000_000
SEPARATORS = "_-. "


@dataclass
class Pairs:
    """What belongs together.

    Attributes:
        labels: of each image, in the order of the images; None without.
        orphans: paths of labels that belong to no image.
        seconds: paths of further labels of an image that has one.
        loosely: images whose label has the same name in another case or Unicode form.
        others: paths of files under the labels without their suffix.
    """

    labels: list[File | None]
    orphans: list[str] = field(default_factory=list)
    seconds: list[str] = field(default_factory=list)
    loosely: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Images that have a label."""
        return sum(label is not None for label in self.labels)


def bare(suffix: str | None) -> str:
    """A suffix without the ending of a file, should it have been given with one."""
    text = suffix or ""
    ending = PurePosixPath(f"x{text}").suffix.lower()
    return text[: -len(ending)] if ending and formats.is_read(ending) else text


def paired(
    names: Sequence[str], labels: Sequence[File], image_suffix: str = "", label_suffix: str = ""
) -> Pairs:
    """Find each image's label.

    The names are compared without the suffixes: as they are, then in one Unicode form, then
    regardless of case where that leaves no doubt.

    Args:
        names: relative paths of the images without endings.
        labels: files that may be labels; of several with one name the one that is likeliest to
            hold ids is taken.
        image_suffix: what an image's stem has beyond the common part.
        label_suffix: what a label's stem has beyond it.
    """
    wanted = [_without(name, image_suffix) for name in names]
    by_name: dict[str, list[File]] = {}
    others = []
    for file in sorted(labels, key=_likelihood):
        name = _without(stem(file.path), label_suffix)
        if name is None:
            others.append(file.path)
        else:
            by_name.setdefault(name, []).append(file)
    pairs = Pairs([None] * len(wanted), others=sorted(others))
    chosen: dict[str, str] = {name: name for name in wanted if name in by_name}
    for form in (composed, folded):
        _match(wanted, by_name, chosen, form)
    for place, name in enumerate(wanted):
        if name in chosen:
            pairs.labels[place] = by_name[chosen[name]][0]
            if chosen[name] != name:
                pairs.loosely.append(names[place])
    used = set(chosen.values())
    pairs.orphans = sorted(f.path for n, files in by_name.items() if n not in used for f in files)
    pairs.seconds = sorted(f.path for name in used for f in by_name[name][1:])
    return pairs


def suggested(stems: Sequence[str], labels: Sequence[str]) -> tuple[str, str] | None:
    """Suffixes of images and labels with which most of them would match, where there are such.

    Args:
        stems: of images.
        labels: stems of labels; none of them is an image's.
    """
    if not stems or not labels:
        return None
    named = {label: label for label in labels}
    for image in stems[:8]:
        near = max(labels, key=lambda label: _shared(image, label))
        length = _shared(image, near)
        while length > len(image.rpartition("/")[0]) + 1:
            ends = image[length:], near[length:]
            matched = sum(
                image.endswith(ends[0]) and image.removesuffix(ends[0]) + ends[1] in named
                for image in stems
            )
            if matched * 2 > min(len(stems), len(labels)):
                length -= image[length - 1] in SEPARATORS
                return image[length:], near[length:]
            length -= 1
    return None


def beside(paths: Sequence[str]) -> dict[str, str]:
    """Files that may be labels of images of the same name in the same folder.

    Returns:
        the image of each: files whose ending can hold ids, beside one with another ending.
    """
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(composed(stem(path)), []).append(path)
    found = {}
    for group in groups.values():
        holding = [path for path in group if _ending(path) in formats.LOSSLESS]
        label = min(holding, key=lambda path: formats.LOSSLESS.index(_ending(path)), default=None)
        rest = [path for path in group if label and _ending(path) != _ending(label)]
        if label and rest:
            found[label] = rest[0]
    return found


def label_like(root: Storage, paths: Sequence[str]) -> set[str]:
    """Files that hold what only labels do, each beside its image: few grey or palette values.

    A few of them are looked into; unless all of those are such, none counts as a label.
    """
    found = beside(paths)
    some = sorted(found)[:: max(len(found) // LOOKED_INTO, 1)][:LOOKED_INTO]
    alike = bool(some) and all(_labels(root, path, found[path]) for path in some)
    return set(found) if alike else set()


def _labels(root: Storage, label: str, image: str) -> bool:
    try:
        with image_codecs.opened(root.read(label), MOST_PIXELS) as opened:
            if opened.mode not in ("P", "L", "1"):
                return False
            size, values = opened.size, len(np.unique(np.asarray(opened)))
        with image_codecs.opened(root.read(image), MOST_PIXELS) as opened:
            shades = len(np.unique(np.asarray(opened.convert("L"))))
            return opened.size == size and values <= MANY < shades
    except (ImageError, OSError):
        return False


def _match(
    wanted: Sequence[str | None],
    by_name: Mapping[str, Sequence[File]],
    chosen: dict[str, str],
    form: Callable[[str], str],
) -> None:
    """Match what is equal in a form, where one image and one label are."""
    used = set(chosen.values())
    free: dict[str, set[str]] = {}
    for name in by_name:
        if name not in used:
            free.setdefault(form(name), set()).add(name)
    waiting: dict[str, set[str]] = {}
    for image in wanted:
        if image is not None and image not in chosen:
            waiting.setdefault(form(image), set()).add(image)
    for key, names in waiting.items():
        if len(names) == 1 and len(free.get(key, ())) == 1:
            chosen[next(iter(names))] = next(iter(free[key]))


def _without(name: str, suffix: str) -> str | None:
    """The name without the suffix; None if it has none."""
    return name.removesuffix(suffix) if name.endswith(suffix) and name != suffix else None


def _likelihood(file: File) -> tuple[str, int, str]:
    ending = _ending(file.path)
    known = formats.LOSSLESS.index(ending) if ending in formats.LOSSLESS else len(formats.LOSSLESS)
    return stem(file.path), known, file.path


def _ending(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _shared(first: str, second: str) -> int:
    """Length of the common beginning."""
    pairs = zip(first, second, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
