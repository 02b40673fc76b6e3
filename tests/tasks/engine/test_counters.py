"""Counters by stage: labels stay few, rows and invalid rows are counted apart."""

import pytest

from tasks.engine import counters


@pytest.mark.parametrize(
    ("title", "label"),
    [("features day-1", "features"), ("head", "head"), ("masks a b", "masks"), ("", "")],
)
def test_the_label_is_the_stage_without_its_dump(title: str, label: str) -> None:
    assert counters.stage(title) == label


def test_shards_of_all_dumps_add_up() -> None:
    counters.counted("counted-here a", 10, 3)
    counters.counted("counted-here b", 5, 0)
    registry = counters.IMAGES.labels("counted-here"), counters.QUARANTINED.labels("counted-here")
    images, quarantined = (next(iter(counter.collect())).samples for counter in registry)
    assert [sample.value for sample in images if sample.name.endswith("_total")] == [15]
    assert [sample.value for sample in quarantined if sample.name.endswith("_total")] == [3]
