"""Format labelstudio, read back by Label Studio's own decoder."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from exported_masks import LABELS, MASKS, counted, every_mask, painted
from labelled import MASKS_KEY

from stego_core.errors import OptionError
from tasks import exports
from tasks.exports.label_studio import reference
from tasks.masks import confidence_table
from tasks.storage.storage import Storage
from tasks.workspace import tables
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace


def rows_of(folder: Folder) -> Iterator[dict[str, Any]]:
    """Id and uncertainty of each image."""
    path = confidence_table.path(folder)
    return tables.stream_rows(folder.storage, path, ["image_id", "doubt"])


class TestLabelStudio:
    @pytest.mark.parametrize("instances", [False, True])
    def test_its_own_reader_decodes_the_brushes(
        self, workspace: Workspace, exported: Callable[..., Path], instances: bool
    ) -> None:
        brush = pytest.importorskip("label_studio_sdk.converter.brush")
        out = exported("labelstudio", instances=instances)
        tasks = json.loads((out / "tasks.json").read_text())
        numbers = {name: number for number, name in LABELS.items()}
        doubts = {
            f"{dump}/{row['image_id']}": row["doubt"]
            for dump in MASKS
            for row in rows_of(workspace.folder("masks", MASKS_KEY, dump))
        }
        for (name, ids, margins), task in zip(every_mask(), tasks, strict=True):
            assert f"{task['data']['dump']}/{task['data']['image_id']}" == name
            (prediction,) = task["predictions"]
            assert prediction["score"] == pytest.approx(1 - doubts[name], abs=1e-4)
            parts = []
            for result in prediction["result"]:
                value = result["value"]
                assert (result["original_height"], result["original_width"]) == ids.shape
                flat = brush.decode_rle(value["rle"])
                mask = flat.reshape(*ids.shape, 4)[:, :, 3]
                assert set(np.unique(mask)) <= {0, 255}
                parts.append((numbers[value["brushlabels"][0]], mask))
                assert result["score"] == pytest.approx(margins[mask > 0].mean(), abs=1e-4)
            np.testing.assert_array_equal(painted(ids.shape, parts), ids)
            if instances:
                assert len(parts) == counted(ids)

    def test_the_configuration_belongs_to_the_tasks(self, exported: Callable[..., Path]) -> None:
        out = exported("labelstudio")
        view = ElementTree.parse(out / "config.xml").getroot()
        labels = [label.get("value") for label in view.iter("Label")]
        assert labels == list(LABELS.values())
        result = json.loads((out / "tasks.json").read_text())[0]["predictions"][0]["result"][0]
        assert result["from_name"] == view.find("BrushLabels").get("name")
        assert result["to_name"] == view.find("Image").get("name")
        assert view.find("Image").get("value") == "$image"

    def test_local_images_are_referred_to_below_the_document_root(
        self, exported: Callable[..., Path], workspace: Workspace
    ) -> None:
        folder = Path(workspace.storage.uri).parent
        out = exported("labelstudio", document_root=str(folder))
        tasks = json.loads((out / "tasks.json").read_text())
        address = urlsplit(tasks[0]["data"]["image"])
        assert address.path == "/data/local-files/"
        assert parse_qs(address.query) == {"d": ["one/a.png"]}

    def test_images_elsewhere_keep_their_uri(self) -> None:
        root = Storage.at("/data")
        assert reference("s3a://bucket/a b.png", root) == "s3://bucket/a b.png"
        assert reference("/data/x/a&b #1.png", root) == "/data/local-files/?d=x/a%26b%20%231.png"
        with pytest.raises(OptionError, match="not below /data, the document root"):
            reference("/database/a.png", root)

    def test_without_its_package_one_sentence(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "label_studio_sdk.converter", None)
        with pytest.raises(OptionError, match=r"pip install 'stego-flows\[labelstudio\]'"):
            exports.export(workspace, "labelstudio", Storage.at(str(tmp_path / "out")))
