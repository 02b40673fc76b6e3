"""Addresses are found by what is shown of them, and only those that were noted."""

from hypothesis import given
from hypothesis import strategies as st

from tasks.sources.address_book import AddressBook
from tasks.storage.redaction import redacted

ADDRESSES = st.lists(
    st.tuples(st.text("abü", min_size=1), st.integers(0, 5), st.text("xyz", min_size=1)).map(
        lambda parts: "https://host/{}.jpg?id={}&sig={}".format(*parts)
    ),
    max_size=20,
)


@given(ADDRESSES)
def test_the_same_as_a_dictionary(addresses: list[str]) -> None:
    slow: dict[str, str] = {}
    for address in addresses:
        slow.setdefault(redacted(address), address)
    book = AddressBook(addresses)
    assert {shown: book.get(shown) for shown in slow} == slow
    assert book.get("https://host/none.jpg?…") is None
