"""What the page asks for becomes the options of a run, and is remembered until it is done."""

from pathlib import Path

import pytest

from flows.explorer.home import run_request
from flows.explorer.home.run_request import Order, RunRequest, Setup
from flows.runs.settings import PipelineOptions
from stego_core.errors import InputError, OptionError
from tasks.options import StorageOptions
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

SECTIONS = {
    "features": {"crop_size": 64, "backbone": "vit_tiny_patch16_224", "layer": 8},
    "head": {"steps": 7},
    "corpus": {"fps": 2.0},
}


def test_the_page_wins_over_the_file() -> None:
    setup = Setup("/ws", SECTIONS, StorageOptions(endpoint="http://localhost:1"))
    order = setup.order(RunRequest(images="/photos", backbone="vit_pico_patch8_conv_64", classes=9))
    options = order.options
    assert (options.corpus.images, options.corpus.fps) == ("/photos", 2.0)
    assert (options.features.backbone, options.features.layer) == ("vit_pico_patch8_conv_64", None)
    assert (options.features.crop_size, options.head.steps, options.clusters.classes) == (64, 7, 9)
    assert options.storage.endpoint == "http://localhost:1"
    assert (order.kind, order.dump, order.workspace) == ("run", "photos", "/ws")
    plain = setup.order(RunRequest(images="/photos")).options.features
    assert (plain.backbone, plain.layer) == ("vit_tiny_patch16_224", 8)


def test_an_order_survives_its_document() -> None:
    """Options that nobody gave stay so: they are stored, and make keys."""
    order = Setup("/ws", SECTIONS).order(RunRequest(images="s3://bucket/photos", classes="auto"))
    again = Order.of(order.document())
    assert again == order
    assert again.options.corpus.model_fields_set == {"images", "fps"}
    assert again.options.masks == PipelineOptions(corpus=order.options.corpus).masks


@pytest.mark.parametrize(
    ("typed", "place"),
    [(" /a b/c ", "/a b/c"), ('"/a"', "/a"), ("'/a/../b'", "/b"), ("s3://b/x/", "s3://b/x")],
)
def test_places_as_people_type_them(typed: str, place: str) -> None:
    assert Setup("/ws").order(RunRequest(images=typed)).options.corpus.images == place


def test_a_tilde_and_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for typed in ("~/photos", "photos"):
        corpus = Setup("/ws").order(RunRequest(images=typed)).options.corpus
        assert corpus.images == str(tmp_path / "photos")


def test_what_makes_no_sense_is_one_sentence() -> None:
    with pytest.raises(OptionError, match="--images"):
        Setup("/ws").order(RunRequest(images=" "))
    with pytest.raises(InputError, match="holds a password"):
        Setup("/ws").order(RunRequest(images="/a", labels="s3://me:secret@bucket/x"))
    with pytest.raises(OptionError, match="--steps"):
        Setup("/ws", {"head": {"steps": 0}}).order(RunRequest(images="/a"))


def test_remembered_until_done(workspace: Workspace) -> None:
    assert run_request.stored(workspace) is None
    request = RunRequest(images="/photos", classes="auto", dump="mine", neighbors=9)
    run_request.store(workspace, request)
    assert run_request.stored(workspace) == request
    run_request.forget(workspace)
    assert run_request.stored(workspace) is None
    workspace.storage.write(layout.REQUEST_FILE, b'{"of": "a later version"}')
    assert run_request.stored(workspace) is None
