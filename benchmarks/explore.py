"""What a click in the explorer costs on a large corpus: same-image heat, search of all patches.

    python benchmarks/explore.py

Features of generated patches stand for a corpus; there are no image files. Each image shows a few
of 400 kinds of things in blobs; a patch is the sum of its kind's direction, one of that thing in
that image, and its own, drawn along 128 random axes whose variance falls as 1 / rank. Index, heat
and search are the project's own, by its stages on as many workers as there are cores; the reference
compares the same clicks with every stored patch (all of them in one pass, so a single one would
cost nearly as much). The goal is a search in 0.3 s. Five crops of 10,000 images take 7.5 GB of
disk.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import memory
import numpy as np
import torch
from harness import Headline, Row
from numpy.typing import NDArray

from stego_core.kmeans import unit

GOAL_SECONDS = 0.3
IMAGES, CHANNELS, GRID, KINDS, AXES = 10_000, 384, 14, 400, 128
SIDE = 2 * GRID * 16
SHARD_IMAGES = 32
DUMP, FEATURES, CLUSTERS, MASKS, CLASSES = "corpus", "f" * 16, "c" * 16, "d" * 16, 27
MIB = 2**20


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=int, default=IMAGES, help="images")
    parser.add_argument("--channels", type=int, default=CHANNELS)
    parser.add_argument("--crops", type=int, choices=(1, 5), default=5)
    parser.add_argument("--clicks", type=int, default=40, help="of each kind")
    parser.add_argument("--compared", type=int, default=16, help="clicks that the reference sees")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=1, help="of the clicks")
    parser.add_argument("--workspace", type=Path, help="where it is kept, to be used again")
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    return parser.parse_args()


class Corpus:
    """Patches of generated images."""

    def __init__(self, channels: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        axes = generator.standard_normal((min(AXES, channels), channels), np.float32)
        self.axes = unit(axes) / np.arange(1, len(axes) + 1)[:, None] ** 0.5
        self.axes /= np.linalg.norm(self.axes)
        self.seed, self.kinds = seed, self.drawn(generator, KINDS)

    def drawn(self, generator: np.random.Generator, *shape: int) -> NDArray[np.float32]:
        """Vectors (*shape, C) of norm 1, about."""
        numbers = generator.standard_normal((*shape, len(self.axes)), np.float32)
        return np.asarray(numbers @ self.axes, np.float32)

    def image(self, number: int) -> NDArray[np.float16]:
        """(2 GRID, 2 GRID, C) patches of one image."""
        generator = np.random.default_rng([self.seed, number])
        things = int(generator.integers(4, 9))
        centres = generator.random((things, 2)) * 2 * GRID
        places = np.stack(np.meshgrid(*[np.arange(2 * GRID)] * 2, indexing="ij"), axis=-1)
        nearest = np.linalg.norm(places[:, :, None] - centres, axis=-1).argmin(axis=-1)
        kinds = self.kinds[generator.integers(0, KINDS, things)]
        own = kinds + 0.6 * self.drawn(generator, things)
        return np.asarray(
            own[nearest] + 0.5 * self.drawn(generator, 2 * GRID, 2 * GRID), np.float16
        )


def write_corpus(workspace: Any, chosen: argparse.Namespace) -> None:
    """Features of a dump, and what leads to them: index, clusters, what is current."""
    from tasks.corpus import INDEX_COLUMNS
    from tasks.workspace import arrays, tables

    storage, total, crops = workspace.storage, chosen.corpus, chosen.crops
    corpus, features = (
        workspace.corpus(DUMP),
        workspace.folder("features", FEATURES, f"{DUMP}.zarr"),
    )
    names = [f"{number:06d}" for number in range(total)]
    values: dict[str, Any] = {name: [None] * total for name in INDEX_COLUMNS}
    values |= {"image_id": names, "path": [f"{name}.jpg" for name in names]}
    values |= {"height": [SIDE] * total, "width": [SIDE] * total}
    tables.write_table(storage, f"{corpus.path}/index.parquet", values, INDEX_COLUMNS)
    corpus.finish({"images": total, "index": "generated", "sequence": 0, "labelled": 0})
    shape, shard = (GRID, GRID, chosen.channels), SHARD_IMAGES * crops
    layouts = {
        "patches": arrays.Layout((total * crops, *shape), "float16", shard),
        "valid": arrays.Layout((total * crops,), "bool", shard, shard),
        "images": arrays.Layout((total,), "int64", total, total),
    }
    arrays.create(storage, features.path, layouts)
    arrays.write_shard(storage, features.path, "images", 0, np.arange(total))
    made = Corpus(chosen.channels, chosen.seed)
    for number in range(-(-total // SHARD_IMAGES)):
        first, last = number * SHARD_IMAGES, min((number + 1) * SHARD_IMAGES, total)
        rows = np.stack(
            [crop for i in range(first, last) for crop in crops_of(made.image(i), crops)]
        )
        arrays.write_shard(storage, features.path, "patches", number, rows)
        arrays.write_shard(storage, features.path, "valid", number, np.ones(len(rows), np.bool_))
    features.finish(
        {
            "rows": total * crops,
            "images": total,
            "crops": crops,
            "index": "generated",
            "invalid": {},
        }
    )


def write_masks(workspace: Any, chosen: argparse.Namespace) -> None:
    """How sure the masks of all images are, drawn; there are no masks."""
    from tasks import confidence
    from tasks.workspace import tables

    generator, total = np.random.default_rng(chosen.seed), chosen.corpus
    folder = workspace.folder("masks", MASKS, DUMP)
    shares = generator.dirichlet([0.1] * CLASSES, total)
    names = [f"{number:06d}" for number in range(total)]
    columns: dict[str, Any] = {
        name: generator.random(total) for name in confidence.columns(CLASSES)
    }
    columns |= {"row": range(total), "image_id": names, "path": [f"{name}.jpg" for name in names]}
    columns |= {"height": [SIDE] * total, "width": [SIDE] * total}
    columns |= {f"share_{number}": shares[:, number] for number in range(CLASSES)}
    path = f"{folder.path}/{confidence.TABLE}"
    tables.write_table(workspace.storage, path, columns, confidence.columns(CLASSES))
    folder.finish({"pixels": [1] * CLASSES, "masks": total, "version": confidence.SINCE})
    workspace.folder("clusters", CLUSTERS).finish({"classes": CLASSES})
    keys = {"features": FEATURES, "clusters": CLUSTERS, "masks": MASKS}
    workspace.settle(keys=keys, dumps=[DUMP], options={}, neighbors={})


def crops_of(image: NDArray[np.float16], crops: int) -> list[NDArray[np.float16]]:
    """The four quarters and the centre, or every other patch as the one crop."""
    if crops == 1:
        return [image[::2, ::2]]
    quarters = [image[y : y + GRID, x : x + GRID] for y in (0, GRID) for x in (0, GRID)]
    half = GRID // 2
    return [*quarters, image[half : half + GRID, half : half + GRID]]


def exact(workspace: Any, queries: NDArray[np.float32], own: list[int], count: int) -> Any:
    """For each query the images whose best patches resemble it most, and their cosines."""
    from tasks import patches

    rows = patches.patch_rows(workspace)
    best = []
    for shard in rows.rows.shards():
        block = rows.rows.read("patches", shard)[rows.tiling(shard) - shard[0]].astype(np.float32)
        block = np.asarray(unit(block.reshape(-1, block.shape[-1])), np.float32)
        products = torch.from_numpy(block) @ torch.from_numpy(queries).T
        best.append(products.reshape(-1, rows.per_image(), len(queries)).amax(dim=1).numpy())
    cosines = np.concatenate(best)
    cosines[own, np.arange(len(own))] = -np.inf
    found = np.argsort(-cosines, axis=0, kind="stable")[:count].T
    return found, np.take_along_axis(cosines.T, found, axis=1)


def clicks(chosen: argparse.Namespace) -> list[tuple[int, float, float]]:
    generator = np.random.default_rng(chosen.seed + 1)
    images = generator.choice(chosen.corpus, chosen.clicks * chosen.repeats, replace=False)
    return [(int(image), *generator.random(2).tolist()) for image in images]


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    begun = time.perf_counter()
    found = work(*arguments)
    return time.perf_counter() - begun, found


def main() -> None:
    chosen, before = parsed(), harness.machine()
    with harness.scratch(chosen) as folder:
        measure(chosen, before, folder)


def measure(chosen: argparse.Namespace, before: dict[str, Any], folder: Path) -> None:
    import plain

    from stego_core import patchsearch
    from tasks import compute, correspondences, gallery, machine, maps, patches
    from tasks.options import ComputeOptions
    from tasks.workspace.workspace import Workspace

    workspace = Workspace.create(str(chosen.workspace or folder / "workspace"))
    if not workspace.folder("features", FEATURES, f"{DUMP}.zarr").finished:
        spent, _ = timed(write_corpus, workspace, chosen)
        print(f"features of {chosen.corpus} images written in {spent:.0f} s", flush=True)
    write_masks(workspace, chosen)
    gallery.page(workspace)  # reads the table, once
    pages = [
        timed(gallery.page, workspace, None, cls, None, "class", 60)[0] for cls in range(CLASSES)
    ]
    workers = ComputeOptions(workers=machine.cores())
    with compute.executor(workers) as executor:
        for stage, finish in patches.stages(workspace):
            if stage is not None:
                took, _ = timed(plain.run_on(executor), stage, workers, finish)
                print(f"{stage.title}: {took:.0f} s", flush=True)
    with memory.watched() as peak:
        loading, search = timed(patches.search, workspace)
    made = search.patches
    recall = made.recall_folder().manifest()
    parts = [made.codebook_folder().manifest(), made.codes_folder(DUMP).manifest(), recall]
    built = sum(part["seconds"].get(k, 0) for part in parts for k in ("read", "infer", "write"))
    index = search.index
    held = index.ntotal * (index.code_size + patchsearch.ID_BYTES)
    opened, heats, searches, found = [], [], [], []
    for image, y, x in clicks(chosen):
        at = (workspace, DUMP, image, y, x)
        opened.append(timed(correspondences.prepare, *at[:3])[0])
        heats.append(timed(correspondences.heat, *at)[0])
        spent, matches = timed(correspondences.matches, *at)
        searches.append(spent)
        found.append(matches)
    print(f"{len(searches)} searches: {np.median(searches):.3f} s each", flush=True)
    compared = clicks(chosen)[: chosen.compared]
    queries = []
    for image, y, x in compared:
        shown = maps.shown(workspace, DUMP, image)
        queries.append(shown.unit[shown.at(y, x)])
    own = [image for image, _, _ in compared]
    whole, (best, cosines) = timed(exact, workspace, np.stack(queries), own, 24)
    hits = sum(len({m.row for m in f} & set(b)) for f, b in zip(found, best.tolist(), strict=False))
    gap = max(
        abs(m.similarity - float(c[b.tolist().index(m.row)]))
        for f, b, c in zip(found, best, cosines, strict=False)
        for m in f
        if m.row in b
    )
    headline = Row("search of all patches, a click", searches, [whole], "s")
    rows = [
        headline,
        Row("heat on the same image, a click", heats, [], "s"),
        Row("opening an image with stored features", opened, [], "s"),
        Row("a page of the gallery, of one class", pages, [], "s"),
        Row("building the index, all workers together", [built], [], "s"),
        Row("loading the index", [loading], [], "s"),
        Row("memory of the index", [held / MIB], [], "MiB"),
        Row("memory of the index, a patch", [held / index.ntotal], [], "bytes"),
    ]
    harness.report(
        "explore",
        ("by inverted lists", "all patches compared"),
        rows,
        Headline(
            headline,
            whole / GOAL_SECONDS,
            f"{100 * hits / best.size:.1f} % of the 24 best images of {len(own)} clicks are found; "
            f"their cosines differ by at most {gap:.1e}",
            (peak.beyond, 0),
        ),
        {
            "images": f"{chosen.corpus} generated",
            "crops": chosen.crops,
            "channels": chosen.channels,
            "patches": index.ntotal,
            "clicks": len(searches),
            "workers": workers.workers,
        },
        before,
        [f"{name}: {recall[name]}" for name in ("recall", "probes", "ranks")],
        lists=index.nlist,
        features_bytes=made.rows.nbytes(),
    )


if __name__ == "__main__":
    main()
