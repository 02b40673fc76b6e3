"""A hook of MkDocs: which pages the site has, where they lie, and in which order."""

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import reference_pages  # noqa: E402  beside this file, which MkDocs loads by its path
from mkdocs.structure.files import File, Files  # noqa: E402

FRONT = ("README.md", "CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "infra/README.md")
LINK = re.compile(r"\]\(([^)#\s:]+)[^)\s]*\)")
INDEX = "docs/README.md"
PARTS = {"guide": "Guide", "notes": "Notes"}


def on_files(files: Files, config: Any) -> Files:
    """Add the documents under the paths that they have in the repository, so that links between
    them hold, and the pages that are generated.
    """
    for path in documents():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for path, content in reference_pages.pages().items():
        files.append(File.generated(config, path, content=content))
    config.nav = navigation()
    return files


def documents() -> list[str]:
    """Every page, and every file that a page links to, relative to the repository."""
    pages = [*FRONT, INDEX, *listed()]
    linked = {target for page in pages for target in targets(page)}
    return [*pages, *sorted(linked - {*pages})]


def targets(page: str) -> list[str]:
    """The files that a page links to; a dead link is left to MkDocs, which tells of it."""
    folder = (ROOT / page).parent
    found = [(folder / link).resolve() for link in LINK.findall((ROOT / page).read_text())]
    return [path.relative_to(ROOT).as_posix() for path in found if path.is_file()]


def listed() -> list[str]:
    """The pages of guide and notes, in the order of docs/README.md."""
    links = LINK.findall((ROOT / INDEX).read_text())
    return [f"docs/{link}" for link in links if link.split("/")[0] in PARTS and link[-3:] == ".md"]


def navigation() -> list[dict[str, Any]]:
    """Front page, guide, reference, notes, and what concerns those who work on it."""
    pages = {title: [p for p in listed() if f"/{part}/" in p] for part, title in PARTS.items()}
    return [
        {"stego-flows": "README.md"},
        {"Guide": pages["Guide"]},
        {"Reference": reference_pages.navigation()},
        {"Deployment": "infra/README.md"},
        {"Inside": ["ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", {"All pages": INDEX}]},
        {"Notes": pages["Notes"]},
    ]
