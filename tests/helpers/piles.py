"""Folders of small images and labels, and dumps of them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.corpus import stage as corpus
from tasks.corpus.index import IndexReader
from tasks.engine.steps import LoopExecutor
from tasks.files.left_out import LeftOutCounts
from tasks.options import CorpusOptions
from tasks.workspace.workspace import Workspace

RNG = np.random.default_rng(0)
SIZE = (12, 16)


def photo() -> Image.Image:
    return Image.fromarray(RNG.integers(0, 255, (*SIZE, 3), np.uint8))


def label(*values: int) -> Image.Image:
    return Image.fromarray(np.resize(np.array(values, np.uint8), SIZE))


def put(folder: Path, **files: Image.Image | bytes) -> Path:
    """Write files; a double underscore stands for the dot, a triple one for the slash."""
    for name, content in files.items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path)
    return folder


def kinds(told: LeftOutCounts) -> dict[str, tuple[int, str]]:
    return {kind: (each.count, each.example) for kind, each in told.kinds.items()}


def indexed(tmp_path: Path, dump: str = "d", **options: Any) -> tuple[IndexReader, LeftOutCounts]:
    workspace = Workspace.create(str(tmp_path / "ws"))
    given = {name: str(v) if isinstance(v, Path) else v for name, v in options.items()}
    stage = corpus.plan(workspace, dump, CorpusOptions(**given))
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), range(stage.shards)))
    corpus.finish(workspace, stage, 0.0, 1)
    reader = IndexReader(workspace, dump)
    return reader, LeftOutCounts.of(workspace.corpus(dump).manifest())


def entries(reader: IndexReader) -> list[dict[str, Any]]:
    return reader.entries(np.arange(reader.manifest["images"]))
