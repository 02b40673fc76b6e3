"""Reads a whole workspace and says what is not as it was written; nothing is changed."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from stego_core.errors import DamageError, WorkspaceError
from tasks.class_names import classes_file
from tasks.corpus.index import IndexReader
from tasks.engine.prefetch import ahead
from tasks.engine.progress import Progress
from tasks.upkeep import source_images, whole_proofs
from tasks.upkeep.damage_findings import Damage, Fate, Finding
from tasks.upkeep.guarded_reading import damages_of, problem_of
from tasks.upkeep.reachability import used_keys
from tasks.upkeep.stage_kinds import Kind, stage_folders
from tasks.upkeep.units import inventory
from tasks.upkeep.verdicts import BACKUP, Verdicts
from tasks.workspace import layout
from tasks.workspace.ledger import Folder
from tasks.workspace.summary import STAGE_FOLDERS, Summary
from tasks.workspace.workspace import Workspace

COUNTED = ("folders", "shards", "dumps")
"""What is counted."""
AT_ONCE = 4
"""Shards that are read at the same time; bounds memory."""
Check = Callable[[], list[Finding]]


@dataclass
class Examination:
    """What was found.

    Attributes:
        checked: how many folders, shards and dumps' images were compared.
        unfinished: folders that no run has finished yet.
    """

    findings: list[Finding] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    unfinished: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For people and scripts."""
        return {
            "checked": self.checked,
            "findings": [finding.document() for finding in self.findings],
            "unfinished": self.unfinished,
        }


def examine(workspace: Workspace, deep: bool) -> Examination:
    """Compare everything with its checksums; `deep` also every image with the index."""
    found = Examination()
    judge = _verdicts(workspace)
    with Progress("doctor", 0, "parts") as progress:

        def counted() -> Iterator[Check]:
            for check in _checks(workspace, judge, found, deep):
                progress.total += 1
                yield check

        for _, findings in ahead(counted(), lambda check: check(), AT_ONCE):
            found.findings += findings
            progress.advance(1)
    found.findings = _once_each(found.findings)
    return found


def _once_each(findings: list[Finding]) -> list[Finding]:
    """Without those that another one of the same file stands for."""
    by_action = {finding[:1] + finding[2:]: finding for finding in reversed(findings)}
    return list(reversed(by_action.values()))


def _verdicts(workspace: Workspace) -> Verdicts:
    last_run, used = dict[str, Any](), None
    with suppress(DamageError):  # it is found as a document
        last_run = workspace.last_run_or_none() or {}
    with suppress(WorkspaceError):
        used = used_keys(workspace, inventory(workspace.storage).units, ())
    return Verdicts(workspace.storage.uri, last_run, used)


def _checks(
    workspace: Workspace, judge: Verdicts, found: Examination, deep: bool
) -> Iterator[Check]:
    """One part of the work after the other; each is done in a thread of its own."""
    yield partial(_of_documents, workspace)
    for path, kind in stage_folders(workspace.storage):
        folder, manifest = workspace.folder(path), f"{path}/{layout.MANIFEST}"
        try:
            yield from _of_folder(workspace, judge, found, kind, folder, deep)
        except Exception as error:  # the manifest is a document, and none of a stage's
            damage = Damage(manifest, problem_of(error))
            yield partial(list, [judge.of(kind, folder, damage, (), False)])


def _of_folder(
    workspace: Workspace,
    judge: Verdicts,
    found: Examination,
    kind: Kind,
    folder: Folder,
    deep: bool,
) -> Iterator[Check]:
    paths = [f"{folder.path}/{name}" for name in (layout.MANIFEST, layout.PLAN)]
    read = folder.storage.document
    damages = [damage for path in paths for damage in damages_of(path, partial(read, path))]
    yield partial(list, [judge.of(kind, folder, damage, (), False) for damage in damages])
    if paths[0] in (damage.path for damage in damages):
        return
    manifest = folder.manifest_or_none()
    if manifest is None:
        found.unfinished.append(folder.path)
        return
    found.checked["folders"] += 1
    yield partial(_of_whole, workspace, judge, kind, folder, manifest)
    for shard in range(int(manifest.get("shards") or 0)):
        found.checked["shards"] += 1
        yield partial(_of_shard, workspace, judge, kind, folder, manifest, shard)
    if kind.stage == "corpus":
        found.checked["dumps"] += 1
        yield from _of_images(IndexReader(workspace, folder.path.partition("/")[2]), deep)


def _of_whole(
    workspace: Workspace, judge: Verdicts, kind: Kind, folder: Folder, manifest: dict[str, Any]
) -> list[Finding]:
    findings, damages = list[Finding](), list[Damage]()

    def compare() -> None:
        damages.extend(whole_proofs.of_folder(workspace, folder, manifest, kind.stage))

    damages += damages_of(f"{folder.path}/{layout.MANIFEST}", compare)
    for damage in damages:
        name = damage.path.rpartition("/")[2]
        if f"/{layout.CHECKPOINTS}/" in damage.path:
            remedy = "a training goes on from an older one"
            findings.append(Finding(*damage, Fate.HARMLESS, remedy))
            continue
        # What the end of a stage writes needs no record's removal; arrays of images need all.
        by_the_end = name == layout.CONFIDENCE_FILE
        single = () if by_the_end else tuple(folder.recorded() & {0})
        findings.append(judge.of(kind, folder, damage, single, name == layout.IMAGES))
    return findings


def _of_shard(
    workspace: Workspace,
    judge: Verdicts,
    kind: Kind,
    folder: Folder,
    manifest: dict[str, Any],
    shard: int,
) -> list[Finding]:
    damages = list[Damage]()

    def compare() -> None:
        record = folder.record_of(shard)
        if kind.prove:
            damages.extend(kind.prove(workspace, folder, manifest, record))

    damages += damages_of(folder.record_file(shard), compare)
    return [judge.of(kind, folder, damage, (shard,), False) for damage in damages]


def _of_images(index: IndexReader, deep: bool) -> Iterator[Check]:
    """The user's own images, and labels made of a COCO file."""
    remedy = "what was made of them stays as it is; put them back for new heads and other options"

    def findings(damages: Callable[[], list[Damage]]) -> list[Finding]:
        try:
            return [Finding(*damage, Fate.LOST, remedy) for damage in damages()]
        except Exception as error:  # the index itself is damaged: found already
            problem_of(error)
            return []

    yield partial(findings, partial(source_images.absent_images, index))
    if deep or index.manifest.get("coco"):
        for rows in source_images.blocks(int(index.manifest["images"])):
            yield partial(findings, partial(source_images.changed_images, index, rows, deep))


def _of_documents(workspace: Workspace) -> list[Finding]:
    """The files beside the folders, and revisions of class names."""
    storage, findings = workspace.storage, list[Finding]()
    again = (
        "remove it and run the same `stego run` command again: finished stages are found by their "
        "keys; then backfill later dumps again"
    )
    for name, remedy in ((layout.CURRENT_FILE, again), (layout.REQUEST_FILE, "remove it")):
        damages = damages_of(name, partial(storage.document, name))
        findings += [Finding(*damage, Fate.LOST, remedy) for damage in damages]
    findings += _of_keys(workspace)
    last = "mend it, or remove it to go back to the last revision"
    names = [(layout.CLASSES_FILE, last)] if storage.exists(layout.CLASSES_FILE) else []
    for key in storage.folders(layout.CLASSES):
        folder = layout.class_revisions(key)
        names += [(f"{folder}/{name}", BACKUP) for name in storage.names(folder)]
    for path, remedy in names:
        damages = damages_of(path, partial(classes_file.read_names, workspace, path))
        findings += [Finding(*damage, Fate.LOST, remedy) for damage in damages]
    return findings


def _of_keys(workspace: Workspace) -> list[Finding]:
    """Folders that the last run names and that are not there."""
    findings = list[Finding]()
    with suppress(DamageError, AttributeError, TypeError):  # found already, or no text at all
        for stage, key in Summary(workspace).keys.items():
            path = f"{STAGE_FOLDERS.get(stage, stage)}/{key}"
            if not workspace.storage.exists(path):
                text = f"names {path}, which is not there"
                remedy = "run the command of the last run again"
                findings.append(Finding(layout.CURRENT_FILE, text, Fate.RECOMPUTED, remedy))
    return findings
