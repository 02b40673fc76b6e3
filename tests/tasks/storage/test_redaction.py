"""Addresses without secrets: what stays distinct, and what never shows."""

import pytest

from stego_core.errors import InputError
from tasks.storage.redaction import redacted
from tasks.storage.storage import Storage

URL = "https://host/d/a.jpg"


@pytest.mark.parametrize(
    "query",
    [
        "sig=hush", "token=hush", "X-Amz-Signature=hush&X-Amz-Date=hush", "sv=hush&se=hush&sp=hush",
        "AWSAccessKeyId=hush&Expires=hush&Signature=hush", "api_key=hush", "access_token=hush",
        "X-Goog-Credential=hush", "Key-Pair-Id=hush&Policy=hush", "auth=hush", "password=hush",
    ],
)  # fmt: skip
def test_what_gives_access_is_no_part_of_an_address(query: str) -> None:
    assert redacted(f"{URL}?{query}") == f"{URL}?…"
    assert redacted(f"{URL}?{query}#frag") == f"{URL}?…"
    with pytest.raises(InputError, match="is given with a signature") as raised:
        Storage.at(f"{URL}?{query}")
    assert "hush" not in str(raised.value)


def test_other_parameters_keep_addresses_distinct() -> None:
    first, second = (redacted(f"{URL}?id={n}&sig=hush") for n in (1, 2))
    assert first != second
    assert first == redacted(f"{URL}?id=1&sig=other")
    assert "hush" not in first
    assert redacted(f"{URL}?key=one") != redacted(f"{URL}?key=two")


@pytest.mark.parametrize("uri", [URL, "s3://bucket/a?b=c", "/d/a?b.jpg", f"{URL}#fragment"])
def test_what_has_no_query_stays(uri: str) -> None:
    assert redacted(uri) == uri.removesuffix("#fragment")
