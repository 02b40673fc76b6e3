"""What of a place becomes no image, counted by kind with an example, and told in a line each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from tasks.files import formats, video_files

TOOL_FOLDERS = {
    "@eadir", "@tmp", "#recycle", "@recycle", "#snapshot", "@recently-snapshot", "__macosx",
    "__pycache__", "$recycle.bin", "recycler", "system volume information", "lost+found",
    "found.000", "network trash folder", "temporary items",
}  # fmt: skip
"""Folders of systems and tools, in lower case; those that begin with a dot are hidden anyway."""
TOOL_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "picasa.ini", "zbthumbnail.info"}
IMAGE, CLIP = "image", "video"
TEXTS = {
    "tool folder": "in hidden or tool folders",
    "hidden": "hidden or of the system",
    "label": "that serve as labels",
    "label-like": "that look like labels of the images of the same name; give --labels to have "
    "them as such",
    "HEIC": f"of HEIC images, which {formats.PLUGINS[0].remedy} makes readable",
    "JPEG XL": f"of JPEG XL images, which {formats.PLUGINS[1].remedy} makes readable",
    "other ending": "whose endings are not read",
    "no ending": "without an ending",
    "workspace": "of the workspace, which lies among the images",
    "page": "further pages of TIFFs; --pages all makes each an image",
    "frame": "further frames of animations",
    "orphan label": "labels that belong to no image",
    "second label": "further labels of images that have one",
    "other label": "under --labels without the suffix of --label-suffix",
    "unread label": "under --labels whose endings are not read",
    "unlisted": "images that the COCO file does not list and that have no label",
    "boxes": "annotations without an area, as a box alone labels no pixel",
}
"""Behind the count of each kind, for people."""
BARE = {
    "page": "further page of a TIFF",
    "frame": "further frame of an animation",
    "orphan label": "label that belongs to no image",
    "second label": "further label of an image that has one",
    "unlisted": "image that the COCO file does not list and that has no label",
    "boxes": "annotation without an area, as a box alone labels no pixel",
}
"""Kinds whose text says what is counted, with what it says of one; of the others it is files."""
ENDINGS_TOLD = 6


@dataclass
class LeftOut:
    """What of one kind was left out.

    Attributes:
        kind: a key of TEXTS.
        count: how many.
        example: one of them.
        note: what more there is to say.
    """

    kind: str
    count: int
    example: str
    note: str = ""

    def sentence(self) -> str:
        """A line for people."""
        what, _, advice = TEXTS[self.kind].partition("; ")
        if self.kind in BARE:
            what = BARE[self.kind] if self.count == 1 else what
        else:
            what = f"{'file' if self.count == 1 else 'files'} {what}"
        more = "".join(f"; {text}" for text in (self.note, advice) if text)
        return f"left out: {self.count:,} {what} (for example {self.example}){more}"


@dataclass
class LeftOutCounts:
    """What a person should know of a listing.

    Attributes:
        kinds: what was left out, by kind.
        remarks: other sentences.
    """

    kinds: dict[str, LeftOut] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add(self, kind: str, names: Sequence[str], note: str = "") -> None:
        """Count names of one kind."""
        self.count(kind, len(names), names[0] if names else "", note)

    def count(self, kind: str, count: int, example: str, note: str = "") -> None:
        """Count what has one example."""
        if count and kind in self.kinds:
            self.kinds[kind].count += count
        elif count:
            self.kinds[kind] = LeftOut(kind, count, example, note)

    def lines(self) -> list[str]:
        """A line for each kind, and the remarks."""
        return [each.sentence() for each in self.kinds.values()] + self.remarks

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "left_out": [asdict(each) for each in self.kinds.values()],
            "remarks": list(self.remarks),
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "LeftOutCounts":
        """From its document, or from the manifest of a dump; nothing of one from before."""
        kinds = (LeftOut(**each) for each in document.get("left_out", []))
        return cls({each.kind: each for each in kinds}, list(document.get("remarks", [])))


def kind_of(path: str) -> str:
    """What a file is by its name: IMAGE, CLIP, or a kind of what is left out."""
    *folders, name = path.split("/")
    ending = PurePosixPath(name).suffix.lower()
    if any(part.startswith(".") or part.lower() in TOOL_FOLDERS for part in folders):
        return "tool folder"
    if name.startswith(".") or name.lower() in TOOL_FILES:
        return "hidden"
    if formats.is_read(ending):
        return IMAGE
    if ending in video_files.EXTENSIONS:
        return CLIP
    if plugin := formats.plugin_of(ending):
        return plugin.format
    return "other ending" if ending else "no ending"


def sorted_out(paths: Iterable[str]) -> dict[str, list[str]]:
    """Names by what they are, in their order."""
    kinds: dict[str, list[str]] = {}
    for path in paths:
        kinds.setdefault(kind_of(path), []).append(path)
    return kinds


def is_image(path: str) -> bool:
    """Whether the file's ending is an image's, and neither it nor a folder above is hidden."""
    return kind_of(path) == IMAGE


def is_clip(path: str) -> bool:
    """Whether the file's ending is a video's, and neither it nor a folder above is hidden."""
    return kind_of(path) == CLIP


def endings_note(paths: Sequence[str]) -> str:
    """How many files have which ending, the most frequent first."""
    counts: dict[str, int] = {}
    for path in paths:
        ending = PurePosixPath(path).suffix.lower()
        counts[ending] = counts.get(ending, 0) + 1
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    told = ", ".join(f"{ending} {count:,}" for ending, count in ordered[:ENDINGS_TOLD])
    more = f" and {len(ordered) - ENDINGS_TOLD} more endings" if len(ordered) > ENDINGS_TOLD else ""
    return f"{told}{more}"
