"""The command `stego import-checkpoint`, and what works in its workspace straight after."""

import json
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import lightning_file as made
import numpy as np
import pytest
import torch
from PIL import Image

from flows.api import open_workspace
from flows.cli.main import main
from flows.demo.street import SCENE_CLASSES

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(300)]
SIZE, IMAGES = (64, 64), 2
CLUSTERS = len(SCENE_CLASSES) + made.EXTRA


def command(folder: Path, file: Path | str, *more: str) -> list[str]:
    return [
        "import-checkpoint", str(file), "--workspace", str(folder / "ws"),
        "--backbone", made.PICO, *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def imported(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path], prefect: None
) -> Path:
    """A folder of labelled images, and the workspace `ws` with a model whose file is gone."""
    folder = make_corpus(tmp_path_factory.mktemp("imported"), IMAGES, size=SIZE)
    file = made.write(folder / "model.ckpt", made.state_dict(classes=len(SCENE_CLASSES)))
    with redirect_stdout(StringIO()) as said:
        main(command(folder, file, "--taxonomy", str(folder / "taxonomy.json")))
    assert said.getvalue().startswith(
        f"model.ckpt: {made.PICO}, codes of {made.CODE_SIZE} numbers, {CLUSTERS} clusters, "
        f"a linear probe of {len(SCENE_CLASSES)} classes"
    )
    current = (folder / "ws/current.json").read_bytes()
    main(command(folder, file, "--taxonomy", str(folder / "taxonomy.json")))
    assert (folder / "ws/current.json").read_bytes() == current
    file.unlink()
    return folder


@pytest.fixture(scope="module")
def backfilled(imported: Path) -> Path:
    main([
        "backfill", "--workspace", str(imported / "ws"), "--images", str(imported / "images"),
        "--labels", str(imported / "labels"), "--taxonomy", str(imported / "taxonomy.json"),
        "--dump", "new", "--executor", "loop",
    ])  # fmt: skip
    return imported


def status(folder: Path) -> dict[str, Any]:
    with redirect_stdout(StringIO()) as said:
        main(["status", "--workspace", str(folder / "ws"), "--json"])
    return json.loads(said.getvalue())


class TestImported:
    def test_masks_are_made_as_published(self, imported: Path) -> None:
        options = json.loads((imported / "ws/current.json").read_text())["options"]["masks"]
        assert (options["resolution"], options["sharpness"]) == (320, 2.0)
        assert options["crf_iterations"] == 10

    def test_status_says_where_it_came_from(self, imported: Path) -> None:
        found = status(imported)
        assert found["imported"]["file"] == found["backbone"]["note"] == "model.ckpt"
        assert found["stages"]["head"]
        assert found["stages"]["clusters"]
        assert found["counts"]["classes"] == CLUSTERS

    def test_clusters_have_the_names_of_the_taxonomy(self, imported: Path) -> None:
        names = open_workspace(str(imported / "ws"), "cpu").names
        assert len(names) == CLUSTERS
        assert set(SCENE_CLASSES) < set(names)

    def test_loose_images(self, imported: Path) -> None:
        image = imported / "images/s000.png"
        main(["segment", str(image), "--workspace", str(imported / "ws"),
              "--out", str(imported / "out")])  # fmt: skip
        opened = open_workspace(str(imported / "ws"), "cpu")
        labelled = opened.label(np.asarray(Image.open(image)))
        mask = np.asarray(Image.open(imported / "out/s000.png"))
        assert mask.shape == SIZE
        assert np.array_equal(mask, labelled)


class TestBackfilled:
    def test_every_image_has_a_mask_and_scores(self, backfilled: Path) -> None:
        found = status(backfilled)
        assert found["dumps"]["new"]["masks"] == IMAGES
        assert found["dumps"]["new"]["drift"] is None
        assert not found["stages"]["features"]
        scores = found["scores"]["new"]
        assert scores["accuracy"] is not None
        assert scores["linear_accuracy"] is not None
        assert scores["baseline_accuracy"] is None

    def test_the_masks_are_those_of_the_interface(self, backfilled: Path) -> None:
        (place,) = (backfilled / "ws/masks").glob("*/new")
        opened = open_workspace(str(backfilled / "ws"), "cpu")
        for path in sorted(place.glob("*.png")):
            image = np.asarray(Image.open(backfilled / "images" / path.name))
            assert np.array_equal(np.asarray(Image.open(path)), opened.label(image))

    def test_the_report_is_there(self, backfilled: Path) -> None:
        page = (backfilled / "ws/reports/latest/index.html").read_text()
        assert "model.ckpt" in page


class Evil:
    def __init__(self, line: str) -> None:
        self.line = line

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.line,)


def refused(capfd: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = " ".join(capfd.readouterr().err.split())
    assert "Traceback" not in said
    return said


class TestRefused:
    def test_a_malicious_file_leaves_no_trace(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        state: dict[str, Any] = made.state_dict()
        state["net.model.extra"] = Evil(f"touch {tmp_path / 'ran'}")
        (tmp_path / "evil.ckpt").write_bytes(made.saved({"state_dict": state}))
        said = refused(capfd, command(tmp_path, tmp_path / "evil.ckpt"))
        assert "evil.ckpt cannot be imported: it names 'posix.system'" in said
        assert "nothing in it was run" in said
        assert not (tmp_path / "ran").exists()
        assert not (tmp_path / "ws/workspace.json").exists()
        torch.load(tmp_path / "evil.ckpt", weights_only=False)  # what it would have done
        assert (tmp_path / "ran").exists()

    def test_secrets_do_not_come_back(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        for location in ("https://host/x.ckpt?sig=hush", "s3://user:hush@bucket/x.ckpt"):
            said = refused(capfd, command(tmp_path, location))
            assert "hush" not in said

    def test_a_workspace_keeps_its_model(
        self, imported: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        before = (imported / "ws/current.json").read_bytes()
        (tmp_path / "x.ckpt").write_bytes(b"nothing")
        assert "no zip archive" in refused(capfd, command(imported, tmp_path / "x.ckpt"))
        assert (imported / "ws/current.json").read_bytes() == before
