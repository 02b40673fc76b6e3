"""Class names and the mapping from stored label values or colours to classes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import InputError
from stego_core.images.palette import rgb
from stego_core.labels.void import VOID, VOID_BYTE

KNOWN_KEYS = {
    "name", "classes", "void", "fine_to_coarse", "first_class_id", "first_stuff_class", "colours",
}  # fmt: skip
"""Keys of a taxonomy's JSON document."""
MOST_CLASSES = 255
"""A mask holds ids 0 to 254, and 255 for void."""
NAMED_VALUES = 12
"""Label values that a message lists at most."""
UNKNOWN = np.iinfo(np.int64).min
"""Stored value of a colour that the taxonomy does not have."""
Colour: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Taxonomy:
    """What the values in label files mean.

    Attributes:
        name: of the taxonomy.
        classes: class names; the index is the class id.
        void: stored value of pixels without a class, besides 255; None if there is none.
        fine_to_coarse: class id of every stored value, where the files hold finer classes.
        first_class_id: stored value of class 0; smaller values are void.
        colours: RGB of every stored value that has a class, where the files hold colours, and
            then perhaps that of void; None for a value that has none.
    """

    name: str
    classes: tuple[str, ...]
    void: int | None = None
    fine_to_coarse: tuple[int, ...] | None = None
    first_class_id: int = 0
    colours: tuple[Colour | None, ...] | None = None

    @classmethod
    def parse(cls, document: Any) -> "Taxonomy":
        """A taxonomy from its JSON document.

        Raises:
            InputError: a key is unknown or missing, a table names classes that do not exist,
                there are more classes than masks can hold, or two of them have one colour.
        """
        if not isinstance(document, Mapping) or "classes" not in document:
            raise InputError('a taxonomy is a JSON object with "classes", a list of names')
        if unknown := sorted(set(document) - KNOWN_KEYS):
            raise InputError(
                f"the taxonomy has unknown keys {unknown}; expected {sorted(KNOWN_KEYS)}"
            )
        classes, coarse = document["classes"], document.get("fine_to_coarse")
        if not classes or not _is_list(classes, str):
            raise InputError(
                f'the taxonomy\'s "classes" must be a list of names; found {classes!r:.80}'
            )
        require_classes(len(classes), "the taxonomy")
        ids = range(VOID, len(classes))
        if coarse is not None and not (_is_list(coarse, int) and all(c in ids for c in coarse)):
            raise InputError(
                f'"fine_to_coarse" must be a list of class ids from 0 to {len(classes) - 1} '
                f"(or {VOID}, void); found {coarse!r:.80}"
            )
        taxonomy = cls(
            name=str(document.get("name", "taxonomy")),
            classes=tuple(classes),
            void=_whole(document, "void"),
            fine_to_coarse=None if coarse is None else tuple(coarse),
            first_class_id=_whole(document, "first_class_id") or 0,
            colours=_colours(document.get("colours")),
        )
        taxonomy._check_colours()
        return taxonomy

    @classmethod
    def numbered(cls, classes: int) -> "Taxonomy":
        """The taxonomy of labels that come without one: values are class ids, 255 is void."""
        return cls("numbered", tuple(f"class {i}" for i in range(classes)))

    def with_ids(self) -> "Taxonomy":
        """The same classes for labels that hold class ids, 255 for void, and nothing else."""
        return Taxonomy(self.name, self.classes, VOID_BYTE)

    @property
    def stored_values(self) -> int:
        """How many stored values, from `first_class_id` on, have a class."""
        return len(self.fine_to_coarse or self.classes)

    @property
    def byte_is_void(self) -> bool:
        """Whether 255 is void although nothing says so: it is no class's id."""
        stored = VOID_BYTE - self.first_class_id
        return self.void != VOID_BYTE and not 0 <= stored < self.stored_values

    def apply(self, stored: NDArray[np.integer]) -> NDArray[np.int16]:
        """Class ids (H, W) int16 of stored label values (H, W); void is −1.

        Raises:
            InputError: a stored value has no class.
        """
        values = stored.astype(np.int64)
        ids = values - self.first_class_id
        void = (ids < 0) & bool(self.first_class_id)
        if self.byte_is_void:
            void |= values == VOID_BYTE
        if self.void is not None:
            void |= values == self.void
        outside = ~void & ((ids < 0) | (ids >= self.stored_values))
        if outside.any():
            raise InputError(self._outside_message(values, outside))
        ids = np.where(void, 0, ids)
        if self.fine_to_coarse:
            ids = np.asarray(self.fine_to_coarse)[ids]
        return np.where(void, VOID, ids).astype(np.int16)

    def _outside_message(self, values: NDArray[np.int64], outside: NDArray[np.bool_]) -> str:
        unknown, stored = np.unique(values[outside]).tolist(), np.unique(values).tolist()
        low, high = self.first_class_id, self.first_class_id + self.stored_values - 1
        void = VOID_BYTE if self.void is None else self.void
        step = int(np.gcd.reduce(np.abs(stored)))
        hint = ""
        if step > 1 and len(stored) > 1 and stored[-1] // step <= high + 1:
            hint = f"; all are multiples of {step}, so divide them by {step}"
        listed = ", ".join(map(str, stored[:NAMED_VALUES])) + ", …" * (len(stored) > NAMED_VALUES)
        return (
            f"label values {unknown[:8]} are outside the taxonomy {self.name!r}, which knows {low} "
            f"to {high} and void {void} (the file holds {listed}){hint}"
        )

    def stored_of(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Stored values (H, W) int64 of RGB pixels (H, W, 3) uint8, by the taxonomy's colours.

        Raises:
            InputError: a colour is not among them; says which, of how many pixels, and where.
        """
        wide = pixels.astype(np.int64)
        packed = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
        table = {_packed(c): self._stored(n) for n, c in enumerate(self.colours or ()) if c}
        colours, inverse = np.unique(packed, return_inverse=True)
        values = np.array([table.get(int(colour), UNKNOWN) for colour in colours], np.int64)
        unknown = colours[values == UNKNOWN]
        if len(unknown):
            wrong = np.isin(packed, unknown)
            row, column = np.argwhere(wrong)[0].tolist()
            more = f" and {len(unknown) - 3:,} more colours" if len(unknown) > 3 else ""
            raise InputError(
                f"{int(wrong.sum()):,} pixels have colours that the taxonomy {self.name!r} does "
                f"not know, {', '.join(f'#{c:06x}' for c in unknown[:3])}{more}, the first in "
                f'row {row}, column {column}; add them to its "colours"'
            )
        return np.asarray(values[inverse].reshape(packed.shape))

    def _stored(self, number: int) -> int:
        """The stored value of an entry of the colours."""
        if number < self.stored_values:
            return number + self.first_class_id
        return VOID_BYTE if self.void is None else self.void

    def _check_colours(self) -> None:
        if self.colours is None:
            return
        if len(self.colours) - self.stored_values not in (0, 1):
            raise InputError(
                f'"colours" has {len(self.colours)} entries; expected one for each of the '
                f"{self.stored_values} stored values, and perhaps one more, that of void"
            )
        seen: dict[Colour, int] = {}
        for number, colour in enumerate(self.colours):
            if colour is not None and seen.setdefault(colour, number) != number:
                raise InputError(
                    f'"colours" gives #{_packed(colour):06x} to the stored values {seen[colour]} '
                    f"and {number}; each needs its own"
                )


def require_classes(count: int, source: str) -> None:
    """Check that a mask of bytes can tell the classes of a source apart.

    Raises:
        InputError: there are more than 255; says how many.
    """
    if count > MOST_CLASSES:
        raise InputError(
            f"{source} has {count} classes, more than the {MOST_CLASSES} that a mask can tell "
            'apart (255 is void); merge some, for example with "fine_to_coarse"'
        )


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(entry, kind) for entry in value)


def _colours(value: Any) -> tuple[Colour | None, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise InputError(f'"colours" must be a list; found {value!r:.80}')
    return tuple(None if entry is None else _colour(entry) for entry in value)


def _colour(entry: Any) -> Colour:
    """A colour written as [r, g, b] or #rrggbb."""
    if isinstance(entry, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", entry):
        return rgb(entry)
    whole = isinstance(entry, list) and all(type(part) is int for part in entry)
    if not whole or len(entry) != 3 or not all(0 <= part <= 255 for part in entry):
        raise InputError(
            f'"colours" holds {entry!r:.40}; expected [red, green, blue], 0 to 255 each, or '
            '"#rrggbb"'
        )
    return entry[0], entry[1], entry[2]


def _packed(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _whole(document: Mapping[str, Any], key: str) -> int | None:
    value = document.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise InputError(f'the taxonomy\'s "{key}" must be a whole number; found {value!r}')
    return value
