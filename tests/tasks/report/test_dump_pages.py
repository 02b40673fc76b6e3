"""Pages of dumps, and a report that stays bounded however many dumps there are."""

import re
import shutil
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest
from labelled import MASKS_KEY, add_dump, blobs, save_photo, workspace_at

from tasks.class_names import classes_file
from tasks.report import dump_pages, example_images, stage
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

MASK = blobs(1, 9, 12)
MANY = 9
TIMES = {"shards": 1, "rows": 1, "seconds": {"wall": 1.0}}


def arrive(workspace: Workspace, folder: Path, dump: str) -> None:
    save_photo(folder / dump / "a.png", MASK.shape)
    (folder / dump / "broken.png").write_bytes(b"not an image")
    add_dump(workspace, dump, folder / dump, {"a": MASK})
    masks = workspace.folder("masks", MASKS_KEY, dump)
    masks.finish({**masks.manifest(), **TIMES})


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    workspace = workspace_at(str(folder / "ws"))
    clusters = workspace.folder("clusters", "clusters-key")
    clusters.finish({**clusters.manifest(), **TIMES})
    for number in range(MANY):
        arrive(workspace, folder, f"Tag {number}".replace(" ", "-ä-"))
    return folder


@pytest.fixture
def workspace(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Nine dumps; the report's bounds are such that they are many."""
    monkeypatch.setattr(stage, "LISTED", 4)
    monkeypatch.setattr(dump_pages, "LISTED", 5)
    monkeypatch.setattr(dump_pages, "RENEWED", 2)
    monkeypatch.setattr(example_images, "EXAMPLES", 3)
    shutil.copytree(filled / "ws", tmp_path / "ws")
    return Workspace.open(str(tmp_path / "ws"))


def report(workspace: Workspace) -> Path:
    return Path(stage.write(workspace, "latest"))


def links(page: Path) -> list[Path]:
    """Files that a page links, as a browser finds them from disk."""
    found = re.findall(r'<a href="([^"#]+)"', page.read_text(encoding="utf-8"))
    local = [unquote(unescape(link)) for link in found if "://" not in link]
    return [(page.parent / link).resolve() for link in local]


def times(page: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in (page.parent / "dumps").iterdir()}


def test_every_dump_has_a_page_and_every_link_leads_to_one(workspace: Workspace) -> None:
    index = report(workspace)
    assert set(times(index)) == set(workspace.dumps())
    lists = [file for file in links(index) if file.name.startswith("dumps-")]
    assert [file.name for file in lists] == ["dumps-1.html", "dumps-2.html"]
    linked = {file.stem for each in lists for file in links(each)} - {"index"}
    assert linked == set(workspace.dumps())
    for page in (index, *lists, *(index.parent / "dumps").iterdir()):
        assert links(page)
        assert all(file.exists() for file in links(page)), page
        assert index in links(page) or page == index


def test_a_page_shows_its_dump(workspace: Workspace) -> None:
    index, dump = report(workspace), workspace.dumps()[0]
    html = (index.parent / "dumps" / f"{dump}.html").read_text(encoding="utf-8")
    assert f"{dump} / a" in html
    assert "broken.png" in html
    assert "revision 0" in html
    assert html.count('src="data:') == 3
    assert "<script" not in html


def test_the_report_shows_the_newest(workspace: Workspace) -> None:
    html = report(workspace).read_text(encoding="utf-8")
    dumps = workspace.dumps()
    corpus = html.split('id="corpus"')[1]
    assert [dump for dump in dumps if f">{dump}</a></th>" in corpus] == dumps[-4:]
    gallery = html.split('id="gallery"')[1].split("</section>")[0]
    assert [dump for dump in dumps if f"{dump} / a" in gallery] == dumps[-3:]
    assert "in 9 dumps" in html
    assert "The newest 4 of 9 dumps are listed" in html
    assert "The first 8 of 9 quarantined images are listed." in html


def test_pictures_do_not_grow_with_the_dumps(workspace: Workspace) -> None:
    def shown() -> int:
        return report(workspace).read_text(encoding="utf-8").count('src="data:')

    before = shown()
    arrive(workspace, Path(workspace.storage.uri).parent, "late")
    assert shown() == before


def test_only_new_pages_are_written(workspace: Workspace) -> None:
    before = times(report(workspace))
    arrive(workspace, Path(workspace.storage.uri).parent, "late")
    after = times(report(workspace))
    assert after.pop("late")
    assert after == before


def test_other_names_reach_the_newest_pages(workspace: Workspace) -> None:
    before, dumps = times(report(workspace)), workspace.dumps()
    classes = classes_file.current_names(workspace).classes
    classes_file.edit(workspace, classes.edited(0, "house"), "for a test")
    after = times(report(workspace))
    assert [dump for dump in dumps if after[dump] != before[dump]] == dumps[-2:]
    again = times(report(workspace))  # older pages follow, the newest of them first
    assert [dump for dump in dumps if again[dump] != after[dump]] == dumps[-4:-2]


def test_what_is_gone_is_written_again_and_what_nobody_has_any_more_is_removed(
    workspace: Workspace,
) -> None:
    index, dumps = report(workspace), workspace.dumps()
    before = times(index)
    (index.parent / "dumps" / f"{dumps[1]}.html").unlink()
    shutil.rmtree(Path(workspace.storage.uri, "corpus", dumps[0]))
    after = times(report(workspace))
    assert set(after) == set(dumps[1:])
    assert [dump for dump in dumps[1:] if after[dump] != before[dump]] == [dumps[1]]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"x": 3}'])
def test_pages_of_which_nothing_is_known_are_written_again(
    workspace: Workspace, content: bytes
) -> None:
    before = times(report(workspace))
    workspace.storage.write("reports/latest/dumps.json", content)
    after = times(report(workspace))
    assert set(after) == set(before)
    assert all(after[dump] != before[dump] for dump in before)


def test_a_report_without_a_catalog_is_the_same(workspace: Workspace) -> None:
    workspace.save_catalog()
    page = report(workspace).read_bytes()
    workspace.storage.remove("catalog.json")
    assert report(workspace).read_bytes() == page
    assert len(Summary(workspace).catalog) == MANY
