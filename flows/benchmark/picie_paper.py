"""`stego benchmark NAME --method picie`: PiCIE on a published data set, beside STEGO if it ran."""

from typing import Any

from flows.runs import stages
from flows.runs.labelling import Labelling, score_dump
from flows.runs.picie import BASELINE, PicieRecipe, picie_flow, picie_masks_flow, recipe_of
from flows.runs.settings import RunOptions, built
from tasks.masks.picie_segmenter import picie_spec
from tasks.scores.stage import Sources
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace


def evaluate(workspace: Workspace, train: str, val: str, classes: int, run: RunOptions) -> None:
    """Train PiCIE on one dump and score it on another, which then has current scores.

    They stand beside STEGO's where the workspace holds its current masks of that dump.
    """
    recipe = recipe_of(workspace, run.picie)._replace(dumps=(train,))
    current = workspace.last_run_or_none() or {}
    if Summary(workspace).manifest("masks", val):
        _beside_stego(workspace, val, recipe, current, run)
    else:
        _alone(workspace, val, recipe, classes, run)


def _beside_stego(
    workspace: Workspace, val: str, recipe: PicieRecipe, current: dict[str, Any], run: RunOptions
) -> None:
    """Scores as the last run made them, and PiCIE's."""
    masks, scores = (built(name, current["options"].get(name, {})) for name in ("masks", "scores"))
    scores = scores.model_copy(update={"baseline": BASELINE})
    labelling = Labelling(workspace, val, masks, scores, run.compute, recipe)
    score_dump(labelling, dict(current["keys"]))


def _alone(
    workspace: Workspace, val: str, recipe: PicieRecipe, classes: int, run: RunOptions
) -> None:
    """Scores of PiCIE only."""
    key = picie_flow(workspace, recipe.dumps or (), recipe, classes, run.compute)
    masks = picie_masks_flow(workspace, val, key, run.masks, run.compute)
    sources = Sources(None, None, None, picie=picie_spec(workspace, key, run.masks))
    scores = stages.score(workspace, val, sources, run.compute)
    current = workspace.last_run_or_none() or {}
    workspace.update_last_run(
        keys={**current.get("keys", {}), "picie": key, "picie_masks": masks},
        scores={**current.get("scores", {}), val: scores},
    )
