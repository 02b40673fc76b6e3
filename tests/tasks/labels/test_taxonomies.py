"""Taxonomies that people give, and what manifests keep of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from stego_core.errors import InputError
from stego_core.labels.taxonomy import Taxonomy
from tasks.labels.taxonomies import load_taxonomy, taxonomy_document


@pytest.mark.parametrize(
    "document",
    [
        {"classes": ["sky", "road"]},
        {"classes": ["sky", "road"], "void": 255, "name": "streets"},
        {"classes": ["sky", "road"], "fine_to_coarse": [0, 1, -1]},
        {"classes": ["sky", "road"], "first_class_id": 1},
        {"classes": ["sky", "road"], "colours": ["#000000", [255, 0, 0]]},
    ],
)
def test_what_a_manifest_keeps_means_the_same(document: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(document))
    taxonomy = load_taxonomy(str(tmp_path / "t.json"))
    kept = json.loads(json.dumps(taxonomy_document(taxonomy)))
    assert taxonomy == Taxonomy.parse(document) == Taxonomy.parse(kept)
    assert ("colours" in kept) == ("colours" in document)


def test_none_is_none() -> None:
    assert load_taxonomy(None) is None
    assert taxonomy_document(None) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"t\.json does not exist"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\xfd", "is not JSON"),
        (b"[]", "classes"),
        (b'{"classes": []}', "classes"),
    ],
)
def test_what_cannot_be_used(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_taxonomy(str(path))


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load_taxonomy(str(tmp_path))
