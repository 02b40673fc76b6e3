"""Detection of collapse: the teacher's targets tell nothing about their image any more."""

import math
from collections import deque
from collections.abc import Collection

from stego_core.pretrain.dino import DinoRecipe
from stego_core.pretrain.distillation import DinoCurve
from tasks.log import Log

log = Log(__name__)

WINDOW_STEPS = 100
"""Steps over which the information of the targets is averaged."""
LEAST_INFORMATION = 0.02
"""A teacher has collapsed whose targets tell less than this share of log K, on average."""


class CollapseDetector:
    """Watches the curve of a training for collapse.

    Attributes:
        collapsed: whether the teacher has collapsed, by the last steps.
    """

    def __init__(self, recipe: DinoRecipe) -> None:
        """Watch after the warm-up, when teachers of healthy runs tell images apart."""
        self.least = LEAST_INFORMATION * math.log(recipe.prototypes)
        self.first_step = max(recipe.warmup, recipe.temperature_steps)
        self.recent: deque[DinoCurve] = deque(maxlen=WINDOW_STEPS)
        self.collapsed = False

    def add(self, row: DinoCurve) -> None:
        """Take in a step; warns once when a collapse begins, and once when it is over."""
        if row.step >= self.first_step:
            self.recent.append(row)
        collapsed = len(self.recent) == WINDOW_STEPS and self.is_collapsed(self.recent)
        if collapsed and not self.collapsed:
            log.warning(
                "the teacher has collapsed: its targets tell nothing about their image; lower "
                "--learning-rate or --teacher-temperature, or give more images",
                stage="pretrain",
                step=row.step,
                entropy=round(row.entropy, 3),
                information=round(row.information, 4),
            )
        if self.collapsed and not collapsed:
            log.warning("the teacher has recovered", stage="pretrain", step=row.step)
        self.collapsed = collapsed

    def is_collapsed(self, rows: Collection[DinoCurve]) -> bool:
        """Whether these rows are those of a collapsed teacher."""
        return sum(row.information for row in rows) < self.least * len(rows)
