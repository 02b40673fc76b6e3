"""Many addresses in little memory, found by what is shown of them."""

from array import array
from collections.abc import Iterable

import numpy as np

from tasks.files.image_names import digests
from tasks.storage.redaction import redacted


class AddressBook:
    """Addresses by their form without secrets: 16 bytes each beside its own; no Python objects."""

    def __init__(self, addresses: Iterable[str]) -> None:
        """Of several addresses that are shown alike, the first counts."""
        marks, ends, text = array("Q"), array("Q", [0]), bytearray()
        for address in addresses:
            marks.append(int(digests([redacted(address)])[0]))
            text += address.encode()
            ends.append(len(text))
        self.text, self.ends = bytes(text), np.array(ends, np.int64)
        self.marks, self.rows = np.unique(np.array(marks, np.uint64), return_index=True)

    def get(self, shown: str) -> str | None:
        """The address that is shown so; None if it is none of these."""
        (mark,) = digests([shown])
        place = int(np.searchsorted(self.marks, mark))
        if place == len(self.marks) or self.marks[place] != mark:
            return None
        row = int(self.rows[place])
        return self.text[self.ends[row] : self.ends[row + 1]].decode()
