"""Training again in a browser: later images that look different, one button, new masks."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from attacker import Running, exploring
from home_browser import PATIENCE, HomePage, begin, config, run_process
from PIL import Image

from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
HIDDEN = "return !document.querySelector('#retrain').checkVisibility()"
TILES = "return document.querySelectorAll('.tile').length == arguments[0]"


def flat_images(folder: Path) -> Path:
    """Twenty images of one colour each: unlike any scene, and enough for a verdict."""
    folder.mkdir()
    for number in range(20):
        Image.new("RGB", (128, 96), (250, 10 * number, 0)).save(folder / f"{number:02}.png")
    return folder


def label_more(page: HomePage, images: Path) -> None:
    """Add images to those that are there."""
    page.click("nav [data-view=home]")
    page.type("#home-images", str(images))
    page.until("return document.querySelector('#found .good')")
    page.click("#home-start")
    page.wait_for("running")
    page.wait_for("done")


def test_trained_again_though_the_server_was_killed(
    opened: Callable[[Running], HomePage],
    tmp_path: Path,
    make_corpus: Callable[..., Path],
) -> None:
    images = make_corpus(tmp_path / "corpus", 8) / "images"
    place = Workspace.at(str(tmp_path / "ws"))
    with exploring(tmp_path / "ws", "--config", config(tmp_path, 6)) as running:
        page = opened(running)
        begin(page, images)
        page.wait_for("done")
        assert page.browser.execute_script(HIDDEN)
        label_more(page, flat_images(tmp_path / "flat"))
        assert "flat looks different" in page.see("#retrain-why").text
        assert "images and flat" in page.text("#retrain-kept")
        assert "It takes" in page.text("#retrain-time")
        first = place.last_run()["keys"]
        page.see("#retrain-count").clear()
        page.see("#retrain-count").send_keys("9")
        page.click("#retrain [type=submit]")
        page.wait_for("running")
        page.wait("return [...document.querySelectorAll('#run-stages .title')]"
                  ".some(e => e.textContent == 'masks flat')")  # fmt: skip
        page.wait("return document.querySelector('#run-stages .begun, #run-stages .finished')")
        process = run_process(running)
        os.kill(running.process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
    with exploring(tmp_path / "ws", "--config", config(tmp_path, 6)) as running:
        page = opened(running)
        page.click("nav [data-view=home]")
        assert "A new training was begun" in page.see("#unfinished p").text
        page.click("#resume")
        page.wait_for("done")
        assert "All images have new masks" in page.text("#run-said")
        last = place.last_run()
        assert last["keys"]["clusters"] != first["clusters"]
        assert (last["dumps"], last["drift"]) == (["images", "flat"], {})
        assert page.browser.execute_script(HIDDEN)
        page.click("#run-look")
        page.until(TILES, 28)
        page.until("return document.querySelectorAll('#legend > li').length == 9")
        severe = [each for each in page.browser.get_log("browser") if each["level"] == "SEVERE"]
        assert severe == []
