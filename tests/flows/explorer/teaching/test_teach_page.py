"""Teaching in a browser: points, what they would change, new masks, taken back again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from attacker import Running, exploring
from explorer_page import LOOK, Page, Served
from home_browser import HomePage, config

from tasks.corpus.index import IndexReader
from tasks.images.image_codecs import decode_mask
from tasks.teaching import lessons
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(900)]
PAINTED = "const c = document.querySelector('#taught'); return !c.hidden && c.width > 8"
SAID = "return /changed|would change/.test(document.querySelector('#teach-said').textContent)"
TOLD = "return document.querySelector('#ask-said').textContent.includes(arguments[0])"
CHANGED = "return document.querySelectorAll('#teach-certain a').length > 0"


class TeachPage(Page):
    """The page in Teach mode."""

    def teach(self, *names: str) -> "TeachPage":
        """Open Teach by its key, and name the classes of clicks."""
        self.until("return document.querySelector('#photo').naturalWidth")
        self.press("t")
        for slot, name in zip("ab", names, strict=False):
            field = self.see(f"#class-{slot}")
            field.clear()
            field.send_keys(name)
        self.browser.execute_script("document.querySelector('#stage').focus()")
        self.until(PAINTED)
        return self

    def pin(self, x: float, y: float) -> None:
        """Click the image at shares of its sides, and wait for what that changes."""
        before = len(self.all("#teach-points li"))
        self.browser.execute_script(
            "const s = document.querySelector('#stage'), b = s.getBoundingClientRect();"
            "s.dispatchEvent(new MouseEvent('click', {bubbles: true,"
            "clientX: b.left + arguments[0] * b.width, clientY: b.top + arguments[1] * b.height}))",
            x, y,
        )  # fmt: skip
        self.until(
            "return document.querySelectorAll('#teach-points li').length == arguments[0]",
            before + 1,
        )
        self.until(
            "return RegExp(arguments[0]).test(document.querySelector('#teach-said').textContent)",
            f"^{before + 1} points?: .* would change",
        )

    def points(self) -> list[str]:
        script = "return [...document.querySelectorAll('#teach-points b')].map(e => e.textContent)"
        return list(self.browser.execute_script(script))


@pytest.fixture
def teach_page(page: Page) -> TeachPage:
    return TeachPage(page.browser, page.address, page.workspace)


class TestBefore:
    def test_points_show_what_they_would_change(self, teach_page: TeachPage) -> None:
        teach_page.open("#/image/train/2")
        teach_page.teach("roof", "lake")
        assert not teach_page.see("#teach").find_elements("css selector", "#teach-changes a")
        teach_page.pin(0.1, 0.1)
        teach_page.until(CHANGED)
        assert "sampled patches would change" in teach_page.text("#teach-said")
        assert teach_page.pixel("#taught", 0.1, 0.1)[3] > 0
        teach_page.press("x")  # the other class
        teach_page.pin(0.9, 0.9)
        assert teach_page.points() == ["roof", "lake"]
        assert teach_page.pixel("#taught", 0.1, 0.1) != teach_page.pixel("#taught", 0.9, 0.9)
        assert "→" in teach_page.text("#teach-certain .caption")
        after = teach_page.pixel("#taught", 0.9, 0.9)
        teach_page.click("#moments [data-moment=before]")
        assert teach_page.pixel("#taught", 0.9, 0.9) != after
        teach_page.click("#moments [data-moment=after]")
        teach_page.click("#teach-points li button")
        teach_page.until("return document.querySelectorAll('#teach-points li').length == 1")
        teach_page.press("1")  # class by its key
        name = teach_page.browser.execute_script(f"{LOOK}.value", "#class-b")
        assert name == teach_page.names()[0]
        teach_page.press("\ue00c")  # Escape ends it, the point stays
        teach_page.until("return !document.querySelector('#teach').checkVisibility()")
        teach_page.press("t")
        teach_page.until(CHANGED)
        assert teach_page.points() == ["lake"]

    def test_points_of_several_images_stay(self, teach_page: TeachPage) -> None:
        teach_page.open("#/image/train/2")
        teach_page.teach("roof")
        teach_page.pin(0.3, 0.3)
        teach_page.press("\ue014")  # →, the next image
        teach_page.until("return !location.hash.includes('train/2')")
        teach_page.until("return document.querySelectorAll('#points .pin').length == 0")
        teach_page.pin(0.5, 0.5)
        assert teach_page.points() == ["roof", "roof"]
        assert len(teach_page.all("#points .pin")) == 1
        assert "y=" not in teach_page.hash()  # a click asks for no correspondences now

    def test_by_keys_alone(self, teach_page: TeachPage) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        teach_page.open("#/image/train/1")
        teach_page.teach("roof")
        ActionChains(teach_page.browser).key_down("\ue008").send_keys("\ue014\ue015").key_up(
            "\ue008"
        ).perform()  # Shift + → + ↓
        teach_page.press("\ue007")
        teach_page.until("return document.querySelectorAll('#teach-points li').length == 1")
        teach_page.until(SAID)

    def test_matches_are_taught_at_once(self, teach_page: TeachPage, served: Served) -> None:
        teach_page.open("#/image/train/2?y=40&x=20")
        teach_page.see("#matches a")
        shown = len(teach_page.all("#matches a"))
        teach_page.click("#matches-teach")
        assert "Say first which class" in teach_page.toast()
        teach_page.see("#class-a").send_keys("roof")
        teach_page.click("#matches-teach")
        assert teach_page.points() == ["roof"] * shown
        teach_page.until(SAID)
        assert lessons.in_force(served.explorer.workspace.storage) == []

    def test_questions_are_answered_by_keys(self, teach_page: TeachPage, served: Served) -> None:
        storage = served.explorer.workspace.storage
        teach_page.open("#/image/train/2")
        teach_page.teach("roof")
        teach_page.click("#ask-open")
        asked = teach_page.until("return /^Is the marked place (.+)\\?$/.exec("
                                 "document.querySelector('#ask-text').textContent)")[1]  # fmt: skip
        teach_page.until("return document.querySelector('#points .pin')?.textContent == '?'")
        teach_page.press("y")
        teach_page.until("return document.querySelector('#ask-said').textContent")
        assert "1 of the last 1 answers agreed" in teach_page.text("#ask-said")
        assert "of 120 sampled patches" in teach_page.text("#ask-said")
        (first,) = lessons.in_force(storage)
        assert first.name == asked
        teach_page.press("n")
        teach_page.see("#ask-name").send_keys("lake\ue007")
        teach_page.until(
            "return document.querySelector('#ask-said').textContent.includes('last 2')"
        )
        teach_page.press("s")
        teach_page.until(
            "return document.querySelector('#ask-said').textContent.includes('Skipped')"
        )
        teach_page.press("2")
        teach_page.until(
            "return document.querySelector('#ask-said').textContent.includes('last 3')"
        )
        taught = [lesson.name for lesson in lessons.in_force(storage)]
        assert taught == [asked, "lake", teach_page.names()[1]]
        teach_page.press("\ue00c")
        teach_page.see("#class-a")
        teach_page.see("#teach-learn")
        for left in (2, 1, 0):
            teach_page.click("#teach-undo:enabled")
            teach_page.until(
                "return document.querySelectorAll('.toast').length == arguments[0]", 3 - left
            )
            assert len(lessons.in_force(storage)) == left

    def test_on_a_phone_everything_is_within_reach(self, teach_page: TeachPage) -> None:
        teach_page.open("#/image/train/2", width=360, height=740)
        teach_page.click("#teach-open")
        teach_page.see("#class-a").send_keys("roof")
        teach_page.until(PAINTED)
        teach_page.pin(0.2, 0.2)
        teach_page.until(CHANGED)
        overflowing = teach_page.browser.execute_script(
            "return [...document.querySelectorAll('#viewer button, #viewer input, #teach *')]"
            ".filter(e => e.checkVisibility() && !e.closest('.layers'))"  # these are cut off
            ".filter(e => e.getBoundingClientRect().right > 361).map(e => e.id || e.textContent)"
        )
        assert overflowing == []
        wide = teach_page.browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 360
        nameless = teach_page.browser.execute_script(
            "return [...document.querySelectorAll('#teach button, #teach input, #teach a')]"
            ".filter(e => e.checkVisibility()).filter(e => !(e.getAttribute('aria-label')"
            " || e.textContent.trim() || e.labels?.length)).map(e => e.outerHTML)"
        )
        assert nameless == []


def stored_mask(workspace: Workspace, key: str) -> np.ndarray:
    """The mask of the image that the test has open."""
    image_id = IndexReader(workspace, "train").entry(2)["image_id"]
    path = layout.mask(layout.masks(key, "train"), image_id)
    return decode_mask(workspace.storage.read(path))


@pytest.mark.long
def test_accepted_then_taken_back(
    opened: Callable[[Running], HomePage], explored: Path, tmp_path: Path
) -> None:
    shutil.copytree(explored / "ws", tmp_path / "ws")
    place = Workspace.at(str(tmp_path / "ws"))
    first = place.last_run()["keys"]
    with exploring(tmp_path / "ws", "--config", config(tmp_path, 6)) as running:
        home = opened(running)
        page = TeachPage(home.browser, home.address, place)
        page.open("#/image/train/2")
        page.teach("roof", "lake")
        page.pin(0.2, 0.2)
        page.press("x")
        page.pin(0.8, 0.8)
        page.click("#teach-accept")
        home.wait("return /^2 lessons learned; .* pixels changed/.test("
                  "document.querySelector('#teach-said').textContent)")  # fmt: skip
        taught = place.last_run()["keys"]
        assert taught["clusters"] != first["clusters"]
        page.until("return /roof.*lake/s.test(document.querySelector('#legend').textContent)")
        assert [lesson.name for lesson in lessons.in_force(place.storage)] == ["roof", "lake"]
        assert page.points() == []
        old, new = (stored_mask(place, keys["masks"]) for keys in (first, taught))
        y, x = np.argwhere(old != new)[0]
        page.until(
            "const c = document.querySelector('#mask'), d = c.getContext('2d')"
            ".getImageData(arguments[0], arguments[1], 1, 1).data;"
            "return '#' + [d[0], d[1], d[2]].map(v => v.toString(16).padStart(2, '0')).join('')"
            " == document.querySelectorAll('#legend .swatch')[arguments[2]].value",
            int(x), int(y), int(new[y, x]),
        )  # fmt: skip
        page.click("#teach-undo")
        home.wait("return !document.querySelector('#legend').textContent.includes('roof')")
        assert place.last_run()["keys"]["clusters"] == first["clusters"]
        assert lessons.in_force(place.storage) == []
        severe = [each for each in page.browser.get_log("browser") if each["level"] == "SEVERE"]
        assert severe == [], json.dumps(severe)
