"""Addresses in lists: made absolute, named, or refused."""

import pytest

from tasks.sources.addresses import Base, name_of


@pytest.mark.parametrize(
    ("base", "address", "absolute"),
    [
        ("/d/l.csv", "a.jpg", "/d/a.jpg"),
        ("/d/l.csv", "../e/./a.jpg", "/e/a.jpg"),
        ("/d/l.csv", "/x/a.jpg", "/x/a.jpg"),
        ("/d/l.csv", "file:///x/a.jpg", "/x/a.jpg"),
        ("/d/l.csv", "s3://b/a.jpg", "s3://b/a.jpg"),
        ("s3://b/d/l.csv", "e/a.jpg", "s3://b/d/e/a.jpg"),
        ("s3://b/d/l.csv", "../a.jpg", "s3://b/a.jpg"),
        ("https://h/d/l.csv?x=/y", "a.jpg", "https://h/d/a.jpg"),
        ("https://h/d/l.csv", "../a b.jpg", "https://h/a b.jpg"),
    ],
)
def test_absolute(base: str, address: str, absolute: str) -> None:
    assert Base.of(base).absolute(address) == absolute


@pytest.mark.parametrize(
    ("base", "address", "reason"),
    [
        ("/d/l.csv", "", "it is empty"),
        ("/d/l.csv", "a\0b", "characters that no address has"),
        ("/d/l.csv", "ftp://h/a", "'ftp' are not read"),
        ("/d/l.csv", "zip://a::http://h/b.zip", "are not read"),
        ("/d/l.csv", "http://me:hush@h/a", "it holds a password"),
        ("https://h/l.csv", "/etc/passwd", "may not name files of this machine"),
        ("https://h/l.csv", "~/a", "may not name files of this machine"),
        ("https://h/l.csv", "memory://a", "may not name files of this machine"),
    ],
)
def test_refused(base: str, address: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        Base.of(base).absolute(address)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("./d/../a.jpg", "d/a.jpg"),
        ("../a.jpg", "a.jpg"),
        ("/x/a.jpg", "x/a.jpg"),
        ("s3://b/d/a.jpg", "b/d/a.jpg"),
        ("https://h/a.jpg?sig=x", "h/a.jpg"),
        ("https://h/", "h"),
        ("d\\a.jpg", "d/a.jpg"),
    ],
)
def test_names(address: str, name: str) -> None:
    assert name_of(address) == name


def test_names_with_a_query_are_distinct() -> None:
    names = {name_of(f"https://h/a.jpg?id={n}") for n in range(20)}
    assert len(names) == 20
    assert all(name.startswith("h/a~") and name.endswith(".jpg") for name in names)
