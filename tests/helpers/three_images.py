"""A dump of three small images with label files that a test chose."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stego_core.labels.taxonomy import Taxonomy
from tasks.corpus import stage as corpus
from tasks.corpus.index import IndexReader
from tasks.engine.steps import LoopExecutor
from tasks.options import CorpusOptions
from tasks.workspace.workspace import Workspace

H, W = 6, 8


def png(values: Any, mode: str | None = None) -> bytes:
    image = Image.fromarray(np.asarray(values, np.uint8))
    return saved(image.convert(mode) if mode else image)


def saved(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def taxonomy(**keys: Any) -> Taxonomy:
    return Taxonomy.parse({"classes": ["ground", "object"], **keys})


def indexed(tmp_path: Path, labels: dict[str, bytes], **options: Any) -> IndexReader:
    """A dump of three images with these label files."""
    for folder in ("in", "labels"):
        (tmp_path / folder).mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    for name in "abc":
        pixels = rng.integers(0, 255, (H, W, 3), np.uint8)
        (tmp_path / f"in/{name}.png").write_bytes(png(pixels))
    for name, content in labels.items():
        (tmp_path / "labels" / name).write_bytes(content)
    workspace = Workspace.create(str(tmp_path / "ws"))
    chosen = CorpusOptions(images=f"{tmp_path}/in", labels=f"{tmp_path}/labels", **options)
    stage = corpus.plan(workspace, "d", chosen)
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), range(stage.shards)))
    corpus.finish(workspace, stage, 0.0, 1)
    return IndexReader(workspace, "d")


def ids(reader: IndexReader, row: int) -> Any:
    return reader.labels(reader.entries(np.array([row]))[0])
