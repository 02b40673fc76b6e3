"""From lessons to masks: kept features, the graph, the taught model, and what it labels."""

from functools import partial

import numpy as np
import pytest
from explored_workspace import CLASSES, CLUSTERS, compute
from explored_workspace import MASKS as REFINED

from stego_core.clustering.kmeans import unit
from stego_core.errors import InputError
from tasks.corpus.index import IndexReader
from tasks.engine.stage import Stage
from tasks.images.image_codecs import decode_mask
from tasks.masks import kept_features
from tasks.masks import stage as masks
from tasks.masks.segmenter import segmenter_spec
from tasks.masks.taught_segmenter import TaughtSpec, mask_source
from tasks.teaching import changed_pixels, graph, image_features
from tasks.teaching import stage as taught
from tasks.teaching.changed_pixels import ChangedPixels
from tasks.teaching.graph import read_graph, sampled_rows
from tasks.teaching.lesson_patches import TaughtPatch, found_patches, taught_key
from tasks.teaching.lessons import Lesson
from tasks.teaching.stage import with_added
from tasks.upkeep import doctor
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

MASKS = REFINED.model_copy(update={"crf_iterations": 0})
"""What a few patches' neighbours say of a taught one is left out."""
DUMPS = ("first", "later")
NAMES = [*(f"cluster {number}" for number in range(CLASSES)), "pole"]


@pytest.fixture
def graphed(workspace: Workspace) -> Workspace:
    spec = segmenter_spec(workspace, CLUSTERS, MASKS)
    for dump in DUMPS:
        compute(image_features.plan(workspace, dump, spec, "cpu"))
    compute(graph.plan(workspace, DUMPS, spec), Stage.finish_single)
    return workspace


def learn(workspace: Workspace, patches: list[TaughtPatch]) -> str:
    spec = segmenter_spec(workspace, CLUSTERS, MASKS)
    key = graph.graph_key(workspace, DUMPS, spec)
    compute(taught.plan(workspace, spec, key, patches, NAMES), Stage.finish_single)
    return taught_key(spec, key, patches, NAMES[CLASSES:])


def label(workspace: Workspace, clusters_key: str, dump: str = "first") -> list[np.ndarray]:
    stage = masks.plan(workspace, dump, clusters_key, MASKS, "cpu")
    compute(stage, partial(masks.finish, workspace))
    path = mask_source(workspace, clusters_key, MASKS).masks_path(dump)
    entries = IndexReader(workspace, dump).entries(np.arange(3))
    return [
        decode_mask(workspace.storage.read(layout.mask(path, entry["image_id"])))
        for entry in entries
    ]


POLE = TaughtPatch("first", 1, 40, 20, CLASSES)


def test_a_taught_pixel_has_its_class_in_the_next_masks(graphed: Workspace) -> None:
    key = learn(graphed, [POLE, TaughtPatch("first", 1, 4, 60, 2)])
    mask = label(graphed, key)[1]
    assert (mask[20, 40], mask[60, 4]) == (CLASSES, 2)
    manifest = graphed.folder(layout.clusters(key)).manifest()
    assert (manifest["classes"], manifest["names"]) == (CLASSES + 1, NAMES)
    assert (manifest["taught"]["clusters"], manifest["inputs"]["clusters"]) == (CLASSES, CLUSTERS)


def test_dumps_whose_features_are_not_kept_are_labelled_alike(graphed: Workspace) -> None:
    """As backfilled ones are: kept features save time and change nothing but rounding."""
    key = learn(graphed, [POLE])
    spec = mask_source(graphed, key, MASKS)
    assert isinstance(spec, TaughtSpec)
    index = IndexReader(graphed, "later")
    entry = index.entry(1)
    kept = spec.kept_codes("later", entry["image_id"])
    read = spec.build("cpu").codes(index.image(entry).pixels)
    assert kept is not None
    assert kept.shape == read.shape
    np.testing.assert_allclose(kept, read, atol=0.05)
    assert spec.kept_codes("never seen", entry["image_id"]) is None


def test_the_same_lessons_are_the_same_model(graphed: Workspace) -> None:
    assert learn(graphed, [POLE]) == learn(graphed, [POLE])
    assert learn(graphed, [POLE]) != learn(graphed, [POLE._replace(x=41)])


def test_what_is_kept_is_what_masks_read(graphed: Workspace) -> None:
    spec = segmenter_spec(graphed, CLUSTERS, MASKS)
    index = IndexReader(graphed, "first")
    entry = index.entry(2)
    path = layout.image_feature(kept_features.features_key(spec), "first", entry["image_id"])
    kept = kept_features.read(graphed.storage, path)
    codes = spec.build("cpu").codes(index.image(entry).pixels)
    expected = unit(codes) @ spec.centroids().T
    np.testing.assert_allclose(kept.cosines, expected, atol=2e-2)
    np.testing.assert_allclose(np.linalg.norm(kept.features.astype(float), axis=-1), 1, atol=1e-2)


def test_nodes_lie_where_their_places_say(graphed: Workspace) -> None:
    spec = segmenter_spec(graphed, CLUSTERS, MASKS)
    stored = read_graph(graphed.storage, graph.graph_key(graphed, DUMPS, spec))
    key = kept_features.features_key(spec)
    for node in (0, len(stored.places) - 1):
        place = graph.Place(*stored.places[node].tolist())
        dump = DUMPS[place.dump]
        entry = IndexReader(graphed, dump).entry(place.row)
        kept = kept_features.read(
            graphed.storage, layout.image_feature(key, dump, entry["image_id"])
        )
        assert kept.features.shape[:2] == (place.height, place.width)
        feature = kept.features[place.top, place.left].astype(np.float32)
        np.testing.assert_allclose(
            stored.projection(feature), stored.graph.positions[node], atol=1e-5
        )
        np.testing.assert_array_equal(
            stored.cosines[node], kept.cosines[place.top, place.left].astype(np.float32)
        )


def test_lessons_of_images_that_are_gone_are_told(graphed: Workspace) -> None:
    key = kept_features.features_key(segmenter_spec(graphed, CLUSTERS, MASKS))
    there = Lesson("first", "s001", 3, 4, "pole", CLUSTERS)
    lessons = [(there, 5), (there._replace(image_id="gone"), 5), (there._replace(dump="no"), 5)]
    patches, problems = found_patches(graphed, lessons, key)
    assert patches == [TaughtPatch("first", 1, 3, 4, 5)]
    assert [problem.partition(" is not")[0] for problem in problems] == [
        "image gone of dump first", "image s001 of dump no"
    ]  # fmt: skip


def test_nothing_to_learn_is_refused(graphed: Workspace) -> None:
    with pytest.raises(InputError, match="no lesson is left"):
        learn(graphed, [])


def test_doctor_knows_what_was_made(graphed: Workspace) -> None:
    key = learn(graphed, [POLE])
    label(graphed, key)
    graphed.update_last_run(keys={**graphed.last_run()["keys"], "clusters": key})
    assert doctor.examine(graphed, deep=False).findings == []
    ends = (layout.TAUGHT_FILE, layout.GRAPH_FILE, "s000.safetensors")
    for path in [file.path for file in graphed.storage.files() if file.path.endswith(ends)]:
        content = graphed.storage.read(path)
        graphed.storage.write(path, content[:-1] + bytes([content[-1] ^ 1]))
        found = doctor.examine(graphed, deep=False).findings
        assert any(path.rpartition("/")[0] in finding.path for finding in found), path
        graphed.storage.write(path, content)


def test_changed_pixels_are_those_that_are_shown_otherwise(graphed: Workspace) -> None:
    before = label(graphed, CLUSTERS)
    key = learn(graphed, [POLE])
    after = label(graphed, key)
    keys = [
        mask_source(graphed, each, MASKS).masks_path("first").split("/")[1]
        for each in (CLUSTERS, key)
    ]
    shown_as = np.arange(256, dtype=np.uint8)
    found = changed_pixels.changed_pixels(graphed, "first", *keys, shown_as)
    assert found.pixels == 6 * 64 * 64
    assert found.changed >= sum(int((a != b).sum()) for a, b in zip(before, after, strict=True)) > 0
    assert 1 <= found.images <= 6
    assert changed_pixels.changed_pixels(graphed, "first", *keys, np.zeros(256, np.uint8)) == (
        ChangedPixels(0, found.pixels, 0)
    )


def test_added_classes_lie_among_the_centroids_of_their_patches() -> None:
    centroids = np.eye(3, dtype=np.float32)
    cosines = np.eye(3, dtype=np.float32)
    probabilities = np.array([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0.5, 0.5]], np.float32)
    found = with_added(centroids, cosines, probabilities)
    np.testing.assert_allclose(found[3], unit(np.array([0, 1, 0.5])), atol=1e-6)


@pytest.mark.parametrize(
    ("images", "most", "expected"),
    [
        ([2, 3], 9, [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]),
        ([2, 3], 2, [(0, 0), (1, 2)]),
        ([0, 4], 4, [(1, 0), (1, 1), (1, 2), (1, 3)]),
        ([100, 100], 3, [(0, 0), (1, 0), (1, 99)]),
    ],
)
def test_rows_are_spread_over_all_dumps(
    images: list[int], most: int, expected: list[tuple[int, int]]
) -> None:
    assert sampled_rows(images, most) == expected
