"""The linear probe fitted to pixels: it goes on where it stood."""

from pathlib import Path

import pytest
from two_dumps import compute

from tasks.features.rows import FeatureRows
from tasks.options import ComputeOptions
from tasks.scores import paper_probe

LOOP = ComputeOptions(executor="loop")


def test_a_resumed_fit_ends_with_the_same_bytes(
    rows: FeatureRows,
    head_key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paper_probe, "CHECKPOINT_STEPS", 4)
    planned = compute(paper_probe.plan(rows, head_key, 0, LOOP))
    assert planned.items == 10
    place = Path(rows.workspace.storage.uri) / planned.folder.path
    first = (place / "probe.safetensors").read_bytes()
    for name in ("probe.safetensors", "records/000000.json"):
        (place / name).unlink()
    assert sorted(path.name for path in (place / "checkpoints").iterdir()) == [
        "00000004.safetensors", "00000008.safetensors",
    ]  # fmt: skip
    compute(planned).finish(0.0, 1)
    assert (place / "probe.safetensors").read_bytes() == first
    assert paper_probe.plan(rows, head_key, 0, LOOP) is None
    assert paper_probe.probe_folder(rows, head_key, 1).path != planned.folder.path
