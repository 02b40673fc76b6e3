"""Masks of odd sizes in two dumps, and what a reader of their export has to find."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from labelled import blobs, margins_of
from scipy import ndimage

from stego_core.labels.void import VOID_BYTE

MASKS = {
    "one": {"a": blobs(1, 40, 56), "deep/dot": blobs(2, 1, 1), "line": blobs(3, 1, 200)},
    "t_wo": {"a": blobs(4, 47, 33), "column": blobs(5, 90, 1)},
}
SHOWN = np.array([0, 1, 2, 2, VOID_BYTE], np.uint8)
"""Trees count as sky, cars are ignored."""
LABELS = {0: "Gebäude & <Haus>", 1: "road", 2: "sky"}


def every_mask() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, ids as shown, margins of 1."""
    for dump, masks in MASKS.items():
        for name, ids in masks.items():
            yield f"{dump}/{name}", SHOWN[ids], margins_of(ids) / 255


def painted(shape: tuple[int, ...], parts: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """Masks of classes on void; none may lie on another."""
    result = np.full(shape, VOID_BYTE, np.uint8)
    for cls, mask in parts:
        assert (result[mask > 0] == VOID_BYTE).all()
        result[mask > 0] = cls
    return result


def counted(ids: np.ndarray) -> int:
    """Connected parts of all classes."""
    return sum(ndimage.label(ids == cls)[1] for cls in LABELS)


def check_datumaro(dataset: Any) -> None:
    """What Datumaro made of an export equals the masks."""
    items = {item.id: item for item in dataset}
    labels = [label.name for label in dataset.categories()[label_type()].items]
    for name, ids, _ in every_mask():
        parts = []
        for annotation in items[name].annotations:
            label = labels[annotation.label]
            if label == "ignored" or annotation.type.name == "bbox":
                continue
            cls = {text: number for number, text in LABELS.items()}[label]
            parts.append((cls, np.asarray(annotation.image)))
        np.testing.assert_array_equal(painted(ids.shape, parts), ids)


def label_type() -> Any:
    from datumaro.components.annotation import AnnotationType

    return AnnotationType.label
