"""What is wrong with a workspace, piece by piece, and what can be done about it."""

from enum import StrEnum
from typing import Any, NamedTuple


class Fate(StrEnum):
    """What becomes of damaged data."""

    RECOMPUTED = "can be recomputed"
    MENDED = "can be mended"
    LOST = "lost without a backup"
    HARMLESS = "needed no more"


class Damage(NamedTuple):
    """A file that is not what a record, or a checksum of its own, says."""

    path: str
    problem: str


class Finding(NamedTuple):
    """A damage, and what can be done.

    Attributes:
        path: the file, or the folder.
        problem: what is wrong.
        fate: what becomes of it.
        remedy: what to do.
        records: files that a repair removes, in this order, so that the remedy's command computes
            again what they stood for; never the only copy of anything.
        parts: for a table that a repair joins again, the paths of its parts.
    """

    path: str
    problem: str
    fate: Fate
    remedy: str
    records: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "path": self.path,
            "problem": self.problem,
            "fate": str(self.fate),
            "remedy": self.remedy,
        }
