"""Which patch of which image a lesson is of, and the features that it has."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.index import IndexReader
from tasks.masks import kept_features
from tasks.masks.segmenter import SegmenterSpec
from tasks.teaching.lessons import Lesson
from tasks.workspace import keys, layout
from tasks.workspace.workspace import Workspace

VERSION = 2
"""Raised whenever the same lessons would give another model."""


class TaughtPatch(NamedTuple):
    """A lesson as the model takes it.

    Attributes:
        dump, row: the image.
        x, y: the pixel.
        cls: id of the class.
    """

    dump: str
    row: int
    x: int
    y: int
    cls: int


def lesson_features(
    workspace: Workspace, spec: SegmenterSpec, patches: Sequence[TaughtPatch]
) -> Iterator[NDArray[np.float32]]:
    """The features (C,) of each lesson's patch."""
    key = kept_features.features_key(spec)
    images: dict[tuple[str, int], tuple[dict[str, Any], NDArray[np.float16]]] = {}
    for patch in patches:
        image = patch.dump, patch.row
        if image not in images:
            entry = IndexReader(workspace, patch.dump).entry(patch.row)
            path = layout.image_feature(key, patch.dump, entry["image_id"])
            images[image] = entry, kept_features.read(workspace.storage, path).features
        entry, features = images[image]
        top = patch.y * features.shape[0] // entry["height"]
        left = patch.x * features.shape[1] // entry["width"]
        yield features[top, left].astype(np.float32)


def found_patches(
    workspace: Workspace, lessons: Sequence[tuple[Lesson, int]], key: str
) -> tuple[list[TaughtPatch], list[str]]:
    """The lessons as the model takes them, and why some cannot be taken.

    Args:
        lessons: each with the id of its class.
        key: of the kept features.
    """
    wanted: dict[str, set[str]] = {}
    for lesson, _ in lessons:
        wanted.setdefault(lesson.dump, set()).add(lesson.image_id)
    rows = {dump: _readable_rows(workspace, dump, key, ids) for dump, ids in wanted.items()}
    patches, problems = list[TaughtPatch](), list[str]()
    for lesson, cls in lessons:
        row = rows[lesson.dump].get(lesson.image_id)
        if row is None:
            where = f"image {lesson.image_id} of dump {lesson.dump}"
            problems.append(f"{where} is not there any more, or cannot be read")
        else:
            patches.append(TaughtPatch(lesson.dump, row, lesson.x, lesson.y, cls))
    return patches, problems


def _readable_rows(workspace: Workspace, dump: str, key: str, wanted: set[str]) -> dict[str, int]:
    """Index rows of those of the wanted images of a dump whose features are kept, by image id."""
    manifest = kept_features.dump_folder(workspace.storage, key, dump).manifest_or_none()
    if manifest is None:
        return {}
    names = (name for part in IndexReader(workspace, dump).column("image_id") for name in part)
    return {
        name: row
        for row, name in enumerate(names)
        if name in wanted and str(row) not in manifest["invalid"]
    }


def taught_key(
    spec: SegmenterSpec, graph_key: str, patches: Sequence[TaughtPatch], added: Sequence[str]
) -> str:
    """Key of the clusters that lessons make of others."""
    inputs = {"clusters": spec.clusters_key, "graph": graph_key, "lessons": patches, "added": added}
    return keys.key("taught", VERSION, None, inputs)
