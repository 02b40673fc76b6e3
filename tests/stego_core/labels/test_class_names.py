"""What people make of clusters."""

import numpy as np
import pytest

from stego_core.errors import OptionError
from stego_core.images.palette import palette, rgb
from stego_core.labels.class_names import ClassEntry, ClassNames, Proposal, accepted, proposals
from stego_core.labels.void import VOID_BYTE


@pytest.fixture
def classes() -> ClassNames:
    return ClassNames.create(["road", "sky", "tree", "car"])


class TestCreation:
    def test_colours_are_the_palette(self, classes: ClassNames) -> None:
        np.testing.assert_array_equal(classes.colours()[:4], palette(4))
        assert not classes.colours()[4:].any()

    def test_names_that_come_again_get_numbers(self) -> None:
        named = ClassNames.create(["car", "Car", "car", "car 2"])
        assert [entry.name for entry in named.entries] == ["car", "Car 2", "car 3", "car 2 2"]

    @pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101])
    def test_names_that_cannot_be_are_refused(self, classes: ClassNames, name: str) -> None:
        broken = (ClassEntry(name, "#000000"), *classes.entries[1:])
        with pytest.raises(OptionError, match="class 0 has the name"):
            ClassNames(broken).checked()


class TestEdits:
    def test_a_new_name_and_colour(self, classes: ClassNames) -> None:
        edited = classes.edited(2, " shade   tree ", "ABC")
        assert edited.entries[2] == ClassEntry("shade tree", "#aabbcc")
        assert edited.entries[:2] == classes.entries[:2]
        assert tuple(edited.colours()[2]) == rgb("#aabbcc") == (0xAA, 0xBB, 0xCC)

    def test_the_name_of_another_is_refused(self, classes: ClassNames) -> None:
        with pytest.raises(OptionError, match="classes 0 and 1 have the same name"):
            classes.edited(1, "ROAD")

    @pytest.mark.parametrize("colour", ["red", "#12", "#12345g"])
    def test_what_is_no_colour_is_refused(self, classes: ClassNames, colour: str) -> None:
        with pytest.raises(OptionError, match="has the colour"):
            classes.edited(1, colour=colour)

    def test_merged_classes_count_as_the_last_one(self, classes: ClassNames) -> None:
        merged = classes.merged([3], 2).merged([2], 0)
        assert merged.display_table()[:4].tolist() == [0, 1, 0, 0]
        assert merged.names() == ["road", "sky", "road", "road"]
        assert merged.kept() == [0, 1]
        np.testing.assert_array_equal(merged.colours()[3], merged.colours()[0])
        assert merged.merged([3, 2], None) == classes

    def test_merged_names_are_free_again(self, classes: ClassNames) -> None:
        assert classes.merged([3], 2).edited(1, "car").entries[1].name == "car"

    def test_a_circle_is_refused(self, classes: ClassNames) -> None:
        with pytest.raises(OptionError, match=r"merged in a circle: .*undo one"):
            classes.merged([0], 1).merged([1], 0)
        with pytest.raises(OptionError, match="merged into 1"):
            classes.merged([1], 1)

    def test_ignored_classes_are_void(self, classes: ClassNames) -> None:
        ignoring = classes.merged([3], 2).ignoring([2])
        assert ignoring.display_table()[:4].tolist() == [0, 1, VOID_BYTE, VOID_BYTE]
        assert (ignoring.display_table()[4:] == VOID_BYTE).all()
        assert ignoring.names() == ["road", "sky", "ignored", "ignored"]
        assert not ignoring.colours()[2:4].any()
        assert ignoring.ignoring([2], False) == classes.merged([3], 2)

    @pytest.mark.parametrize("number", [-1, 4])
    def test_an_unknown_class_is_refused(self, classes: ClassNames, number: int) -> None:
        for edit in (
            lambda: classes.edited(number, "x"),
            lambda: classes.merged([0], number),
            lambda: classes.ignoring([number]),
        ):
            with pytest.raises(OptionError, match="there is no class"):
                edit()

    def test_classes_are_found_by_id_and_name(self, classes: ClassNames) -> None:
        assert classes.find("2") == classes.find("Tree ") == 2
        with pytest.raises(OptionError, match="no class 'lake'; there are 0 road, 1 sky"):
            classes.find("lake")


class TestProposals:
    def test_each_cluster_has_the_label_of_most_of_its_pixels(self) -> None:
        confusion = np.array([[90, 0, 5, 0], [10, 0, 15, 0], [0, 3, 20, 0]])
        found = proposals(confusion, ["road", "sky", "tree"])
        assert found[:3] == [
            Proposal(0, "road", 0.9, 100),
            Proposal(1, "tree", 1.0, 3),
            Proposal(2, "tree", 0.5, 40),
        ]
        assert found[3] == Proposal(3, None, 0.0, 0)

    def test_clusters_of_one_name_are_merged_into_the_largest(self, classes: ClassNames) -> None:
        proposed = [
            Proposal(0, "grass", 0.9, 100),
            Proposal(1, None, 0, 0),
            Proposal(2, "grass", 0.6, 500),
            Proposal(3, "sky", 0.3, 10),
        ]
        named = accepted(classes, proposed, support=0.5)
        assert named.display_table()[:4].tolist() == [2, 1, 2, 3]
        assert named.names() == ["grass", "sky", "grass", "car"]

    def test_a_name_that_moves_leaves_a_number_behind(self, classes: ClassNames) -> None:
        proposed = [Proposal(0, "sky", 1, 9), *(Proposal(i, None, 0, 0) for i in (1, 2, 3))]
        assert accepted(classes, proposed).names() == ["sky", "cluster 1", "tree", "car"]
