"""The report page: it renders in full and empty, escapes names, needs no network, opens."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from stego_core.clustering.silhouette import Minimum
from tasks.report import contents, page
from tasks.report.data_uris import Picture
from tasks.report.status import SCORE_NAMES

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>\x00\udc80$\\frac{"
SHIFTS = {"self": 0.6, "knn": 0.35, "rand": 0.1}
COLOURS = np.array([[0, 114, 178], [213, 94, 0], [0, 158, 115], [240, 228, 66]], dtype=np.uint8)


def scene(seed: int, height: int = 240, width: int = 320) -> tuple[Picture, Picture]:
    """A noisy picture and the coloured mask of its four smooth regions."""
    generator = np.random.default_rng(seed)
    rows, cols = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    a, b, c = generator.uniform(2, 5, 3)
    labels = 2 * (np.sin(a * rows + b * cols) > 0) + (np.cos(c * cols - a * rows) > 0.1)
    tones = generator.uniform(40, 220, (4, 3))[labels] + generator.normal(0, 12, (height, width, 3))
    return tones.clip(0, 255).astype(np.uint8), COLOURS[labels]


def example(seed: int, labelled: bool = True) -> contents.ExampleImage:
    image, mask = scene(seed)
    overlay = (0.5 * image + 0.5 * mask).astype(np.uint8)
    return contents.ExampleImage(
        "day-1", seed, f"{seed:08x}", image, mask, overlay, mask if labelled else None
    )


def seed_figure() -> contents.SeedFigure:
    rows, cols = np.mgrid[0:20, 0:28]
    points = [(40.0, 60.0), (120.0, 200.0), (200.0, 280.0)]
    heat = np.stack(
        [1.2 * np.exp(-np.hypot(rows - y / 12, cols - x / 11.4) / 5) - 0.2 for y, x in points]
    )
    pictures = [scene(seed)[0] for seed in (1, 2, 3)]
    return contents.SeedFigure(
        points,
        [(each, heat) for each in pictures],
        ["query image", "nearest neighbour 1", "nearest neighbour 2"],
    )


def training(steps: int = 400) -> contents.TrainingCurves:
    generator = np.random.default_rng(0)
    step = np.arange(steps) * 10.0
    columns = {"step": step}
    for place, name in enumerate(("self", "knn", "rand")):
        fall = np.exp(-step / 900)
        columns[f"loss_{name}"] = 0.1 * place + fall + generator.normal(0, 0.04, steps)
        columns[f"mean_{name}"] = 0.6 - 0.25 * place - 0.2 * fall
    columns["loss"] = columns["loss_self"] + columns["loss_knn"] + columns["loss_rand"]
    return contents.TrainingCurves(columns, SHIFTS)


def confusion(dump: str, classes: int, extra: int = 2) -> contents.Confusion:
    counts = np.random.default_rng(classes).integers(0, 400, (classes, classes + extra))
    counts[np.arange(classes), np.arange(classes)] += 3000
    counts[-1] = 0
    ious = np.linspace(72, 4, classes)
    ious[-1] = np.nan
    names = [f"class {place}" for place in range(classes)]
    extras = [f"cluster {place}" for place in range(extra)]
    return contents.Confusion(dump, counts, names, names + extras, ious)


def quarantined(dump: str, path: str, stage: str, reason: str) -> dict[str, str]:
    return {"dump": dump, "path": path, "stage": stage, "reason": reason}


def scores(**figures: float) -> dict[str, Any]:
    return {**dict.fromkeys(SCORE_NAMES), **figures}


def dump_counts(images: int, flicker: float | None = None, **more: Any) -> dict[str, Any]:
    """What the status says of a dump, as far as the page shows it."""
    counts = {"images": images, "labelled": 500, "quarantined": 2, "megapixels": 9876.5}
    values = {"told": [], "warnings": []}
    return {**counts, "flicker": flicker, "values": values, "left_out": [], "remarks": [], **more}


def status(dumps: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The document of a workspace with these dumps, as far as the page shows it."""
    dumps = dumps or {}
    backbone = {"name": "dino_vits8", "layer": "last layer", "note": "untrained: expect noise"}
    return {
        "workspace": "/tmp/ws",
        "backbone": backbone,
        "keys": {},
        "dumps": dumps,
        "counts": {"images": sum(dump["images"] for dump in dumps.values())},
        "quarantine": [],
        "scores": {},
        **more,
    }


def empty_report() -> contents.Report:
    return contents.Report("Nothing yet", "stego-flows 0.1.0", status())


def full_report() -> contents.Report:
    return replace(
        empty_report(),
        title="Street scenes, week 31",
        status=status(
            {"day-1": dump_counts(12345, 0.0325), "day-2": dump_counts(800)},
            keys={stage: f"{place:x}" * 32 for place, stage in enumerate(("features", "head"), 10)},
            quarantine=[quarantined("day-1", "a/b.jpg", "corpus", "truncated after 12 bytes")]
            * 1234,
            scores={
                "day-1": scores(
                    accuracy=56.71,
                    miou=28.25,
                    baseline_accuracy=41.0,
                    baseline_miou=15.5,
                    linear_accuracy=75.9,
                ),
                "day-2": scores(accuracy=50.0, miou=20.0),
            },
        ),
        classes=[
            contents.ClassShare(place, f"class {place}", (40, 90, 20 * place), 20 / (place + 1))
            for place in range(9)
        ],
        examples=[example(1), example(2), example(3, labelled=False)],
        uncertain=[replace(example(4), uncertainty=61.25)],
        curves=training(),
        inertias=[10.5, 10.2, 10.9, 10.31],
        confusions=[confusion("day-1", 27), confusion("day-2", 5)],
        seed=seed_figure(),
        timings=[
            contents.Timing("features", "day-1", 49, 12345, "images", 612.0),
            contents.Timing("head", None, 1, 4000, "rows", 0.0),
        ],
    )


def sources(html: str) -> list[str]:
    return re.findall(r'<img src="([^"]*)"', html)


def decode(source: str) -> bytes:
    return base64.b64decode(source.split(",", 1)[1], validate=True)


@pytest.fixture(scope="module")
def full() -> str:
    return page.render(full_report())


class TestContent:
    def test_numbers_of_the_report_are_on_the_page(self, full: str) -> None:
        for text in (
            "Street scenes, week 31",
            "13,145",
            "1,234",
            "56.7",
            "28.2",
            "aaaaaaaa",
            "truncated after 12 bytes",
            "20.2 images/s",
            "10 min 12 s",
            "no labels",
        ):
            assert text in full

    def test_missing_numbers_are_dashes(self, full: str) -> None:
        row = full.split(">day-2</th>")[1].split("</tr>")[0]
        assert re.findall(r">([^<]+)</td>", row) == ["50.0", "20.0", *"––––––"]

    def test_temporal_inconsistency_is_shown_where_a_dump_is_a_sequence(self, full: str) -> None:
        corpus = full.split('id="corpus"')[1]
        for dump, flicker in (("day-1", "3.2"), ("day-2", "–")):
            row = corpus.split(f">{dump}</th>")[1].split("</tr>")[0]
            assert re.findall(r">([^<]+)</td>", row)[-1] == flicker
        still = replace(full_report(), status=status({"day-2": dump_counts(800)}))
        assert "temporal inconsistency" not in page.render(still)

    def test_cut_off_quarantine_names_the_total(self, full: str) -> None:
        assert "The first 200 of 1,234 quarantined images are listed." in full

    def test_every_picture_has_a_description_and_decodes(self, full: str) -> None:
        assert len(sources(full)) == 11 + 4 + 12 + 2 + 2 + 1  # in the page's order
        assert len(re.findall(r'<img src="[^"]*" alt="[^"]+"', full)) == len(sources(full))
        for source in sources(full):
            if not source.startswith("data:image/svg+xml;"):
                Image.open(io.BytesIO(decode(source))).load()

    def test_same_data_same_page(self, full: str) -> None:
        assert page.render(full_report()) == full

    def test_empty_report_says_what_is_missing(self) -> None:
        html = page.render(empty_report())
        assert sources(html) == []
        for text in (
            "No labels were given, so there are no scores.",
            "No masks were made",
            "No training curve",
            "Every image could be read.",
            "No timings",
        ):
            assert text in html


class TestSafety:
    def test_names_from_the_corpus_are_text(self) -> None:
        hostile = replace(
            full_report(),
            title=HOSTILE,
            status=status(
                {HOSTILE: dump_counts(1, values={"told": [HOSTILE], "warnings": [HOSTILE]})},
                workspace=HOSTILE,
                keys={HOSTILE: HOSTILE},
                quarantine=[quarantined(HOSTILE, HOSTILE, HOSTILE, HOSTILE)],
                scores={HOSTILE: scores()},
            ),
            classes=[contents.ClassShare(0, HOSTILE, (1, 2, 3), 100.0)],
            examples=[replace(example(1), dump=HOSTILE, image_id=HOSTILE)],
            confusions=[
                replace(
                    confusion(HOSTILE, 2, 0),
                    true_names=[HOSTILE] * 2,
                    predicted_names=[HOSTILE] * 2,
                )
            ],
            seed=replace(seed_figure(), captions=[HOSTILE] * 3),
            timings=[contents.Timing(HOSTILE, HOSTILE, 1, 1, HOSTILE, 1.0)],
        )
        html = page.render(hostile)
        assert "<script" not in html
        assert "<img src=x" not in html
        assert html.encode("utf-8")
        for source in sources(html):
            if "svg+xml" in source:  # a browser shows nothing at all of an ill-formed SVG
                svg = ElementTree.fromstring(decode(source))
                assert {tag.tag.rsplit("}")[-1] for tag in svg.iter()}.isdisjoint({"script", "img"})

    def test_nothing_points_to_the_network(self, full: str) -> None:
        texts = [full] + [decode(each).decode() for each in sources(full) if "svg+xml" in each]
        for text in texts:
            links = re.findall(r"https?://[^\s\"'<>)]+", text)
            here = ("http://www.w3.org/", page.EXPLORER)
            assert all(link.startswith(here) for link in links), links
        bare = re.sub(r'src="data:[^"]*"', "", full).replace("http-equiv", "")
        bare = bare.replace(
            f'href="{page.EXPLORER}', ""
        )  # a link to follow, nothing that is fetched
        assert "<script" not in bare
        assert "http" not in bare


class TestEdges:
    @pytest.mark.parametrize("steps", [1, 2, 101])
    def test_short_training(self, steps: int) -> None:
        html = page.render(replace(empty_report(), curves=training(steps)))
        assert len(sources(html)) == 2

    def test_missing_columns_are_left_out(self) -> None:
        curves = contents.TrainingCurves({"step": np.arange(3.0), "loss": np.ones(3)}, SHIFTS)
        html = page.render(replace(empty_report(), curves=curves))
        assert len(sources(html)) == 1
        assert "shift b (self 0.60, knn 0.35, rand 0.10)" in html

    @pytest.mark.parametrize(("inertias", "charted"), [([], 0), ([np.nan], 0), ([np.nan, 3.0], 1)])
    def test_restarts_that_failed_cannot_win(self, inertias: list[float], charted: int) -> None:
        assert len(sources(page.render(replace(empty_report(), inertias=inertias)))) == charted

    def test_the_minima_of_several_spaces_are_charted_and_the_choice_is_told(self) -> None:
        minima = [Minimum("codes", 0.40, 0.2), Minimum("objects", 0.50, 0.3)]
        html = page.render(replace(empty_report(), inertias=[0.40, 0.50], minima=minima, restart=1))
        assert len(sources(html)) == 1
        assert "restart 1 is kept, of objects, with a silhouette of 0.300" in html

    @pytest.mark.parametrize(("classes", "extra"), [(1, 0), (12, 0), (60, 5)])
    def test_any_number_of_classes(self, classes: int, extra: int) -> None:
        report = replace(empty_report(), confusions=[confusion("d", classes, extra)])
        assert len(sources(page.render(report))) == 1

    def test_one_scored_dump_is_in_the_summary(self) -> None:
        scored = {"d": scores(accuracy=50.0, miou=20.0, baseline_accuracy=41.0)}
        html = page.render(replace(empty_report(), status=status(scores=scored)))
        assert "k-means on features: 41.0" in html
        assert html.count("k-means on features:") == 1

    def test_what_numbers_mean_and_what_is_left_out_stand_with_their_dump(self) -> None:
        left_out = [{"kind": "hidden", "count": 3, "example": ".a.png", "note": ""}]
        values = {"told": ["12 bits"], "warnings": ["few values"]}
        dumps = {"a": dump_counts(1, values=values, left_out=left_out), "b": dump_counts(1)}
        html = page.render(replace(empty_report(), status=status(dumps)))
        assert "Values of a: 12 bits; warning: few values." in html
        assert "Values of b" not in html
        assert '<li class="long">a: left out: 3 ' in html

    def test_a_workspace_without_clusters_has_a_blank_backbone(self) -> None:
        html = page.render(replace(empty_report(), status=status(backbone=None)))
        assert "Backbone <strong>–</strong>, – · –" in html

    def test_seed_figure_wants_three_points(self) -> None:
        report = replace(empty_report(), seed=replace(seed_figure(), points=[(1.0, 1.0)]))
        with pytest.raises(ValueError):
            page.render(report)


class TestBrowser:
    @pytest.mark.parametrize("width", [1280, 390])
    def test_opens_from_disk(self, browser: Any, full: str, tmp_path: Path, width: int) -> None:
        file = tmp_path / "index.html"
        file.write_text(full, encoding="utf-8")
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        browser.get(file.as_uri())
        images = browser.execute_script(
            "return Array.from(document.images, i => [i.complete, i.naturalWidth, i.alt])"
        )
        assert len(images) == len(sources(full))
        assert [alt for complete, natural, alt in images if not complete or natural == 0] == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert [each for each in browser.get_log("browser") if each["level"] == "SEVERE"] == []
