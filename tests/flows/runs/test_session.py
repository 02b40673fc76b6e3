"""A run's workers are started ahead of its flow where they are this machine's."""

from contextlib import nullcontext

import pytest

from flows.runs import session
from tasks.engine import compute
from tasks.options import ComputeOptions


@pytest.mark.parametrize(
    ("executor", "cluster", "started"),
    [("dask", "local", True), ("loop", "local", False), ("dask", "tcp://127.0.0.1:9", False)],
)
def test_workers_of_this_machine_alone(
    executor: str, cluster: str, started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ComputeOptions.model_validate({"executor": executor, "cluster": cluster})
    asked: list[ComputeOptions] = []

    def begin(given: ComputeOptions) -> nullcontext[str]:
        asked.append(given)
        return nullcontext("shards")

    monkeypatch.setattr(compute, "_dask", begin)
    with session.workers(options) as shards:
        assert asked == ([options] if started else [])
        assert (shards == "shards") == started
        if started:
            with compute.executor(options) as again:  # as the flow does
                assert again is shards
    assert len(asked) == started
