"""Class names and the mapping from stored label values to classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import InputError
from stego_core.metrics import VOID

KNOWN_KEYS = {"name", "classes", "void", "fine_to_coarse", "first_class_id", "first_stuff_class"}
BYTE_VOID = 255
"""Void in every 8-bit label file, whatever else the taxonomy calls void."""


@dataclass(frozen=True)
class Taxonomy:
    """What the values in label files mean.

    Attributes:
        name: of the taxonomy.
        classes: class names; the index is the class id.
        void: stored value of pixels that count nowhere, besides 255; None if there is none.
        fine_to_coarse: class id of every stored value, where the files hold finer classes.
        first_class_id: stored value of class 0; smaller values are void.
    """

    name: str
    classes: tuple[str, ...]
    void: int | None = None
    fine_to_coarse: tuple[int, ...] | None = None
    first_class_id: int = 0

    @classmethod
    def parse(cls, document: Any) -> "Taxonomy":
        """A taxonomy from its JSON document.

        Raises:
            InputError: a key is unknown or missing, or a table names classes that do not exist.
        """
        if not isinstance(document, Mapping) or "classes" not in document:
            raise InputError('a taxonomy is a JSON object with "classes", a list of names')
        unknown = sorted(set(document) - KNOWN_KEYS)
        if unknown:
            raise InputError(
                f"the taxonomy has unknown keys {unknown}; expected {sorted(KNOWN_KEYS)}"
            )
        classes = document["classes"]
        named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
        if not classes or not named:
            raise InputError(
                f'the taxonomy\'s "classes" must be a list of names; found {classes!r:.80}'
            )
        table = document.get("fine_to_coarse")
        if table is not None and not (
            isinstance(table, list)
            and all(isinstance(c, int) and VOID <= c < len(classes) for c in table)
        ):
            raise InputError(
                f'"fine_to_coarse" must be a list of class ids from 0 to {len(classes) - 1} '
                f"(or {VOID}, void); found {table!r:.80}"
            )
        return cls(
            name=str(document.get("name", "taxonomy")),
            classes=tuple(classes),
            void=_whole(document, "void"),
            fine_to_coarse=None if table is None else tuple(table),
            first_class_id=_whole(document, "first_class_id") or 0,
        )

    @classmethod
    def numbered(cls, classes: int) -> "Taxonomy":
        """The taxonomy of labels that come without one: values are class ids, 255 is void."""
        return cls("numbered", tuple(f"class {i}" for i in range(classes)))

    def apply(self, stored: NDArray[np.integer]) -> NDArray[np.int16]:
        """Class ids (H, W) int16 of stored label values (H, W); void is −1.

        Raises:
            InputError: a stored value has no class.
        """
        values = stored.astype(np.int64)
        void = values == BYTE_VOID
        if self.void is not None:
            void |= values == self.void
        ids = values - self.first_class_id
        if self.first_class_id:
            void |= ids < 0
        known = len(self.fine_to_coarse) if self.fine_to_coarse else len(self.classes)
        outside = ~void & ((ids < 0) | (ids >= known))
        if outside.any():
            found = sorted(set(np.unique(values[outside]).tolist()))
            low, high = self.first_class_id, self.first_class_id + known - 1
            raise InputError(
                f"label values {found[:8]} are outside the taxonomy {self.name!r}, which knows "
                f"{low} to {high} and void {self.void if self.void is not None else BYTE_VOID}"
            )
        ids = np.where(void, 0, ids)
        if self.fine_to_coarse:
            ids = np.asarray(self.fine_to_coarse)[ids]
        return np.where(void, VOID, ids).astype(np.int16)


def _whole(document: Mapping[str, Any], key: str) -> int | None:
    value = document.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise InputError(f'the taxonomy\'s "{key}" must be a whole number; found {value!r}')
    return value
