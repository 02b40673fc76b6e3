"""The real thing, once: run, backfill, segment, status, report, the Python interface."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from flags import QUICK, TINY
from PIL import Image

import tasks.masks.stage
from flows import open_workspace
from flows.cli.main import main
from stego_core.masks.margins import SURE

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(400)]
SCENES, NEW = 12, 4


def stego(*arguments: str) -> None:
    """The command line, in this process."""
    main(list(arguments))


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path], prefect: None
) -> Path:
    """A folder with a finished workspace `ws`, made by Dask workers, and one more dump."""
    folder = tmp_path_factory.mktemp("run")
    train = make_corpus(folder / "train", SCENES)
    (train / "images" / "broken.jpg").write_bytes(b"not an image")
    new = make_corpus(folder / "new", NEW, first=100)
    stego(
        "run", "--workspace", str(folder / "ws"), "--images", str(train / "images"),
        "--labels", str(train / "labels"), "--taxonomy", str(train / "taxonomy.json"),
        "--dump", "train", "--neighbors", "8", "--workers", "2", *TINY, *QUICK,
    )  # fmt: skip
    stego(
        "backfill", "--workspace", str(folder / "ws"), "--images", str(new / "images"),
        "--dump", "new", "--executor", "loop",
    )  # fmt: skip
    return folder


def status(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict:
    capsys.readouterr()
    stego("status", "--workspace", str(folder / "ws"), "--json")
    return json.loads(capsys.readouterr().out)


def masks(folder: Path, dump: str) -> dict[str, Path]:
    """Masks of the current key by image id."""
    key = json.loads((folder / "ws" / "current.json").read_text())["keys"]["masks"]
    return {path.stem: path for path in (folder / "ws" / "masks" / key / dump).glob("*.png")}


class TestFinishedWorkspace:
    def test_every_image_has_a_mask_of_its_size(self, finished: Path) -> None:
        for dump, count in (("train", SCENES), ("new", NEW)):
            found = masks(finished, dump)
            assert len(found) == count
            for name, path in found.items():
                image = Image.open(finished / dump / "images" / f"{name}.png")
                mask = Image.open(path)
                assert (mask.mode, mask.size) == ("P", image.size)
                assert max(mask.getpalette()[:3]) > 0

    def test_overlays_lie_beside(self, finished: Path) -> None:
        assert len(list((finished / "ws" / "overlays").rglob("*.jpg"))) == SCENES + NEW

    def test_status(self, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
        document = status(finished, capsys)
        assert document["dumps"]["train"]["images"] == SCENES
        assert document["dumps"]["new"]["masks"] == NEW
        assert document["counts"]["classes"] == 7
        assert set(document["scores"]) == {"train"}
        scores = document["scores"]["train"]
        assert 0 < scores["accuracy"] <= 100
        assert 0 < scores["baseline_accuracy"] <= 100
        assert scores["linear_accuracy"] > 30
        assert len(scores["per_class"]) == 7
        (bad,) = document["quarantine"]
        assert bad["path"] == "broken.jpg"
        assert "not an image" in bad["reason"]

    def test_status_for_people(self, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
        stego("status", "--workspace", str(finished / "ws"))
        assert "broken.jpg" in capsys.readouterr().out

    def test_scores_are_those_of_the_masks(
        self, finished: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        counts = np.zeros((7, 7), np.int64)
        for name, path in masks(finished, "train").items():
            labels = np.asarray(Image.open(finished / "train" / "labels" / f"{name}.png"))
            mask = np.asarray(Image.open(path))
            for cls in range(7):
                counts[cls] += np.bincount(mask[labels == cls], minlength=7)[:7]
        from scipy.optimize import linear_sum_assignment

        best = counts[linear_sum_assignment(counts, maximize=True)].sum() / counts.sum()
        document = status(finished, capsys)
        assert document["scores"]["train"]["accuracy"] == pytest.approx(100 * best, abs=0.01)

    def test_many_to_one_is_at_least_as_accurate(
        self, finished: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        scores = status(finished, capsys)["scores"]["train"]
        assert scores["accuracy"] <= scores["many_accuracy"] <= 100

    def test_report_names_everything(self, finished: Path) -> None:
        page = (finished / "ws" / "reports" / "latest" / "index.html").read_text()
        for text in ("broken.jpg", "train", "new", "vit_tiny_patch16_224", "untrained"):
            assert text in page

    def test_report_opens_in_a_browser(self, finished: Path, browser: Any) -> None:
        browser.get((finished / "ws" / "reports" / "latest" / "index.html").as_uri())
        script = "return Array.from(document.images, i => i.complete && i.naturalWidth > 0)"
        loaded = browser.execute_script(script)
        assert len(loaded) > 20
        assert all(loaded)
        assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []

    def test_every_folder_has_a_manifest(self, finished: Path) -> None:
        for stage in ("corpus", "features", "neighbors", "heads", "clusters", "masks", "scores"):
            manifests = list((finished / "ws" / stage).rglob("manifest.json"))
            assert manifests, stage
            for manifest in manifests:
                json.loads(manifest.read_text())

    def test_every_run_is_on_record(self, finished: Path) -> None:
        log = (finished / "ws" / "stego.log").read_text().splitlines()
        ends = [line for line in log if "run finished" in line]
        told = next(line for line in ends if "command=run " in line)
        for figure in (f"images={SCENES} ", "quarantined=1 ", f"labelled={SCENES} ", "exit_code=0"):
            assert figure in f"{told} "
        assert "masks train" in told
        backfilled = next(line for line in ends if "command=backfill " in line)
        assert f"labelled={NEW} " in backfilled
        assert f"images={NEW} " in backfilled

    def test_stages_are_counted_for_prometheus(self, finished: Path) -> None:
        from prometheus_client import REGISTRY

        for name, least in (("stego_images_total", SCENES + NEW), ("stego_stage_seconds_count", 2)):
            assert (REGISTRY.get_sample_value(name, {"stage": "masks"}) or 0) >= least
        ends = {"command": "run", "outcome": "finished"}
        assert (REGISTRY.get_sample_value("stego_runs_total", ends) or 0) >= 1

    @pytest.mark.parametrize(
        ("flow", "bad"), [("pipeline", ("broken.jpg",)), ("backfill", ("broken.jpg",))]
    )
    def test_the_run_itself_carries_what_people_look_for(
        self, finished: Path, flow: str, bad: tuple[str, ...]
    ) -> None:
        from prefect import get_client
        from prefect.client.schemas.filters import (
            ArtifactFilter,
            ArtifactFilterFlowRunId,
            FlowRunFilter,
            FlowRunFilterName,
        )

        name = f"{flow} {finished / 'ws'}"
        with get_client(sync_client=True) as client:
            wanted = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
            run = client.read_flow_runs(flow_run_filter=wanted)[0]
            of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
            found = {
                str(each.key).partition("-")[0]: str(each.data)
                for each in client.read_artifacts(artifact_filter=of_run)
            }
        assert {"summary", "quarantine"} <= found.keys()
        assert "python3 -m webbrowser" in found["summary"]
        assert "images/s" in found["summary"]
        assert all(path in found["quarantine"] for path in bad)

    def test_again_computes_nothing(self, finished: Path) -> None:
        train = finished / "train"
        before = {p: p.stat().st_mtime_ns for p in (finished / "ws").rglob("records/*.json")}
        stego(
            "run", "--workspace", str(finished / "ws"), "--images", str(train / "images"),
            "--labels", str(train / "labels"), "--taxonomy", str(train / "taxonomy.json"),
            "--dump", "train", "--neighbors", "8", *TINY, *QUICK,
        )  # fmt: skip
        after = {p: p.stat().st_mtime_ns for p in (finished / "ws").rglob("records/*.json")}
        assert after == before

    @pytest.mark.long
    def test_spread_over_seeds(self, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = masks(finished, "train")
        stego("scores", "--workspace", str(finished / "ws"), "--seeds", "0,1", "--executor", "loop")
        shown = capsys.readouterr().out
        assert "seeds 0, 1" in shown
        assert "±" in shown
        document = status(finished, capsys)
        spread, scores = document["spread"]["train"], document["scores"]["train"]
        assert spread["seeds"] == [0, 1]
        for name in ("accuracy", "miou", "baseline_miou", "linear_accuracy"):
            figures = spread[name]
            pair = (figures["least"], figures["greatest"])
            assert scores[name] in pair  # the workspace was made from seed 0
            assert figures["mean"] == pytest.approx(np.mean(pair), abs=0.01)
            assert figures["std"] == pytest.approx(np.std(pair, ddof=1), abs=0.01)
        assert spread["miou"]["std"] > 0
        assert masks(finished, "train") == before
        current = json.loads((finished / "ws" / "current.json").read_text())
        assert "seeds" not in current["options"]["scores"]  # or backfills would repeat them all

    @pytest.mark.long
    def test_a_spread_of_other_masks_is_not_shown(
        self, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shutil.copytree(finished / "ws", tmp_path / "ws")
        workspace = ("--workspace", str(tmp_path / "ws"), "--executor", "loop")
        stego("scores", *workspace, "--seeds", "0")
        assert "train" in status(tmp_path, capsys)["spread"]
        stego("scores", *workspace)
        assert "train" in status(tmp_path, capsys)["spread"]  # the same masks
        stego("scores", *workspace, "--no-linear-probe")
        assert "train" not in status(tmp_path, capsys)["spread"]

    def test_segment_equals_the_dump_s_mask(self, finished: Path, tmp_path: Path) -> None:
        image = finished / "train" / "images" / "s003.png"
        stego("segment", str(image), "--workspace", str(finished / "ws"), "--out", str(tmp_path))
        made = np.asarray(Image.open(tmp_path / "s003.png"))
        np.testing.assert_array_equal(made, Image.open(masks(finished, "train")["s003"]))

    def test_python_interface(self, finished: Path, noise: np.ndarray) -> None:
        opened = open_workspace(str(finished / "ws"))
        ids = opened.label(noise)
        assert ids.shape == noise.shape[:2]
        assert ids.max() < len(opened.names) == 7
        assert "sky" in opened.names

    def test_loop_and_dask_make_the_same_masks(self, finished: Path, tmp_path: Path) -> None:
        train = finished / "train"
        stego(
            "run", "--workspace", str(tmp_path / "ws"), "--images", str(train / "images"),
            "--dump", "train", "--neighbors", "8", "--classes", "7", "--executor", "loop",
            *TINY, *QUICK,
        )  # fmt: skip
        for name, path in masks(finished, "train").items():
            other = masks(tmp_path, "train")[name]
            assert path.read_bytes() == other.read_bytes()

    def test_auto_of_few_images_says_that_it_makes_fewer_clusters(
        self, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "few").mkdir()
        for number in range(3):
            shutil.copy(finished / "train" / "images" / f"s{number:03d}.png", tmp_path / "few")
        stego(
            "run", "--workspace", str(tmp_path / "ws"), "--images", str(tmp_path / "few"),
            "--neighbors", "4", "--classes", "auto", "--executor", "loop", *TINY, *QUICK,
        )  # fmt: skip
        said = " ".join(capsys.readouterr().err.split())
        assert "15 clusters are made and not 32 (--max-classes)" in said
        assert "15 clusters were made, fewer than --max-classes 32; `stego name suggested`" in said
        assert len(open_workspace(str(tmp_path / "ws")).names) == 15

    @pytest.mark.long
    def test_stages_one_at_a_time_give_the_same_keys(self, finished: Path, tmp_path: Path) -> None:
        ws, train = str(tmp_path / "ws"), finished / "train"
        run = ("--workspace", ws, "--executor", "loop")
        labels = ("--labels", str(train / "labels"), "--taxonomy", str(train / "taxonomy.json"))
        stego("corpus", *run[:2], "--images", str(train / "images"), "--dump", "train", *labels)
        stego("features", *run, *TINY, "--crop-size", "64")
        stego("neighbors", *run, "--neighbors", "8")
        stego("head", *run, "--steps", "12")
        stego("clusters", *run, "--restarts", "2")
        stego("masks", *run, "--resolution", "64")
        stego("scores", *run)
        stego("report", *run[:2], "--name", "mine")
        stored = [
            json.loads((folder / "ws" / "current.json").read_text())["keys"]
            for folder in (finished, tmp_path)
        ]
        assert stored[0] == stored[1]
        scored = json.loads((tmp_path / "ws" / "current.json").read_text())["scores"]
        assert set(scored) == {"train"}
        stego("head", *run, "--steps", "13")  # another head: what was made from the old one goes
        current = json.loads((tmp_path / "ws" / "current.json").read_text())
        assert set(current["keys"]) == {"features", "neighbors", "head"}
        assert current["scores"] == {}
        assert (tmp_path / "ws" / "reports" / "mine" / "index.html").exists()


class TestConfidence:
    def usual(self, finished: Path, key: str) -> np.ndarray:
        """(7,) mean logarithm of 1 − margin of each class in the training dump."""
        maps = sorted((finished / "ws" / "confidence" / key / "train").glob("*.png"))
        classes = [np.asarray(Image.open(masks(finished, "train")[path.stem])) for path in maps]
        margins = np.stack([np.asarray(Image.open(path)) for path in maps])
        logs, own = np.log((255.5 - margins) / 255.5), np.stack(classes)
        return np.array([logs[own == k].sum() / max((own == k).sum(), 1) for k in range(7)])

    def test_the_table_adds_up_the_maps(self, finished: Path) -> None:
        key = json.loads((finished / "ws" / "current.json").read_text())["keys"]["masks"]
        table = pq.read_table(finished / "ws" / "masks" / key / "train" / "confidence.parquet")
        rows = table.to_pylist()
        assert [row["row"] for row in rows] == list(range(SCENES))
        usual = self.usual(finished, key)
        for row in rows:
            mask = np.asarray(Image.open(masks(finished, "train")[row["image_id"]]))
            found = finished / "ws" / "confidence" / key / "train" / f"{row['image_id']}.png"
            margins = np.asarray(Image.open(found))
            assert margins.shape == mask.shape == (row["height"], row["width"])
            assert row["margin"] == pytest.approx(margins.mean() / 255, rel=1e-5)
            logs = np.log((255.5 - margins) / 255.5)
            expected = (2 * logs.mean() + usual[mask].mean()) / 3
            assert row["doubt"] == pytest.approx(np.exp(expected), rel=1e-5)
            assert row["doubtful"] == pytest.approx((margins < SURE).mean(), rel=1e-5)
            for number in range(7):
                own = margins[mask == number]
                assert row[f"share_{number}"] == pytest.approx((mask == number).mean(), rel=1e-5)
                expected = own.mean() / 255 if own.size else None
                assert row[f"margin_{number}"] == (expected and pytest.approx(expected, rel=1e-5))

    def test_the_least_certain_images_come_first(
        self, finished: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        capsys.readouterr()
        stego("status", "--workspace", str(finished / "ws"), "--uncertain", "5", "--json")
        found = json.loads(capsys.readouterr().out)
        key = json.loads((finished / "ws" / "current.json").read_text())["keys"]["masks"]
        tables = [
            pq.read_table(finished / "ws" / "masks" / key / dump / "confidence.parquet")
            for dump in ("train", "new")
        ]
        rows = [row for table in tables for row in table.to_pylist()]
        rows.sort(key=lambda row: -row["doubt"])
        assert [each["image_id"] for each in found] == [row["image_id"] for row in rows[:5]]
        stego("status", "--workspace", str(finished / "ws"), "--doubtful", "2")
        assert found[0]["path"] in capsys.readouterr().out


class TestNames:
    @pytest.fixture
    def named(self, finished: Path, tmp_path: Path) -> Path:
        """A copy of the workspace, for naming its classes."""
        shutil.copytree(finished / "ws", tmp_path / "ws")
        return tmp_path

    def name(self, folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
        capsys.readouterr()
        stego("name", *arguments, "--workspace", str(folder / "ws"), "--json")
        return json.loads(capsys.readouterr().out)

    def test_the_example_of_the_readme_as_printed(
        self,
        finished: Path,
        named: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.name(named, capsys, "merge", "0,1,2,3,4,5", "6")
        self.name(named, capsys, "ignore", "6")
        image = next((finished / "new" / "images").glob("*.png"))
        Image.open(image).convert("RGB").save(named / "a.jpg")
        readme = (Path(__file__).parents[3] / "README.md").read_text()
        example = readme.split("```python\n")[1].split("```")[0]
        for shown, here in (
            ("demo/workspace-corpus/images/scene-0000.png", "a.jpg"),
            ("demo/workspace", "ws"),
        ):
            assert shown in example
            example = example.replace(shown, here)
        monkeypatch.chdir(named)
        exec(compile(example, "README.md", "exec"), {})
        width, height = Image.open("a.jpg").size
        assert capsys.readouterr().out == f"({height}, {width}) uint8\nno class 100.0%\n"
        opened = open_workspace("ws")
        of_path = opened.label(named / "a.jpg")
        assert np.array_equal(of_path, opened.label(Image.open(named / "a.jpg")))
        assert [opened.names[i] for i in (6, 255)] == [opened.names[-1], "no class"]

    def test_every_output_honours_them(
        self,
        finished: Path,
        named: Path,
        capsys: pytest.CaptureFixture[str],
        noise: np.ndarray,
    ) -> None:
        stored = open_workspace(str(named / "ws")).label(noise)
        self.name(named, capsys, "merge", "0,1,2,3,4,5", "6")
        self.name(named, capsys, "set", "6", "everything", "--colour", "#102030")
        opened = open_workspace(str(named / "ws"))
        assert len(np.unique(stored)) > 1
        assert np.unique(opened.label(noise)).tolist() == [6]
        assert opened.names == ["everything"] * 7
        assert status(named, capsys)["classes"] == ["everything"] * 7
        image = next((finished / "new" / "images").glob("*.png"))
        stego("segment", str(image), "--workspace", str(named / "ws"), "--out", str(named / "out"))
        mask = Image.open(named / "out" / f"{image.stem}.png")
        assert set(np.asarray(mask).ravel()) == {6}
        assert mask.getpalette()[18:21] == [0x10, 0x20, 0x30]
        stego("report", "--workspace", str(named / "ws"))
        page = (named / "ws" / "reports" / "latest" / "index.html").read_text()
        assert "everything" in page
        assert "Look at these first" in page

    def test_proposals_from_labelled_images(
        self,
        named: Path,
        capsys: pytest.CaptureFixture[str],
        make_corpus: Callable[..., Path],
    ) -> None:
        few = make_corpus(named / "few", 2, first=200)
        (few / "images" / "s200.png").write_bytes(b"broken")
        flags = (
            "--images", str(few / "images"), "--labels", str(few / "labels"),
            "--taxonomy", str(few / "taxonomy.json"),
        )  # fmt: skip
        found = self.name(named, capsys, "propose", *flags)
        assert len(found) == 7
        assert self.name(named, capsys)["revision"] == 0  # proposing changes nothing
        label = np.asarray(Image.open(few / "labels" / "s201.png"))
        mask = open_workspace(str(named / "ws")).label(
            np.asarray(Image.open(few / "images" / "s201.png"))
        )
        names = json.loads((few / "taxonomy.json").read_text())["classes"]
        for proposal in found:
            own = label[(mask == proposal["cluster"]) & (label < len(names))]
            assert proposal["pixels"] == own.size
            if own.size:
                assert proposal["name"] == names[np.bincount(own).argmax()]
        taken = self.name(named, capsys, "propose", "--accept", "--support", "0", *flags)
        for proposal in found:
            if proposal["name"]:
                entry = taken["classes"][proposal["cluster"]]
                assert taken["classes"][entry["shown_as"]]["name"] == proposal["name"]

    def test_proposals_from_the_dumps_labels_and_another_taxonomy(
        self, named: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        names = [f"kind {number}" for number in range(7)]
        (named / "kinds.json").write_text(json.dumps({"name": "kinds", "classes": names}))
        found = self.name(named, capsys, "propose", "--taxonomy", str(named / "kinds.json"))
        assert {each["name"] for each in found} <= {*names, None}
        (named / "kinds.json").write_text(json.dumps({"name": "kinds", "classes": names[:3]}))
        with pytest.raises(SystemExit):
            self.name(named, capsys, "propose", "--taxonomy", str(named / "kinds.json"))
        assert "has 3 classes, the labels 7" in capsys.readouterr().err

    def test_names_change_while_a_run_writes_and_both_survive(
        self,
        named: Path,
        capsys: pytest.CaptureFixture[str],
        make_corpus: Callable[..., Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        late = make_corpus(named / "late", 2, first=300)
        finish = tasks.masks.stage.finish

        def renaming(*arguments: Any) -> Any:
            """Another process names a class while this one holds the workspace."""
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "flows",
                    "name",
                    "set",
                    "3",
                    "kerb",
                    "--workspace",
                    named / "ws",
                ],
                check=True,
                capture_output=True,
            )
            return finish(*arguments)

        monkeypatch.setattr(tasks.masks.stage, "finish", renaming)
        stego(
            "backfill", "--workspace", str(named / "ws"), "--images", str(late / "images"),
            "--dump", "late", "--executor", "loop",
        )  # fmt: skip
        document = status(named, capsys)
        assert document["dumps"]["late"]["masks"] == 2
        assert document["classes"][3] == "kerb"
        assert "kerb" in (named / "ws" / "reports" / "latest" / "index.html").read_text()

    def test_names_from_before_a_retraining(
        self, named: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place = str(named / "ws")
        with pytest.raises(SystemExit):
            self.name(named, capsys, "propose", "--previous")
        assert "name some first" in capsys.readouterr().err
        for number in range(7):
            self.name(
                named, capsys, "set", str(number), f"kind {number}", "--colour", f"#00000{number}"
            )
        self.name(named, capsys, "ignore", "5")
        before = {name: Image.open(path) for name, path in masks(named, "train").items()}
        stego("clusters", "--workspace", place, "--classes", "5", "--executor", "loop")
        stego("masks", "--workspace", place, "--dumps", "train", "--executor", "loop")
        assert self.name(named, capsys)["revision"] == 0
        found = self.name(named, capsys, "propose", "--previous")
        overlap = np.zeros((7, 5), int)
        for name, path in masks(named, "train").items():
            pair = (np.asarray(before[name]).ravel(), np.asarray(Image.open(path)).ravel())
            np.add.at(overlap, pair, 1)
        overlap[5] = 0  # ignored
        for proposal in found:
            expected = overlap[:, proposal["cluster"]]
            assert proposal["pixels"] == expected.sum()
            assert proposal["name"] == (f"kind {expected.argmax()}" if expected.any() else None)
        taken = self.name(named, capsys, "propose", "--accept", "--previous", "--support", "0")[
            "classes"
        ]
        for proposal in found:
            if proposal["name"]:
                entry = taken[taken[proposal["cluster"]]["shown_as"]]
                assert entry["name"] == proposal["name"]
                assert entry["colour"] == f"#00000{proposal['name'][-1]}"


def test_help_shows_the_models_descriptions() -> None:
    command = [sys.executable, "-m", "flows", "run", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "A training crop has sides of this many" in " ".join(shown.split())
