"""What the last `make deploy` set, kept in a variable of the Prefect server."""

import json
from typing import Any

from api import call, lookup

LIMIT = 4900
"""Characters of a Prefect variable, with some to spare."""


class Record:
    """A variable of the server; what it holds was the files' at the last deploy."""

    def __init__(self, url: str, name: str) -> None:
        """Read it; empty where nothing was deployed yet."""
        self.url, self.name = url, f"stego_deployed_{name.replace('-', '_')}"
        variable = lookup(url, f"/variables/name/{self.name}")
        self.exists = variable is not None
        self.values: dict[str, Any] = variable["value"] if variable else {}

    def write(self, values: dict[str, Any]) -> None:
        """Replace what it holds; the largest parts are left out of what would not fit.

        What is left out counts as a person's afterwards.
        """
        kept = dict(values)
        while len(json.dumps(kept)) > LIMIT:
            kept.pop(max(kept, key=lambda key: len(json.dumps(kept[key]))))
        if self.exists and kept == self.values:
            return
        if self.exists:
            call(self.url, f"/variables/name/{self.name}", {"value": kept}, method="PATCH")
        else:
            call(self.url, "/variables/", {"name": self.name, "value": kept, "tags": ["stego"]})
        self.exists, self.values = True, kept
