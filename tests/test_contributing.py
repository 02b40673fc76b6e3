"""What CONTRIBUTING.md shows works as it stands: its stage and its exporter are run."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from labelled import NAMES, add_dump, blobs, save_photo, workspace_at

from tasks import exports
from tasks.corpus import stage as corpus
from tasks.engine.steps import LoopExecutor
from tasks.exports import run
from tasks.options import CorpusOptions
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def example(path: str) -> Any:
    """The module that a code block of the page shows, from the comment with its path on."""
    block = re.search(rf"```python\n(# {re.escape(path)}\n.*?)```", PAGE.read_text(), re.DOTALL)
    assert block
    module: dict[str, Any] = {"__name__": path.removesuffix(".py").replace("/", ".")}
    exec(compile(block[1], path, "exec"), module)
    return SimpleNamespace(**module)


def test_the_exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, masks = workspace_at(str(tmp_path / "ws")), {"a": blobs(1, 40, 56)}
    save_photo(tmp_path / "day" / "a.png", masks["a"].shape)
    add_dump(workspace, "day", tmp_path / "day", masks)
    monkeypatch.setitem(run.WRITERS, "shares", example("tasks/exports/shares.py").Shares)
    exports.export(workspace, "shares", Storage.at(str(tmp_path / "out")))
    rows = list(csv.DictReader((tmp_path / "out" / "shares.csv").open()))
    assert [(row["image"], row["class"]) for row in rows] == [("day/a", name) for name in NAMES]
    expected = np.bincount(masks["a"].ravel(), minlength=len(NAMES)) / masks["a"].size
    np.testing.assert_allclose([float(row["share"]) for row in rows], expected, atol=1e-4)


def test_the_stage(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    sharpness = example("tasks/sharpness/stage.py")
    workspace = Workspace.create(str(tmp_path / "ws"))
    images = make_corpus(tmp_path, 3, size=(32, 40)) / "images"
    (images / "broken.png").write_bytes(b"not an image")
    index = corpus.plan(workspace, "day", CorpusOptions(images=str(images)))
    assert index
    list(LoopExecutor().map(index.work.steps(), range(index.shards)))
    corpus.finish(workspace, index, 0.0, 1)
    stage = sharpness.plan(workspace, "day")
    list(LoopExecutor().map(stage.work.steps(), stage.folder.missing(stage.shards)))
    found = sharpness.finish(stage, 0.0, 1)
    assert (found["rows"], 0 < found["sharpness"] < 255) == (3, True)
    assert sharpness.plan(workspace, "day") is None
