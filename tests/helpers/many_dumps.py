"""Many dumps without work on pixels: copies of a backfilled one under other names."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.storage.storage import Storage

OPERATIONS = ("read", "write", "_listed", "exists", "files", "opened", "remove")
"""Methods of a storage that ask it for something once."""


def multiply(place: Path, dump: str, count: int) -> None:
    """Copies of a dump of the workspace `ws` and of the inbox `inbox`; as many dumps as `count`."""
    current = json.loads((place / "ws/current.json").read_text())
    table = current["neighbors"][dump]
    paths = [p for p in place.rglob("*") if p.is_file() and dump in str(p.relative_to(place))]
    for number in range(2, count):
        name, key = f"copy-{number:03d}", f"{number:016x}"
        for path in paths:
            own = str(path.relative_to(place)).replace(dump, name).replace(table, key)
            target = place / own
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".json":
                text = path.read_text().replace(dump, name)
                target.write_text(text.replace('"sequence": 1', f'"sequence": {number}'))
            else:
                shutil.copy2(path, target)
        current["neighbors"][name] = key
        current["drift"][name] = current["drift"][dump]
    (place / "ws/current.json").write_text(json.dumps(current))


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Counts what is asked of storage in the block, by operation."""
    asked: Counter[str] = Counter()

    def counted(name: str) -> Any:
        method = getattr(Storage, name)

        def call(*arguments: Any, **named: Any) -> Any:
            asked[name] += 1
            return method(*arguments, **named)

        return call

    with monkeypatch.context() as patched:
        for name in OPERATIONS:
            patched.setattr(Storage, name, counted(name))
        yield asked
