"""Format cvat, read back by Datumaro."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from exported_masks import LABELS, check_datumaro, counted, every_mask

from stego_core.labels.void import VOID_BYTE


class TestCvat:
    @pytest.mark.parametrize("instances", [False, True])
    def test_datumaro_reads_the_masks(self, exported: Callable[..., Path], instances: bool) -> None:
        datumaro = pytest.importorskip("datumaro")
        out = exported("cvat", with_images=True, instances=instances)
        dataset = datumaro.Dataset.import_from(str(out), "cvat")
        check_datumaro(dataset)
        margins = {name: values for name, _, values in every_mask()}
        shapes = 0
        for item in dataset:
            for annotation in item.annotations:
                own = margins[item.id][np.asarray(annotation.image) > 0]
                told = float(annotation.attributes["confidence"])
                assert told == pytest.approx(own.mean(), abs=1e-4)
                shapes += 1
        masks = [ids for _, ids, _ in every_mask()]
        whole = sum(len(np.setdiff1d(ids, VOID_BYTE)) for ids in masks)
        assert shapes == (sum(map(counted, masks)) if instances else whole)

    def test_labels_have_their_names_and_colours(self, exported: Callable[..., Path]) -> None:
        out = exported("cvat")
        root = ElementTree.parse(out / "annotations.xml").getroot()
        assert root.findtext("version") == "1.1"
        labels = root.findall("meta/task/labels/label")
        assert [label.findtext("name") for label in labels] == list(LABELS.values())
        assert labels[0].findtext("color") == "#0080ff"
        raw = json.loads((out / "labels.json").read_text())
        assert [row["name"] for row in raw] == list(LABELS.values())
        sources = {mask.get("source") for mask in root.iter("mask")}
        assert sources == {"auto"}
