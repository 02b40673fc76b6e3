"""Files that become no image: counted by kind with an example, and reported in a line each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.files import formats, video_files
from tasks.files.image_names import ending

TOOL_FOLDERS = {
    "@eadir", "@tmp", "#recycle", "@recycle", "#snapshot", "@recently-snapshot", "__macosx",
    "__pycache__", "$recycle.bin", "recycler", "system volume information", "lost+found",
    "found.000", "network trash folder", "temporary items",
}  # fmt: skip
"""Folders of systems and tools, in lower case; those that begin with a dot are hidden anyway."""
TOOL_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "picasa.ini", "zbthumbnail.info"}
"""Files of systems and tools, in lower case."""
OTHER_ENDING = "other ending"  # the kind of a file whose ending is not read
NO_ENDING = "no ending"  # the kind of a file without one
IMAGE = "image"  # the kind of a file that becomes an image
CLIP = "video"  # the kind of a file whose frames become images


def plural(noun: str) -> str:
    """Several of a noun."""
    return noun + ("es" if noun.endswith("s") else "s")


ARCHIVE_TEXTS = {
    "archived video": ("video", " in archives or lists; give videos as files of a folder"),
    "unsafe name": ("member", " of archives with a name that is absolute or has a part '..'"),
    "link": ("member", " of archives that can be no image: links and devices"),
    "encrypted": ("encrypted member", " of archives"),
    "packed otherwise": ("member", " of archives in a form that is not read"),
    "bomb": ("member", " of archives that may be decompression bombs"),
    "cut off": ("member", " of archives that are cut off"),
    "damaged part": ("damaged part", " of archives, in which no member was found"),
    "no end": ("archive", " without an end mark, behind which more may have been"),
    "unreadable archive": ("archive", " that cannot be read"),
    "repeated member": ("member", " of archives that a later one of the same name replaces"),
    "repeated address": ("address", " that another line of the lists has, too"),
    "list line": ("line", " of lists that cannot be used"),
    "other split": ("row", " of lists that are of other splits"),
}
"""What archives and lists have beside images: one of it, and the text behind it and its plural."""
TEXTS = {
    "tool folder": "in hidden or tool folders",
    "hidden": "hidden or of the system",
    "label": "that serve as labels",
    "label-like": "that look like labels of the images of the same name; give --labels to have "
    "them as such",
    "HEIC": f"of HEIC images, which {formats.PLUGINS[0].remedy} makes readable",
    "JPEG XL": f"of JPEG XL images, which {formats.PLUGINS[1].remedy} makes readable",
    OTHER_ENDING: "whose endings are not read",
    NO_ENDING: "without an ending",
    "workspace": "of the workspace, which lies among the images",
    "page": "further pages of TIFFs; --pages all makes each an image",
    "frame": "further frames of animations",
    "orphan label": "labels that belong to no image",
    "second label": "further labels of images that have one",
    "other label": "under --labels without the suffix of --label-suffix",
    "unread label": "under --labels whose endings are not read",
    "unlisted": "images that the COCO file does not list and that have no label",
    "boxes": "annotations without an area, as a box alone labels no pixel",
    **{kind: plural(noun) + text for kind, (noun, text) in ARCHIVE_TEXTS.items()},
}
"""The text behind the count of each kind; for kinds that SINGULAR lacks, "files" stands between."""
SINGULAR = {
    "page": "further page of a TIFF",
    "frame": "further frame of an animation",
    "orphan label": "label that belongs to no image",
    "second label": "further label of an image that has one",
    "unlisted": "image that the COCO file does not list and that has no label",
    "boxes": "annotation without an area, as a box alone labels no pixel",
    **{kind: f"{noun}{text}" for kind, (noun, text) in ARCHIVE_TEXTS.items()},
}
"""The text behind a count of one, for kinds whose text itself names what is counted."""
LISTED_ENDINGS = 6  # endings that a note lists


@dataclass
class LeftOut:
    """Files, pages or annotations of one kind that were left out."""

    kind: str  # a key of TEXTS
    count: int
    example: str
    note: str = ""  # put before the text's own advice

    def sentence(self) -> str:
        """A line for people."""
        text, _, advice = TEXTS[self.kind].partition("; ")
        if self.kind not in SINGULAR:
            text = f"{'file' if self.count == 1 else 'files'} {text}"
        elif self.count == 1:
            text = SINGULAR[self.kind]
        remarks = "".join(f"; {remark}" for remark in (self.note, advice) if remark)
        return f"left out: {self.count:,} {text} (for example {self.example}){remarks}"


@dataclass
class LeftOutCounts:
    """What a person should know of a listing: what was left out, by kind, and other sentences."""

    kinds: dict[str, LeftOut] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add(self, kind: str, names: Sequence[str], note: str = "") -> None:
        """Count names of one kind; the first is the example."""
        self.add_count(kind, len(names), names[0] if names else "", note)

    def add_count(self, kind: str, count: int, example: str, note: str = "") -> None:
        """Count so many of one kind."""
        if count and kind in self.kinds:
            self.kinds[kind].count += count
        elif count:
            self.kinds[kind] = LeftOut(kind, count, example, note)

    def lines(self) -> list[str]:
        """A line for each kind, and the remarks."""
        return [left_out.sentence() for left_out in self.kinds.values()] + self.remarks

    def document(self) -> dict[str, Any]:
        """For JSON."""
        left_out = [asdict(left_out) for left_out in self.kinds.values()]
        return {"left_out": left_out, "remarks": list(self.remarks)}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "LeftOutCounts":
        """From its document or a dump's manifest; empty for one of an earlier version."""
        left_out = (LeftOut(**fields) for fields in document.get("left_out", []))
        return cls({each.kind: each for each in left_out}, list(document.get("remarks", [])))


def kind_of(path: str) -> str:
    """What a file is by its name: IMAGE, CLIP, or a kind of what is left out."""
    *folders, name = path.split("/")
    extension = ending(name)
    if any(part.startswith(".") or part.lower() in TOOL_FOLDERS for part in folders):
        return "tool folder"
    if name.startswith(".") or name.lower() in TOOL_FILES:
        return "hidden"
    if formats.is_read(extension):
        return IMAGE
    if extension in video_files.EXTENSIONS:
        return CLIP
    if plugin := formats.plugin_of(extension):
        return plugin.format
    return OTHER_ENDING if extension else NO_ENDING


class Passed:
    """Files that become no image, as they pass by: counted by kind, in the order of the kinds."""

    def __init__(self) -> None:
        """None yet."""
        self.counts = LeftOutCounts()
        self.endings: Counter[str] = Counter()  # of those whose endings are not read

    def add(self, kind: str, path: str) -> None:
        """Count one."""
        self.counts.add_count(kind, 1, path)
        if kind == OTHER_ENDING:
            self.endings[ending(path)] += 1

    def add_to(self, counts: LeftOutCounts) -> None:
        """Add them to others."""
        for kind, each in self.counts.kinds.items():
            note = endings_note(self.endings) if kind == OTHER_ENDING else ""
            counts.add_count(kind, each.count, each.example, note)


def is_image(path: str) -> bool:
    """Whether the file's ending is an image's, and neither it nor a folder above is hidden."""
    return kind_of(path) == IMAGE


def is_clip(path: str) -> bool:
    """Whether the file's ending is a video's, and neither it nor a folder above is hidden."""
    return kind_of(path) == CLIP


def endings_note(endings: Mapping[str, int]) -> str:
    """How many files have which ending, the most frequent first."""
    counts = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    note = ", ".join(f"{extension} {count:,}" for extension, count in counts[:LISTED_ENDINGS])
    more = len(counts) - LISTED_ENDINGS
    return f"{note} and {more} more endings" if more > 0 else note
