"""Every place that moves tensors, on a device that is not the CPU: what test_device.py runs."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_device
import numpy as np
import pytest
import torch
from flags import QUICK, TINY
from PIL import Image

from flows import open_workspace
from flows.cli.main import main
from tasks.browse import code_plane
from tasks.engine import machine
from tasks.options import ComputeOptions, FeaturesOptions, HeadOptions, MasksOptions
from tasks.storage.storage import Storage
from tasks.trial.measurement import Tried, measured
from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(400)]

DEVICE = f"{fake_device.NAME}:1"
"""Not the first: a place that keeps a device's type only ends on that."""
ROOT = Path(__file__).parents[2]
MOVES = re.compile(r"\.to\(.*(device|place)|\bdevice=(?!\"meta\")|machine\.device\(|\.cpu\(\)")
"""What a place looks like that moves tensors, or reads them back."""
NO_TENSORS = {
    "tasks.engine.compute",
    "tasks.engine.machine",
    "tasks.options",
    "tasks.engine.checkpoints",
}
"""Modules that handle devices, and compute nothing."""
SCENES = 6
PICIE = (
    "--baseline", "picie", "--picie-weights", "untrained", "--picie-epochs", "1", "--picie-steps",
    "2", "--picie-size", "64", "--picie-batch", "3", "--picie-cluster-batch", "3",
    "--picie-start-batches", "1",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def device() -> Iterator[None]:
    """The fake device, and `auto` means it."""
    fake_device.register()
    with pytest.MonkeyPatch.context() as patch:
        own = machine.device
        patch.setattr(machine, "device", lambda choice: own(DEVICE if choice == "auto" else choice))
        yield


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path], prefect: None
) -> Path:
    """A workspace `ws` made on the device, with both linear probes and a backbone of its own."""
    folder = tmp_path_factory.mktemp("device")
    corpus = make_corpus(folder / "corpus", SCENES)
    given = ["--images", str(corpus / "images"), "--workspace", str(folder / "ws")]
    fake = ["--device", DEVICE, "--executor", "loop"]
    labels = ["--labels", str(corpus / "labels"), "--taxonomy", str(corpus / "taxonomy.json")]
    small = ["--batch", "4", "--global-size", "32", "--local-size", "16", "--local-views", "1"]
    run = ["run", *given, *labels, "--dump", "train", "--neighbors", "4", *TINY, *QUICK, *fake]
    main(["pretrain", *given, "--dump", "own", "--backbone", "vit_pico_patch8_conv_64", "--steps",
          "4", "--prototypes", "16", "--hidden", "16", "--bottleneck", "8", "--quality-steps", "2",
          *small, *fake])  # fmt: skip
    main([*run, "--precision", "bfloat16"])
    main([*run, "--probe-protocol", "stego", "--recipe", "stego", *PICIE])
    return folder


class TestFakeDevice:
    """The device itself refuses what a GPU refuses."""

    @pytest.fixture
    def there(self) -> torch.Tensor:
        return torch.ones(3, device=DEVICE)

    @pytest.mark.parametrize("elsewhere", ["cpu", "fake:0"])
    def test_tensors_of_two_devices_do_not_meet(self, there: torch.Tensor, elsewhere: str) -> None:
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3, device=elsewhere)
        with pytest.raises(RuntimeError, match="same device"):
            torch.nn.Linear(3, 1).to(elsewhere)(there)

    def test_values_are_read_on_the_cpu_only(self, there: torch.Tensor) -> None:
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()
        assert there.cpu().numpy().tolist() == [1, 1, 1]

    def test_generators_of_the_cpu_do_not_draw(self) -> None:
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(2, device=DEVICE, generator=torch.Generator())

    def test_numbers_and_places_may_be_of_the_cpu(self, there: torch.Tensor) -> None:
        assert (there * torch.tensor(2.0)).sum().item() == 6
        assert there[torch.tensor([0, 2])].device == torch.device(DEVICE)


def test_every_stage_computes_there(finished: Path) -> None:
    masks = json.loads((finished / "ws/current.json").read_text())["keys"]["masks"]
    assert len(list((finished / "ws/masks" / masks / "train").glob("*.png"))) == SCENES


def test_an_opened_workspace_labels_there(finished: Path) -> None:
    opened = open_workspace(str(finished / "ws"), DEVICE)
    image = np.asarray(Image.open(next((finished / "corpus/images").glob("*.png"))))
    assert opened.label(image).shape == image.shape[:2]


def test_the_explorer_computes_there(finished: Path) -> None:
    space = code_plane.code_plane(Workspace.open(str(finished / "ws")), 100)
    assert len(space.points) >= 100


def test_lessons_are_learned_there(finished: Path) -> None:
    images = sorted((finished / "corpus/images").glob("*.png"))
    points = finished / "points.csv"
    points.write_text(f"image,x,y,class,dump\n{images[0].name},5,5,pole,train\n")
    main(["teach", str(points), "--workspace", str(finished / "ws"), "--device", DEVICE,
          "--executor", "loop"])  # fmt: skip
    opened = open_workspace(str(finished / "ws"), DEVICE)
    assert "pole" in opened.names
    assert (
        opened.label(np.asarray(Image.open(images[0]))).shape
        == np.asarray(Image.open(images[0])).shape[:2]
    )


def test_a_trial_computes_there(finished: Path) -> None:
    features = FeaturesOptions(
        backbone="vit_tiny_patch16_224", weights="untrained", crop_size=64, layer=1
    )
    masks = MasksOptions(resolution=64, crf_iterations=1)
    tried = Tried(features, HeadOptions(), masks, ComputeOptions(executor="loop", device=DEVICE))
    images = finished / "corpus/images"
    rates = measured(Storage.at(str(images)), [next(images.glob("*.png")).name], tried, 0.0)
    assert min(rates.crop, rates.step, rates.image, rates.codes) > 0


def test_no_place_that_moves_tensors_was_left_out(finished: Path) -> None:
    moving = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for room in ("stego_core", "tasks")
        for path in (ROOT / room).rglob("*.py")
        if MOVES.search(path.read_text())
    }
    assert "tasks.scores.quick_probe" in moving
    assert moving - NO_TENSORS <= fake_device.users
