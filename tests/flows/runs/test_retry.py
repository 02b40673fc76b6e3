"""From tar shards to masks, then a list from the web, and again what it could not give at once."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flags import QUICK, TINY
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from web_server import serving

from flows.cli.main import main
from flows.runs import stages

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def quiet(prefect: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No page, which costs more than the dumps, and no heartbeats, which each flow waits for."""
    monkeypatch.setattr(stages, "report_flow", lambda workspace: f"{workspace}/reports")
    with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def packed(corpus: Path, path: Path, count: int) -> None:
    with tarfile.open(path, "w") as archive:
        for image in sorted((corpus / "images").iterdir())[:count]:
            archive.add(image, image.name)
            label = (corpus / "labels" / image.name).read_bytes()
            info = tarfile.TarInfo(f"{image.stem}.seg.png")
            info.size = len(label)
            archive.addfile(info, io.BytesIO(label))


@pytest.mark.long
def test_shards_then_a_list_then_what_it_lacked(
    tmp_path: Path, make_corpus: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    train = make_corpus(tmp_path / "train", 10, size=(64, 64))
    packed(train, tmp_path / "x-0.tar", 10)
    workspace = ["--workspace", str(tmp_path / "ws"), "--executor", "loop"]
    main([
        "run", "--images", f"{tmp_path}/x-{{0..1}}.tar", "--taxonomy", str(train / "taxonomy.json"),
        "--neighbors", "4", "--no-baseline", "--no-linear-probe", "--no-overlays",
        "--crf-iterations", "0", *workspace, *TINY, *QUICK,
    ])  # fmt: skip
    shown = "".join(capsys.readouterr())
    assert "left out: 1 archive that cannot be read" in shown
    assert "STEGO" in shown  # it was scored
    new = make_corpus(tmp_path / "new", 3, 100, size=(64, 64))
    files = {image.name: image.read_bytes() for image in (new / "images").iterdir()}
    with serving(files=files, always={"s101.png": 404, "s102.png": 404}) as web:
        rows = [f"{web.url}/{name}?token=hushhush" for name in sorted(files)]
        (tmp_path / "web.txt").write_text("\n".join(rows))
        main(["backfill", "--images", str(tmp_path / "web.txt"), *workspace])
        del web.always["s101.png"]
        web.requests.clear()
        main(["retry-quarantined", *workspace])
        assert "/s100.png" not in web.counts()
    masks = {path.name for path in (tmp_path / "ws" / "masks").rglob("*/web*/*/*.png")}
    assert masks == {"s100.png", "s101.png"}
    capsys.readouterr()
    main(["status", "--json", "--workspace", str(tmp_path / "ws")])
    document = json.loads(capsys.readouterr().out)
    assert list(document["dumps"]) == ["x", "web", "web-again-1"]
    assert [row["path"].rpartition("/")[2] for row in document["quarantine"]] == ["s102.png"]
    written = b"".join(f.read_bytes() for f in (tmp_path / "ws").rglob("*") if f.is_file())
    assert b"hushhush" not in written
    with pytest.raises(SystemExit) as ended:
        main(["retry-quarantined", "--dump", "none", *workspace])
    assert ended.value.code == 2
