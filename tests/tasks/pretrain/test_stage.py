"""A backbone of one's own, trained for a few steps on a few images, without Prefect or Dask."""

import logging
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch
from PIL import Image

from stego_core.backbone import vit
from stego_core.errors import CapacityError, OptionError, TrainingError
from stego_core.pretrain import distillation
from stego_core.pretrain.distillation import DinoCurve
from tasks.corpus import stage as corpus
from tasks.corpus.image_cache import ImageCache
from tasks.corpus.index import IndexReader
from tasks.engine.progress import Event, listening
from tasks.engine.stage import Stage
from tasks.engine.steps import LoopExecutor
from tasks.features import backbones
from tasks.features.backbones import BackboneSpec
from tasks.images.image_codecs import shrunk
from tasks.options import ComputeOptions, CorpusOptions, PretrainOptions
from tasks.pretrain import collapse
from tasks.pretrain import stage as pretrain
from tasks.workspace import keys
from tasks.workspace.layout import WEIGHTS_FILE
from tasks.workspace.workspace import Workspace

PICO = "vit_pico_patch8_conv_64"
IMAGES, STEPS = 5, 7
OPTIONS = PretrainOptions(
    backbone=PICO, steps=STEPS, batch=3, global_size=32, local_size=16, local_views=1,
    prototypes=16, hidden=16, bottleneck=8, momentum=0.5, frozen=0.3, learning_rate=1e-4,
    temperature_warmup=1, image_side=48, threads=1,
)  # fmt: skip
INDIFFERENT = {"weights", "threads", "image_memory", "checkpoint_steps", "quality_steps"}
LOOP = ComputeOptions(executor="loop", device="cpu")

Weights = dict[str, np.ndarray]


def varied(**changes: Any) -> PretrainOptions:
    return PretrainOptions(**{**OPTIONS.model_dump(), **changes})


def compute(stage: Stage) -> Stage:
    """The only shard, in a plain loop."""
    list(LoopExecutor().map(stage.work.steps(), stage.folder.missing(stage.shards)))
    return stage


def indexed(workspace: Workspace, dump: str, images: Path) -> IndexReader:
    stage = corpus.plan(workspace, dump, CorpusOptions(images=str(images)))
    assert stage is not None
    corpus.finish(workspace, compute(stage), 0.0, 1)
    return IndexReader(workspace, dump)


class Place:
    """A workspace with one dump and the backbone that training starts from."""

    def __init__(self, folder: Path, images: Path, start: str = backbones.UNTRAINED) -> None:
        self.workspace = Workspace.create(str(folder / "ws"))
        self.index = indexed(self.workspace, "dump", images)
        self.spec = backbones.fetch_backbone(self.workspace, PICO, start)

    def plan(self, options: PretrainOptions, spec: BackboneSpec | None = None) -> Stage | None:
        return pretrain.plan(self.workspace, "dump", spec or self.spec, options, LOOP)

    def begun(self, options: PretrainOptions) -> tuple[Stage, Path]:
        """A stage that is not finished, and its folder."""
        stage = self.plan(options)
        assert stage is not None
        return stage, Path(self.workspace.storage.uri) / stage.folder.path

    def trained(self, options: PretrainOptions) -> tuple[dict[str, Any], Path]:
        """Train to the end; the manifest and the folder."""
        stage, path = self.begun(options)
        return compute(stage).finish_single(1.5, 1), path


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    return make_corpus(folder, IMAGES, size=(64, 80)) / "images"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> Place:
    """A place whose images stay as they are."""
    return Place(tmp_path_factory.mktemp("shared"), scenes)


@pytest.fixture
def own(tmp_path: Path, make_corpus: Callable[..., Path]) -> Place:
    """A place whose images, in `tmp_path / images`, a test may spoil."""
    return Place(tmp_path, make_corpus(tmp_path, IMAGES, size=(64, 80)) / "images")


@pytest.fixture(scope="module")
def undisturbed(shared: Place) -> Iterator[tuple[dict[str, Any], Path, list[Event]]]:
    """A training from its first to its last step: manifest, folder and what was announced."""
    heard: list[Event] = []
    with pytest.MonkeyPatch.context() as patch, listening(heard.append):
        patch.setattr(pretrain, "REPORT_STEPS", 2)
        patch.setattr(collapse, "LEAST_INFORMATION", 0)  # so short a training has learnt nothing
        manifest, path = shared.trained(varied(quality_steps=3))
    return manifest, path, heard


def weights_in(path: Path) -> Weights:
    return dict(safetensors.numpy.load_file(path / WEIGHTS_FILE))


def start_of(place: Place) -> Weights:
    return weights_in(Path(place.workspace.storage.uri) / "backbones" / place.spec.digest)


def distance(first: Weights, second: Weights) -> float:
    assert set(first) == set(second)
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record for record in caplog.records if record.name.startswith("tasks.")]
    return [record.getMessage() for record in found if record.levelno == logging.WARNING]


class TestImageCache:
    def test_images_are_the_index_s_shrunk_by_their_short_side(self, shared: Place) -> None:
        rows = np.array([3, 0, 3, 4])
        found = ImageCache(shared.index, 48, 1)(rows)
        assert {image.shape for image in found} == {(48, 60, 3)}
        for image, entry in zip(found, shared.index.entries(rows), strict=True):
            np.testing.assert_array_equal(image, shrunk(shared.index.image(entry).pixels, 48))

    def test_small_images_stay_as_they_are(self, shared: Place) -> None:
        (image,) = ImageCache(shared.index, 512, 1)(np.array([2]))
        (entry,) = shared.index.entries(np.array([2]))
        np.testing.assert_array_equal(image, shared.index.image(entry).pixels)

    @pytest.mark.parametrize(
        ("budget", "decoded"), [(0, [0, 1, 2, 0, 1, 2]), (2, [0, 1, 2, 1, 2]), (5, [0, 1, 2])]
    )
    def test_beyond_the_budget_images_are_decoded_again(
        self, budget: int, decoded: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each image is 1.4 MiB."""
        (tmp_path / "images").mkdir()
        for number in range(3):
            Image.new("RGB", (700, 700), (number, 9, 9)).save(tmp_path / f"images/{number}.png")
        index = indexed(Workspace.create(str(tmp_path / "ws")), "d", tmp_path / "images")
        read, image = [], IndexReader.image

        def counted(self: IndexReader, entry: dict[str, Any]) -> np.ndarray:
            read.append(int(entry["image_id"]))
            return image(self, entry)

        monkeypatch.setattr(IndexReader, "image", counted)
        cache = ImageCache(index, 1000, budget)
        for _ in range(2):
            found = cache(np.array([0, 1, 2, 1]))
            assert [int(each[0, 0, 0]) for each in found] == [0, 1, 2, 1]
        assert read == decoded
        assert sum(held.nbytes for held in cache.images.values()) <= budget * 2**20

    @pytest.mark.parametrize("budget", [0, 1])
    def test_a_lost_image_gives_its_place_to_the_next(
        self, own: Place, tmp_path: Path, budget: int
    ) -> None:
        whole = ImageCache(own.index, 48, 1)(np.arange(IMAGES))
        (tmp_path / "images/s001.png").unlink()
        (tmp_path / "images/s004.png").unlink()
        Image.new("RGB", (80, 64)).save(tmp_path / "images/s002.png")
        cache = ImageCache(own.index, 48, budget)
        for _ in range(2):
            found = cache(np.array([1, 4, 0, 2]))
            for image, row in zip(found, (3, 0, 0, 3), strict=True):
                np.testing.assert_array_equal(image, whole[row])
        assert set(cache.invalid) == {1, 2, 4}
        assert "cannot be read any more" in cache.invalid[1]
        assert "changed since it was indexed" in cache.invalid[2]

    def test_threads_at_once_count_an_image_once(
        self, shared: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Batches are drawn in two threads; what both decode is held, and paid for, once."""
        meeting, image = Barrier(2), IndexReader.image

        def slow(self: IndexReader, entry: dict[str, Any]) -> np.ndarray:
            with suppress(BrokenBarrierError):
                meeting.wait(0.5)
            return image(self, entry)

        monkeypatch.setattr(IndexReader, "image", slow)
        cache = ImageCache(shared.index, 48, 1)
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(cache, [np.array([0])] * 2))
        np.testing.assert_array_equal(both[0][0], both[1][0])
        assert cache.free == 2**20 - sum(held.nbytes for held in cache.images.values())

    def test_all_lost(self, own: Place, tmp_path: Path) -> None:
        for path in (tmp_path / "images").iterdir():
            path.unlink()
        with pytest.raises(CapacityError, match="dump has no image that can be read"):
            ImageCache(own.index, 48, 1)(np.array([3]))


class TestPlan:
    @pytest.mark.parametrize(("name", "size"), [("global_size", 30), ("local_size", 12)])
    def test_sizes_are_whole_patches(self, shared: Place, name: str, size: int) -> None:
        flag = "--" + name.replace("_", "-")
        with pytest.raises(OptionError, match=f"{flag} {size} is not a multiple .* of 8 pixels"):
            shared.plan(varied(**{name: size}))

    @pytest.mark.parametrize("name", ["window", "global_scale", "local_scale"])
    @pytest.mark.parametrize(
        "span",
        ["a,b", "1", "", "0.1,0.2,0.3", "0,1", "-0.1,1", "0.5,1.5", "0.6,0.4", "nan,1", "0.5,nan"],
    )
    def test_shares_of_an_area(self, shared: Place, name: str, span: str) -> None:
        with pytest.raises(OptionError, match="--" + name.replace("_", "-")):
            shared.plan(varied(**{name: span}))

    @pytest.mark.parametrize(
        ("name", "span"),
        [
            ("weight_decay", "a,b"),
            ("weight_decay", "0.1"),
            ("weight_decay", "-0.1,0.4"),
            ("weight_decay", "0.4,-0.1"),
            ("weight_decay", "nan,0.4"),
            ("teacher_temperature", "0.04"),
            ("teacher_temperature", "0,0.07"),
            ("teacher_temperature", "0.04,0"),
            ("teacher_temperature", "0.04,nan"),
        ],
    )
    def test_spans_of_schedules(self, shared: Place, name: str, span: str) -> None:
        with pytest.raises(OptionError, match="--" + name.replace("_", "-")):
            shared.plan(varied(**{name: span}))

    def test_edges_are_allowed(self, shared: Place) -> None:
        edges = {"window": "1,1", "global_scale": "0.3,0.3", "weight_decay": "0,0"}
        assert shared.plan(varied(seed=99, **edges)) is not None

    def test_one_image_is_too_few(self, tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
        place = Place(tmp_path, make_corpus(tmp_path, 1, size=(64, 80)) / "images")
        with pytest.raises(CapacityError, match=r"dump has 1 images .*; give 2 or more"):
            place.plan(OPTIONS)

    def test_nothing_to_do_when_finished(
        self, shared: Place, undisturbed: tuple[dict[str, Any], Path, list[Event]]
    ) -> None:
        assert shared.plan(OPTIONS) is None
        assert shared.plan(varied(threads=2, weights="/elsewhere.pth")) is None
        assert shared.plan(varied(steps=STEPS + 1)) is not None


def other_value(name: str) -> Any:
    """A value of an option that is not that of OPTIONS."""
    value = getattr(OPTIONS, name)
    if isinstance(value, int | float):
        return value / 2 if isinstance(value, float) else value + 8
    return {"backbone": "vit_tiny_patch16_224", "precision": "bfloat16"}.get(name, "0.2,0.3")


class TestKey:
    def key(self, place: Place, options: PretrainOptions = OPTIONS, **spec: Any) -> str:
        changed = BackboneSpec(**{**place.spec.document(), **spec})
        return pretrain.pretrain_key(place.index, changed, options)

    @pytest.mark.parametrize("name", sorted(PretrainOptions.model_fields))
    def test_depends_on_what_changes_the_outcome(self, shared: Place, name: str) -> None:
        value = 3 if name in INDIFFERENT - {"weights"} else other_value(name)
        changed = OPTIONS.model_copy(update={name: value})
        assert changed != OPTIONS
        same = self.key(shared, changed) == self.key(shared)
        assert same == (name in INDIFFERENT)

    def test_depends_on_the_start_weights_wherever_they_lie(self, shared: Place) -> None:
        assert self.key(shared, digest="0" * 32) != self.key(shared)
        assert self.key(shared, note="a copy") == self.key(shared)
        seeded = backbones.fetch_backbone(shared.workspace, PICO, backbones.UNTRAINED, seed=1)
        assert self.key(shared, **seeded.document()) != self.key(shared)

    def test_depends_on_the_images(
        self, shared: Place, tmp_path: Path, make_corpus: Callable[..., Path]
    ) -> None:
        folder = make_corpus(tmp_path, IMAGES, first=50, size=(64, 80))
        other = indexed(shared.workspace, "other", folder / "images")
        key = pretrain.pretrain_key(other, shared.spec, OPTIONS)
        assert key != self.key(shared)


class TestOutcome:
    def test_weights_fit_the_backbone_and_were_trained(
        self, shared: Place, undisturbed: tuple[dict[str, Any], Path, list[Event]]
    ) -> None:
        manifest, path, _ = undisturbed
        content = (path / WEIGHTS_FILE).read_bytes()
        assert manifest["digest"] == keys.digest(content)
        built = vit.bare_model(PICO)
        vit.load_weights(built, backbones.weights_from_file(str(path / WEIGHTS_FILE)))
        loaded = {name: value.numpy() for name, value in built.state_dict().items()}
        assert distance(loaded, weights_in(path)) == 0
        assert distance(loaded, start_of(shared)) > 1e-5

    def test_curve(self, undisturbed: tuple[dict[str, Any], Path, list[Event]]) -> None:
        manifest, path, _ = undisturbed
        table = pq.read_table(path / "curve.parquet")
        assert table.column_names == list(DinoCurve._fields)
        curve = table.to_pydict()
        assert curve["step"] == list(range(STEPS))
        recipe = pretrain.recipe_of(OPTIONS, "cpu")
        expected = [distillation.rates(recipe, step).learning_rate for step in range(STEPS)]
        assert curve["learning_rate"] == expected
        for name in ("loss", "entropy", "information"):
            assert manifest[name] == pytest.approx(np.mean(curve[name]), abs=1e-4)
        parts = (np.array(curve["loss_images"]) + curve["loss_patches"]) / 2
        np.testing.assert_allclose(curve["loss"], parts, rtol=1e-5)
        assert all(0 < value <= math.log(16) for value in curve["entropy"])

    def test_quality_at_the_steps_asked_for_and_at_the_end(
        self, undisturbed: tuple[dict[str, Any], Path, list[Event]]
    ) -> None:
        manifest, path, _ = undisturbed
        rows = pq.read_table(path / "quality.parquet").to_pylist()
        assert [row["step"] for row in rows] == [3, 6, STEPS]
        assert manifest["quality"] == rows[-1]
        for row in rows:
            assert 0 <= row["agreement"] <= 1
            assert 1 <= row["rank"] <= 96

    def test_manifest(
        self, shared: Place, undisturbed: tuple[dict[str, Any], Path, list[Event]]
    ) -> None:
        manifest, path, _ = undisturbed
        assert manifest["seconds"]["wall"] == 1.5
        assert manifest["seconds"]["infer"] > 0
        assert manifest["rows"] == STEPS
        assert manifest["start"] == shared.spec.document()
        assert manifest["inputs"]["dump"] == "dump"
        assert 0 < manifest["information"] < math.log(16)
        assert not manifest["collapsed"]
        told = pretrain.outcome(shared.workspace, "dump", shared.spec, OPTIONS)
        assert told["weights"] == str(path / WEIGHTS_FILE)
        assert told["key"] == path.name
        assert told["backbone"] == PICO
        assert {name: told[name] for name in ("loss", "quality")} == {
            name: manifest[name] for name in ("loss", "quality")
        }

    def test_progress_shows_loss_entropy_and_agreement(
        self, undisturbed: tuple[dict[str, Any], Path, list[Event]]
    ) -> None:
        _, path, heard = undisturbed
        assert [(event.done, event.total) for event in heard] == [(n, STEPS) for n in (2, 4, 6, 7)]
        curve = pq.read_table(path / "curve.parquet").to_pydict()
        figures = pq.read_table(path / "quality.parquet").to_pydict()["agreement"]
        ends = ["", *(f" · agreement {figure:.2f}" for figure in figures)]
        for event, end in zip(heard, ends, strict=True):
            loss, entropy = curve["loss"][event.done - 1], curve["entropy"][event.done - 1]
            assert event.note == f"loss {loss:.2f} · entropy {entropy:.2f}{end}"

    def test_another_seed_gives_other_weights(self, shared: Place) -> None:
        quick = {"steps": 2, "quality_steps": 2}
        digests = {shared.trained(varied(seed=seed, **quick))[0]["digest"] for seed in (0, 1)}
        assert len(digests) == 2

    def test_what_is_stored_is_the_teacher(self, shared: Place) -> None:
        """With a momentum of almost 1 it does not move, however fast the student does."""
        _, path = shared.trained(varied(steps=2, momentum=1 - 1e-9, warmup=0))
        assert distance(weights_in(path), start_of(shared)) < 1e-6

    def test_a_lost_image_is_on_record(self, own: Place, tmp_path: Path) -> None:
        (tmp_path / "images/s001.png").unlink()
        manifest, _ = own.trained(varied(steps=2))
        assert set(manifest["invalid"]) == {"1"}
        assert "cannot be read any more" in manifest["invalid"]["1"]


class TestStart:
    def test_training_goes_on_from_the_given_weights(self, scenes: Path, tmp_path: Path) -> None:
        """With no learning rate and no momentum, the teacher is what the student began as."""
        given = vit.bare_model(PICO, seed=9).state_dict()
        tensors = {name: value.numpy() for name, value in given.items()}
        safetensors.numpy.save_file(tensors, tmp_path / "mine.safetensors")
        place = Place(tmp_path, scenes, str(tmp_path / "mine.safetensors"))
        still = {"learning_rate": 1e-12, "weight_decay": "0,0", "momentum": 0.0}
        _, path = place.trained(varied(steps=2, **still))
        assert distance(weights_in(path), tensors) < 1e-5
        scratch = vit.bare_model(PICO).state_dict()
        other = {name: value.numpy() for name, value in scratch.items()}
        assert distance(weights_in(path), other) > 1e-2


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch, stage: Stage) -> None:
    """Train until just before a step, and die."""
    train_step = distillation.train_step

    def dying(state: distillation.DinoState, *rest: Any) -> DinoCurve:
        if state.step == step:
            raise KeyboardInterrupt
        return train_step(state, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(distillation, "train_step", dying)
        with pytest.raises(KeyboardInterrupt):
            compute(stage)


class TestResume:
    @pytest.mark.parametrize(("torn", "resumed_at"), [(False, 5), (True, 4)])
    def test_after_a_kill_training_ends_with_the_same_bytes(
        self,
        torn: bool,
        resumed_at: int,
        scenes: Path,
        tmp_path: Path,
        undisturbed: tuple[dict[str, Any], Path, list[Event]],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        place = Place(tmp_path, scenes)
        stage, path = place.begun(varied(checkpoint_steps=1, quality_steps=3))
        killed_at(5, monkeypatch, stage)
        kept = sorted((path / "checkpoints").iterdir())
        assert [int(file.stem) for file in kept] == [4, 5]
        assert not (path / WEIGHTS_FILE).exists()
        assert stage.folder.missing(1) == [0]
        if torn:
            kept[-1].write_bytes(kept[-1].read_bytes()[:-7])

        heard: list[Event] = []
        monkeypatch.setattr(pretrain, "REPORT_STEPS", 1)
        with listening(heard.append), caplog.at_level(logging.WARNING):
            manifest = compute(stage).finish_single(0.0, 1)
        assert [event.done for event in heard] == list(range(resumed_at + 1, STEPS + 1))
        skipped = [line for line in warnings_in(caplog) if "checkpoint skipped" in line]
        assert len(skipped) == int(torn)
        expected, whole, _ = undisturbed
        assert manifest["digest"] == expected["digest"]
        for name in ("curve.parquet", "quality.parquet", WEIGHTS_FILE):
            assert (path / name).read_bytes() == (whole / name).read_bytes(), name

    def test_progress_counts_steps_however_checkpoints_fall(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stage, _ = Place(tmp_path, scenes).begun(varied(steps=4, checkpoint_steps=1))
        killed_at(1, monkeypatch, stage)
        heard: list[Event] = []
        monkeypatch.setattr(pretrain, "REPORT_STEPS", 2)
        with listening(heard.append):
            compute(stage)
        assert [event.done for event in heard] == [2, 4]


ASTRAY = {"learning_rate": 1e30}


class TestAstray:
    @pytest.mark.parametrize("quality_steps", [500, 1])
    def test_a_loss_that_is_no_number_ends_it(self, own: Place, quality_steps: int) -> None:
        options = varied(warmup=0, quality_steps=quality_steps)
        stage, path = own.begun(options.model_copy(update=ASTRAY))
        with pytest.raises(TrainingError) as caught:
            compute(stage)
        said = str(caught.value)
        assert "training diverged" in said
        assert "lower --learning-rate" in said
        assert not (path / WEIGHTS_FILE).exists()
        assert not stage.folder.recorded()

    def test_weights_that_are_no_numbers_are_never_stored(self, own: Place) -> None:
        """The loss of the last step tells nothing of what that step did."""
        stage, path = own.begun(varied(steps=1, warmup=0).model_copy(update=ASTRAY))
        with pytest.raises(TrainingError, match="--learning-rate"):
            compute(stage)
        assert not (path / WEIGHTS_FILE).exists()

    def test_images_that_all_look_alike_collapse_it(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Flat grey without jitter: every view of every image is the same."""
        (tmp_path / "images").mkdir()
        for name in ("a", "b"):
            Image.new("RGB", (40 + len(name), 32), (100, 100, 100)).save(
                tmp_path / f"images/{name}.png"
            )
        monkeypatch.setattr(pretrain, "REPORT_STEPS", 1)
        monkeypatch.setattr(collapse, "WINDOW_STEPS", 1)
        heard: list[Event] = []
        place = Place(tmp_path, tmp_path / "images")
        with listening(heard.append), caplog.at_level(logging.WARNING):
            manifest, _ = place.trained(
                varied(steps=4, colour=0, warmup=0.25, temperature_warmup=0.5)
            )
        assert manifest["collapsed"]
        assert manifest["information"] == pytest.approx(0, abs=1e-3)
        assert [event.note.endswith(" · COLLAPSED") for event in heard] == [False] * 2 + [True] * 2
        assert len([line for line in warnings_in(caplog) if "collapsed" in line]) == 1

    def test_views_that_share_nothing(self, tmp_path: Path) -> None:
        """Small views of a large image; where no two overlap there is nothing to compare."""
        (tmp_path / "images").mkdir()
        rng = np.random.default_rng(0)
        for name in ("a", "b"):
            pixels = rng.integers(0, 255, (48, 900, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"images/{name}.png")
        place = Place(tmp_path, tmp_path / "images")
        manifest, _ = place.trained(
            varied(steps=1, global_scale="0.002,0.003", local_scale="0.002,0.003")
        )
        assert manifest["quality"]["agreement"] == 0


def test_training_leaves_torch_s_own_generator_alone(shared: Place) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    shared.trained(varied(steps=1, seed=7))
    assert torch.equal(torch.get_rng_state(), before)
