"""The help of `stego benchmark` shows the published defaults, and no others."""

from contextlib import redirect_stdout
from io import StringIO

from flows.benchmark.paper_options import BenchmarkOptions
from flows.cli.main import main
from stego_core.paper.published_protocol import BENCHMARKS
from tasks.options import HeadOptions
from tasks.paper.protocol import published_options


def test_defaults_are_the_published_ones() -> None:
    options = BenchmarkOptions()
    assert (options.head.recipe, options.head.steps) == ("stego", 5000)
    assert (options.neighbors.k, options.neighbors.search) == (30, "exact")
    assert options.features.precision == "float32"
    masks = options.masks
    assert (masks.resolution, masks.sharpness, masks.crf_pixels) == (320, 2.0, "released")


def test_a_default_is_not_given() -> None:
    given = BenchmarkOptions(head={"steps": 7})
    assert given.head.model_fields_set == {"steps"}
    settled = published_options(BENCHMARKS["cityscapes27"], dict(given))
    assert type(settled["head"]) is HeadOptions
    assert settled["head"].steps == 7
    assert settled["head"].code_size == 100


def test_the_help() -> None:
    with redirect_stdout(StringIO()) as said:
        main(["benchmark", "--help"])
    text = " ".join(said.getvalue().replace("│", " ").split())
    for shown in ("[default: stego]", "[default: 5000]", "[default: float32]", "[default: 320]"):
        assert shown in text
    for other in ("[default: mean-shift]", "[default: 400]"):
        assert other not in text
    assert text.count("[default: 640]") == 1  # that of --tile
    assert "A code has this many numbers. By default it is as published for the data set." in text
