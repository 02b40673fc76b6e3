"""A dump of squares that lie in its workspace, after the workspace was copied elsewhere."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from explored_workspace import compute

from stego_core.errors import WorkspaceError
from tasks.corpus import stage as corpus
from tasks.corpus.index import IndexReader
from tasks.options import CorpusOptions
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace


def index(workspace: Workspace) -> None:
    folder = workspace.storage.full(f"{layout.PREPARED}/val")
    options = CorpusOptions(images=f"{folder}/images", labels=f"{folder}/labels")
    compute(corpus.plan(workspace, "val", options), lambda *ended: corpus.finish(workspace, *ended))


@pytest.fixture
def moved(tmp_path: Path, make_corpus: Callable[..., Path]) -> Workspace:
    """The workspace at its new place; nothing is left at the old one."""
    old = Workspace.create(str(tmp_path / "old"))
    make_corpus(tmp_path / "old" / "prepared" / "val", 3, size=(32, 32))
    old.folder(layout.PREPARED, "val").finish({})
    index(old)
    shutil.move(tmp_path / "old", tmp_path / "new")
    return Workspace.open(str(tmp_path / "new"))


def test_its_images_and_labels_are_read_where_they_are_now(moved: Workspace) -> None:
    reader = IndexReader(moved, "val")
    for entry in reader.entries(np.arange(3)):
        assert reader.image(entry).pixels.shape == (32, 32, 3)
        labels = reader.labels(entry)
        assert labels is not None
        assert labels.shape == (32, 32)


def test_the_same_command_finds_it_finished(moved: Workspace) -> None:
    before = moved.corpus("val").manifest()
    index(moved)
    assert moved.corpus("val").manifest() == before


def test_images_from_elsewhere_are_still_refused(moved: Workspace, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(Path(moved.storage.uri) / "prepared" / "val", other)
    options = CorpusOptions(images=str(other / "images"), labels=str(other / "labels"))
    with pytest.raises(WorkspaceError, match="another --images"):
        corpus.plan(moved, "val", options)
