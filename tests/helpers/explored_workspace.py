"""A small finished workspace, made by the stages themselves in a plain loop, for the explorer."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from stego_core.clustering.kmeans import unit
from stego_core.head.head import Head
from tasks.corpus import stage as corpus
from tasks.engine.stage import Finish, Stage
from tasks.engine.steps import LoopExecutor
from tasks.features import backbones
from tasks.features import stage as features
from tasks.features.rows import FeatureRows
from tasks.masks import stage as masks
from tasks.masks.segmenter import masks_key
from tasks.neighbors import stage as neighbors
from tasks.options import CorpusOptions, FeaturesOptions, MasksOptions, NeighborsOptions
from tasks.workspace import layout, tables
from tasks.workspace.workspace import Workspace

CLASSES, GRID, SIDE = 5, 4, 32
FEATURES = FeaturesOptions(
    backbone=backbones.BUNDLED_BACKBONE, weights=backbones.BUNDLED, crop_size=SIDE, crops="five"
)
NEIGHBORS = NeighborsOptions(k=4)
MASKS = MasksOptions(resolution=64, crf_iterations=2, overlays=False)
HEAD, CLUSTERS = "a" * 16, "c" * 16
SQUARE, WIDE = (64, 64), (64, 96)


def compute(stage: Stage | None, finish: Finish = Stage.finish) -> None:
    """What is missing of a stage, then its end."""
    if stage is not None:
        missing = stage.folder.missing(stage.shards)
        list(LoopExecutor().map(stage.work.steps(), missing))
        finish(stage, 0.0, len(missing))


def indexed(workspace: Workspace, dump: str, folder: Path, labelled: bool) -> None:
    """A dump's frozen index."""
    given = {"labels": str(folder / "labels"), "taxonomy": str(folder / "taxonomy.json")}
    options = CorpusOptions(images=str(folder / "images"), **(given if labelled else {}))
    compute(
        corpus.plan(workspace, dump, options),
        lambda *ended: corpus.finish(workspace, *ended),
    )


def finished(location: str, folder: Path, make_corpus: Callable[..., Path]) -> Workspace:
    """Six square images that the head was trained on, with labels; then three wide ones."""
    workspace = Workspace.create(location)
    indexed(workspace, "first", make_corpus(folder / "a", 6, size=SQUARE), labelled=True)
    indexed(workspace, "later", make_corpus(folder / "b", 3, first=9, size=WIDE), labelled=False)
    spec = backbones.fetch_backbone(workspace, FEATURES.backbone, backbones.BUNDLED)
    key = features.features_key(FEATURES, spec)
    tables_of = {}
    for dumps in (("first",), ("first", "later")):
        compute(features.plan(workspace, dumps[-1], FEATURES, spec, "cpu"))
        rows = FeatureRows(workspace, key, dumps)
        for stage, finish in neighbors.stages(rows, dumps[-1], NEIGHBORS, "cpu"):
            compute(stage, finish)
        tables_of[dumps[-1]] = neighbors.neighbors_key(rows, NEIGHBORS)
    clustered(workspace, spec)
    for dump in ("first", "later"):
        stage = masks.plan(workspace, dump, CLUSTERS, MASKS, "cpu")
        compute(stage, partial(masks.finish, workspace))
    workspace.update_last_run(
        keys={
            "features": key,
            "clusters": CLUSTERS,
            "masks": masks_key(CLUSTERS, MASKS),
        },
        dumps=["first"],
        options={"masks": MASKS.model_dump(mode="json")},
        neighbors=tables_of,
    )
    return workspace


def clustered(workspace: Workspace, spec: backbones.BackboneSpec) -> None:
    """A head and centroids, drawn."""
    head = Head.create(spec.channels, 8, torch.Generator().manual_seed(0))
    tensors = {name: value.numpy() for name, value in head.state_dict().items()}
    tables.write_tensors(workspace.storage, f"heads/{HEAD}/{layout.HEAD_FILE}", tensors)
    workspace.folder("heads", HEAD).finish({})
    centroids = unit(np.random.default_rng(0).normal(size=(CLASSES, 8))).astype(np.float32)
    path = f"clusters/{CLUSTERS}/centroids.safetensors"
    tables.write_tensors(workspace.storage, path, {"centroids": centroids})
    workspace.folder("clusters", CLUSTERS).finish(
        {"backbone": spec.document(), "inputs": {"head": HEAD}, "classes": CLASSES}
    )
