"""Where labels lie: in a folder of their own, among the images, or in one COCO file."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from stego_core.errors import InputError
from tasks.files import left_out, video_files
from tasks.files.image_names import ending, stem
from tasks.labels import pairing
from tasks.storage.storage import File, Storage


@dataclass(frozen=True)
class LabelFiles:
    """The files under --labels.

    Attributes:
        root: the folder that their paths are relative to.
        files: those that may be labels.
        among_images: paths, below the images' folder, of files that are labels and hence no images.
        unread: paths of files whose endings are not read.
        coco: path of a COCO file that holds all labels; None where each image has a file.
        single: whether --labels is one file.
    """

    root: Storage
    files: list[File]
    among_images: set[str] = field(default_factory=set)
    unread: list[str] = field(default_factory=list)
    coco: str | None = None
    single: bool = False


def find_labels(
    images: Storage, paths: Sequence[str], labels: Storage | None, suffix: str
) -> LabelFiles | None:
    """The labels of images; None where there are none.

    Args:
        images: the folder that the images lie in.
        paths: of the image files in it, those among them that are labels included.
        labels: where the labels lie; None: among the images, if they have a suffix.
        suffix: what a label's stem ends in.

    Raises:
        InputError: the labels do not exist, or are several JSON files and no image.
    """
    suffix = pairing.bare(suffix)
    if labels is None and not suffix:
        return None
    root, present = video_files.root_and_files(labels or images)
    single = labels is not None and root.uri != labels.uri
    same_folder = root.uri == images.uri
    if not same_folder:  # images below the labels' folder are no labels
        above = f"{images.uri}/".removeprefix(f"{root.uri}/")
        present = [file for file in present if not file.path.startswith(above)]
    kinds = left_out.by_kind(file.path for file in present)
    readable = set(kinds.get(left_out.IMAGE, []))
    if same_folder and not single:
        readable = among_images = _labels_among(paths, suffix)
    else:
        among_images = _image_files_in(images, root, paths, readable if single else None)
    unread = [*kinds.get("other ending", []), *kinds.get("no ending", [])]
    files = [file for file in present if file.path in readable]
    documents = [path for path in unread if ending(path) == ".json"]
    if documents and not files:
        if len(documents) > 1:
            raise InputError(
                f"{root.uri} holds {len(documents)} JSON files ({documents[0]}, {documents[1]}"
                f"{', …' if len(documents) > 2 else ''}); give one of them with --labels"
            )
        return LabelFiles(root, [], coco=documents[0], single=single)
    return LabelFiles(root, files, among_images, [] if same_folder else unread, single=single)


def _image_files_in(
    images: Storage, root: Storage, paths: Sequence[str], only: set[str] | None
) -> set[str]:
    """Image files that lie below the labels' folder, or are the only label."""
    if not f"{root.uri}/".startswith(f"{images.uri}/"):
        return set()
    below = f"{root.uri}/".removeprefix(f"{images.uri}/")
    inside = {path for path in paths if path.startswith(below)}
    return inside if only is None else inside & {below + path for path in only}


def _labels_among(paths: Sequence[str], suffix: str) -> set[str]:
    """Image files of one folder that are labels of others there."""
    if suffix:
        return {path for path in paths if stem(path).endswith(suffix)}
    return set(pairing.beside(paths))
