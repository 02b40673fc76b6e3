"""The command `stego pretrain`, once for real, and what people do wrong with it."""

import json
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from flags import QUICK
from PIL import Image

from flows.cli.main import main

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(300)]

PICO = "vit_pico_patch8_conv_64"
SCENES = 6
SMALL = (
    "--steps", "6", "--batch", "4", "--global-size", "32", "--local-size", "16",
    "--local-views", "1", "--prototypes", "16", "--hidden", "16", "--bottleneck", "8",
    "--quality-steps", "3",
)  # fmt: skip


def pretrain_flags(folder: Path, *more: str) -> list[str]:
    """The command on a folder's `images`, in its workspace `ws`."""
    return [
        "pretrain", "--workspace", str(folder / "ws"), "--images", str(folder / "images"),
        "--backbone", PICO, *SMALL, *more,
    ]  # fmt: skip


class Pretrained(NamedTuple):
    """What the command left and said."""

    folder: Path
    shown: str
    backbone: str
    weights: Path


@pytest.fixture(scope="module")
def pretrained(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path], prefect: None
) -> Pretrained:
    """A backbone trained by a Dask worker on a folder with one broken image in it."""
    folder = make_corpus(tmp_path_factory.mktemp("pretrain"), SCENES)
    (folder / "images/broken.jpg").write_bytes(b"not an image")
    with redirect_stdout(StringIO()) as said:
        main(pretrain_flags(folder, "--executor", "dask", "--workers", "1"))
    use = re.search(r"^use it: stego run --backbone (\S+) --weights (\S+) ", said.getvalue(), re.M)
    assert use, said.getvalue()
    return Pretrained(folder, said.getvalue(), use[1], Path(use[2]))


def manifest(path: Path) -> dict:
    return json.loads((path / "manifest.json").read_text())


class TestTrained:
    def test_what_is_shown_is_what_is_stored(self, pretrained: Pretrained) -> None:
        stored = manifest(pretrained.weights.parent)
        assert pretrained.backbone == PICO
        assert pretrained.weights.parents[1] == pretrained.folder / "ws/pretrain"
        figures = re.search(
            r"^loss (\S+), teacher entropy (\S+), agreement (\S+), effective rank (\S+)$",
            pretrained.shown,
            re.M,
        )
        assert figures
        quality = stored["quality"]
        assert [float(figure) for figure in figures.groups()] == [
            pytest.approx(stored["loss"], abs=1e-3),
            pytest.approx(stored["entropy"], abs=1e-2),
            pytest.approx(quality["agreement"], abs=1e-2),
            pytest.approx(quality["rank"], abs=0.1),
        ]
        assert quality["step"] == stored["rows"] == 6
        assert pq.read_table(pretrained.weights.parent / "quality.parquet").num_rows == 2

    def test_the_broken_image_is_in_quarantine(self, pretrained: Pretrained) -> None:
        (bad,) = pq.read_table(
            pretrained.folder / "ws/corpus/images/quarantine.parquet"
        ).to_pylist()
        assert bad["path"] == "broken.jpg"
        assert "not an image" in bad["reason"]
        assert manifest(pretrained.weights.parent)["inputs"]["dump"] == "images"
        assert manifest(pretrained.folder / "ws/corpus/images")["images"] == SCENES

    def test_features_of_the_same_workspace_come_from_it(self, pretrained: Pretrained) -> None:
        ws = pretrained.folder / "ws"
        main(
            ["features", "--workspace", str(ws), "--backbone", pretrained.backbone,
             "--weights", str(pretrained.weights), "--layer", "0", "--crop-size", "64",
             "--executor", "loop"]
        )  # fmt: skip
        (path,) = (ws / "features").rglob("manifest.json")
        made = manifest(path.parent)
        assert made["rows"] == 5 * SCENES
        digest = json.dumps(made)
        brought = [place.name for place in (ws / "backbones").iterdir() if place.name in digest]
        own = safetensors.numpy.load_file(ws / "backbones" / brought[0] / "weights.safetensors")
        trained = safetensors.numpy.load_file(pretrained.weights)
        assert {name: value.tobytes() for name, value in own.items()} == {
            name: value.tobytes() for name, value in trained.items()
        }

    def test_run_as_it_says(self, pretrained: Pretrained, tmp_path: Path) -> None:
        main(
            ["run", "--workspace", str(tmp_path / "ws"), "--images",
             str(pretrained.folder / "images"), "--backbone", pretrained.backbone,
             "--weights", str(pretrained.weights), "--layer", "0", "--neighbors", "3",
             "--classes", "3", "--executor", "loop", *QUICK]
        )  # fmt: skip
        masks = [Image.open(path) for path in (tmp_path / "ws/masks").rglob("*.png")]
        assert [mask.size for mask in masks] == [(128, 96)] * SCENES

    def test_again_trains_nothing(self, pretrained: Pretrained) -> None:
        ws = pretrained.folder / "ws"
        before = {path: path.stat().st_mtime_ns for path in (ws / "pretrain").rglob("*.*")}
        assert pretrained.weights in before
        with redirect_stdout(StringIO()) as said:
            main(pretrain_flags(pretrained.folder, "--executor", "loop", "--threads", "1"))
        assert {path: path.stat().st_mtime_ns for path in (ws / "pretrain").rglob("*.*")} == before
        assert said.getvalue() == pretrained.shown


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path]) -> Path:
    """Two images and no workspace yet."""
    return make_corpus(tmp_path_factory.mktemp("mistakes"), 2, size=(64, 64))


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must end with exit code 2; returns the one sentence it said."""

    def run(arguments: list[str]) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == 2
        shown = capfd.readouterr()
        assert shown.out == ""
        said = " ".join(shown.err.split())
        assert "Traceback" not in said
        return said

    return run


class TestMistakes:
    @pytest.mark.parametrize(
        ("flags", "expected"),
        [
            (("--backbone", "vit_nonsense"), "backbone 'vit_nonsense' is not a timm model"),
            (("--global-size", "30"), "--global-size 30 is not a multiple of the backbone's patch"),
            (("--global-size", "8"), "--global-size"),
            (("--window", "nonsense"), "--window 'nonsense' is not two numbers"),
            (("--steps", "0"), "--steps"),
            (("--precision", "float16"), "--precision"),
            (("--weights", "/nowhere/w.pth"), "--weights /nowhere/w.pth cannot be read"),
            (("--layer", "1"), "Unknown option: --layer"),
        ],
    )
    def test_options(
        self, folder: Path, refused: Callable[..., str], flags: tuple[str, ...], expected: str
    ) -> None:
        assert expected in refused(pretrain_flags(folder, "--executor", "loop", *flags))

    def test_weights_of_another_architecture(
        self, pretrained: Pretrained, folder: Path, refused: Callable[..., str]
    ) -> None:
        other = ("--backbone", "vit_tiny_patch16_224", "--weights", str(pretrained.weights))
        said = refused(pretrain_flags(folder, "--executor", "loop", *other))
        assert "give weights of this very --backbone" in said

    def test_an_empty_folder(self, tmp_path: Path, refused: Callable[..., str]) -> None:
        (tmp_path / "images").mkdir()
        assert "no images under" in refused(pretrain_flags(tmp_path, "--executor", "loop"))

    def test_one_image(
        self, tmp_path: Path, make_corpus: Callable[..., Path], refused: Callable[..., str]
    ) -> None:
        make_corpus(tmp_path, 1, size=(64, 64))
        said = refused(pretrain_flags(tmp_path, "--executor", "loop"))
        assert "dump images has 1 images to train on; give 2 or more" in said

    def test_a_wild_learning_rate(self, folder: Path, refused: Callable[..., str]) -> None:
        said = refused(pretrain_flags(folder, "--executor", "loop", "--learning-rate", "1e30"))
        assert "--learning-rate" in said
        assert "less than or equal to 1" in said


def test_a_configuration_file_may_say_it_all(
    tmp_path: Path, make_corpus: Callable[..., Path]
) -> None:
    make_corpus(tmp_path, 2, size=(64, 64))
    options = {flag.lstrip("-").replace("-", "_"): value for flag, value in pairs(SMALL)}
    lines = [f"{name} = {value}" for name, value in options.items()]
    (tmp_path / "stego.toml").write_text(
        "\n".join(["[pretrain]", f'backbone = "{PICO}"', *lines, 'window = "0.5,0.8"'])
    )
    main(
        ["pretrain", "--workspace", str(tmp_path / "ws"), "--images", str(tmp_path / "images"),
         "--config", str(tmp_path / "stego.toml"), "--executor", "loop", "--steps", "1"]
    )  # fmt: skip
    (path,) = (tmp_path / "ws/pretrain").rglob("manifest.json")
    options = manifest(path.parent)["options"]
    assert (options["backbone"], options["window"]) == (PICO, "0.5,0.8")
    assert (options["steps"], options["prototypes"]) == (1, 16)


def pairs(flags: tuple[str, ...]) -> zip:
    return zip(flags[::2], flags[1::2], strict=True)
