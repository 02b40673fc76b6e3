"""The command `stego benchmark`, once for real on a generated data set, and its refusals."""

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import lightning_file as made
import numpy as np
import pytest
import scipy.io
from flags import QUICK, TINY
from PIL import Image
from scipy.optimize import linear_sum_assignment

from flows.cli.main import main
from flows.demo.scenes import scene, scene_generator
from stego_core.head import training

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(300)]
TRAIN, VAL, SIDE = 12, 4, 48
FLAGS = (*TINY, *QUICK, "--neighbors", "8", "--max-tokens", "2000", "--executor", "loop")


def write_potsdam(folder: Path) -> None:
    """Scenes with an infrared channel, as Potsdam's squares lie on disk."""
    for kind in ("imgs", "gt"):
        (folder / kind).mkdir(parents=True)
    names = [f"{number}_0" for number in range(TRAIN + VAL)]
    for number, name in enumerate(names):
        image, labels = scene(scene_generator(1, number), (SIDE, SIDE))
        rgbi = np.concatenate([image, image[..., :1]], axis=-1)
        stored = np.where(labels == 255, 255, labels % 6).astype(np.uint8)
        scipy.io.savemat(folder / f"imgs/{name}.mat", {"img": rgbi})
        scipy.io.savemat(folder / f"gt/{name}.mat", {"gt": stored})
    (folder / "labelled_train.txt").write_text("\n".join(names[:TRAIN]))
    (folder / "labelled_test.txt").write_text("\n".join([*names[TRAIN:], "absent"]))


class Finished(NamedTuple):
    """What the command left and said."""

    workspace: Path
    shown: str

    @property
    def document(self) -> dict:
        return json.loads((self.workspace / "reports/potsdam3/benchmark.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, prefect: None) -> Finished:
    folder = tmp_path_factory.mktemp("benchmark")
    write_potsdam(folder / "potsdam")
    with redirect_stdout(StringIO()) as said:
        main(
            ["benchmark", "potsdam3", "--data", str(folder), "--workspace", str(folder / "ws"),
             *FLAGS]
        )  # fmt: skip
    return Finished(folder / "ws", said.getvalue())


class TestFinished:
    def test_figures_are_those_of_masks_and_labels(self, finished: Finished) -> None:
        current = json.loads((finished.workspace / "current.json").read_text())
        masks = finished.workspace / "masks" / current["keys"]["masks"] / "potsdam3-val"
        counts = np.zeros((3, 3), np.int64)
        for path in sorted((finished.workspace / "prepared/potsdam3-val/labels").iterdir()):
            labels, mask = np.asarray(Image.open(path)), np.asarray(Image.open(masks / path.name))
            assert labels.shape == mask.shape == (64, 64)
            known = labels != 255
            np.add.at(counts, (labels[known], mask[known]), 1)
        classes, clusters = linear_sum_assignment(counts, maximize=True)
        ordered = counts[:, clusters[np.argsort(classes)]]
        right = np.diag(ordered)
        union = ordered.sum(0) + ordered.sum(1) - right
        ours = finished.document["rows"][0]
        assert ours["accuracy"] == pytest.approx(100 * right.sum() / counts.sum(), abs=0.01)
        present = union > 0
        expected = 100 * (right[present] / union[present]).mean()
        assert ours["miou"] == pytest.approx(expected, abs=0.01)
        assert finished.document["confusion"]["pixels"] == ordered.tolist()

    def test_the_linear_probe_is_the_published_one(self, finished: Finished) -> None:
        current = json.loads((finished.workspace / "current.json").read_text())
        folder = finished.workspace / "scores" / current["scores"]["potsdam3-val"]
        inputs = json.loads((folder / "potsdam3-val/manifest.json").read_text())["inputs"]
        assert inputs["probe_refined"] == "crf"
        fitted = (finished.workspace / inputs["probe"]).with_name("manifest.json")
        probe = json.loads(fitted.read_text())
        assert (probe["protocol"], probe["rows"]) == ("stego", 12)
        assert finished.document["rows"][0]["linear_accuracy"] > 20

    def test_the_table_has_ours_and_the_published(self, finished: Finished) -> None:
        systems = [row["system"] for row in finished.document["rows"]]
        assert systems[:3] == ["STEGO, here", "k-means on raw features, here", "STEGO"]
        ours = finished.document["rows"][0]
        assert f"{ours['accuracy']:.1f} / {ours['miou']:.1f}" in finished.shown
        assert "77.0 / –" in finished.shown

    def test_departures_are_said(self, finished: Finished) -> None:
        said = " ".join(finished.shown.split())
        assert "not as published: steps 12 (published: 5000)" in said
        assert "not as published: backbone vit_tiny_patch16_224 with weights untrained" in said
        assert "differs from the released code: the last step is kept" in said

    def test_what_the_list_names_and_is_absent_is_listed(self, finished: Finished) -> None:
        document = finished.document
        assert document["images"] == {"train": TRAIN, "val": VAL}
        assert document["unusable"] == 1
        page = (finished.workspace / "reports/potsdam3/index.html").read_text()
        assert "imgs/absent.mat" in page
        assert "buildings and clutter" in page

    def test_the_figure_is_a_picture(self, finished: Finished) -> None:
        with Image.open(finished.workspace / "reports/potsdam3/confusion.png") as figure:
            assert figure.format == "PNG"
            assert min(figure.size) > 300
            assert len(figure.convert("RGB").getcolors(2**24)) > 20

    def test_again_computes_nothing(self, finished: Finished) -> None:
        before = {p: p.stat().st_mtime_ns for p in finished.workspace.rglob("records/*.json")}
        with redirect_stdout(StringIO()) as said:
            main(
                ["benchmark", "potsdam3", "--data", str(finished.workspace.parent / "potsdam"),
                 "--workspace", str(finished.workspace), *FLAGS]
            )  # fmt: skip
        after = {p: p.stat().st_mtime_ns for p in finished.workspace.rglob("records/*.json")}
        assert after == before
        assert said.getvalue() == finished.shown


@pytest.mark.long
class TestCheckpoints:
    def test_the_last_is_the_run_and_the_best_is_told(self, finished: Finished) -> None:
        before = finished.document["rows"][0]
        with redirect_stdout(StringIO()) as said:
            main(
                ["benchmark", "potsdam3", "--data", str(finished.workspace.parent / "potsdam"),
                 "--workspace", str(finished.workspace), *FLAGS, "--checkpoints", "2", "--figures"]
            )  # fmt: skip
        document = finished.document
        half, last = document["checkpoints"]
        assert (half["steps"], last["steps"]) == (6, 12)
        assert (last["accuracy"], last["miou"]) == (before["accuracy"], before["miou"])
        assert document["best"] == max((half, last), key=lambda one: one["miou"])
        assert document["rows"][0] == before
        told = f"chosen by the validation labels: {document['best']['accuracy']:.1f}"
        assert told in " ".join(said.getvalue().split())
        for name, columns in (("comparison", 3), ("correspondences", 3)):
            with Image.open(finished.workspace / f"reports/potsdam3/{name}.png") as figure:
                assert figure.width == columns * 240
                assert len(figure.convert("RGB").getcolors(2**24)) > 20

    def test_the_head_is_trained_once(
        self, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trained: list[int] = []
        train_step = training.train_step

        def counted(state: training.TrainingState, *rest: Any) -> training.HeadCurve:
            trained.append(state.step)
            return train_step(state, *rest)

        monkeypatch.setattr(training, "train_step", counted)
        main(
            ["benchmark", "potsdam3", "--data", str(finished.workspace.parent / "potsdam"),
             "--workspace", str(tmp_path / "ws"), *FLAGS, "--no-baseline", "--checkpoints", "4"]
        )  # fmt: skip
        assert trained == list(range(12))
        assert len(list((tmp_path / "ws/heads").iterdir())) == 4


class TestCheckpoint:
    """`--checkpoint`: both probes of a released model, both with the CRF, in one command."""

    @pytest.fixture(scope="class")
    def evaluated(self, tmp_path_factory: pytest.TempPathFactory, prefect: None) -> Finished:
        folder = tmp_path_factory.mktemp("released")
        write_potsdam(folder / "potsdam")
        (folder / "potsdam/labelled_train.txt").unlink()  # nothing is trained
        state = made.state_dict("vit_tiny_patch16_224", classes=3)
        file = made.write(folder / "m.ckpt", state, dataset_name="cityscapes")
        with redirect_stdout(StringIO()) as said:
            main(
                ["benchmark", "potsdam3", "--data", str(folder), "--checkpoint", str(file),
                 "--workspace", str(folder / "ws"), "--resolution", "64", "--executor", "loop",
                 "--probe-masks"]
            )  # fmt: skip
        return Finished(folder / "ws", said.getvalue())

    def test_both_probes_go_through_the_crf(self, evaluated: Finished) -> None:
        current = json.loads((evaluated.workspace / "current.json").read_text())
        folder = evaluated.workspace / "scores" / current["scores"]["potsdam3-val"]
        inputs = json.loads((folder / "potsdam3-val/manifest.json").read_text())["inputs"]
        assert inputs["probe_refined"] == "crf"
        assert current["options"]["masks"]["crf_pixels"] == "released"
        ours = evaluated.document["rows"][0]
        assert ours["system"] == "STEGO, m.ckpt"
        assert None not in (ours["accuracy"], ours["linear_accuracy"], ours["linear_miou"])

    def test_masks_of_the_linear_probe_give_its_figures(self, evaluated: Finished) -> None:
        (folder,) = (evaluated.workspace / "scores").glob("*/potsdam3-val/linear")
        right = total = 0
        for path in sorted((evaluated.workspace / "prepared/potsdam3-val/labels").iterdir()):
            labels, mask = np.asarray(Image.open(path)), np.asarray(Image.open(folder / path.name))
            right += int((labels == mask).sum())
            total += int((labels != 255).sum())
        expected = 100 * right / total
        assert evaluated.document["rows"][0]["linear_accuracy"] == pytest.approx(expected, abs=0.01)

    def test_extra_clusters_and_the_data_set_are_told(self, evaluated: Finished) -> None:
        said = " ".join(evaluated.shown.split())
        assert "pixels of the last 2 are not counted" in said
        assert "the model was trained on 'cityscapes' (published: 'potsdam')" in said
        assert "steps" not in said
        assert evaluated.document["images"] == {"val": VAL}
        table = (evaluated.workspace / "reports/potsdam3/table.md").read_text()
        assert "| STEGO, m.ckpt | vit_tiny_patch16_224 |" in table

    def test_other_classes_are_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_potsdam(tmp_path / "potsdam")
        file = made.write(tmp_path / "m.ckpt", made.state_dict("vit_tiny_patch16_224", classes=5))
        with pytest.raises(SystemExit) as ended:
            main(
                ["benchmark", "potsdam3", "--data", str(tmp_path), "--checkpoint", str(file),
                 "--workspace", str(tmp_path / "ws"), "--executor", "loop"]
            )  # fmt: skip
        assert ended.value.code == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "m.ckpt has 7 clusters and a linear probe of 5 classes, potsdam3 has 3" in said


class TestRefused:
    @pytest.fixture
    def refused(self, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
        def run(*arguments: str) -> str:
            with pytest.raises(SystemExit) as exit_:
                main(["benchmark", *arguments])
            assert exit_.value.code == 2
            said = " ".join(capsys.readouterr().err.split())
            assert "Traceback" not in said
            return said

        return run

    def test_an_absent_data_set(self, tmp_path: Path, refused: Callable[..., str]) -> None:
        ws = ("--workspace", str(tmp_path / "ws"))
        said = refused("cityscapes27", "--data", str(tmp_path / "none"), *ws)
        assert said.count("error:") == 1
        assert "put leftImg8bit/{train,val}/CITY/*_leftImg8bit.png and gtFine" in said

    def test_an_unknown_name(self, tmp_path: Path, refused: Callable[..., str]) -> None:
        said = refused("coco", "--data", str(tmp_path), "--workspace", str(tmp_path / "ws"))
        assert "benchmark 'coco' is unknown; expected cocostuff27" in said

    def test_no_place(self, tmp_path: Path, refused: Callable[..., str]) -> None:
        assert "--data requires an argument" in refused("potsdam3", "--workspace", str(tmp_path))
