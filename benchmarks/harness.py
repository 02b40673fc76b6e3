"""What the benchmarks of whole stages share: arguments, images, the machine, table and file."""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a bare checkout too

from flows.demo.scenes import scene, scene_generator
from flows.demo.street import SCENE_CLASSES

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ENDINGS = {".jpg", ".jpeg", ".png"}
PACKAGES = ("stego-flows", "torch", "numpy", "prefect", "distributed", "zarr", "s3fs")


@dataclass(frozen=True)
class Row:
    """One line of a table: measurements of ours and of what it is compared with."""

    row: str
    ours: Sequence[float]
    reference: Sequence[float]
    unit: str

    @property
    def ratio(self) -> float | None:
        """Median of ours over median of the reference; None without either."""
        if not self.ours or not self.reference or not statistics.median(self.reference):
            return None
        return statistics.median(self.ours) / statistics.median(self.reference)

    @property
    def better(self) -> float | None:
        """The ratio the way round that says above 1 where ours is better."""
        if not self.ratio:
            return None
        return self.ratio if self.unit.endswith("/s") else 1 / self.ratio

    def document(self) -> dict[str, Any]:
        return {
            "row": self.row,
            "unit": self.unit,
            "ours": summary(self.ours),
            "reference": summary(self.reference),
            "ratio": self.ratio and round(self.ratio, 4),
            "repeats": max(len(self.ours), len(self.reference)),
        }


@dataclass(frozen=True)
class Headline:
    """What a benchmark comes down to.

    Attributes:
        row: the measurements that count.
        goal: the least ratio, above 1 where ours is better.
        equal: how the results were compared, and by how much they differ.
        peaks: bytes at most, of ours and of the reference; None where it was not looked at.
    """

    row: Row
    goal: float
    equal: str
    peaks: tuple[int, int] | None = None


def summary(values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    parts = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 4) for name, value in parts.items()} | {
        "all": [round(value, 4) for value in values]
    }


def parser(text: str | None, images: int, workers: int) -> argparse.ArgumentParser:
    """A parser with the arguments that all of these benchmarks take."""
    made = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--images", type=_resolved, help="folder of images; default: generated scenes"
    )
    made.add_argument("--limit", type=int, help=f"images taken; of generated scenes {images}")
    made.add_argument("--backbone", default="vit_tiny_patch16_224", help="timm's name")
    made.add_argument("--weights", default="untrained", help="weights file; default: random ones")
    made.add_argument("--layer", type=int, help="block that is read; default: the last")
    made.add_argument("--seed", type=int, default=0, help="of scenes, head and clusters")
    made.add_argument("--steps", type=int, default=100, help="training steps")
    made.add_argument("--workers", type=int, default=workers, help="worker processes")
    made.add_argument("--device", default="cpu", help="torch device, the same on both sides")
    made.add_argument("--repeats", type=int, default=1, help="how often all of it is measured")
    made.add_argument("--scratch", type=Path, help="where temporary files go")
    made.set_defaults(scenes=images)
    return made


def _resolved(text: str) -> Path:
    return Path(text).resolve()


def backbone_options(chosen: argparse.Namespace) -> dict[str, Any]:
    """The section `features` of a run's options."""
    given = {"backbone": chosen.backbone, "weights": chosen.weights, "layer": chosen.layer}
    return {name: value for name, value in given.items() if value is not None}


@contextmanager
def scratch(chosen: argparse.Namespace) -> Iterator[Path]:
    """A temporary folder, with a Prefect home of its own, that is removed in the end."""
    from flows.cli import environment

    with tempfile.TemporaryDirectory(
        prefix="stego-benchmark-", dir=chosen.scratch, ignore_cleanup_errors=True
    ) as name:
        folder = Path(name).resolve()
        os.environ["PREFECT_HOME"] = str(folder / "prefect")
        environment.prepare()
        yield folder


def found_images(chosen: argparse.Namespace, folder: Path) -> list[Path]:
    """The images to work on: `--limit` of the given ones, spread evenly, or generated scenes.

    Generated scenes get labels and a taxonomy beside them.
    """
    if chosen.images is None:
        return write_scenes(folder / "scenes", chosen.limit or chosen.scenes, chosen.seed)
    files = sorted(p for p in chosen.images.rglob("*") if p.suffix.lower() in ENDINGS)
    if not files:
        sys.exit(f"error: no images under {chosen.images}; expected {' '.join(sorted(ENDINGS))}")
    count = min(chosen.limit or len(files), len(files))
    return [files[place] for place in np.linspace(0, len(files) - 1, count).astype(int)]


def write_scenes(folder: Path, count: int, seed: int) -> list[Path]:
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for index in range(count):
        image, labels = scene(scene_generator(seed, index))
        Image.fromarray(image).save(folder / "images" / f"s{index:05d}.png")
        Image.fromarray(labels).save(folder / "labels" / f"s{index:05d}.png")
    taxonomy = {"name": "scenes", "void": 255, "classes": list(SCENE_CLASSES)}
    (folder / "taxonomy.json").write_text(json.dumps(taxonomy))
    return sorted((folder / "images").iterdir())


def copied(files: Sequence[Path], folder: Path) -> Path:
    """A folder with copies of the files, named by their place in the list and their name."""
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        shutil.copyfile(file, folder / f"{number:05d}-{file.name}")
    return folder


def data_of(chosen: argparse.Namespace, count: int) -> dict[str, Any]:
    """What was measured on; folders by their last name only."""
    images = f"images of {chosen.images.name}" if chosen.images else "generated scenes"
    weights = chosen.weights if chosen.weights == "untrained" else Path(chosen.weights).name
    return {
        "images": f"{count} {images}",
        "backbone": chosen.backbone,
        "weights": weights,
        "layer": "the last" if chosen.layer is None else chosen.layer,
        "steps": chosen.steps,
        "workers": chosen.workers,
        "device": chosen.device,
        "seed": chosen.seed,
    }


def machine() -> dict[str, Any]:
    """This machine in figures; the load tells whether it did something else besides."""
    import psutil
    import torch

    from tasks.engine.machine import cores

    return {
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "processor": platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": [round(part, 2) for part in os.getloadavg()],
    }


def report(
    name: str,
    names: tuple[str, str],
    rows: Sequence[Row],
    headline: Headline,
    data: dict[str, Any],
    before: dict[str, Any],
    notes: Sequence[str] = (),
    **more: Any,
) -> None:
    """Print the table and write benchmarks/results/NAME.json.

    Args:
        name: of the benchmark.
        names: headings of ours and of the reference.
        rows: measurements.
        headline: what they come down to.
        data: what was measured on.
        before: `machine()` before the measurements.
        notes: what a reader must know.
        more: further parts of the file.
    """
    versions = versions_of(PACKAGES)
    print("\n" + ", ".join(f"{key} {value}" for key, value in data.items()))
    shown = {k: v for k, v in before.items() if v is not None}
    print(", ".join(f"{key} {value}" for key, value in shown.items()))
    print(", ".join(f"{key} {value}" for key, value in versions.items()) + "\n")
    width = max(len(row.row) for row in rows)
    print(f"{'':<{width}}  {names[0]:>24}  {names[1]:>24}  {'ratio':>7}")
    for row in rows:
        ratio = "–" if row.ratio is None else f"{row.ratio:.3f}"
        print(f"{row.row:<{width}}  {_cell(row.ours)}  {_cell(row.reference)}  {ratio:>7}", end="")
        print(f"  {row.unit}")
    repeats = max(len(row.ours) for row in rows)
    print(f"\nmedian (least – most) of {repeats}" if repeats > 1 else "\nmeasured once")
    for note in notes:
        print(note)
    row, peaks = headline.row.document(), headline.peaks or (None, None)
    document = {
        **row,
        "row": name,
        "measured": headline.row.row,
        "ratio": headline.row.better and round(headline.row.better, 4),
        "goal": round(headline.goal, 4),
        "peak_memory_ours": peaks[0],
        "peak_memory_reference": peaks[1],
        "equal": headline.equal,
        "sides": {"ours": names[0], "reference": names[1]},
        "rows": [each.document() for each in rows],
        "data": data,
        "machine": before,
        "versions": versions,
        "notes": list(notes),
        **more,
    }
    write(name, document)


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Of Python and of some packages."""
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def write(name: str, document: dict[str, Any]) -> None:
    """Write benchmarks/results/NAME.json, dated."""
    dated = {**document, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(dated, indent=1, ensure_ascii=False) + "\n")
    print(f"written: {path.relative_to(ROOT)}")


def _cell(values: Sequence[float]) -> str:
    if not values:
        return f"{'–':>24}"
    text = f"{statistics.median(values):.3f}"
    if len(values) > 1:
        text += f" ({min(values):.3f} – {max(values):.3f})"
    return f"{text:>24}"
