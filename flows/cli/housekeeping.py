"""Commands that keep a workspace in order: `stego prune`, `stego doctor`."""

from contextlib import nullcontext
from typing import Annotated

from cyclopts import Parameter, validators

from flows.cli import upkeep_tables
from flows.cli.flags import Flag, Printing, Shown, command
from flows.cli.results import printed
from flows.runs.session import alone
from stego_core.errors import DamageError
from tasks.upkeep import prune as pruning
from tasks.workspace import lease

DEFAULTS = pruning.PruneOptions()


@command()
def prune(
    *,
    common: Printing,
    remove: Flag = False,
    days: Annotated[float, Parameter(validator=validators.Number(gte=0))] = DEFAULTS.days,
    second_copies: Flag = False,
    pretrained: Flag = False,
    old_names: Flag = False,
) -> Shown:
    """Remove what nothing current is made from; without --remove only list it.

    Args:
        remove: Remove what is listed; no other run may write the workspace meanwhile.
        days: What was written in the last so many days stays: a killed run may go on from it.
        second_copies: Also remove what only `stego doctor --repair` would read: parts of the
            tables of dumps, checkpoints of finished trainings.
        pretrained: Also remove backbones that were trained here; those in use stay.
        old_names: Also remove the class names of clusters that are gone.
    """
    workspace = common.opened()
    options = pruning.PruneOptions(days, second_copies, pretrained, old_names)
    with alone(common.workspace, common.storage) if remove else nullcontext():
        planned = pruning.plan(workspace, options)
        if remove:
            pruning.remove(workspace, planned)
    document = planned.document(workspace, remove)
    if common.as_json:
        return printed(document)
    writer = None if remove else lease.writer(workspace.storage)
    return lambda: upkeep_tables.show_pruned(document, writer)


@command()
def doctor(*, common: Printing, deep: Flag = False, repair: Flag = False) -> Shown:
    """Compare a workspace with its checksums; the exit code is 2 where something is damaged.

    Args:
        deep: Also read every image and label, and compare it with the index of its dump.
        repair: Remove records and manifests of damaged shards, so that the command that is named
            computes them again, and join damaged tables of their parts. No data are removed.
    """
    from tasks.upkeep import doctor as examining
    from tasks.upkeep.damage_findings import Fate
    from tasks.upkeep.repair import repair as repaired

    workspace = common.opened()
    with alone(common.workspace, common.storage) if repair else nullcontext():
        found = examining.examine(workspace, deep)
        done = repaired(workspace, found.findings) if repair else []
    document = {"workspace": workspace.storage.uri, **found.document(), "repaired": done}

    def show() -> None:
        if common.as_json:
            (printed(document) or (lambda: None))()
        else:
            upkeep_tables.show_examined(document)
        damaged = [finding for finding in found.findings if finding.fate is not Fate.HARMLESS]
        if damaged:
            raise DamageError(_sentence(common.workspace, len(damaged), len(done)))

    return show


def _sentence(workspace: str, damaged: int, done: int) -> str:
    """How a command ends that found damages."""
    places = upkeep_tables.counted(damaged, "place")
    if done:
        return f"damage in {places}; run the commands that are named, then this one again"
    return (
        f"damage in {places}; `stego doctor --workspace {workspace} --repair` prepares "
        "what can be computed again"
    )
