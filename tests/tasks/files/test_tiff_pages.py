"""Pages of TIFFs and frames of animations."""

import io
from pathlib import Path

import pytest
from PIL import Image
from piles import SIZE, entries, indexed, kinds, photo, put

from tasks.files import tiff_pages


class TestPages:
    def stack(self, *shades: int) -> bytes:
        sink = io.BytesIO()
        first, *others = [Image.new("RGB", SIZE[::-1], (s, s, s)) for s in shades]
        first.save(sink, "TIFF", save_all=True, append_images=others)
        return sink.getvalue()

    def test_the_first_and_how_many_more(self, tmp_path: Path) -> None:
        put(tmp_path / "in", a__tif=self.stack(10, 20, 30))
        reader, told = indexed(tmp_path, images=tmp_path / "in")
        assert reader.manifest["images"] == 1
        assert kinds(told) == {"page": (2, "a.tif")}

    def test_each_is_an_image_of_its_own(self, tmp_path: Path) -> None:
        put(tmp_path / "in", a__tif=self.stack(10, 20, 30), b__png=photo())
        reader, told = indexed(tmp_path, images=tmp_path / "in", pages="all")
        found = entries(reader)
        assert [e["image_id"] for e in found] == ["a/p0001", "a/p0002", "a/p0003", "b"]
        shades = [int(reader.image(entry).pixels.max()) for entry in found[:3]]
        assert shades == [10, 20, 30]
        assert kinds(told) == {}

    @pytest.mark.parametrize("damage", [b"II*\0", b"II*\0\x08\0\0\0", b"MM\0+\0\x08\0\0", b""])
    def test_damage(self, damage: bytes) -> None:
        assert tiff_pages.count(damage + b"\xff" * 20) == 1

    def test_a_chain_that_is_a_circle(self) -> None:
        content = bytearray(self.stack(1, 2))
        first = int.from_bytes(content[4:8], "little")
        link = first + 2 + 12 * int.from_bytes(content[first : first + 2], "little")
        content[link : link + 4] = first.to_bytes(4, "little")
        assert tiff_pages.count(bytes(content)) == 1

    def test_an_animation_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        frames = [photo().convert("P") for _ in range(3)]
        frames[0].save(tmp_path / "in/a.gif", save_all=True, append_images=frames[1:])
        _, told = indexed(tmp_path, images=tmp_path / "in")
        assert kinds(told) == {"frame": (2, "a.gif")}
