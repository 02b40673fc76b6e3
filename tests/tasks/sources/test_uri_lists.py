"""Rows of lists: which columns are known, and lines in any encoding or state."""

from pathlib import Path

import pytest

from stego_core.errors import InputError
from tasks.sources.members import Flaw
from tasks.sources.uri_lists import ListColumns, Row, rows_of


def rows(path: Path, text: str | bytes, columns: ListColumns = ListColumns()) -> list[Row | Flaw]:  # noqa: B008
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(rows_of(str(path), columns))


def values(found: list[Row | Flaw]) -> list[dict[str, str]]:
    return [dict(each.values) for each in found if isinstance(each, Row)]


@pytest.mark.parametrize(
    ("label", "known"),
    [("l.png", True), ("http://h/l.png?sig=x", True), ("cat", False), ("3", False)],
)
def test_a_column_of_labels_holds_files_and_no_words(
    tmp_path: Path, label: str, known: bool
) -> None:
    (found,) = values(rows(tmp_path / "l.csv", f"url,label\na.jpg,{label}\n"))
    assert found == {"url": "a.jpg", **({"label": label} if known else {})}
    columns = ListColumns(label="label")
    assert "label" in values(rows(tmp_path / "l.csv", f"url,label\na.jpg,{label}\n", columns))[0]


def test_quotes_delimiters_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = '\ufeffurl,caption\r\n"a,b.jpg","two\r\nlines"\r\n\r\nc.jpg,\r\n'
    found = rows(tmp_path / "l.csv", text)
    assert values(found) == [{"url": "a,b.jpg", "caption": "two\r\nlines"}, {"url": "c.jpg"}]
    assert [each.line for each in found if isinstance(each, Row)] == [2, 5]
    assert values(rows(tmp_path / "l.tsv", "url\tid\na.jpg\t1\n")) == [{"url": "a.jpg", "id": "1"}]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    found = rows(tmp_path / "l.txt", b"a.jpg\n\xff\xfe.jpg\nb.jpg\n")
    assert values(found) == [{"url": "a.jpg"}, {"url": "b.jpg"}]
    (flaw,) = (each for each in found if isinstance(each, Flaw))
    assert (flaw.name, flaw.note) == (f"{tmp_path}/l.txt, line 2", "it is not UTF-8")


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl"])
def test_a_column_that_is_named_must_be_there(tmp_path: Path, name: str) -> None:
    text = "url\na.jpg\n" if name == "l.csv" else '{"url": "a.jpg"}\n'
    with pytest.raises(InputError, match=r"no column 'where'; it has 'url'.*--caption-column"):
        rows(tmp_path / name, text, ListColumns(caption="where"))


def test_json_lines_need_not_have_the_same_keys(tmp_path: Path) -> None:
    text = '{"url": "a.jpg"}\n\n{"url": "b.jpg", "id": 7, "mask": "b.png"}\n'
    assert values(rows(tmp_path / "l.jsonl", text)) == [
        {"url": "a.jpg"},
        {"url": "b.jpg", "id": "7", "label": "b.png"},
    ]


def test_no_such_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        list(rows_of(str(tmp_path / "none.csv"), ListColumns()))
