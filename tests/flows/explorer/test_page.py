"""The explorer's page in a browser: gallery, image, correspondences."""

import re

import pytest
from explorer_page import LOOK, Page, Served

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(200)]


class TestGallery:
    def test_images_with_masks(self, page: Page) -> None:
        page.open()
        assert page.until("return document.querySelectorAll('.tile').length") == 6
        assert page.text("#count") == "6 images"
        page.until("return [...document.querySelectorAll('.tile img')].every(i => i.naturalWidth)")
        page.until("return document.querySelectorAll('.tile canvas.painted').length == 6")
        assert page.pixel(".tile canvas", 0.5, 0.5)[3] == 255
        alts = page.browser.execute_script(
            "return [...document.querySelectorAll('.tile img')].map(i => i.alt)"
        )
        assert all(".png" in alt for alt in alts)

    def test_filters_are_in_the_address(self, page: Page) -> None:
        page.open()
        page.see(".tile")
        page.choose("#filters [name=labelled]", "no")
        page.see("#empty")
        assert page.hash() == "#/gallery?labelled=no"
        page.choose("#filters [name=labelled]", "yes")
        page.choose("#filters [name=order]", "index")
        page.until("return document.querySelectorAll('.tile').length == 6")
        rows = [tile.get_attribute("data-row") for tile in page.all(".tile")]
        assert rows == ["0", "1", "2", "3", "4", "5"]
        page.back()
        page.until("return location.hash == '#/gallery?labelled=yes'")
        page.back()
        page.see("#empty")

    def test_filter_by_class(self, page: Page) -> None:
        page.open("#/gallery?class=0")
        total = int(
            page.until("return /^\\d/.exec(document.querySelector('#count').textContent)")[0]
        )
        page.until(f"return document.querySelectorAll('.tile').length == {total}")
        assert page.browser.execute_script(f"{LOOK}.value", "#filter-class") == "0"

    def test_an_unknown_dump_is_told(self, page: Page) -> None:
        page.open("#/gallery?dump=nowhere")
        assert "there is no dump" in page.toast()


class TestImage:
    def ask(self, page: Page) -> None:
        page.open("#/image/train/2")
        page.click_the_image()

    def test_a_click_shows_correspondences(self, page: Page, served: Served) -> None:
        self.ask(page)
        page.see("#heat")
        assert re.fullmatch(r"#/image/train/2\?y=4\d&x=6\d", page.hash())
        clicked = page.pixel("#heat", 0.5, 0.5)
        assert sum(clicked[:3]) > 600  # the patch itself: cosine 1
        page.see("#neighbours li a canvas.heat")
        assert 0 < len(page.all("#neighbours a")) <= 4
        page.see("#matches li a .patch")
        similarities = [float(each.text) for each in page.all("#matches b")]
        assert similarities == sorted(similarities, reverse=True)
        assert served.explorer.searching.document()["state"] == "ready"
        target = page.all("#matches a")[0].get_attribute("href")
        page.click("#matches a")
        page.until("return location.href == arguments[0]", target)
        page.see("#heat")
        assert "train/2" not in page.hash()

    def test_deep_link(self, page: Page) -> None:
        page.open("#/image/train/3?y=40&x=20&labelled=yes")
        page.see("#heat")
        page.see("#matches a")
        assert page.text("#asked").startswith("Correspondences of (20, 40) · ")
        marker = page.see("#marker")
        assert marker.value_of_css_property("left") != "0px"
        page.press("\ue00c")  # Escape: from the point to the image, then to the gallery
        page.until("return location.hash == '#/image/train/3?labelled=yes'")
        assert not page.see("#frame").find_elements("css selector", "#heat:not([hidden])")
        page.press("\ue00c")
        page.until("return location.hash == '#/gallery?labelled=yes'")

    def test_no_such_image_or_pixel_is_told(self, page: Page) -> None:
        page.open("#/image/train/77")
        assert "there is no image 77" in page.toast()
        page.open("#/image/train/1?y=9999&x=1")
        assert "there is no pixel" in page.toast()

    def test_layers(self, page: Page) -> None:
        page.open("#/image/train/1")
        page.until("return !document.querySelector('[data-layer=labels]').disabled")
        page.press("l")
        page.see("#labels")
        page.press("c")
        page.see("#margins")
        page.press("m")
        assert page.text("#opacity-shown") == "off"
        page.press("m", "o")
        assert page.text("#opacity-shown") == "80 %"

    def test_highlight_dims_the_others(self, page: Page) -> None:
        page.open("#/image/train/2")
        page.until("return document.querySelector('#mask').width > 1")
        colour = page.until("return document.querySelector('#legend .swatch')?.value")
        page.press("1")
        page.until("return document.querySelectorAll('#legend li.dimmed').length > 0")
        seen = page.browser.execute_script(
            "const c = document.querySelector('#mask');"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "const hex = (i) => '#' + [0, 1, 2].map("
            "k => d[i + k].toString(16).padStart(2, '0')).join('');"
            "return [...new Set(Array.from({length: d.length / 4}, (_, i) => hex(4 * i)))]"
        )
        assert len(seen) <= 2
        assert set(seen) <= {colour, *[s for s in seen if s < "#202020"]}
        page.press("1")
        page.until("return document.querySelectorAll('#legend li.dimmed').length == 0")

    def test_keys_go_to_the_next_image_and_help(self, page: Page) -> None:
        page.open("#/image/train/0?order=index")
        page.until("return document.querySelector('#photo').naturalWidth")
        page.press("\ue014")
        page.until("return location.hash == '#/image/train/1?order=index'")
        page.press("\ue012")
        page.until("return location.hash == '#/image/train/0?order=index'")
        page.press("\ue012")
        assert page.toast() == "This is the first image."
        page.press("?")
        assert "previous, next image" in page.see("#help").text
        page.press("\ue00c")
        page.until("return !document.querySelector('#help').open")
        page.press("/")
        page.until("return document.activeElement.id == 'filter-class'")

    def test_the_point_moves_with_keys(self, page: Page) -> None:
        page.open("#/image/train/0?y=48&x=64")
        page.see("#heat")
        page.browser.execute_script(f"{LOOK}.focus()", "#stage")
        page.browser.execute_script(
            f"{LOOK}.dispatchEvent(new KeyboardEvent('keydown', "
            "{key: 'ArrowRight', shiftKey: true, bubbles: true}))",
            "#stage",
        )
        page.until("return location.hash == '#/image/train/0?y=48&x=67'")
