"""What the page is sent of a clicked point: heat, neighbours, and the space of codes."""

import base64

import numpy as np
import pytest
from explorer_client import client
from starlette.testclient import TestClient

from flows.explorer import correspondence_routes
from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(200)]
POINT = "dump=train&row=0&y=0.55&x=0.3"


def test_heat_is_a_byte_for_each_patch(asked: TestClient) -> None:
    heat = asked.get(f"/api/heat?{POINT}").json()
    values = np.frombuffer(base64.b64decode(heat["values"]), np.uint8)
    assert len(values) == heat["width"] * heat["height"]
    cosines = 2 * values.astype(float) / 255 - 1
    assert heat["mean"] == pytest.approx(cosines.mean(), abs=0.01)
    patch = heat["patch"]
    assert patch["y"] <= 0.55 <= patch["y"] + patch["height"]
    assert patch["x"] <= 0.3 <= patch["x"] + patch["width"]
    row = int((patch["y"] + patch["height"] / 2) * heat["height"])
    column = int((patch["x"] + patch["width"] / 2) * heat["width"])
    assert values[row * heat["width"] + column] == values.max()  # it is most like itself


def test_neighbours_are_described_and_others(asked: TestClient) -> None:
    items = asked.get(f"/api/neighbours?{POINT}").json()["items"]
    assert items
    for item in items:
        assert item["row"] != 0
        assert {"dump", "path", "height", "width", "labelled", "similarity", "heat"} <= set(item)
        assert -1 <= item["similarity"] <= 1


def test_without_stored_features_an_image_is_still_asked(own: Workspace) -> None:
    """As with an imported head, which has neither features nor neighbours."""
    current = own.last_run()
    keys = {n: k for n, k in current["keys"].items() if n not in {"features", "neighbors"}}
    own.update_last_run(keys=keys, neighbors={})
    asked = client(own)
    assert asked.get(f"/api/neighbours?{POINT}").json() == {"items": None}
    assert asked.get(f"/api/heat?{POINT}").status_code == 200


def test_codes_are_a_sample_with_their_centroids(
    asked: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correspondence_routes, "SAMPLE", 12)
    codes = asked.get("/api/codes").json()
    assert len(codes["points"]) == 12
    classes = asked.get("/api/overview").json()["classes"]
    assert np.asarray(codes["centroids"]).shape == (len(classes), 2)
    assert 0 < codes["explained"] <= 1
    for point in codes["points"]:
        assert point["dump"] == "train"
        assert 0 <= point["cls"] < len(classes)
        assert set(point["patch"]) == {"y", "x", "height", "width"}
