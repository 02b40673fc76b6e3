"""The home page in a browser, as a person uses it, with the real command behind it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from attacker import Running
from explorer_page import Page

from tasks.workspace.workspace import Workspace

CONFIG = """
[features]
crop_size = 64
[head]
steps = {steps}
[clusters]
restarts = 2
[masks]
resolution = 64
crf_iterations = 2
[compute]
executor = "loop"
"""
PATIENCE = 240
ELEMENT = "return document.querySelector(arguments[0])"


class HomePage(Page):
    """The home page, as a person uses it."""

    def enter(self, running: Running) -> "HomePage":
        """Open the printed address."""
        self.address = f"http://{running.host}/"
        self.browser.get(f"{self.address}?token={running.token}")
        self.until("return document.body.classList.contains('ready')")
        self.browser.get_log("browser")  # of the page before, whose server may be gone
        return self

    def type(self, selector: str, text: str) -> None:
        field = self.see(selector)
        field.clear()
        field.send_keys(text)

    def wait(self, script: str, *arguments: Any) -> Any:
        """As `until`, for what a whole run takes."""
        deadline = time.monotonic() + PATIENCE
        while not (value := self.browser.execute_script(script, *arguments)):
            assert time.monotonic() < deadline, self.text("#run")
            time.sleep(0.2)
        return value

    def wait_for(self, state: str) -> None:
        self.wait("return document.querySelector('#run').className == arguments[0]", state)


def run_process(running: Running) -> psutil.Process:
    """The process of the run, of those that the server has started."""
    children = psutil.Process(running.process.pid).children()
    (process,) = (each for each in children if "run_process" in " ".join(each.cmdline()))
    return process


@pytest.fixture
def opened(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Running], HomePage]:
    """Opens the home page of a running explorer."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    place = Workspace.at(str(tmp_path / "ws"))
    return HomePage(browser, "", place).enter


def config(tmp_path: Path, steps: int) -> str:
    (tmp_path / f"{steps}.toml").write_text(CONFIG.format(steps=steps))
    return str(tmp_path / f"{steps}.toml")


def begin(page: HomePage, images: Path) -> None:
    """Point at images and start."""
    page.type("#home-images", str(images))
    page.all("#home-backbones [type=radio]")[1].click()
    page.until(f"{ELEMENT} && !{ELEMENT[7:]}.nextSibling?.matches('.problem')", "#found .good")
    page.click("#home-start")
    page.wait_for("running")
