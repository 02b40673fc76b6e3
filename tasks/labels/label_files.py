"""Where labels lie: in a folder of their own, among the images, or in one COCO file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from stego_core.errors import InputError
from tasks.files import left_out, video_files
from tasks.files.image_names import stem
from tasks.labels import pairing
from tasks.storage.storage import File, Storage

JSON = ".json"


@dataclass(frozen=True)
class LabelFiles:
    """The files under --labels.

    Attributes:
        root: the folder that their paths are relative to.
        files: those that may be labels.
        serving: paths, below the images' folder, of files that are labels and hence no images.
        unread: paths of files whose endings are not read.
        coco: path of a COCO file that holds all labels; None where each image has a file.
        single: whether the place is one file.
    """

    root: Storage
    files: list[File]
    serving: set[str] = field(default_factory=set)
    unread: list[str] = field(default_factory=list)
    coco: str | None = None
    single: bool = False


def found_labels(
    images: Storage, paths: Sequence[str], labels: Storage | None, suffix: str
) -> LabelFiles | None:
    """The labels of images.

    Args:
        images: the folder that the images lie in.
        paths: of the image files in it, those among them that are labels included.
        labels: where the labels lie; None: among the images, if they have a suffix.
        suffix: what a label's stem ends in.

    Returns:
        the labels; None where there are none.

    Raises:
        InputError: the place does not exist, or holds several JSON files and no label image.
    """
    suffix = pairing.bare(suffix)
    if labels is None and not suffix:
        return None
    root, present = video_files.found(labels or images)
    single = labels is not None and root.uri != labels.uri
    kinds: dict[str, list[File]] = {}
    for file in present:
        kinds.setdefault(left_out.kind_of(file.path), []).append(file)
    files = kinds.get(left_out.IMAGE, [])
    others = [*kinds.get("other ending", []), *kinds.get("no ending", [])]
    if root.uri == images.uri and not single:
        serving = _among(paths, suffix)
        files = [file for file in files if file.path in serving]
    else:
        serving = _overlapping(images, root, paths, files if single else None)
        above = f"{images.uri}/".removeprefix(f"{root.uri}/")
        files, others = (
            [file for file in each if not file.path.startswith(above)] for each in (files, others)
        )
    documents = [file.path for file in others if _ending(file.path) == JSON]
    if documents and not files:
        if len(documents) > 1:
            raise InputError(
                f"{root.uri} holds {len(documents)} JSON files ({documents[0]}, {documents[1]}"
                f"{', …' if len(documents) > 2 else ''}); give one of them with --labels"
            )
        return LabelFiles(root, [], coco=documents[0], single=single)
    unread = [] if root.uri == images.uri else [file.path for file in others]
    return LabelFiles(root, files, serving, unread, single=single)


def _overlapping(
    images: Storage, root: Storage, paths: Sequence[str], only: Sequence[File] | None
) -> set[str]:
    """Which image files lie below the labels' folder, or are the only label."""
    if not f"{root.uri}/".startswith(f"{images.uri}/"):
        return set()
    below = f"{root.uri}/".removeprefix(f"{images.uri}/")
    wanted = None if only is None else {f"{below}{file.path}" for file in only}
    return {p for p in paths if (p.startswith(below) if wanted is None else p in wanted)}


def _among(paths: Sequence[str], suffix: str) -> set[str]:
    """Which of the image files in one folder are labels of others there."""
    if suffix:
        return {path for path in paths if stem(path).endswith(suffix)}
    return set(pairing.beside(paths))


def _ending(path: str) -> str:
    return PurePosixPath(path).suffix.lower()
