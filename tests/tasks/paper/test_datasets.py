"""Readers of the paper's data sets: each form on small generated files, right, wrong, absent."""

import io
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from stego_core.errors import ImageError, InputError
from stego_core.paper.published_protocol import BENCHMARKS
from tasks.paper import mat_files
from tasks.paper.datasets import DataSet, Pair

SIZE = (6, 8)  # height, width


def pixels(seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, channels), np.uint8)


def saved(path: Path, image: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def mat(path: Path, **arrays: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, arrays)
    return path


def listed(path: Path, *names: str, end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(name + end for name in names).encode())


def at(folder: Path, name: str) -> DataSet:
    return DataSet.at(str(folder), BENCHMARKS[name])


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Two images in each split, one of them grey, listed in another order than their names."""
    fine = np.array([[0, 90, 91, 123, 148, 156, 181, 255]] * SIZE[0], np.uint8)
    for split in ("train2017", "val2017"):
        saved(tmp_path / f"images/{split}/000000000002.jpg", pixels())
        saved(tmp_path / f"images/{split}/000000000001.jpg", pixels()[..., 0])
        for name in ("000000000001", "000000000002"):
            saved(tmp_path / f"annotations/{split}/{name}.png", fine)
        for file in ("Full_Stuff_Coarse", "Full_Stuff_Coarse_7", "Few_Stuff_6"):
            curated = tmp_path / f"curated/{split}/Coco164k{file}.txt"
            listed(curated, "000000000002", "000000000001")
    return tmp_path


@pytest.fixture
def city(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for name in ("ulm/ulm_000001_000019", "aachen/aachen_000000_000019"):
            saved(tmp_path / f"leftImg8bit/{split}/{name}_leftImg8bit.png", pixels())
            label = np.array([[0, 6, 7, 11, 23, 26, 33, 255]] * SIZE[0], np.uint8)
            saved(tmp_path / f"gtFine/{split}/{name}_gtFine_labelIds.png", label)
            saved(tmp_path / f"gtFine/{split}/{name}_gtFine_color.png", pixels())
    return tmp_path


@pytest.fixture
def potsdam(tmp_path: Path) -> Path:
    for name in ("3_1", "3_2", "3_3"):
        mat(tmp_path / f"imgs/{name}.mat", img=pixels(channels=4))
        label = np.array([[0, 1, 2, 3, 4, 5, 255, 0]] * SIZE[0], np.int32)
        mat(tmp_path / f"gt/{name}.mat", gt=label)
    listed(tmp_path / "labelled_train.txt", "3_2", "3_1", end="\r\n")
    listed(tmp_path / "labelled_test.txt", "3_3", "")
    return tmp_path


class TestCocoStuff:
    def test_pairs_in_the_order_of_the_list(self, coco: Path) -> None:
        for name in ("cocostuff27", "cocostuff15", "cocostuff3"):
            assert at(coco, name).pairs("val") == [
                Pair(i, f"images/val2017/{i}.jpg", f"annotations/val2017/{i}.png")
                for i in ("000000000002", "000000000001")
            ]

    def test_each_subset_has_its_list(self, coco: Path) -> None:
        listed(coco / "curated/train2017/Coco164kFull_Stuff_Coarse.txt", "a")
        listed(coco / "curated/train2017/Coco164kFull_Stuff_Coarse_7.txt", "b")
        listed(coco / "curated/train2017/Coco164kFew_Stuff_6.txt", "c")
        found = {
            name: [pair.name for pair in at(coco, name).pairs("train")]
            for name in ("cocostuff27", "cocostuff15", "cocostuff3")
        }
        assert found == {"cocostuff27": ["a"], "cocostuff15": ["b"], "cocostuff3": ["c"]}

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("cocostuff27", [9, 4, 17, 22, 21, 23, 24, 255]),
            ("cocostuff15", [255, 255, 5, 10, 9, 11, 12, 255]),
            ("cocostuff3", [255, 255, 255, 1, 2, 0, 255, 255]),
        ],
    )
    def test_fine_ids_become_classes(self, coco: Path, name: str, expected: list[int]) -> None:
        data = at(coco, name)
        image, ids = data.read(data.pairs("train")[0])
        assert (image.shape, image.dtype, ids.dtype) == ((*SIZE, 3), np.uint8, np.uint8)
        assert ids.tolist() == [expected] * SIZE[0]

    def test_grey_images_become_rgb(self, coco: Path) -> None:
        data = at(coco, "cocostuff27")
        image, _ = data.read(data.pairs("train")[1])
        assert image.shape == (*SIZE, 3)
        assert (image[..., 0] == image[..., 2]).all()

    def test_an_orientation_does_not_turn_the_image_away_from_its_label(self, coco: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        path = saved(coco / "images/val2017/000000000002.jpg", pixels(), exif=exif)
        data = at(coco, "cocostuff27")
        image, _ = data.read(data.pairs("val")[0])
        np.testing.assert_array_equal(image, np.asarray(Image.open(path)))

    def test_the_folder_of_the_loaders_may_be_given(self, coco: Path, tmp_path: Path) -> None:
        above = tmp_path / "pytorch-data"
        above.mkdir()
        (above / "cocostuff").symlink_to(coco)
        assert len(at(above, "cocostuff27").pairs("val")) == 2


class TestCityscapes:
    def test_pairs_by_name(self, city: Path) -> None:
        assert at(city, "cityscapes27").pairs("val") == [
            Pair(
                name,
                f"leftImg8bit/val/{name}_leftImg8bit.png",
                f"gtFine/val/{name}_gtFine_labelIds.png",
            )
            for name in ("aachen/aachen_000000_000019", "ulm/ulm_000001_000019")
        ]

    def test_ids_minus_seven(self, city: Path) -> None:
        data = at(city, "cityscapes27")
        image, ids = data.read(data.pairs("train")[1])
        np.testing.assert_array_equal(image, pixels())
        assert ids.tolist() == [[255, 255, 0, 4, 16, 19, 26, 255]] * SIZE[0]


class TestPotsdam:
    def test_lists_with_foreign_line_ends_and_empty_lines(self, potsdam: Path) -> None:
        data = at(potsdam, "potsdam3")
        assert [pair.name for pair in data.pairs("train")] == ["3_2", "3_1"]
        assert data.pairs("val") == [Pair("3_3", "imgs/3_3.mat", "gt/3_3.mat")]

    def test_rgb_of_rgb_and_infrared_and_six_classes_to_three(self, potsdam: Path) -> None:
        data = at(potsdam, "potsdam3")
        image, ids = data.read(data.pairs("val")[0])
        np.testing.assert_array_equal(image, pixels(channels=4)[..., :3])
        assert ids.tolist() == [[0, 1, 2, 2, 0, 1, 255, 0]] * SIZE[0]


@pytest.mark.parametrize(
    ("folder", "name", "most"),
    [
        ("coco", "cocostuff27", 181), ("coco", "cocostuff15", 181), ("coco", "cocostuff3", 181),
        ("city", "cityscapes27", 33), ("potsdam", "potsdam3", 5),
    ],
)  # fmt: skip
def test_every_raw_id_of_a_file_becomes_its_class(
    request: pytest.FixtureRequest, folder: str, name: str, most: int
) -> None:
    """What the classes are is held by `tests/stego_core/paper/test_original.py`."""
    place, data = request.getfixturevalue(folder), at(request.getfixturevalue(folder), name)
    pair = data.pairs("val")[0]
    stored = np.resize([*range(most + 1), 255], (16, 16)).astype(np.uint8)
    image = np.zeros((16, 16, 3), np.uint8)
    if folder == "potsdam":
        mat(place / pair.image, img=image)
        mat(place / pair.label, gt=stored)
    else:
        saved(place / pair.image, image)
        saved(place / pair.label, stored)
    _, ids = data.read(pair)
    expected = BENCHMARKS[name].stored.apply(stored)
    assert len(np.unique(stored)) == most + 2
    np.testing.assert_array_equal(ids, np.where(expected < 0, 255, expected))


class TestWrongFiles:
    """What is wrong with one image is told of that image."""

    def reason(self, data: DataSet, split: str = "val") -> str:
        with pytest.raises(ImageError) as told:
            data.read(data.pairs(split)[0])
        return str(told.value)

    def test_listed_image_is_absent(self, coco: Path) -> None:
        (coco / "images/val2017/000000000002.jpg").unlink()
        assert "cannot be read: No such file" in self.reason(at(coco, "cocostuff27"))

    def test_label_is_absent(self, city: Path) -> None:
        for path in (city / "gtFine/val").rglob("*labelIds.png"):
            path.unlink()
        said = self.reason(at(city, "cityscapes27"))
        assert "label gtFine/val/aachen/aachen_000000_000019_gtFine_labelIds.png: cannot" in said

    def test_image_is_truncated(self, coco: Path) -> None:
        path = coco / "images/val2017/000000000002.jpg"
        path.write_bytes(path.read_bytes()[:200])
        assert "cannot be decoded" in self.reason(at(coco, "cocostuff27"))

    def test_label_holds_colours(self, city: Path) -> None:
        name = "aachen/aachen_000000_000019_gtFine_labelIds.png"
        saved(city / f"gtFine/val/{name}", pixels())
        assert "expected one channel of ids" in self.reason(at(city, "cityscapes27"))

    def test_label_ids_are_unknown(self, coco: Path) -> None:
        saved(coco / "annotations/val2017/000000000002.png", np.full(SIZE, 182, np.uint8))
        said = self.reason(at(coco, "cocostuff15"))
        assert "label values [182] are outside the taxonomy 'cocostuff15'" in said

    def test_label_is_of_another_size(self, coco: Path) -> None:
        saved(coco / "annotations/val2017/000000000002.png", np.zeros((8, 6), np.uint8))
        assert "is 8×6, its image 6×8" in self.reason(at(coco, "cocostuff27"))

    def test_mat_lacks_its_array(self, potsdam: Path) -> None:
        mat(potsdam / "imgs/3_3.mat", image=pixels())
        assert "holds no array 'img'" in self.reason(at(potsdam, "potsdam3"))
        mat(potsdam / "imgs/3_3.mat", img=pixels())
        mat(potsdam / "gt/3_3.mat", label=np.zeros(SIZE, np.uint8))
        assert "label gt/3_3.mat: holds no array 'gt'" in self.reason(at(potsdam, "potsdam3"))

    @pytest.mark.parametrize("keep", [0, 60, 200])
    def test_mat_is_cut_off(self, potsdam: Path, keep: int) -> None:
        path = potsdam / "imgs/3_3.mat"
        path.write_bytes(path.read_bytes()[:keep])
        said = self.reason(at(potsdam, "potsdam3"))
        assert "0 bytes" in said or "cannot be read as a .mat file" in said

    def test_mat_ids_are_unknown(self, potsdam: Path) -> None:
        mat(potsdam / "gt/3_3.mat", gt=np.full(SIZE, 6))
        assert "label values [6] are outside" in self.reason(at(potsdam, "potsdam3"))


class TestMatlab:
    def content(self, **arrays: np.ndarray) -> bytes:
        sink = io.BytesIO()
        scipy.io.savemat(sink, arrays)
        return sink.getvalue()

    def test_what_is_not_a_picture(self) -> None:
        for array in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 2), np.uint8), np.eye(3)):
            with pytest.raises(ImageError, match="expected height × width × 3 or more of uint8"):
                mat_files.rgb(self.content(img=array))

    def test_whole_numbers_of_any_type(self) -> None:
        for kind in (np.uint8, np.int16, np.int64, np.float64):
            found = mat_files.ids(self.content(gt=np.array([[0, 5], [255, 1]], kind)))
            assert (found.dtype, found.tolist()) == (np.int32, [[0, 5], [255, 1]])

    def test_what_is_not_ids(self) -> None:
        for array in (np.array([[0.5]]), np.zeros((2, 2, 2)), np.array(["a"]), np.zeros((0, 3))):
            with pytest.raises(ImageError, match="expected height × width whole numbers"):
                mat_files.ids(self.content(gt=array))

    def test_matlab_seven_three(self) -> None:
        header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
        with pytest.raises(ImageError, match=r"7\.3 \(HDF5\)"):
            mat_files.rgb(header + b"\x00" * 400)


class TestAbsent:
    """A data set that is not there: one sentence that says what to put where."""

    @pytest.mark.parametrize(
        ("name", "lacking", "layout"),
        [
            ("cocostuff27", "curated/train2017/Coco164kFull_Stuff_Coarse.txt", "annotations/"),
            ("cocostuff3", "curated/train2017/Coco164kFew_Stuff_6.txt", "annotations/"),
            ("cityscapes27", "leftImg8bit/train", "_gtFine_labelIds.png"),
            ("potsdam3", "labelled_train.txt", "gt/ID.mat"),
        ],
    )
    def test_an_empty_folder(self, tmp_path: Path, name: str, lacking: str, layout: str) -> None:
        for folder in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(InputError) as told:
                at(folder, name).require()
            said = str(told.value)
            assert said.startswith(f"{folder} has no {lacking}; for {name} put ")
            assert layout in said
            assert said.endswith("under the folder given with --data")

    def test_one_split_only(self, city: Path) -> None:
        (city / "leftImg8bit/val").rename(city / "leftImg8bit/test")
        with pytest.raises(InputError, match="has no leftImg8bit/val;"):
            at(city, "cityscapes27").require()

    @pytest.mark.parametrize(
        ("data", "name", "folder"),
        [
            ("city", "cityscapes27", "gtFine/train"),
            ("coco", "cocostuff27", "annotations/val2017"),
            ("potsdam", "potsdam3", "gt"),
        ],
    )
    def test_labels_are_asked_for_before_any_image_is_read(
        self, request: pytest.FixtureRequest, data: str, name: str, folder: str
    ) -> None:
        root: Path = request.getfixturevalue(data)
        (root / folder).rename(root / "elsewhere")
        with pytest.raises(InputError, match=f"has no {folder};"):
            at(root, name).require()
        (root / "elsewhere").rename(root / folder)
        at(root, name).require()

    def test_cities_without_images(self, city: Path) -> None:
        for path in (city / "leftImg8bit/train").rglob("*.png"):
            path.rename(path.with_suffix(".jpg"))
        with pytest.raises(InputError, match=r"has no leftImg8bit/train/CITY/\*_leftImg8bit.png"):
            at(city, "cityscapes27").require()

    def test_a_list_without_its_folder(self, coco: Path) -> None:
        (coco / "images/val2017").rename(coco / "images/other")
        with pytest.raises(InputError, match="has no images/val2017;"):
            at(coco, "cocostuff27").require()

    @pytest.mark.parametrize(
        ("content", "found"),
        [(b"\n\n", "no names"), (b"../x\n", "the name '../x'"), (b"\xff\xfe", "not a text file")],
    )
    def test_a_list_without_names(self, potsdam: Path, content: bytes, found: str) -> None:
        (potsdam / "labelled_test.txt").write_bytes(content)
        with pytest.raises(InputError, match=found):
            at(potsdam, "potsdam3").pairs("val")
