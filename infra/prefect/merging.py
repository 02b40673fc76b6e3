"""Three-way merge of settings: the file now, the file at the last deploy, the server now."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from prefect_api import call, lookup

VARIABLE_CHARACTERS = 4900
"""Length of a Prefect variable at most, with some to spare."""

MISSING = "(nothing)"
"""Stands in messages for what is not there."""


class Merged(NamedTuple):
    """What to store, and what to tell."""

    values: dict[str, Any]  # nested settings
    changes: list[str]  # "name old → new" of what the file changes
    kept: list[str]  # "name value" of what a person set and the file says otherwise


def merged(
    file: Mapping[str, Any],
    last: Mapping[str, Any],
    server: Mapping[str, Any],
    file_wins: bool = False,
) -> Merged:
    """Take what the file changed since the last deploy, keep what a person changed on the server.

    `file_wins`: what the file names is the file's, also where a person changed it.
    """
    sides = _flat(file), _flat(last), _flat(server)
    values: dict[tuple[str, ...], Any] = {}
    changes, kept = [], []
    for name in {**sides[2], **sides[0]}:
        in_file, before, now = (side.get(name, MISSING) for side in sides)
        untouched = now == before  # nobody but us has set it
        file_decides = untouched or (file_wins and in_file != MISSING)
        value = in_file if file_decides else now
        if value != now:
            changes.append(f"{'.'.join(name)} {now} → {value}")
        elif in_file != now:
            remark = "" if in_file == MISSING else f" (the file: {in_file})"
            kept.append(f"{'.'.join(name)} {now}{remark}")
        if value != MISSING:
            values[name] = value
    return Merged(_nested(values), changes, kept)


def _flat(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Leaves by their path; a table that is empty, a list and null are leaves too."""
    leaves: dict[tuple[str, ...], Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            leaves |= _flat(value, (*above, name))
        else:
            leaves[(*above, name)] = value
    return leaves


def _nested(leaves: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Leaves back in their tables; a table wins over a leaf of its name."""
    values: dict[str, Any] = {}
    for path, value in sorted(leaves.items(), key=lambda leaf: len(leaf[0])):
        table = values
        for part in path[:-1]:
            if not isinstance(table.get(part), dict):
                table[part] = {}
            table = table[part]
        table[path[-1]] = value
    return values


class Record:
    """What the last deploy set: a variable of the Prefect server."""

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
        while len(json.dumps(kept)) > VARIABLE_CHARACTERS:
            kept.pop(max(kept, key=lambda key: len(json.dumps(kept[key]))))
        if self.exists and kept == self.values:
            return
        if self.exists:
            call(self.url, f"/variables/name/{self.name}", {"value": kept}, method="PATCH")
        else:
            call(self.url, "/variables/", {"name": self.name, "value": kept, "tags": ["stego"]})
        self.exists, self.values = True, kept
