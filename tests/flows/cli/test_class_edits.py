"""`stego name`: each edit, what it is noted as, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli.main import main

Captured = pytest.CaptureFixture[str]


def named(own: str, capsys: Captured, *arguments: str) -> dict[str, Any]:
    """What `stego name` prints as JSON."""
    capsys.readouterr()
    main(["name", *arguments, "--workspace", own, "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def refused(own: str, capsys: Captured, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["name", *arguments, "--workspace", own])
    assert ended.value.code == 2
    return " ".join(capsys.readouterr().err.split())


class TestEdits:
    def test_nothing_is_edited_at_first(self, own: str, capsys: Captured) -> None:
        shown = named(own, capsys)
        assert shown["revision"] == 0
        assert [entry["id"] for entry in shown["classes"]] == [0, 1, 2, 3, 4]
        assert [entry["shown_as"] for entry in shown["classes"]] == [0, 1, 2, 3, 4]
        assert sum(entry["share"] for entry in shown["classes"]) == pytest.approx(1)

    def test_name_and_colour(self, own: str, capsys: Captured) -> None:
        before = named(own, capsys)["classes"][2]["name"]
        shown = named(own, capsys, "set", "2", "sky", "--colour", "#abc")
        assert shown["classes"][2]["name"] == "sky"
        assert shown["classes"][2]["colour"] == "#aabbcc"
        assert shown["note"] == f"2 {before} named sky, coloured #abc"

    def test_an_edit_that_changes_nothing_is_no_revision(self, own: str, capsys: Captured) -> None:
        named(own, capsys, "set", "2", "sky")
        assert named(own, capsys, "set", "sky", "sky")["revision"] == 1

    def test_merged_and_taken_apart(self, own: str, capsys: Captured) -> None:
        before = {path: path.read_bytes() for path in Path(own, "masks").rglob("*.png")}
        named(own, capsys, "set", "3", "road")
        shown = named(own, capsys, "merge", "0,1", "road")
        assert [entry["shown_as"] for entry in shown["classes"]] == [3, 3, 2, 3, 4]
        assert shown["note"].endswith(" merged into road")
        shown = named(own, capsys, "split", "0")
        assert [entry["shown_as"] for entry in shown["classes"]] == [0, 3, 2, 3, 4]
        assert before
        assert {path: path.read_bytes() for path in before} == before

    def test_ignored_and_not_any_more(self, own: str, capsys: Captured) -> None:
        shown = named(own, capsys, "ignore", "1,4")
        assert [entry["shown_as"] for entry in shown["classes"]] == [0, 255, 2, 3, 255]
        shown = named(own, capsys, "unignore", "4")
        assert [entry["shown_as"] for entry in shown["classes"]] == [0, 255, 2, 3, 4]

    def test_undone_step_by_step(self, own: str, capsys: Captured) -> None:
        first = named(own, capsys)["classes"]
        named(own, capsys, "set", "0", "one")
        named(own, capsys, "set", "0", "two")
        assert named(own, capsys, "undo")["classes"][0]["name"] == "one"
        assert named(own, capsys, "undo")["classes"] == first
        main(["name", "history", "--workspace", own])
        assert len(capsys.readouterr().out.splitlines()) >= 4


class TestSuggestedMerges:
    @pytest.fixture
    def unnamed(self, own: str, capsys: Captured) -> str:
        """The workspace whose classes have no names, as after a run without labels."""
        for number in range(5):
            named(own, capsys, "set", str(number), f"cluster {number}")
        return own

    def test_shown_then_taken_then_undone(self, unnamed: str, capsys: Captured) -> None:
        before = named(unnamed, capsys)
        suggested = named(unnamed, capsys, "suggested", "--groups", "3")
        assert named(unnamed, capsys) == before
        taken = named(unnamed, capsys, "merge-suggested", "--groups", "3")
        assert taken["revision"] == before["revision"] + 1
        assert taken["note"] == "merged into 3 as suggested"
        for group in suggested["groups"]:
            for number in [group["into"], *group["ids"]]:
                assert taken["classes"][number]["shown_as"] == group["into"]
        assert named(unnamed, capsys, "undo")["classes"] == before["classes"]

    def test_taken_twice_is_one_revision(self, unnamed: str, capsys: Captured) -> None:
        first = named(unnamed, capsys, "merge-suggested", "--groups", "3")
        assert len({each["shown_as"] for each in first["classes"]}) == 3
        for again in ((), ("--groups", "3")):
            assert named(unnamed, capsys, "merge-suggested", *again) == first

    def test_names_that_people_gave_stay(self, unnamed: str, capsys: Captured) -> None:
        for number, name in enumerate(["sky", "sea", "sand"]):
            named(unnamed, capsys, "set", str(number), name)
        taken = named(unnamed, capsys, "merge-suggested", "--groups", "3")
        assert {each["shown_as"] for each in taken["classes"]} == {0, 1, 2}
        assert "3 classes have names" in refused(unnamed, capsys, "merge-suggested", "--groups=2")

    def test_the_table(self, unnamed: str, capsys: Captured) -> None:
        capsys.readouterr()
        main(["name", "suggested", "--groups", "4", "--workspace", unnamed])
        printed = capsys.readouterr()
        assert "5 classes in 4 groups" in " ".join(printed.out.split())
        assert "groups are suggested" in printed.err


class TestProposed:
    def test_from_some_labelled_images(self, own: str, made: Path, capsys: Captured) -> None:
        given = [f"--{kind}={made / 'a' / kind}" for kind in ("images", "labels")]
        given += ["--taxonomy", str(made / "a" / "taxonomy.json"), "--device", "cpu"]
        proposals: Any = named(own, capsys, "propose", *given)
        assert [proposal["cluster"] for proposal in proposals] == [0, 1, 2, 3, 4]
        taken = named(own, capsys, "propose", *given, "--accept", "--support", "0")
        assert taken["note"] == "names from labels"
        for proposal in proposals:
            entry = taken["classes"][taken["classes"][proposal["cluster"]]["shown_as"]]
            assert proposal["name"] in (None, entry["name"])

    @pytest.mark.parametrize("support", ["-0.1", "2"])
    def test_a_support_beyond_a_share(self, own: str, capsys: Captured, support: str) -> None:
        assert "Must be" in refused(own, capsys, "propose", f"--support={support}")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("set", "1"), "what shall become of class 1? give a name or --colour"),
        (("set", "0,1", "x"), "cannot have one name or colour; use `stego name merge`"),
        (("set", "99", "x"), "there is no class 99"),
        (("set", "1", "x", "--colour", "reddish"), "reddish"),
        (("merge", "0", "0"), "merged"),
        (("merge", "3"), "INTO requires an argument"),
        (("merge-suggested", "--groups", "6"), "expected"),
        (("suggested", "3"), "'3' is not expected"),
        (("ignore", "2", "x"), "'x' is not expected"),
        (("--support", "0.4"), "Unknown option: --support"),
        (("undo",), "no edit of the classes to undo"),
        (("propose", "--images", "there"), "go together"),
        (("propose", "--labels", "there"), "go together"),
        (("propose", "--previous", "--taxonomy", "t.json"), "give no labels"),
        (("3", "x"), "'3', 'x' is not expected"),
    ],
)
def test_mistakes_are_one_sentence(
    own: str, capsys: Captured, arguments: tuple[str, ...], told: str
) -> None:
    assert told in refused(own, capsys, *arguments)
