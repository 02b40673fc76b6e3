"""The explorer of a workspace in headless Chromium, as a person sees it."""

import io
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image
from selenium import webdriver

PATIENCE = 300
"""Seconds until the page shows something; the index of patches is made meanwhile."""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


class Page:
    """The explorer's page."""

    def __init__(self, driver: Any, address: str) -> None:
        """A page behind the address that `stego explore` printed."""
        self.driver, self.address = driver, address.partition("?")[0]
        driver.get(address)

    def open(self, link: str, size: tuple[int, int], dark: bool = False, scale: float = 1) -> None:
        """Open an address of the page in a window of this size, in CSS pixels."""
        width, height = size
        screen = {"width": width, "height": height, "deviceScaleFactor": scale}
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {**screen, "mobile": width < 500}
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
        self.driver.get("about:blank")
        self.driver.get(f"{self.address}{link}")
        self.until("document.body.classList.contains('ready')")

    def until(self, condition: str) -> Any:
        """The value of an expression as soon as it is something."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if found := self.driver.execute_script(f"return {condition}"):
                return found
            time.sleep(0.1)
        raise TimeoutError(f"the explorer never showed {condition}")

    def loaded(self, selector: str) -> None:
        """Wait for the pictures in the window that a selector finds, at least one, and for fades to
        end.
        """
        every = (
            f"[...document.querySelectorAll('{selector}')]"
            ".map(i => [i, i.getBoundingClientRect()])"
            ".filter(([i, at]) => at.top < innerHeight && at.left < innerWidth).map(([i]) => i)"
        )
        self.until(f"{every}.length && {every}.every(i => i.complete && i.naturalWidth)")
        time.sleep(1)

    def place(self, selector: str) -> dict[str, float]:
        """Left, top, width and height of an element, CSS pixels of the window."""
        script = f"return document.querySelector('{selector}').getBoundingClientRect().toJSON()"
        return dict(self.driver.execute_script(script))

    def click(self, x: float, y: float) -> None:
        """Click at a point of the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def shot(self) -> Image.Image:
        """What the window shows."""
        return Image.open(io.BytesIO(self.driver.get_screenshot_as_png())).convert("RGB")


@contextmanager
def explored(workspace: str) -> Iterator[Page]:
    """Serve a workspace's explorer, and open it."""
    command = [sys.executable, "-m", "flows", "explore", "--no-browser", "--port", "0"]
    server = subprocess.Popen(
        [*command, "--workspace", workspace], stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        lines = (re.search(r"http://\S+token=\S+", line) for line in server.stderr)
        address = next(found[0] for found in lines if found)
        driver = _chromium()
        try:
            yield Page(driver, address)
        finally:
            driver.quit()
    finally:
        server.terminate()
        server.wait()


def _chromium() -> Any:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        sys.exit("chromium and chromedriver are not installed: they show the explorer")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
