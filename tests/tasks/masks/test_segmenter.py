"""What the masks' options make: the engine of the CRF, keys, the memory that is predicted."""

import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stego_core.masks.crf import Crf
from stego_core.masks.densecrf import DenseCrf
from tasks.features.backbones import BackboneSpec
from tasks.images.decoding_memory import reading_memory
from tasks.masks import segmenter
from tasks.masks.segmenter import SegmenterSpec, masks_key, predicted_memory, refiner
from tasks.options import MasksOptions
from tasks.storage.storage import Storage
from tasks.workspace import layout, tables

PYDENSECRF = MasksOptions(crf_engine="pydensecrf")
# With Python 3.11, CI's, `make install` builds it: there it is never skipped.
built = pytest.mark.skipif(
    find_spec("pydensecrf") is None and sys.version_info >= (3, 12),
    reason="pydensecrf2 is not installed: its Cython may not know this Python",
)


@built
def test_the_engine_is_an_option() -> None:
    assert refiner(MasksOptions()) == Crf()
    chosen = refiner(PYDENSECRF.model_copy(update={"crf_iterations": 3}))
    assert chosen == DenseCrf(iterations=3)


@pytest.mark.parametrize(("given", "expected"), [(None, math.log(5)), (2.0, 2.0)])
def test_the_sharpness_is_that_of_the_options_else_the_logarithm_of_the_clusters(
    tmp_path: Path, given: float | None, expected: float
) -> None:
    storage, path = Storage(str(tmp_path)), f"{layout.clusters('c')}/{layout.CENTROIDS_FILE}"
    tables.write_tensors(storage, path, {"centroids": np.eye(5, 8, dtype=np.float32)})
    backbone = BackboneSpec("vit", 0, "digest", 8, 6, "")
    spec = SegmenterSpec(storage, backbone, "head", "c", MasksOptions(sharpness=given))
    assert spec.crf() == Crf(sharpness=expected)


def test_a_workers_own_device_computes_the_crf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster's workers are told `auto`: what it means they find out."""
    storage, path = Storage(str(tmp_path)), f"{layout.clusters('c')}/{layout.CENTROIDS_FILE}"
    tables.write_tensors(storage, path, {"centroids": np.eye(5, 8, dtype=np.float32)})
    monkeypatch.setattr(
        segmenter.backbones, "load_backbone", lambda *_: SimpleNamespace(device="cpu")
    )
    monkeypatch.setattr(segmenter.heads, "load_space", lambda *_: None)
    backbone = BackboneSpec("vit", 0, "digest", 8, 6, "")
    spec = SegmenterSpec(storage, backbone, "head", "c", MasksOptions(sharpness=2.0))
    assert spec.build("auto").crf == Crf(sharpness=2.0)


@pytest.mark.parametrize(
    ("options", "coarse"),
    [({}, 320), ({"resolution": 240}, 171), ({"views": "mirror"}, None)],
)
def test_a_second_reading_is_coarser_or_mirrored(
    tmp_path: Path, options: dict[str, Any], coarse: int | None
) -> None:
    backbone = BackboneSpec("vit", 0, "digest", 8, 6, "")
    spec = SegmenterSpec(Storage(str(tmp_path)), backbone, "head", "c", MasksOptions(**options))
    assert spec.windows().coarse == coarse


def test_another_engine_has_other_masks() -> None:
    assert masks_key("c", PYDENSECRF) != masks_key("c", MasksOptions())


MEASURE = """
import sys
import numpy as np
from tasks.options import MasksOptions
from tasks.masks.segmenter import refiner
side, classes = 256, int(sys.argv[2])
rng = np.random.default_rng(0)
image = rng.integers(0, 256, (side, side, 3), np.uint8)
scores = np.log(rng.dirichlet(np.ones(classes), (side, side))).astype(np.float32)
scores = np.ascontiguousarray(scores.transpose(2, 0, 1))
crf = refiner(MasksOptions(crf_engine=sys.argv[1], crf_iterations=2))
crf.refine(scores[:, :8, :8], image[:8, :8])
def held(name):
    return 1024 * int(open("/proc/self/status").read().split(name)[1].split()[0])
open("/proc/self/clear_refs", "w").write("5")
before = held("VmRSS:")
crf.refine(scores, image)
print(held("VmHWM:") - before + scores.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("classes", [3, 27])
@pytest.mark.parametrize("engine", ["lattice", pytest.param("pydensecrf", marks=built)])
def test_the_prediction_holds_on_noise(engine: str, classes: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, engine, str(classes)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    pixels = 256**2
    predicted = predicted_memory(pixels, classes, MasksOptions(crf_engine=engine))
    assert int(ran.stdout) < predicted - reading_memory(pixels) - 12 * pixels
    assert int(ran.stdout) > 0.4 * predicted


def test_a_lattice_that_is_not_compiled_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(segmenter, "COMPILED", False)
    segmenter.tell_if_slow(MasksOptions())
    assert [record.getMessage() for record in caplog.records] == [segmenter.NOT_COMPILED]
    segmenter.tell_if_slow(MasksOptions(crf_iterations=0))
    segmenter.tell_if_slow(MasksOptions(crf_engine="pydensecrf"))
    monkeypatch.setattr(segmenter, "COMPILED", True)
    segmenter.tell_if_slow(MasksOptions())
    assert len(caplog.records) == 1
