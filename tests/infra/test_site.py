"""The documents as a site: every link leads somewhere, nothing is fetched from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("flows", "tasks", "stego_core")
LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}
"""What a browser fetches of its own accord."""


def built(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """The site of a checkout, as `make docs` makes it."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    config = ["--config-file", str(root / "infra" / "docs" / "mkdocs.yml")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [*command, *config], cwd=site.parent, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = built(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


class Parsed(HTMLParser):
    """Anchors of a page, what it links to, and what it loads."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.anchors, self.links, self.loads = set[str](), list[str](), list[str]()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if given.get(LOADED.get(tag, "")):
            self.loads.append(given[LOADED[tag]])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Parsed]:
    return {page: Parsed(page) for page in site.rglob("*.html")}


def dead(pages: dict[Path, Parsed]) -> Iterator[tuple[str, str]]:
    """Pages with links to files or anchors that are not there."""
    for page, parsed in pages.items():
        for link in [*parsed.links, *parsed.loads]:
            path, _, anchor = unquote(link).partition("#")
            if "://" in link or page.name == "404.html":
                continue  # the latter has addresses of a server's root
            target = (page.parent / path).resolve() if path else page
            known = not anchor or target not in pages or anchor in pages[target].anchors
            if not target.is_file() or not known:
                yield page.name, link


def test_links_lead_somewhere(pages: dict[Path, Parsed]) -> None:
    assert sum(len(parsed.links) for parsed in pages.values()) > 1000
    assert list(dead(pages)) == []


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Parsed]) -> None:
    loaded = {load for parsed in pages.values() for load in parsed.loads}
    assert "iframe-worker.js" in loaded
    assert [load for load in loaded if re.match(r"(\w+:)?//", load)] == []
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import\s+)[\"']?(\w+:)?//", style.read_text()), style


def test_every_document_and_command_has_a_page(site: Path) -> None:
    for page in (ROOT / "docs").glob("*/*.md"):
        assert (site / page.relative_to(ROOT)).with_suffix(".html").is_file(), page
    run = [sys.executable, "-m", "flows", "--help"]
    shown = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^│ ([a-z][a-z-]+) ", shown, re.MULTILINE)
    assert {"run", "backfill", "name"} <= {*commands}
    pages = {page.stem for page in (site / "reference").glob("*.html")}
    assert pages == {"python", *(f"stego-{name}" for name in commands)}


def test_references_tell_what_help_and_docstrings_do(pages: dict[Path, Parsed], site: Path) -> None:
    import flows

    python = pages[site / "reference" / "python.html"].anchors
    assert {f"flows.api.{name}" for name in flows.__all__} <= python
    assert "flows.api.OpenWorkspace.label" in python
    run = (site / "reference" / "stego-run.html").read_text()
    assert "--max-pixels" in run
    assert "decompression bomb" in run


@pytest.mark.long
def test_a_dead_link_and_a_dead_anchor_break_it(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    made = shutil.ignore_patterns("__pycache__")
    for folder in ("docs", "infra"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=made)
    for page in ROOT.glob("*.md"):
        shutil.copy(page, copy / page.name)
    for folder in SOURCES:
        (copy / folder).symlink_to(ROOT / folder)
    with (copy / "docs" / "guide" / "names.md").open("a") as page:
        page.write("\n[one](nowhere.md), [two](exports.md#nowhere), ![three](../images/no.png)\n")
    done = built(copy, tmp_path / "site")
    assert done.returncode != 0
    told = [word in done.stderr for word in ("'nowhere.md'", "'exports.md#nowhere'", "no.png'")]
    assert all(told), done.stderr


def test_the_search_works_from_disk(browser: Any, site: Path) -> None:
    size = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((site / "docs" / "guide" / "names.html").as_uri())
    field = browser.find_element("css selector", ".md-search__input")
    field.click()
    field.send_keys("palette")
    script = "return document.querySelector('.md-search-result__item a')?.href"
    from selenium.webdriver.support.ui import WebDriverWait

    found = WebDriverWait(browser, 90).until(lambda b: b.execute_script(script))
    assert found.startswith(site.as_uri())
    severe = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert severe == []
