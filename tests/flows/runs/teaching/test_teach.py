"""`stego teach`, whole: points are stored, learned, shown, taken back; and what survives."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flags import QUICK

from flows import open_workspace
from flows.cli.main import main
from flows.runs.teaching import teach as teaching
from stego_core.errors import InputError
from tasks.class_names import classes_file
from tasks.features.backbones import BUNDLED, BUNDLED_BACKBONE
from tasks.images.image_codecs import decode_mask
from tasks.teaching import lessons
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def base(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path], prefect: None
) -> Path:
    """A workspace `ws` of six images."""
    folder = tmp_path_factory.mktemp("taught")
    images = make_corpus(folder / "a", 6, size=(64, 80)) / "images"
    main([
        "run", "--images", str(images), "--workspace", str(folder / "ws"), "--dump", "first",
        "--classes", "5", "--neighbors", "3", "--executor", "loop", "--no-overlays",
        "--no-baseline", "--crf-iterations", "0", *QUICK,
        "--backbone", BUNDLED_BACKBONE, "--weights", BUNDLED,
    ])  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def place(base: Path, make_corpus: Callable[..., Path]) -> Path:
    """The same after two points of a new class and one of a known one, and a later dump."""
    points = base / "points.csv"
    points.write_text(
        "image,x,y,class\ns001.png,40,20,pole\ns003.png,70,5,pole\ns001.png,4,60,cluster 2\n"
        "gone.png,1,1,pole\n"
    )
    teach(base / "ws", str(points))
    later = make_corpus(base / "b", 3, size=(64, 80)) / "images"  # images that were taught, again
    main([
        "backfill", "--images", str(later), "--dump", "later", "--workspace", str(base / "ws"),
        "--executor", "loop",
    ])  # fmt: skip
    return base / "ws"


def teach(place: Path, *arguments: str) -> None:
    main(["teach", *arguments, "--workspace", str(place), "--executor", "loop"])


def mask_of(place: Path, dump: str, image_id: str) -> np.ndarray:
    workspace = Workspace.open(str(place))
    key = workspace.last_run()["keys"]["masks"]
    return decode_mask(workspace.storage.read(layout.mask(layout.masks(key, dump), image_id)))


def test_what_was_taught_is_labelled_in_every_dump_later_ones_too(place: Path) -> None:
    mask = mask_of(place, "first", "s001")
    assert (mask[20, 40], mask[60, 4]) == (5, 2)
    assert mask_of(place, "first", "s003")[5, 70] == 5
    np.testing.assert_array_equal(mask_of(place, "later", "s001"), mask)
    names = classes_file.current_names(Workspace.open(str(place))).classes.names()
    assert names == [*(f"cluster {number}" for number in range(5)), "pole"]


def test_loose_images_are_labelled_by_the_taught_model(place: Path, base: Path) -> None:
    opened = open_workspace(str(place), "cpu")
    image = opened.picture(str(base / "a/images/s001.png"))
    found = opened.label(image)
    assert (found == mask_of(place, "first", "s001")).mean() > 0.97
    assert opened.names[int(found[20, 40])] == "pole"


def test_lessons_are_stored_with_what_could_not_be_used_left_out(place: Path) -> None:
    (file,) = lessons.history(Workspace.open(str(place)).storage)
    assert [lesson.name for lesson in file.lessons] == ["pole", "pole", "cluster 2"]
    assert file.note == "3 points of points.csv"


def test_names_and_a_second_round_go_on_from_it(
    place: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace.open(str(place))
    now = classes_file.current_names(workspace).classes
    classes_file.edit(workspace, now.edited(5, "post", "#123456"), "renamed")
    (base / "more.csv").write_text("image,x,y,class\ns004.png,9,9,post\ns004.png,50,50,sign\n")
    teach(place, str(base / "more.csv"))
    shown = capsys.readouterr()
    assert "5 lessons learned" in shown.out + shown.err
    classes = classes_file.current_names(Workspace.open(str(place))).classes
    assert [entry.name for entry in classes.entries[5:]] == ["post", "sign"]
    assert classes.entries[5].colour == "#123456"
    assert mask_of(place, "first", "s004")[50, 50] == 6


def test_a_run_that_ends_early_leaves_the_model_before(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Masks, clusters and names change together; what was taught counts in the next run."""
    workspace = Workspace.open(str(place))
    before, names = workspace.last_run()["keys"], classes_file.current_names(workspace).classes
    (place.parent / "half.csv").write_text("image,x,y,class\ns005.png,60,40,fence\n")

    def ended(*_: object) -> None:
        raise InputError("the disk was taken out")

    monkeypatch.setattr(teaching, "label_dump", ended)
    with pytest.raises(SystemExit):
        teach(place, str(place.parent / "half.csv"))
    assert workspace.last_run()["keys"] == before
    assert classes_file.current_names(workspace).classes == names
    main(["status", "--workspace", str(place)])
    monkeypatch.undo()
    teach(place)
    assert classes_file.current_names(workspace).classes.names()[-1] == "fence"
    main(["status", "--workspace", str(place)])
    teach(place, "--undo")


def test_taken_back_it_is_the_model_before(place: Path) -> None:
    workspace = Workspace.open(str(place))
    (place.parent / "last.csv").write_text("image,x,y,class\ns005.png,9,9,wall\n")
    before = workspace.last_run()["keys"]
    teach(place, str(place.parent / "last.csv"))
    assert workspace.last_run()["keys"] != before
    teach(place, "--undo")
    assert workspace.last_run()["keys"] == before


@pytest.mark.long
def test_a_new_head_learns_the_same_lessons_until_they_are_taken_back(place: Path) -> None:
    """By the names of its clusters, of which none has one yet."""
    workspace = Workspace.open(str(place))
    before = lessons.in_force(workspace.storage)
    main(["retrain", "--workspace", str(place), "--classes", "4", "--executor", "loop"])
    assert lessons.in_force(workspace.storage) == before
    clusters = workspace.last_run()["keys"]["clusters"]
    manifest = workspace.folder(layout.clusters(clusters)).manifest()
    assert manifest["taught"]["lessons"] == len(before) - 1  # "cluster 2" is of the head before
    names = classes_file.current_names(workspace).classes.names()
    assert names[4] in {"pole", "post"}
    for _ in lessons.history(workspace.storage):
        if lessons.in_force(workspace.storage):
            teach(place, "--undo")
    assert lessons.in_force(workspace.storage) == []
    clusters = workspace.last_run()["keys"]["clusters"]
    assert "taught" not in workspace.folder(layout.clusters(clusters)).manifest()
    assert len(classes_file.current_names(workspace).classes.entries) == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.csv"], "cannot be read as text"),
        (["--undo", "points.csv"], "give either something to learn or --undo"),
        (["--taxonomy", "t.json"], "give those, too"),
        (["--dumps", "third"], "no dump third; there are first"),
        (["--masks", "nowhere"], "nowhere does not exist"),
        (["--masks", "nowhere.xml"], "nowhere.xml cannot be read"),
    ],
)
def test_mistakes_are_told_before_work_is_done(
    base: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        teach(base / "ws", *arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_without_lessons_teach_changes_nothing(base: Path) -> None:
    before = json.loads((base / "ws/current.json").read_text())["keys"]
    teach(base / "ws")
    assert json.loads((base / "ws/current.json").read_text())["keys"] == before
