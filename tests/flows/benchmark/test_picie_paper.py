"""`stego benchmark NAME --method picie`, for real on a generated data set: alone, beside STEGO."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from flags import QUICK, TINY
from PIL import Image

from flows.cli.main import main
from flows.demo.scenes import scene, scene_generator

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("prefect"), pytest.mark.timeout(600)]
FLAGS = (
    *TINY, *QUICK, "--neighbors", "8", "--max-tokens", "2000", "--executor", "loop",
    "--probe-protocol", "quick", "--crf-iterations", "0", "--picie-weights", "untrained",
    "--picie-size", "64", "--picie-epochs", "1", "--picie-batch", "8",
)  # fmt: skip


def write_cityscapes(folder: Path) -> None:
    """Scenes with Cityscapes' ids, 12 to train on and 4 to evaluate, as the data set lies."""
    for number in range(16):
        split = "train" if number < 12 else "val"
        image, labels = scene(scene_generator(1, number), (64, 128))
        stored = np.where(labels == 255, 0, labels + 7).astype(np.uint8)
        for pixels, path in (
            (image, f"leftImg8bit/{split}/city/c_{number}_leftImg8bit.png"),
            (stored, f"gtFine/{split}/city/c_{number}_gtFine_labelIds.png"),
        ):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / path)


def benchmark(folder: Path, *more: str) -> tuple[dict, str]:
    """The document of a benchmark, and what it said."""
    with redirect_stdout(StringIO()) as said:
        main(
            ["benchmark", "cityscapes27", "--data", str(folder / "cityscapes"),
             "--workspace", str(folder / "ws"), *FLAGS, *more]
        )  # fmt: skip
    document = (folder / "ws/reports/cityscapes27/benchmark.json").read_text()
    return json.loads(document), " ".join(said.getvalue().split())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_cityscapes(tmp_path / "cityscapes")
    return tmp_path


def test_alone_it_stands_beside_the_published_figures(data: Path) -> None:
    document, said = benchmark(data, "--method", "picie")
    systems = [row["system"] for row in document["rows"]]
    assert systems[:3] == ["PiCIE, here", "STEGO", "PiCIE (CVPR 2021)"]
    ours, _, published = document["rows"][:3]
    assert (published["accuracy"], published["miou"]) == (65.5, 12.3)
    assert published["backbone"] == "ResNet-18, trained with ImageNet's labels"
    assert ours["backbone"] == "resnet18.tv_in1k (untrained, drawn from seed 0)"
    counts = np.array(document["confusion"]["pixels"])
    assert ours["accuracy"] == pytest.approx(
        100 * counts[np.arange(27), np.arange(27)].sum() / counts.sum(), abs=0.01
    )
    assert document["images"] == {"train": 12, "val": 4}
    assert "not as published: PiCIE's epochs 1 (published: 10)" in said
    assert "not as published: PiCIE's weights untrained (published: resnet18.tv_in1k, " in said
    assert "images of the evaluation resampled nearest (published: bilinear)" in said
    assert f"{ours['accuracy']:.1f} / {ours['miou']:.1f}" in said
    assert not (data / "ws/heads").exists()  # no STEGO was trained
    squares = sorted((data / "ws/prepared/cityscapes27-picie-train/images").iterdir())
    assert {Image.open(path).size for path in squares} == {(128, 128)}
    page = (data / "ws/reports/cityscapes27/index.html").read_text()
    assert "PiCIE of cityscapes27-val" in page


@pytest.mark.long
def test_it_joins_stego_where_that_was_run(data: Path) -> None:
    before, _ = benchmark(data)
    after, _ = benchmark(data, "--method", "picie")
    assert [row["system"] for row in after["rows"][:4]] == [
        "STEGO, here", "k-means on raw features, here", "PiCIE, here", "STEGO",
    ]  # fmt: skip
    assert after["rows"][:2] == before["rows"][:2]
    assert after["rows"][2]["accuracy"] is not None
