"""`stego run --baseline picie`, once for real on generated scenes, and what people get wrong."""

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from flags import QUICK, TINY
from PIL import Image

from flows.cli.main import main
from stego_core.images.palette import palette
from stego_core.picie import feature_pyramid
from stego_core.scores import metrics
from tasks.report.compared_images import comparisons
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("prefect"), pytest.mark.timeout(300)]
IMAGES = 10
PICIE = (
    "--baseline", "picie", "--picie-weights", "untrained", "--picie-size", "64",
    "--picie-epochs", "1", "--picie-batch", "8",
)  # fmt: skip
FLAGS = (
    *TINY, *QUICK, *PICIE, "--neighbors", "4", "--max-tokens", "1000", "--crf-iterations", "0",
    "--no-linear-probe", "--executor", "loop",
)  # fmt: skip


class Finished(NamedTuple):
    """Where the command ran, and what it said."""

    corpus: Path
    workspace: Path
    shown: str

    def status(self) -> dict[str, Any]:
        with redirect_stdout(StringIO()) as said:
            main(["status", "--json", "--workspace", str(self.workspace)])
        document: dict[str, Any] = json.loads(said.getvalue())
        return document

    def records(self) -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in self.workspace.rglob("records/*.json")}


def run_flags(corpus: Path, workspace: Path, *more: str) -> list[str]:
    return [
        "run", "--images", str(corpus / "images"), "--labels", str(corpus / "labels"),
        "--taxonomy", str(corpus / "taxonomy.json"), "--workspace", str(workspace), *FLAGS, *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path], prefect: None
) -> Finished:
    folder = tmp_path_factory.mktemp("picie")
    corpus = make_corpus(folder / "corpus", IMAGES, size=(64, 80))
    with redirect_stdout(StringIO()) as said:
        main(run_flags(corpus, folder / "ws"))
    return Finished(corpus, folder / "ws", said.getvalue())


class TestFinished:
    def test_figures_are_those_of_masks_and_labels(self, finished: Finished) -> None:
        document = finished.status()
        masks = finished.workspace / "masks" / document["keys"]["picie_masks"] / "images"
        classes = len(json.loads((finished.corpus / "taxonomy.json").read_text())["classes"])
        confusion = metrics.Confusion(classes, classes)
        files = sorted((finished.corpus / "labels").iterdir())
        assert len(list(masks.glob("*.png"))) == len(files) == IMAGES
        for label in files:
            ids = np.asarray(Image.open(label)).astype(np.int16)
            ids[ids == 255] = -1
            confusion.add(ids, np.asarray(Image.open(masks / label.name)))
        expected = metrics.scores(confusion.counts, metrics.match(confusion.counts))
        row = document["scores"]["images"]
        assert row["picie_accuracy"] == pytest.approx(expected.accuracy, abs=0.01)
        assert row["picie_miou"] == pytest.approx(expected.miou, abs=0.01)
        assert row["accuracy"] is not None
        assert row["baseline_accuracy"] is not None

    def test_it_says_how_good_it_is_and_where_it_started(self, finished: Finished) -> None:
        row = finished.status()["scores"]["images"]
        line = next(line for line in finished.shown.splitlines() if " PiCIE " in line)
        assert f"{row['picie_accuracy']:.1f}" in line
        assert f"{row['picie_miou']:.1f}" in line
        note = "PiCIE started from resnet18.tv_in1k: untrained, drawn from seed 0"
        assert note in finished.shown
        page = (finished.workspace / "reports/latest/index.html").read_text()
        assert note in page
        assert f'<td class="n ">{row["picie_accuracy"]:.1f}</td>' in page
        assert page.count('id="compared"') == 1
        assert "PiCIE of images / s001, coloured by class" in page

    def test_the_figure_has_image_label_picie_and_stego(self, finished: Finished) -> None:
        summary = Summary(Workspace.open(str(finished.workspace)))
        (shown,) = comparisons(summary, summary.dumps)
        assert [tuple(colour) for _, colour in shown.legend] == [
            tuple(colour) for colour in palette(len(shown.legend)).tolist()
        ]
        assert len(shown.images) == 6
        scored = summary.scores("images")
        assert scored is not None
        colours = palette(len(shown.legend))
        for item in shown.images:
            assert list(item.columns) == ["label", "PiCIE", "STEGO"]
            for method, stage in (("PiCIE", "picie_masks"), ("STEGO", "masks")):
                folder = finished.workspace / "masks" / summary.keys[stage] / "images"
                ids = np.asarray(Image.open(folder / f"{item.image_id}.png"))
                matching = scored["matching"]["picie" if method == "PiCIE" else "stego"]
                for cluster in np.unique(ids):
                    cls = matching[cluster]
                    expected = colours[cls] if cls >= 0 else np.zeros(3)
                    assert (item.columns[method][ids == cluster] == expected).all()

    def test_again_computes_nothing(self, finished: Finished) -> None:
        before = finished.records()
        with redirect_stdout(StringIO()):
            main(run_flags(finished.corpus, finished.workspace))
        assert finished.records() == before

    def test_a_backfill_is_scored_beside_the_same_picie(
        self, finished: Finished, tmp_path: Path, make_corpus: Callable[..., Path]
    ) -> None:
        more = make_corpus(tmp_path / "more", 3, first=20, size=(64, 80))
        key = finished.status()["keys"]["picie"]
        with redirect_stdout(StringIO()):
            main(
                ["backfill", "--workspace", str(finished.workspace), "--executor", "loop",
                 "--images", str(more / "images"), "--labels", str(more / "labels"),
                 "--taxonomy", str(more / "taxonomy.json"), "--dump", "later"]
            )  # fmt: skip
        document = finished.status()
        assert document["keys"]["picie"] == key
        assert document["scores"]["later"]["picie_accuracy"] is not None
        assert len(list((finished.workspace / "picie").iterdir())) == 1


@pytest.fixture
def refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, make_corpus: Callable[..., Path]
) -> Callable[..., str]:
    """A run that must end with exit code 2; returns what it said."""
    corpus = make_corpus(tmp_path / "corpus", IMAGES, size=(64, 80))

    def run(*more: str) -> str:
        with pytest.raises(SystemExit) as exit_:
            main(run_flags(corpus, tmp_path / "ws", *more))
        assert exit_.value.code == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "Traceback" not in said
        assert not (tmp_path / "ws" / "features").exists()  # before work is spent
        return said

    return run


class TestRefused:
    def test_an_unknown_baseline(self, refused: Callable[..., str]) -> None:
        said = refused("--baseline", "iic")
        assert "--baseline: " in said
        assert "'picie'" in said
        assert "found 'iic'" in said

    def test_weights_of_another_network(self, refused: Callable[..., str], tmp_path: Path) -> None:
        torch.save(feature_pyramid.untrained("resnet34").backbone.state_dict(), tmp_path / "w.pth")
        said = refused("--picie-weights", str(tmp_path / "w.pth"))
        assert "the weights are not those of resnet18.tv_in1k" in said
        assert "layer1.2.bn1.bias" in said
        assert "give weights of this very --picie-network" in said

    def test_no_weights(self, refused: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "w.safetensors").write_bytes(b"nothing")
        said = refused("--picie-weights", str(tmp_path / "w.safetensors"))
        assert "--picie-weights" in said
        assert "does not hold plain tensors" in said
        said = refused("--picie-weights", str(tmp_path / "none.pth"))
        assert f"--picie-weights {tmp_path / 'none.pth'} cannot be read" in said

    @pytest.mark.parametrize(
        ("flags", "expected"),
        [
            (("--picie-network", "vgg16"), "'vgg16' is not a ResNet of timm; expected one such as"),
            (("--picie-size", "70"), "--picie-size 70 is not a multiple of 4; use 68"),
            (("--picie-size", "32"), "--picie-size: input should be greater than or equal to 64"),
            (("--picie-epochs", "0"), "--picie-epochs: input should be greater than or equal to 1"),
        ],
    )
    def test_options(
        self, refused: Callable[..., str], flags: tuple[str, ...], expected: str
    ) -> None:
        assert expected in refused(*flags)


def test_scores_without_a_picie_to_score(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    current = json.loads((finished.workspace / "current.json").read_text())
    kept = {key: value for key, value in current["keys"].items() if "picie" not in key}
    (finished.workspace / "current.json").write_text(json.dumps({**current, "keys": kept}))
    try:
        with pytest.raises(SystemExit) as exit_:
            main(["scores", "--workspace", str(finished.workspace), "--executor", "loop"])
        assert exit_.value.code == 2
        assert "has no PiCIE to score; run `stego run --baseline picie`" in " ".join(
            capsys.readouterr().err.split()
        )
    finally:
        (finished.workspace / "current.json").write_text(json.dumps(current))
