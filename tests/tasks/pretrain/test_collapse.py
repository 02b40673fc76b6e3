"""Collapse of a training: when it is noticed, said, and over."""

import logging

import pytest

from stego_core.pretrain.distillation import DinoCurve
from tasks.options import PretrainOptions
from tasks.pretrain.collapse import CollapseDetector
from tasks.pretrain.stage import recipe_of


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record for record in caplog.records if record.name.startswith("tasks.")]
    return [record.getMessage() for record in found if record.levelno == logging.WARNING]


def row(step: int, information: float) -> DinoCurve:
    return DinoCurve(step, 2.0, 2.0, 2.0, 1.0, information, 0.5, 1e-3)


FLAT, HEALTHY = 0.0, 1.0


class TestCollapseDetector:
    @pytest.fixture
    def detector(self) -> CollapseDetector:
        """It watches from step 300 on; 2 % of log 16 is 0.055."""
        options = PretrainOptions(steps=1000, prototypes=16, warmup=0.1, temperature_warmup=0.3)
        return CollapseDetector(recipe_of(options, "cpu"))

    def collapsed(self, detector: CollapseDetector, steps: range, information: float) -> list[bool]:
        collapsed = []
        for step in steps:
            detector.add(row(step, information))
            collapsed.append(detector.collapsed)
        return collapsed

    def test_warns_after_the_warm_up_only_and_once(
        self, detector: CollapseDetector, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert not any(
            self.collapsed(detector, range(399), FLAT)
        )  # not before a hundred steps were seen
        assert warnings_in(caplog) == []
        assert all(self.collapsed(detector, range(399, 450), FLAT))
        (said,) = warnings_in(caplog)
        assert "the teacher has collapsed" in said
        assert "--learning-rate or --teacher-temperature" in said
        assert "step=399" in said

    @pytest.mark.parametrize(("warmup", "temperature"), [(0.5, 0.1), (0.1, 0.5)])
    def test_the_longer_warm_up_counts(self, warmup: float, temperature: float) -> None:
        options = PretrainOptions(
            steps=1000, prototypes=16, warmup=warmup, temperature_warmup=temperature
        )
        detector = CollapseDetector(recipe_of(options, "cpu"))
        assert self.collapsed(detector, range(490, 610), FLAT) == [False] * 109 + [True] * 11

    def test_recovers_and_may_warn_again(
        self, detector: CollapseDetector, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.collapsed(detector, range(300, 400), FLAT)
        collapsed = self.collapsed(detector, range(400, 410), HEALTHY)
        assert collapsed == [True] * 5 + [False] * 5  # 6 of the last 100 rows lift their mean
        self.collapsed(detector, range(410, 600), FLAT)
        said = [line.split(" stage=")[0].strip('"') for line in warnings_in(caplog)]
        assert [line.split(":")[0] for line in said] == [
            "the teacher has collapsed",
            "the teacher has recovered",
            "the teacher has collapsed",
        ]

    def test_a_healthy_run_never_warns(
        self, detector: CollapseDetector, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert not any(self.collapsed(detector, range(0, 1000, 3), HEALTHY))
        assert not any(
            self.collapsed(detector, range(1000, 1050), FLAT)
        )  # half of the last 100 rows
        assert warnings_in(caplog) == []

    @pytest.mark.parametrize(("prototypes", "collapsed"), [(2, False), (4096, True)])
    def test_what_counts_is_the_share_of_what_could_be_told(
        self, prototypes: int, collapsed: bool
    ) -> None:
        detector = CollapseDetector(recipe_of(PretrainOptions(prototypes=prototypes), "cpu"))
        assert detector.is_collapsed([row(0, 0.1), row(1, 0.05)]) == collapsed
