"""What becomes of a damage: which command computes it again, or that nothing can."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from stego_core.errors import DamageError
from tasks.upkeep.damage_findings import Damage, Fate, Finding
from tasks.upkeep.stage_kinds import Kind
from tasks.workspace import layout
from tasks.workspace.ledger import Folder

SAME_RUN = "run the same `stego {}` command again"
TABLES = {
    f"{layout.CORPUS}/{layout.INDEX_FILE}": "index",
    f"{layout.CORPUS}/{layout.QUARANTINE_FILE}": "quarantine",
    f"{layout.FRAMES}/{layout.FRAMES_FILE}": "frames",
}
"""Tables that are joined of parts, by folder and file: what the parts' names begin with."""
BEGUN = (f"/{layout.PLAN}", f"/{layout.ARRAY_FILE}")
"""Endings of files that the beginning of a stage writes again where they are not there."""
BACKUP = "put it back from a backup"


@dataclass(frozen=True)
class Verdicts:
    """Judges the damages of a workspace.

    Attributes:
        uri: of the workspace.
        last_run: keys and options of the last run; empty where they cannot be read.
        used: keys in use; None where that is unknown.
    """

    uri: str
    last_run: dict[str, Any]
    used: set[str] | None

    def of(
        self, kind: Kind, folder: Folder, damage: Damage, shards: Sequence[int], whole: bool
    ) -> Finding:
        """A finding on a stage's folder.

        Args:
            kind, folder: of the stage.
            damage: what is wrong.
            shards: whose records stand for what is damaged.
            whole: whether all records do.
        """
        if kind.stage in ("corpus", "frames"):
            return self._of_input(folder, damage)
        if not self.is_needed(kind, folder):
            remedy = f"stego prune --workspace {self.uri}"
            return Finding(*damage, Fate.HARMLESS, remedy)
        numbers = sorted(folder.recorded()) if whole else shards
        records = [folder.record_file(shard) for shard in numbers]
        begun = [damage.path] if damage.path.endswith(BEGUN) else []
        removed = (*records, *begun, f"{folder.path}/{layout.MANIFEST}")
        return Finding(*damage, Fate.RECOMPUTED, self.command(kind, folder), removed)

    def is_needed(self, kind: Kind, folder: Folder) -> bool:
        """Whether something current reads the folder, as far as is known."""
        parts = folder.path.split("/")
        key = parts[2] if parts[1] in ("probes", "training") else parts[1]
        if kind.stage in ("pretrain", "prepare"):
            return True
        if kind.stage in ("codes", "restarts"):  # nobody reads those of finished clusters
            clusters = Folder(folder.storage, folder.path.rpartition("/")[0])
            return not clusters.storage.exists(f"{clusters.path}/{layout.MANIFEST}")
        return self.used is None or key in self.used

    def _of_input(self, folder: Folder, damage: Damage) -> Finding:
        """A dump's index or frames: they are never removed; tables can be joined again."""
        top, name = folder.path.partition("/")[0], damage.path.rpartition("/")[2]
        if stem := TABLES.get(f"{top}/{name}"):
            names = folder.storage.names(f"{folder.path}/{layout.PARTS}")
            parts = [f"{folder.path}/{layout.PARTS}/{n}" for n in names if n.startswith(f"{stem}-")]
            if parts and len(parts) == len(folder.recorded()):
                return Finding(*damage, Fate.MENDED, self.doctor(), parts=tuple(parts))
        if damage.path.startswith(f"{folder.path}/{layout.PARTS}/"):
            return Finding(*damage, Fate.HARMLESS, f"stego prune --workspace {self.uri}")
        if damage.path.startswith(f"{folder.path}/{layout.RECORDS}/"):
            return Finding(*damage, Fate.HARMLESS, "nothing reads it but this command")
        return Finding(*damage, Fate.LOST, BACKUP)

    def doctor(self) -> str:
        """The command that mends."""
        return f"stego doctor --workspace {self.uri} --repair"

    def command(self, kind: Kind, folder: Folder) -> str:
        """What computes a folder's missing shards again."""
        parts = folder.path.split("/")
        dump = parts[-1].removesuffix(layout.zarr(""))
        keys, trained = self.last_run.get("keys", {}), self.last_run.get("dumps", [])
        workspace = f"--workspace {self.uri}"
        match kind.stage:
            case "head":
                return f"stego head {workspace}"
            case "clusters" | "codes" | "restarts" if parts[1] == keys.get("clusters"):
                return f"stego clusters {workspace}"
            case "masks" if parts[1] == keys.get("masks"):
                return f"stego masks {workspace} --dumps {dump}"
            case (
                "clusters" | "codes" | "restarts" | "masks" | "scores" | "picie"
            ):  # of baselines, too
                return f"stego scores {workspace}"
            case "patches":
                return f"stego explore {workspace}"
            case "pretrain":
                return SAME_RUN.format("pretrain")
            case "prepare":
                return SAME_RUN.format("benchmark")
            case "features" | "neighbors" | "drift" if dump not in trained:
                return self._backfill(folder, dump)
        return SAME_RUN.format("run")

    def _backfill(self, folder: Folder, dump: str) -> str:
        images = "IMAGES"
        with suppress(DamageError):
            manifest = Folder(folder.storage, layout.corpus(dump)).manifest_or_none() or {}
            images = manifest.get("images_uri", images)
        return f"stego backfill --workspace {self.uri} --images {images} --dump {dump}"
