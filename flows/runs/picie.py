"""PiCIE, the baseline of `--baseline picie`: trained, then its masks of one dump."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from prefect import flow

from flows.runs import stages
from flows.runs.settings import RunOptions, built
from stego_core.errors import OptionError
from tasks.corpus.index import IndexReader
from tasks.engine import machine
from tasks.engine.stage import Stage
from tasks.masks import stage as masks
from tasks.masks.picie_segmenter import picie_spec
from tasks.options import ComputeOptions, MasksOptions, PicieOptions, ScoresOptions
from tasks.picie import picie_models
from tasks.picie import stage as picie
from tasks.picie.picie_models import NetworkSpec
from tasks.workspace.workspace import Workspace

BASELINE = "picie"
"""The value of `--baseline` that adds PiCIE."""


class PicieRecipe(NamedTuple):
    """How PiCIE is trained.

    Attributes:
        start: the ResNet that it starts from.
        dumps: whose images it learns from; None: those that STEGO learnt from.
    """

    options: PicieOptions
    start: NetworkSpec
    dumps: tuple[str, ...] | None = None

    def with_seed(self, seed: int) -> "PicieRecipe":
        """The same from another seed; the ResNet that it starts from stays."""
        return self._replace(options=self.options.model_copy(update={"seed": seed}))


def requested(workspace: Workspace, options: RunOptions) -> PicieRecipe | None:
    """PiCIE of a run's options, its weights fetched; None where it is not asked for.

    Raises:
        OptionError, WeightsError: as `picie_models.fetch_network`.
    """
    return recipe_of(workspace, options.picie) if options.scores.baseline == BASELINE else None


def recipe_of(workspace: Workspace, options: PicieOptions) -> PicieRecipe:
    """PiCIE of some options, its weights fetched; raises as `requested`."""
    start = picie_models.fetch_network(workspace, options)
    return PicieRecipe(options, start)


def of_last_run(
    workspace: Workspace, current: dict[str, Any], scores: ScoresOptions
) -> PicieRecipe | None:
    """PiCIE as the last run trained it; None where it is not asked for.

    Raises:
        OptionError: it is asked for, and the last run trained none.
    """
    if scores.baseline != BASELINE:
        return None
    key = current.get("keys", {}).get("picie")
    if key is None:
        raise OptionError(
            f"{workspace.storage.uri} has no PiCIE to score; run `stego run --baseline picie`, or "
            "leave out --baseline picie"
        )
    options: PicieOptions = built("picie", current["options"].get("picie", {}))
    return PicieRecipe(options, picie_models.trained_start(workspace, key))


@flow(name="picie", flow_run_name="picie seed {recipe.options.seed}", task_runner=stages.RUNNER)
def picie_flow(
    workspace: Workspace,
    dumps: Sequence[str],
    recipe: PicieRecipe,
    classes: int,
    compute_options: ComputeOptions,
) -> str:
    """Train PiCIE on some dumps' images, with K clusters; returns its key."""
    machine.worker_device(compute_options)
    options, start, _ = recipe
    stage = picie.plan(workspace, dumps, start, options, classes, compute_options)
    stages.run_stage(stage, compute_options, Stage.finish_single)
    indices = [IndexReader(workspace, dump) for dump in dumps]
    return picie.picie_key(indices, start, options, classes)


@flow(name="picie-masks", flow_run_name="masks of PiCIE {dump}", task_runner=stages.RUNNER)
def picie_masks_flow(
    workspace: Workspace,
    dump: str,
    picie_key: str,
    options: MasksOptions,
    compute_options: ComputeOptions,
) -> str:
    """Label the labelled images of a dump with PiCIE; returns the masks' key."""
    device, spec = machine.worker_device(compute_options), picie_spec(workspace, picie_key, options)
    stage = masks.plan_masks(workspace, dump, spec, device)
    stages.run_stage(stage, compute_options, partial(masks.finish, workspace))
    return spec.masks_key
