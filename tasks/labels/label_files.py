"""Where labels lie: in a folder of their own, among the images, or in one COCO file."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stego_core.errors import InputError
from tasks.files import left_out, video_files
from tasks.files.image_names import ending, stem
from tasks.files.left_out import LeftOut
from tasks.labels import label_pairs, pairing
from tasks.storage.spool import Rows, Spool
from tasks.storage.storage import File, Storage


@dataclass(frozen=True)
class LabelFiles:
    """The files under --labels; their rows are there as long as their spool.

    Attributes:
        root: the folder that their paths are relative to.
        files: those that may be labels, sorted by path.
        among_images: sorted paths, below the images' folder, of files that are labels and hence no
            images.
        unread: files whose endings are not read; None without.
        coco: path of a COCO file that holds all labels; None where each image has a file.
        single: whether --labels is one file.
    """

    root: Storage
    files: Rows[File]
    among_images: Rows[str]
    unread: LeftOut | None = None
    coco: str | None = None
    single: bool = False


class Unread:
    """Files whose endings are not read, as they pass by."""

    def __init__(self) -> None:
        """None yet."""
        self.endings: Counter[str] = Counter()
        self.first: dict[str, str] = {}  # by kind
        self.documents: list[str] = []  # JSON files, two at most

    def add(self, path: str, kind: str) -> None:
        """Count one of a kind of `left_out`."""
        self.endings[ending(path)] += 1
        self.first.setdefault(kind, path)
        if ending(path) == ".json" and len(self.documents) < 2:
            self.documents.append(path)

    def left_out(self) -> LeftOut | None:
        """As the listing tells them."""
        if not self.first:
            return None
        example = self.first.get(left_out.OTHER_ENDING) or self.first[left_out.NO_ENDING]
        note = left_out.endings_note(self.endings)
        return LeftOut("unread label", self.endings.total(), example, note)


def find_labels(
    images: Storage, paths: Rows[str], labels: Storage | None, suffix: str, spool: Spool
) -> LabelFiles | None:
    """The labels of images; None where there are none.

    Args:
        images: the folder that the images lie in.
        paths: of the image files in it, sorted, those among them that are labels included.
        labels: where the labels lie; None: among the images, if they have a suffix.
        suffix: what a label's stem ends in.
        spool: where rows are kept.

    Raises:
        InputError: the labels do not exist, or are several JSON files and no image.
    """
    suffix = pairing.bare(suffix)
    if labels is None and not suffix:
        return None
    root, present = video_files.root_and_each(labels or images)
    single = labels is not None and root.uri != labels.uri
    same_folder = root.uri == images.uri
    if not same_folder:  # images below the labels' folder are no labels
        above = f"{images.uri}/".removeprefix(f"{root.uri}/")
        present = (file for file in present if not file.path.startswith(above))
    unread = Unread()
    files = spool.keep(_readable(present, unread), File._make)
    if same_folder and not single:
        among = _labels_among(paths, suffix, spool)
        files = spool.keep(_only(files, among), File._make)
    else:
        among = spool.keep(_image_files_in(images, root, paths, files if single else None), str)
    if unread.documents and not files:
        if len(unread.documents) > 1:
            count = unread.endings[".json"]
            raise InputError(
                f"{root.uri} holds {count} JSON files ({', '.join(unread.documents)}"
                f"{', …' if count > 2 else ''}); give one of them with --labels"
            )
        return LabelFiles(root, files, spool.keep([], str), None, unread.documents[0], single)
    told = None if same_folder else unread.left_out()
    return LabelFiles(root, files, among, told, single=single)


def _readable(files: Iterable[File], unread: Unread) -> Iterator[File]:
    for file in files:
        kind = left_out.kind_of(file.path)
        if kind == left_out.IMAGE:
            yield file
        elif kind in (left_out.OTHER_ENDING, left_out.NO_ENDING):
            unread.add(file.path, kind)


def but_for(files: Iterable[File], paths: Iterable[str]) -> Iterator[File]:
    """Files of other paths; both are sorted."""
    return (file for file, among in _among(files, paths) if not among)


def _only(files: Iterable[File], paths: Iterable[str]) -> Iterator[File]:
    """Files of some paths; both are sorted."""
    return (file for file, among in _among(files, paths) if among)


def _among(files: Iterable[File], paths: Iterable[str]) -> Iterator[tuple[File, bool]]:
    others = iter(paths)
    path = next(others, None)
    for file in files:
        while path is not None and path < file.path:
            path = next(others, None)
        yield file, file.path == path


def _image_files_in(
    images: Storage, root: Storage, paths: Iterable[str], only: Iterable[File] | None
) -> Iterator[str]:
    """Image files that lie below the labels' folder, or are the only label."""
    if not f"{root.uri}/".startswith(f"{images.uri}/"):
        return
    below = f"{root.uri}/".removeprefix(f"{images.uri}/")
    inside = (path for path in paths if path.startswith(below))
    if only is None:
        yield from inside
        return
    files = (File(path, 0, "", 0.0) for path in inside)
    yield from (file.path for file in _only(files, (below + file.path for file in only)))


def _labels_among(paths: Rows[str], suffix: str, spool: Spool) -> Rows[str]:
    """Image files of one folder that are labels of others there."""
    if suffix:
        return spool.keep((path for path in paths if stem(path).endswith(suffix)), str)
    return spool.keep((label for label, _ in label_pairs.beside(paths, spool)), str)
