"""The pipeline on DINOv2 with registers (patches of 14) and on DINOv3 (rotary positions)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows import open_workspace
from flows.cli.main import main

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(300)]
SCENES = 4


@pytest.mark.parametrize(
    ("backbone", "crop"),
    [
        pytest.param("vit_small_patch14_reg4_dinov2.lvd142m", 56, marks=pytest.mark.long),
        pytest.param("vit_small_patch16_dinov3.lvd1689m", 64, marks=pytest.mark.long),
    ],
)
def test_run_and_segment(
    backbone: str, crop: int, tmp_path: Path, make_corpus: Callable[..., Path]
) -> None:
    """Tiles are no whole number of patches of 14, and images no whole number of any."""
    corpus = make_corpus(tmp_path / "corpus", SCENES, size=(75, 131))
    workspace = str(tmp_path / "ws")
    main(
        [
            "run", "--workspace", workspace, "--images", str(corpus / "images"),
            "--labels", str(corpus / "labels"), "--taxonomy", str(corpus / "taxonomy.json"),
            "--backbone", backbone, "--weights", "untrained", "--layer", "1",
            "--crop-size", str(crop), "--neighbors", "4", "--steps", "4", "--restarts", "1",
            "--resolution", "96", "--tile", "80", "--tile-overlap", "24", "--executor", "loop",
        ]
    )  # fmt: skip
    masks = {path.stem: path for path in (tmp_path / "ws/masks").rglob("*.png")}
    assert len(masks) == SCENES
    image = corpus / "images/s002.png"
    main(["segment", str(image), "--workspace", workspace, "--out", str(tmp_path / "out")])
    found = np.asarray(Image.open(tmp_path / "out/s002.png"))
    assert found.shape == (75, 131)
    assert found.max() < 7
    pixels = np.asarray(Image.open(image).convert("RGB"))
    np.testing.assert_array_equal(open_workspace(workspace).label(pixels), found)
    assert backbone in (tmp_path / "ws/reports/latest/index.html").read_text()
