"""The explorer's page in a browser: classes, code space, export, looks; and the command."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from explorer_page import LOOK, Page

from stego_core.labels.class_names import numbered
from tasks.browse import gallery
from tasks.class_names import classes_file
from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(200)]


class TestClasses:
    def rename(self, page: Page, at: int, name: str) -> None:
        page.browser.execute_script(
            "document.querySelectorAll('#legend .edit')[arguments[0]].click()", at
        )
        page.see("#legend input.rename")  # its text is selected
        page.press(name, "\ue007")

    def revision(self, page: Page, number: int) -> None:
        page.until("return document.querySelector('#revision').textContent == arguments[0]",
                   f"revision {number}")  # fmt: skip

    def test_rename_recolour_merge_ignore_and_undo(self, page: Page, copied: Workspace) -> None:
        page.open()
        page.see("#legend li")
        before = page.names()
        start = classes_file.current_names(copied).revision
        self.rename(page, 0, "heaven")
        self.revision(page, start + 1)
        assert page.names()[0] == "heaven"
        assert classes_file.current_names(copied).classes.entries[0].name == "heaven"
        page.until("return document.querySelectorAll('.tile canvas.painted').length == 6")
        page.browser.execute_script(
            "const s = document.querySelector('#legend .swatch'); s.value = '#123456';"
            "s.dispatchEvent(new Event('change'))"
        )
        self.revision(page, start + 2)
        page.until(
            "const c = document.querySelectorAll('.tile canvas');"
            "return [...c].some(c => { const d = c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data;"
            "for (let i = 0; i < d.length; i += 4)"
            "  if (d[i] == 0x12 && d[i + 1] == 0x34 && d[i + 2] == 0x56) return true; })"
        )
        for at in (1, 2):
            page.browser.execute_script(
                "document.querySelectorAll('#legend .tick')[arguments[0]].click()", at
            )
        into = int(page.browser.execute_script(f"{LOOK}.value", "#into"))
        page.click("#merge")
        self.revision(page, start + 3)
        assert len(page.names()) == len(before) - 1
        assert classes_file.current_names(copied).classes.display_table()[1] == into
        page.click(".parts .apart")
        self.revision(page, start + 4)
        page.browser.execute_script("document.querySelectorAll('#legend .tick')[3].click()")
        page.click("#ignore")
        self.revision(page, start + 5)
        assert before[3] in page.see("#ignored").text
        for count in (6, 7):
            page.press("u")
            self.revision(page, start + count)
        page.browser.execute_script(
            "document.body.dispatchEvent(new KeyboardEvent('keydown', "
            "{key: 'z', ctrlKey: true, bubbles: true}))"
        )
        self.revision(page, start + 8)
        page.click("#undo")
        self.revision(page, start + 9)
        page.click("#undo")
        self.revision(page, start + 10)
        assert page.names() == before
        assert page.browser.execute_script("return document.querySelector('#undo').disabled")

    def test_suggested_merges_are_seen_and_taken(self, page: Page, copied: Workspace) -> None:
        classes = classes_file.current_names(copied).classes
        for number in range(len(classes.entries)):
            classes = classes.edited(number, name=numbered(number))
        start = classes_file.edit(copied, classes, "unnamed").revision
        page.open()
        page.see("#legend li")
        page.click("#merges-open")
        page.see("#merges-groups figure")
        page.choose("#merges-count", "3")
        page.browser.execute_script(f"{LOOK}.dispatchEvent(new Event('input'))", "#merges-count")
        page.until("return document.querySelector('#merges-take').textContent == arguments[0]",
                   f"Merge {len(classes.entries)} into 3")  # fmt: skip
        page.until("return [...document.querySelectorAll('#merges canvas')].some(c => c.width > 1)")
        suggested = gallery.suggested_merges(copied, 3)
        groups = [group for group in suggested["groups"] if group["ids"]]
        shown = page.browser.execute_script(
            "return [...document.querySelectorAll('#merges li')]"
            ".map(li => [...li.querySelectorAll('figure')].map(f => Number(f.dataset.id)))"
        )
        assert shown == [[group["into"], *group["ids"]] for group in groups]
        page.click("#merges-take")
        self.revision(page, start + 1)
        assert len(page.names()) == 3
        assert page.toast() == "Merged into 3 classes; Undo goes back."
        page.click("#undo")
        self.revision(page, start + 2)
        assert len(page.names()) == len(classes.entries)
        page.click("#undo")  # the names
        self.revision(page, start + 3)

    def test_a_change_by_somebody_else_is_told_and_shown(
        self, page: Page, copied: Workspace
    ) -> None:
        page.open()
        page.see("#legend li")
        now = classes_file.current_names(copied)
        classes_file.edit(copied, now.classes.edited(1, name="theirs"), "by hand")
        self.rename(page, 0, "mine")
        assert "changed meanwhile" in page.toast()
        page.until("return [...document.querySelectorAll('#legend .text')]"
                   ".some(e => e.textContent == 'theirs')")  # fmt: skip
        assert "mine" not in page.names()

    def test_a_name_twice_is_told(self, page: Page, copied: Workspace) -> None:
        page.open()
        page.see("#legend li")
        self.rename(page, 0, page.names()[2])
        assert "have the same name" in page.toast()
        page.browser.get_log("browser")  # 400, as it should be


class TestRest:
    def test_code_space(self, page: Page) -> None:
        page.open("#/codes")
        page.until("return /principal axes/.test(document.querySelector('#explained').textContent)")
        hit = page.until(
            "const c = document.querySelector('#cloud'), b = c.getBoundingClientRect();"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 150)"
            "  return [b.left + i / 4 % c.width, b.top + Math.floor(i / 4 / c.width)];"
        )
        page.browser.execute_script(
            "document.querySelector('#cloud').dispatchEvent(new PointerEvent('click',"
            "{clientX: arguments[0], clientY: arguments[1], bubbles: true}))", *hit,
        )  # fmt: skip
        page.until("return location.hash.startsWith('#/image/train/')")
        page.see("#heat")

    def test_export(self, page: Page, copied: Workspace) -> None:
        page.open()
        page.see(".tile")
        page.click("#export-open")
        page.until("return document.querySelector('#export-kind').value == 'masks'")
        assert page.see("#export-name").get_attribute("value") == "masks"
        place = Path(copied.storage.uri, "exports")
        assert f"goes to {place}/masks " in page.text("#export-target")
        page.see("#export-name").clear()
        page.see("#export-name").send_keys("summer/first")
        page.click("#export [type=submit]")
        page.until("return document.querySelector('#export-said').className == 'done'")
        assert len(list((place / "summer" / "first").rglob("s00*.png"))) >= 6

    def test_phone(self, page: Page) -> None:
        for link in ("#/gallery", "#/image/train/2?y=40&x=20", "#/codes"):
            page.open(link, width=360, height=740)
            page.until("return document.querySelectorAll('#legend li').length > 0")
            if "image" in link:
                page.see("#matches a")
            wide = page.browser.execute_script("return document.documentElement.scrollWidth")
            assert wide <= 360, link
            overflowing = page.browser.execute_script(
                "return [...document.querySelectorAll('button, select, h1, input')]"
                ".filter(e => e.checkVisibility() && e.getBoundingClientRect().right > 361)"
                ".map(e => e.id || e.textContent)"
            )
            assert overflowing == [], link

    def test_dark_and_light(self, page: Page) -> None:
        paper = "return getComputedStyle(document.body).backgroundColor"
        page.browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": "dark"}]},
        )
        page.open()
        assert page.browser.execute_script(paper) == "rgb(20, 23, 28)"
        page.click("#theme")
        assert page.browser.execute_script(paper) == "rgb(255, 255, 255)"
        page.open()
        assert page.browser.execute_script(paper) == "rgb(255, 255, 255)"  # kept
        page.browser.execute_script("localStorage.clear()")

    def test_everything_has_a_name(self, page: Page) -> None:
        page.open("#/image/train/2?y=40&x=20")
        page.see("#matches a")
        nameless = page.browser.execute_script(
            "return [...document.querySelectorAll('button, input, select, img, a')]"
            ".filter(e => e.checkVisibility()).filter(e => !(e.getAttribute('aria-label')"
            " || e.textContent.trim() || e.alt || e.title || e.labels?.length"
            " || e.hasAttribute('alt') || e.querySelector('[alt]')?.alt))"
            ".map(e => e.outerHTML)"
        )
        assert nameless == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_interrupted(
    explored: Path,
    how: signal.Signals,
    tmp_path: Path,
) -> None:
    shutil.copytree(explored / "ws", tmp_path / "ws")
    command = [sys.executable, "-m", "flows", "explore", "--workspace", str(tmp_path / "ws")]
    running = subprocess.Popen(
        [*command, "--port", "0", "--no-browser"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    assert running.stderr is not None
    line = ""
    while "http" not in line:
        line = running.stderr.readline()
        assert line, "it ended"
    address = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S{43}", line)
    assert address is not None
    opener = build_opener(HTTPCookieProcessor())  # the address is left for one without the token
    with opener.open(address[0]) as answer:
        assert b"stego explore" in answer.read()
    running.send_signal(how)
    out, error = running.communicate(timeout=60)
    assert (running.returncode, out) == (0, "")
    assert "Traceback" not in error
    assert "interrupted" not in error
    assert not list((tmp_path / "ws" / "writers").glob("*.json"))
