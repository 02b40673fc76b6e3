"""The home page in a browser, with the real command and real runs: from images to an export."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from attacker import Running, exploring
from home_browser import ELEMENT, PATIENCE, HomePage, begin, config, run_process

from tasks.storage.storage import Storage

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def test_from_images_to_an_export(
    opened: Callable[[Running], HomePage], tmp_path: Path, make_corpus: Callable[..., Path]
) -> None:
    images = make_corpus(tmp_path / "corpus", 8) / "images"
    later = make_corpus(tmp_path / "later", 3, first=20) / "images"
    with exploring(tmp_path / "ws", "--config", config(tmp_path, 6)) as running:
        page = opened(running)
        assert page.hash() == "#/home"
        page.type("#home-images", str(tmp_path / "nowhere"))
        page.until("return document.querySelector('#found .problem')")
        assert "does not exist" in page.text("#found")
        page.type("#home-images", str(tmp_path))
        page.click("#home-images + .browse")
        page.until("return document.querySelectorAll('#folders .folder').length > 1")
        for name in ("corpus", "images"):
            next(each for each in page.all("#folders .folder") if each.text == name).click()
            page.until(f"{ELEMENT}.textContent.endsWith(arguments[1])", "#folders-path", name)
        page.click("#folders-take")
        page.until(f"{ELEMENT}?.textContent.startsWith('8 images found')", "#found .good")
        begin(page, images)
        page.browser.get("about:blank")  # the tab is closed, the run goes on
        page.enter(running)
        page.wait_for("done")
        titles = page.until(  # by one script: the page may draw the list anew meanwhile
            "return [...document.querySelectorAll('#run-stages .title')].map(e => e.textContent)"
        )
        assert titles[:4] == ["corpus images", "features images", "neighbors images", "head"]
        assert titles[-1] == "masks images"
        page.click("#run-look")
        page.until("return document.querySelectorAll('.tile').length == 8")

        page.click("#export-open")
        page.until("return document.querySelectorAll('#export-kind option').length")
        page.click("#export-form [type=submit]")
        page.until("return document.querySelector('#export-said').className == 'done'")
        assert len(list((tmp_path / "ws/exports/masks").rglob("*.png"))) >= 8
        page.click("#export-close")

        page.click("nav [data-view=home]")
        page.type("#home-images", str(later))
        page.until("return document.querySelector('#found .problem')")
        assert "give these another name" in page.text("#found")
        page.type("#home-dump", "later")
        page.until("return !document.querySelector('#found .problem')")
        page.click("#home-start")
        page.wait_for("running")
        page.wait_for("done")
        page.click("#run-look")
        page.until("return document.querySelectorAll('.tile').length == 11")
        severe = [each for each in page.browser.get_log("browser") if each["level"] == "SEVERE"]
        assert severe == []


def test_a_killed_server_is_gone_on_with(
    opened: Callable[[Running], HomePage], tmp_path: Path, make_corpus: Callable[..., Path]
) -> None:
    """It dies in the middle of a training, and takes the run with it."""
    images = make_corpus(tmp_path / "corpus", 8) / "images"
    with exploring(tmp_path / "ws", "--config", config(tmp_path, 1_000_000)) as running:
        page = opened(running)
        begin(page, images)
        page.wait("return [...document.querySelectorAll('#run-stages .begun .title')]"
                  ".some(e => e.textContent == 'head')")  # fmt: skip
        process = run_process(running)
        os.kill(running.process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
    assert not list((tmp_path / "ws/writers").iterdir())
    features = tmp_path.glob("ws/features/*/*/manifest.json")
    kept = {path: path.stat().st_mtime_ns for path in features}
    assert kept
    with exploring(tmp_path / "ws", "--config", config(tmp_path, 6)) as running:
        page = opened(running)
        assert str(images) in page.see("#unfinished p").text
        page.click("#resume")
        page.wait_for("done")
        assert page.text("#run-stages .kept .title") == "corpus images"
        page.click("#run-look")
        page.until("return document.querySelectorAll('.tile').length == 8")
    assert kept == {path: path.stat().st_mtime_ns for path in kept}


def test_stopped_in_the_page(
    opened: Callable[[Running], HomePage], tmp_path: Path, make_corpus: Callable[..., Path]
) -> None:
    images = make_corpus(tmp_path / "corpus", 8) / "images"
    with exploring(tmp_path / "ws", "--config", config(tmp_path, 1_000_000)) as running:
        page = opened(running)
        begin(page, images)
        page.wait("return document.querySelector('#run-stages .finished')")
        page.click("#run-stop")
        page.wait_for("stopped")
        assert "What is finished is kept" in page.text("#run-said")
        assert page.see("#run-again").text == "Go on"
        assert not list((tmp_path / "ws/writers").iterdir())
        page.click("#run-again")
        page.wait_for("running")
        process = run_process(running)
    process.wait(PATIENCE)  # Ctrl-C in the terminal ends the run as well


def test_a_bucket_and_what_it_takes_are_told_before_the_start(
    opened: Callable[[Running], HomePage],
    tmp_path: Path,
    make_corpus: Callable[..., Path],
    s3_environment: str,
) -> None:
    """On a telephone's screen. Nothing is started."""
    photos = Storage.at(f"{s3_environment}/photos")
    for path in (make_corpus(tmp_path / "corpus", 8) / "images").iterdir():
        photos.write(path.name, path.read_bytes())
    with exploring(tmp_path / "ws", "--config", config(tmp_path, 6)) as running:
        page = opened(running)
        size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        page.type("#home-images", "s3://KEY:SECRET@bucket/photos")
        assert "cleared here" in page.see("#home-secret").text
        assert "SECRET" not in page.browser.page_source
        assert (
            page.browser.execute_script(f"{ELEMENT}.value", "#home-images") == "s3://bucket/photos"
        )
        page.type("#home-images", "s3://no-such-bucket/photos")
        page.until("return document.querySelector('#found .problem')")
        assert "s3://no-such-bucket/photos" in page.text("#found")
        page.type("#home-images", photos.uri)
        page.all("#home-backbones [type=radio]")[1].click()
        page.until(f"{ELEMENT}?.textContent.startsWith('8 images found')", "#found .good")
        page.wait(f"{ELEMENT}.textContent.startsWith('It takes ')", "#estimate")
        assert page.browser.execute_script("return document.documentElement.scrollWidth") == 390
        assert not (tmp_path / "ws" / "workspace.json").exists()
