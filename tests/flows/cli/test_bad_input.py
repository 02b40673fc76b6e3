"""What people do wrong: one sentence, exit code 2, no traceback; what is broken is listed."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from flags import QUICK, TINY
from PIL import Image

from flows.cli.main import main
from stego_core.masks import densecrf

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(300)]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must end with exit code 2; returns what it said."""

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as exit_:
            main([*arguments])
        assert exit_.value.code == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "Traceback" not in said
        return said

    return run


@pytest.fixture
def corpus(tmp_path: Path, make_corpus: Callable[..., Path]) -> Path:
    return make_corpus(tmp_path / "corpus", 3, size=(64, 64))


def run_flags(corpus: Path, *more: str) -> list[str]:
    return [
        "run", "--workspace", str(corpus.parent / "ws"), "--images", str(corpus / "images"),
        "--executor", "loop", *TINY, *QUICK, *more,
    ]  # fmt: skip


FEW = ("--neighbors", "2", "--classes", "3")
"""What three images can give."""


class TestMistakes:
    def test_no_images(self, tmp_path: Path, refused: Callable[..., str]) -> None:
        (tmp_path / "corpus" / "images").mkdir(parents=True)
        assert "no images under" in refused(*run_flags(tmp_path / "corpus"))

    def test_no_folder(self, tmp_path: Path, refused: Callable[..., str]) -> None:
        assert "does not exist" in refused(*run_flags(tmp_path / "nowhere"))

    def test_fewer_images_than_k(self, corpus: Path, refused: Callable[..., str]) -> None:
        said = refused(*run_flags(corpus))
        assert "3 usable images are fewer than the 30 neighbours" in said
        assert "--neighbors" in said

    def test_fewer_rows_than_classes(self, corpus: Path, refused: Callable[..., str]) -> None:
        said = refused(*run_flags(corpus, "--neighbors", "2", "--classes", "200"))
        assert "15 usable feature rows are fewer than the 200 classes" in said

    def test_labels_of_another_size(self, corpus: Path, refused: Callable[..., str]) -> None:
        Image.new("L", (10, 10)).save(corpus / "labels" / "s001.png")
        said = refused(*run_flags(corpus, "--labels", str(corpus / "labels")))
        assert "s001.png is 10×10, its image 64×64" in said

    def test_labels_outside_the_taxonomy(self, corpus: Path, refused: Callable[..., str]) -> None:
        Image.new("L", (64, 64), 99).save(corpus / "labels" / "s001.png")
        taxonomy = ("--taxonomy", str(corpus / "taxonomy.json"))
        said = refused(*run_flags(corpus, "--labels", str(corpus / "labels"), *taxonomy))
        assert "label values [99] are outside the taxonomy 'scenes'" in said

    def test_mended_labels_are_read_again(self, corpus: Path, refused: Callable[..., str]) -> None:
        good = (corpus / "labels" / "s001.png").read_bytes()
        (corpus / "labels" / "s001.png").write_bytes((corpus / "images/s001.png").read_bytes())
        labels = ("--labels", str(corpus / "labels"))
        Image.new("L", (1, 1)).save(corpus / "labels" / "s001.png")
        assert "s001.png" in refused(*run_flags(corpus, *labels))
        (corpus / "labels" / "s001.png").write_bytes(good)
        assert "usable images" in refused(*run_flags(corpus, *labels))

    def test_no_label_belongs(self, corpus: Path, refused: Callable[..., str]) -> None:
        (corpus / "other").mkdir()
        said = refused(*run_flags(corpus, "--labels", str(corpus / "other")))
        assert "none of the 3 images" in said

    @pytest.mark.parametrize(
        "content", ["{", "[]", '{"classes": []}', '{"classes": ["a"], "b": 1}']
    )
    def test_taxonomy(self, corpus: Path, refused: Callable[..., str], content: str) -> None:
        (corpus / "t.json").write_text(content)
        assert "taxonomy" in refused(*run_flags(corpus, "--taxonomy", str(corpus / "t.json")))

    @pytest.mark.parametrize(
        ("flags", "expected"),
        [
            (("--frobnicate", "1"), "Unknown option: --frobnicate"),
            (("--stepps", "1"), "Did you mean --steps?"),
            (("--steps", "many"), "input should be a valid integer"),
            (("--steps", "0"), "--steps"),
            (("--crops", "six"), "--crops: input should be 'five' or 'whole' (found 'six')"),
            (("--shifts", "tokyo"), "cocostuff27-s8"),
            (("--shifts", "1,2"), "expected three"),
            (("--backbone", "resnet18"), "not a plain vision transformer"),
            (("--backbone", "vit_nonsense"), "not a timm model"),
            (("--layer", "99"), "--layer 99"),
            (("--backbone", "convnext_tiny.dinov3_lvd1689m"), "not a plain vision transformer"),
            (("--crop-size", "65"), "multiple of the backbone's patch of 16 pixels; use 64 or 80"),
            (("--tile", "64"), "--tile 64 is not larger than --tile-overlap 64"),
            (("--weights", "/nowhere/w.pth"), "--weights /nowhere/w.pth cannot be read"),
            (("--dump", "../x"), "dump name"),
            (("--config", "/nowhere.toml"), "--config"),
            (("--device", "tpu"), "device 'tpu'"),
        ],
    )
    def test_options(
        self, corpus: Path, refused: Callable[..., str], flags: tuple[str, ...], expected: str
    ) -> None:
        assert expected in refused(*run_flags(corpus, *FEW, *flags))

    def test_a_crf_whose_package_is_missing(
        self, corpus: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(densecrf, "find_spec", lambda name: None)
        said = refused(*run_flags(corpus, *FEW, "--crf-engine", "pydensecrf"))
        assert "pip install 'stego-flows[pydensecrf]'" in said
        assert not list(corpus.parent.glob("ws/corpus"))

    def test_configuration_file(self, corpus: Path, refused: Callable[..., str]) -> None:
        config = corpus / "stego.toml"
        for text, expected in (
            ("[head]\nstep = 3", "head has no option 'step'"),
            ("[heads]\nsteps = 3", "expected the sections corpus, inbox, pretrain, features"),
            ("steps 3", "not TOML"),
        ):
            config.write_text(text)
            assert expected in refused(*run_flags(corpus, "--config", str(config)))

    def test_pickled_weights_are_never_executed(
        self, corpus: Path, refused: Callable[..., str]
    ) -> None:
        import pickle

        class Evil:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return (exec, (f"open({str(corpus / 'owned')!r}, 'w')",))

        (corpus / "evil.pth").write_bytes(pickle.dumps(Evil()))
        said = refused(*run_flags(corpus, *FEW, "--weights", str(corpus / "evil.pth")))
        assert "does not hold plain tensors" in said
        assert not (corpus / "owned").exists()

    def test_another_version_s_workspace(self, corpus: Path, refused: Callable[..., str]) -> None:
        (corpus.parent / "ws").mkdir()
        (corpus.parent / "ws" / "workspace.json").write_text('{"format": 99}')
        assert "has workspace format 99" in refused(*run_flags(corpus))

    def test_no_workspace(self, tmp_path: Path, refused: Callable[..., str]) -> None:
        assert "is not a workspace" in refused("status", "--workspace", str(tmp_path / "none"))
        assert not (tmp_path / "none").exists()

    def test_stage_out_of_order(self, corpus: Path, refused: Callable[..., str]) -> None:
        ws = str(corpus.parent / "ws")
        main(["corpus", "--workspace", ws, "--images", str(corpus / "images")])
        assert "stego features" in refused("neighbors", "--workspace", ws)

    def test_a_dump_is_frozen(self, corpus: Path, refused: Callable[..., str]) -> None:
        ws = str(corpus.parent / "ws")
        main(["corpus", "--workspace", ws, "--images", str(corpus / "images"), "--dump", "a"])
        said = refused(
            "corpus", "--workspace", ws, "--images", str(corpus / "labels"), "--dump", "a"
        )
        assert "another --images" in said
        assert "--dump" in said
        assert "remove" not in said


def with_orientation(image: Image.Image, value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    sink = io.BytesIO()
    image.save(sink, "JPEG", exif=exif)
    return sink.getvalue()


def test_broken_files_are_listed_and_the_run_goes_on(tmp_path: Path, prefect: None) -> None:
    """Every kind of file is either labelled at its displayed size, or quarantined."""
    images = tmp_path / "imgs"
    (images / "a b").mkdir(parents=True)
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8))
    jpeg = with_orientation(picture, 6)
    good = {
        "rotated.jpg": (64, 48),
        "a b/straße 日本.png": (48, 64),
        "a b/rotated.png": (48, 64),
        "cmyk.jpg": (48, 64),
        "deep.png": (48, 64),
        "palette.png": (48, 64),
        "alpha.png": (48, 64),
        "one.png": (1, 1),
        "thin.png": (1, 2000),
    }
    (images / "rotated.jpg").write_bytes(jpeg)
    picture.save(images / "a b/straße 日本.png")
    picture.save(images / "a b/rotated.png")
    picture.convert("CMYK").save(images / "cmyk.jpg")
    Image.fromarray(rng.integers(0, 65535, (48, 64)).astype(np.uint16)).save(images / "deep.png")
    picture.convert("P").save(images / "palette.png")
    picture.convert("RGBA").save(images / "alpha.png")
    Image.new("RGB", (1, 1)).save(images / "one.png")
    Image.fromarray(rng.integers(0, 255, (1, 2000, 3), np.uint8)).save(images / "thin.png")
    bad = {"empty.jpg": "0 bytes", "text.jpg": "not an image", "half.jpg": "cannot be decoded",
           "bomb.png": "more than the limit", "gone.jpg": "cannot be read"}  # fmt: skip
    (images / "empty.jpg").touch()
    (images / "text.jpg").write_text("hello")
    (images / "half.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    Image.new("L", (400, 300)).save(images / "bomb.png")
    (images / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    main(
        ["run", "--workspace", str(tmp_path / "ws"), "--images", str(images), "--neighbors", "5",
         "--classes", "4", "--max-pixels", "100000", "--executor", "loop", *TINY, *QUICK]
    )  # fmt: skip
    quarantine = pq.read_table(tmp_path / "ws/corpus/imgs/quarantine.parquet").to_pylist()
    assert {row["path"] for row in quarantine} == set(bad)
    for row in quarantine:
        assert bad[row["path"]] in row["reason"]
    key = json.loads((tmp_path / "ws/current.json").read_text())["keys"]["masks"]
    folder = tmp_path / "ws" / "masks" / key / "imgs"
    sizes = {
        str(path.relative_to(folder).with_suffix("")): Image.open(path).size[::-1]
        for path in folder.rglob("*.png")
    }
    assert sizes == {str(Path(name).with_suffix("")): size for name, size in good.items()}


def test_a_full_disk(
    tmp_path: Path, corpus: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from tasks.storage import storage

    def full(target: str, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage, "write_local", full)
    assert "no space is left" in refused(*run_flags(corpus))


def test_an_image_that_vanishes_later_keeps_its_row(
    tmp_path: Path, make_corpus: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = make_corpus(tmp_path / "corpus", 6, size=(64, 64))
    ws = ("--workspace", str(tmp_path / "ws"))
    main(["corpus", *ws, "--images", str(corpus / "images")])
    (corpus / "images" / "s001.png").unlink()
    main([*run_flags(corpus, "--neighbors", "3", "--classes", "3")])
    capsys.readouterr()
    main(["status", *ws, "--json"])
    document = json.loads(capsys.readouterr().out)
    reasons = {row["path"]: row["reason"] for row in document["quarantine"]}
    assert "cannot be read any more" in reasons["s001.png"]
    assert document["dumps"]["images"]["masks"] == 5
