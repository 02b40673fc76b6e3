"""What tests share: small corpora made on the spot, a tiny backbone, a quiet Prefect."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from flows.cli import environment

environment.prepare()

from fixtures import s3, s3_environment  # noqa: E402, F401  tests/services/fixtures.py
from prefect.testing.utilities import prefect_test_harness  # noqa: E402  after the settings

from flows.demo.scenes import scene, scene_generator  # noqa: E402
from flows.demo.street import SCENE_CLASSES  # noqa: E402

settings.register_profile("patient", deadline=None)  # no test is about time
settings.load_profile("patient")


@pytest.fixture(scope="session")
def prefect() -> Iterator[None]:
    """One temporary Prefect server for all flow tests."""
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def make_corpus() -> Callable[..., Path]:
    """Write scenes, with labels and a taxonomy, under a folder."""

    def make(folder: Path, count: int, first: int = 0, size: tuple[int, int] = (96, 128)) -> Path:
        for kind in ("images", "labels"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        for index in range(first, first + count):
            image, labels = scene(scene_generator(0, index), size)
            Image.fromarray(image).save(folder / "images" / f"s{index:03d}.png")
            Image.fromarray(labels).save(folder / "labels" / f"s{index:03d}.png")
        taxonomy = {"name": "scenes", "void": 255, "classes": list(SCENE_CLASSES)}
        (folder / "taxonomy.json").write_text(json.dumps(taxonomy))
        return folder

    return make


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium; its tests are skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("chromium")
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield session
    session.quit()
