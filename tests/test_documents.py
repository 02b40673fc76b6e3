"""The documents hold together: links lead somewhere, paths are there, pages stay short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "infra" / "README.md"]
EXAMPLES = {"tasks/exports/shares.py", "tasks/sharpness/stage.py", "infra/docker/.env"}
"""Files that the documents show how to write."""


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", title.lower()) for title in titles)
    return {title.strip().replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return  # what was true then
    named = re.findall(
        r"`((?:flows|tasks|stego_core|infra|tests)/[\w/.-]+\.\w+)`", page.read_text()
    )
    assert [path for path in {*named} - EXAMPLES if not (ROOT / path).exists()] == []


def test_guide_pages_are_short_and_begin_with_a_command() -> None:
    for page in (ROOT / "docs" / "guide").glob("*.md"):
        lines = page.read_text().splitlines()
        assert len(lines) <= 80, page.name
        assert lines[0].startswith("# "), page.name
        assert lines[2] == "```", page.name


def test_every_page_is_in_the_list_of_pages() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").glob("*/*.md"):
        assert f"({page.parent.name}/{page.name})" in index, page.name


def test_front_pages_are_short() -> None:
    for name, most in (("README.md", 130), ("ARCHITECTURE.md", 200)):
        assert len((ROOT / name).read_text().splitlines()) <= most


def test_pictures_are_small_and_used() -> None:
    text = "".join(page.read_text() for page in PAGES)
    for picture in (ROOT / "docs" / "images").iterdir():
        most = 1_000_000 if picture.suffix == ".gif" else 300_000
        assert picture.stat().st_size < most, picture.name
        assert f"images/{picture.name}" in text, picture.name
