"""Large images are decoded within a budget: predicted from their headers, one after another."""

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stego_core.errors import CapacityError
from stego_core.images import palette
from tasks.corpus import stage as corpus
from tasks.engine import machine
from tasks.images import decoding_memory
from tasks.options import ComputeOptions, CorpusOptions
from tasks.workspace.workspace import Workspace

SIDE = 3000


def blank(mode: str = "RGB", side: int = SIDE, kind: str = "PNG") -> bytes:
    """A large image of one colour in few bytes."""
    sink = io.BytesIO()
    deep = {"I;16": np.uint16, "F": np.float32}.get(mode)
    made = Image.fromarray(np.zeros((side, side), deep)) if deep else Image.new(mode, (side, side))
    made.save(sink, kind)
    return sink.getvalue()


class TestHeader:
    def test_is_read_without_the_pixels(self) -> None:
        found = decoding_memory.header(blank(side=64)[:60])
        assert found is not None
        assert (found.width, found.height, found.transparent) == (64, 64, False)

    @pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
    def test_of_what_is_none(self, content: bytes) -> None:
        assert decoding_memory.header(content) is None


class TestRoom:
    def test_who_needs_more_than_is_free_waits(self) -> None:
        shared, order = decoding_memory.MemoryBudget(100), list[str]()
        content = blank(side=4)  # 288 bytes to decode
        shared = decoding_memory.MemoryBudget(400)
        begun, release = threading.Event(), threading.Event()

        def first() -> None:
            with shared.for_decoding("a", content, 100):
                begun.set()
                release.wait(30)
                order.append("first")

        def second() -> None:
            with shared.for_decoding("b", content, 100):
                order.append("second")

        threads = [threading.Thread(target=first), threading.Thread(target=second)]
        threads[0].start()
        assert begun.wait(30)
        threads[1].start()
        assert shared.free == 400 - 16 * decoding_memory.PICTURE_BYTES
        release.set()
        for thread in threads:
            thread.join()
        assert order == ["first", "second"]
        assert shared.free == 400

    def test_what_never_fits_is_refused_with_both_numbers(self) -> None:
        content = blank(side=1000)
        with (
            pytest.raises(
                CapacityError, match=r"a\.png: .*1000×1000 .* 0\.0 GiB.*--max-pixels 999999$"
            ),
            decoding_memory.MemoryBudget(1).for_decoding("a.png", content, 10**9),
        ):
            pytest.fail("was decoded")

    def test_what_will_be_quarantined_needs_none(self) -> None:
        with decoding_memory.MemoryBudget(0).for_decoding("a.png", blank(side=1000), 999_999):
            pass

    def test_room_is_given_back_after_an_error(self) -> None:
        shared = decoding_memory.MemoryBudget(10)
        with pytest.raises(KeyError), shared.taken(10):
            raise KeyError
        assert shared.free == 10


MEASURE = """
import json, sys
from tasks.corpus import stage as corpus
from tasks.engine import machine
from tasks.images import decoding_memory, image_codecs
from tasks.options import ComputeOptions
from tasks.workspace.workspace import Workspace

def held(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def peak(work):
    open("/proc/self/clear_refs", "w").write("5")
    before = held("VmRSS")
    work()
    return held("VmHWM") - before
"""


def measured(code: str, *arguments: str) -> int:
    """Bytes that code holds at most beyond what its process held before."""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE + code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    return int(json.loads(done.stdout))


can_measure = pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="no peak of memory can be read here"
)


@can_measure
def test_decoding_takes_no_more_than_was_predicted(tmp_path: Path) -> None:
    kinds = {"RGB": "PNG", "RGBA": "PNG", "P": "PNG", "CMYK": "JPEG", "I;16": "PNG", "F": "TIFF"}
    for mode, kind in kinds.items():
        (tmp_path / mode.replace(";", "")).write_bytes(blank(mode, kind=kind))
    code = """
from pathlib import Path
worst = 0
for path in sorted(Path(sys.argv[1]).iterdir()):
    content = path.read_bytes()
    found = decoding_memory.header(content)
    taken = peak(lambda: image_codecs.decode(content, 10**9))
    worst = max(worst, round(1000 * taken / found.decoding))
print(json.dumps(worst))
"""
    assert 200 < measured(code, str(tmp_path)) <= 1000


@can_measure
def test_indexing_holds_to_the_limit(tmp_path: Path) -> None:
    """Four images at once would take four times as much as the limit leaves for one and a half."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "abcd":
        (folder / f"{name}.png").write_bytes(blank())
    Workspace.create(str(tmp_path / "ws"))
    code = """
from tasks.options import CorpusOptions
place = Workspace.open(sys.argv[1])
limit = int((machine.resting() + 1.5 * 18 * 9_000_000) / machine.SAFE_SHARE) + 1
options = ComputeOptions(executor="loop", memory_limit=max(limit, 2**28))
stage = corpus.plan(place, "d", CorpusOptions(images=sys.argv[2]), compute=options)
print(json.dumps(peak(lambda: stage.work.shard(0))))
"""
    taken = measured(code, str(tmp_path / "ws"), str(folder))
    assert 10 * SIDE**2 <= taken < 1.5 * 18 * SIDE**2


def test_an_image_beyond_the_limit_ends_indexing_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(blank(side=3000))
    place = Workspace.create(str(tmp_path / "ws"))
    limit = int((machine.resting() + 9 * 10**6) / machine.SAFE_SHARE)
    options = ComputeOptions(executor="loop", memory_limit=max(limit, 2**28))
    stage = corpus.plan(place, "d", CorpusOptions(images=str(tmp_path / "images")), compute=options)
    assert stage is not None
    with pytest.raises(CapacityError, match=r"a\.png: .*GiB, and a worker has .* GiB left"):
        stage.work.steps()[0].call(0)


class TestBudget:
    @pytest.fixture(autouse=True)
    def figures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "free_memory", lambda: 8 * 2**30)
        monkeypatch.setattr(machine, "resting", lambda: 2**60)  # nothing is kept

    def test_local_workers_share_what_is_free(self) -> None:
        assert machine.budget(ComputeOptions(workers=4)) == 2 * 2**30

    @pytest.mark.parametrize(
        "options",
        [ComputeOptions(executor="loop"), ComputeOptions(cluster="tcp://h:1", workers=4)],
    )
    def test_others_have_it_to_themselves(self, options: ComputeOptions) -> None:
        assert machine.budget(options) == 8 * 2**30

    def test_a_workers_limit_holds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "resting", lambda: 2**29)
        limit = 3 * 2**30
        found = machine.budget(ComputeOptions(workers=1, memory_limit=limit))
        assert found == int(machine.SAFE_SHARE * limit) - 2**29


def test_an_overlay_is_the_rounded_mean_whatever_its_height() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (2 * palette.BLENDED_ROWS + 3, 5, 3), np.uint8) for _ in range(2))
    assert np.array_equal(palette.overlay(a, b), (a * 0.5 + b * 0.5).round().astype(np.uint8))
