"""The alarm that rings when a teacher's targets tell nothing about their image any more."""

import math
from collections import deque
from collections.abc import Collection

from stego_core.pretrain.dino import DinoRecipe
from stego_core.pretrain.distillation import DinoCurve
from tasks.log import Log

log = Log(__name__)

ALARM_STEPS = 100
ALARM_INFORMATION = 0.02
"""Collapse: targets tell less than this share of log K, on average over `ALARM_STEPS`."""


class Alarm:
    """Listens for collapse: targets that tell nothing about their image."""

    def __init__(self, recipe: DinoRecipe) -> None:
        """After the warm-up, when teachers of healthy runs have begun to tell images apart."""
        self.least = ALARM_INFORMATION * math.log(recipe.prototypes)
        self.begins = max(recipe.warmup, recipe.temperature_steps)
        self.recent: deque[DinoCurve] = deque(maxlen=ALARM_STEPS)
        self.ringing = False

    def hear(self, row: DinoCurve) -> None:
        """Take in a step; warns once when a collapse begins, and once when it is over."""
        if row.step >= self.begins:
            self.recent.append(row)
        ringing = len(self.recent) == ALARM_STEPS and self.of(self.recent)
        if ringing and not self.ringing:
            log.warning(
                "the teacher has collapsed: its targets tell nothing about their image; lower "
                "--learning-rate or --teacher-temperature, or give more images",
                stage="pretrain",
                step=row.step,
                entropy=round(row.entropy, 3),
                information=round(row.information, 4),
            )
        if self.ringing and not ringing:
            log.warning("the teacher has recovered", stage="pretrain", step=row.step)
        self.ringing = ringing

    def of(self, rows: Collection[DinoCurve]) -> bool:
        """Whether these rows are those of a collapsed teacher."""
        return sum(row.information for row in rows) < self.least * len(rows)
