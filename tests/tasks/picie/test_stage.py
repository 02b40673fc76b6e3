"""PiCIE trained for a few steps on a few images, without Prefect or Dask; killed and resumed."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stego_core.errors import CapacityError, ImageError, StoppedError, TrainingError
from stego_core.masks.patch_codes import Windows
from stego_core.picie import picie_training
from stego_core.picie.picie_training import PicieCurve
from tasks.corpus import stage as corpus
from tasks.corpus.index import IndexReader
from tasks.engine.stage import Stage
from tasks.engine.steps import LoopExecutor
from tasks.images import image_codecs
from tasks.masks import stage as masks
from tasks.masks.picie_segmenter import picie_spec
from tasks.options import ComputeOptions, CorpusOptions, MasksOptions, PicieOptions
from tasks.picie import picie_models, picie_run
from tasks.picie import stage as picie
from tasks.workspace import layout, tables
from tasks.workspace.workspace import Workspace

IMAGES, CLASSES = 7, 3
OPTIONS = PicieOptions(
    weights="untrained", epochs=2, size=64, batch=3, cluster_batch=2, start_batches=2,
    learning_rate=1e-3, threads=1, checkpoint_steps=2,
)  # fmt: skip
STEPS = 2 * 3
LOOP = ComputeOptions(executor="loop", device="cpu")
OUTCOMES = (layout.WEIGHTS_FILE, layout.CENTROIDS_FILE, layout.CURVE_FILE)


class Place:
    """A workspace with a dump of scenes."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.workspace = Workspace.create(str(folder / "ws"))
        options = CorpusOptions(
            images=str(source / "images"),
            labels=str(source / "labels"),
            taxonomy=str(source / "taxonomy.json"),
        )
        stage = corpus.plan(self.workspace, "dump", options)
        assert stage is not None
        corpus.finish(self.workspace, compute(stage), 0.0, 1)

    def plan(self, options: PicieOptions = OPTIONS, classes: int = CLASSES) -> Stage | None:
        start = picie_models.fetch_network(self.workspace, options)
        return picie.plan(self.workspace, ["dump"], start, options, classes, LOOP)

    def begun(self, options: PicieOptions = OPTIONS) -> Stage:
        stage = self.plan(options)
        assert stage is not None
        return stage

    def trained(self, options: PicieOptions = OPTIONS) -> tuple[dict[str, Any], Path]:
        """Train to the end; the manifest and the folder."""
        stage = compute(self.begun(options))
        path = Path(self.workspace.storage.uri) / stage.folder.path
        return stage.finish_single(1.5, 1), path


def compute(stage: Stage) -> Stage:
    """The missing shards, in a plain loop."""
    list(LoopExecutor().map(stage.work.steps(), stage.folder.missing(stage.shards)))
    return stage


def varied(**changes: Any) -> PicieOptions:
    return PicieOptions(**{**OPTIONS.model_dump(), **changes})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path]) -> Path:
    return make_corpus(tmp_path_factory.mktemp("scenes"), IMAGES, size=(64, 80))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Place:
    return Place(tmp_path_factory.mktemp("shared"), source)


@pytest.fixture(scope="module")
def undisturbed(shared: Place) -> tuple[dict[str, Any], Path]:
    return shared.trained()


@pytest.fixture
def own(tmp_path: Path, source: Path) -> Place:
    return Place(tmp_path, source)


class Killed(BaseException):
    """What ends a process, wherever it is."""


class TestTraining:
    def test_what_it_leaves(self, undisturbed: tuple[dict[str, Any], Path]) -> None:
        manifest, path = undisturbed
        curve = tables.read_table(Workspace.open(str(path.parents[1])).storage, curve_of(path))
        assert curve.column("step").to_pylist() == list(range(1, STEPS + 1))
        within, across, loss = (np.array(curve.column(n)) for n in ("within", "across", "loss"))
        np.testing.assert_allclose(loss, (within + across) / 2, rtol=1e-6)
        assert manifest["loss"] == pytest.approx(loss.mean(), abs=1e-4)
        assert manifest["classes"] == CLASSES
        assert manifest["start"]["note"] == "untrained, drawn from seed 0"
        assert manifest["rows"] == STEPS
        assert manifest["machine"] == {"device": "cpu", "threads": 1}

    def test_all_parameters_have_learnt(
        self, shared: Place, undisturbed: tuple[dict[str, Any], Path]
    ) -> None:
        start = picie_models.fetch_network(shared.workspace, OPTIONS)
        storage, key = shared.workspace.storage, undisturbed[1].name
        before = picie_models.starting_network(storage, start, 0).state_dict()
        after = picie_models.trained_reader(storage, key, "cpu").network.state_dict()
        still = {name for name, value in before.items() if torch.equal(value, after[name])}
        assert still == set()

    def test_it_is_there_once_finished(
        self, shared: Place, undisturbed: tuple[dict[str, Any], Path]
    ) -> None:
        assert shared.plan() is None
        assert shared.plan(varied(threads=2, checkpoint_steps=1, image_memory=0)) is None

    @pytest.mark.parametrize(
        "change",
        [{"epochs": 3}, {"size": 68}, {"seed": 1}, {"steps": 1}, {"learning_rate": 2e-3}],
    )
    def test_other_options_are_another_folder(
        self, shared: Place, undisturbed: tuple[dict[str, Any], Path], change: dict[str, Any]
    ) -> None:
        assert shared.begun(varied(**change)).folder.path != undisturbed[1].name

    def test_other_classes_are_another_folder(
        self, shared: Place, undisturbed: tuple[dict[str, Any], Path]
    ) -> None:
        stage = shared.plan(classes=CLASSES + 1)
        assert stage is not None
        assert not stage.folder.path.endswith(undisturbed[1].name)

    def test_an_epoch_may_end_early(self, own: Place) -> None:
        manifest, path = own.trained(varied(steps=1, epochs=3))
        curve = tables.read_table(own.workspace.storage, curve_of(path))
        assert curve.num_rows == manifest["rows"] == 3

    def test_a_loss_that_is_no_number_ends_it(
        self, own: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            picie_training, "train_step", lambda *_: PicieCurve(1, float("nan"), 0.0, 0.0)
        )
        with pytest.raises(TrainingError, match=r"diverged at step 1 .* --picie-learning-rate"):
            compute(own.begun())

    def test_more_clusters_than_pixels(self, own: Place) -> None:
        stage = own.plan(varied(batch=1, steps=1, cluster_batch=1, start_batches=1), classes=300)
        assert stage is not None
        with pytest.raises(CapacityError, match=r"256 pixels .* cannot make 300"):
            compute(stage)


def curve_of(path: Path) -> str:
    return f"{layout.picie(path.name)}/{layout.CURVE_FILE}"


@pytest.mark.long
class TestResuming:
    """Killed anywhere, the same plan goes on and gives the same bytes."""

    def ended(self, place: Place, undisturbed: Path) -> None:
        _, path = place.trained()
        for name in OUTCOMES:
            assert (path / name).read_bytes() == (undisturbed / name).read_bytes(), name

    @pytest.mark.parametrize("step", range(1, STEPS + 1))
    def test_in_each_step(
        self,
        own: Place,
        undisturbed: tuple[dict[str, Any], Path],
        step: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Checkpoints come after steps 2 and 4: within the first epoch, and within the second."""
        train = picie_training.train_step

        def killed(state: Any, batch: Any) -> PicieCurve:
            if state.step == step - 1:
                raise Killed
            return train(state, batch)

        with monkeypatch.context() as patch:
            patch.setattr(picie_training, "train_step", killed)
            with pytest.raises(Killed):
                compute(own.begun())
        self.ended(own, undisturbed[1])

    @pytest.mark.parametrize("call", range(1, 5))
    def test_while_an_epoch_begins_or_at_the_end(
        self,
        own: Place,
        undisturbed: tuple[dict[str, Any], Path],
        call: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """k-means runs in both epochs and at the end, labels are made in both epochs."""
        calls, cluster, label = iter(range(1, 9)), picie_training.cluster_maps, None

        def clustering(*given: Any) -> torch.Tensor:
            if next(calls) == call:
                raise Killed
            return cluster(*given)

        label = picie_training.label_batches

        def labelling(*given: Any) -> Iterable[torch.Tensor]:
            if next(calls) == call:
                raise Killed
            return label(*given)

        with monkeypatch.context() as patch:
            patch.setattr(picie_training, "cluster_maps", clustering)
            patch.setattr(picie_training, "label_batches", labelling)
            with pytest.raises(Killed):
                compute(own.begun())
        self.ended(own, undisturbed[1])

    def test_with_a_torn_checkpoint(
        self,
        own: Place,
        undisturbed: tuple[dict[str, Any], Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def refused(*_: Any) -> None:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(picie_run.PicieRun, "final_centroids", refused)
            with pytest.raises(Killed):
                compute(own.begun())
        folder = Path(own.workspace.storage.uri) / own.begun().folder.path / layout.CHECKPOINTS
        *_, newest = sorted(folder.iterdir())
        newest.write_bytes(newest.read_bytes()[:1000])
        self.ended(own, undisturbed[1])

    def test_a_stop_is_heeded_between_batches_of_kmeans(
        self, own: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stopped() -> None:
            raise StoppedError("stopped")

        monkeypatch.setattr(picie_run.stop, "check", stopped)
        with pytest.raises(StoppedError):
            compute(own.begun())


class TestMasks:
    @pytest.fixture
    def spec(self, shared: Place, undisturbed: tuple[dict[str, Any], Path]) -> Any:
        options = MasksOptions(resolution=64, crf_iterations=10, crf_tile=64, crf_overlap=16)
        return picie_spec(shared.workspace, undisturbed[1].name, options)

    def test_each_labelled_image_has_one_of_its_own_size(self, shared: Place, spec: Any) -> None:
        stage = masks.plan_masks(shared.workspace, "dump", spec, "cpu")
        assert stage is not None
        assert stage.title == "masks dump (PiCIE)"
        manifest = masks.finish(shared.workspace, compute(stage), 1.0, 1)
        assert manifest["masks"] == IMAGES
        assert manifest["inputs"]["picie"] == spec.key
        folder = Path(shared.workspace.storage.uri) / spec.masks_path("dump")
        files = sorted(folder.glob("*.png"))
        assert len(files) == IMAGES
        for file in files:
            ids = image_codecs.decode_mask(file.read_bytes())
            assert ids.shape == (64, 80)
            assert ids.max() < CLASSES
        assert not (folder / "confidence.parquet").exists()

    def test_windows_are_as_long_as_those_of_stegos_twin(self, spec: Any) -> None:
        size = spec.options.resolution
        assert spec.windows() == Windows(size, 512, 64, refine_tile=64, refine_overlap=16)

    def test_a_pixel_has_the_class_of_the_greatest_f_c(self, shared: Place, spec: Any) -> None:
        """Scores of the cells, upsampled bilinearly to the image: no norm, no CRF."""
        index = IndexReader(shared.workspace, "dump")
        (entry,) = index.entries(np.array([2]))
        image = index.image(entry)
        assert not isinstance(image, ImageError)
        reader = picie_models.trained_reader(shared.workspace.storage, spec.key, "cpu")
        resized = image_codecs.shrunk(image.pixels, 64)
        cells = torch.from_numpy(reader.features(resized[None]))[0].double()
        centroids = torch.from_numpy(spec.centroids()).double()
        scores = (cells @ centroids.T).permute(2, 0, 1)[None]
        full = torch.nn.functional.interpolate(scores, (64, 80), mode="bilinear")[0]
        path = f"{spec.masks_path('dump')}/{entry['image_id']}.png"
        stage = masks.plan_masks(shared.workspace, "dump", spec, "cpu")
        if stage is not None:
            masks.finish(shared.workspace, compute(stage), 1.0, 1)
        ids = image_codecs.decode_mask(shared.workspace.storage.read(path))
        best = full.topk(2, dim=0).values
        clear = (best[0] - best[1]).numpy() > 1e-4  # elsewhere rounding decides
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(ids[clear], full.argmax(dim=0).numpy()[clear])


@pytest.fixture(autouse=True)
def no_reader_of_another_workspace() -> Iterator[None]:
    yield
    picie_models.trained_reader.cache_clear()
