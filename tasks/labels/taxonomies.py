"""Taxonomies: the JSON files that people give, and what manifests keep of them."""

import json
from typing import Any

from stego_core.errors import InputError
from stego_core.labels.taxonomy import Taxonomy
from tasks.storage.storage import Storage


def load_taxonomy(location: str | None) -> Taxonomy | None:
    """The taxonomy at a path or URI; an InputError if it cannot be read or understood."""
    if location is None:
        return None
    folder, _, name = Storage.at(location).uri.rpartition("/")
    try:
        return Taxonomy.parse(json.loads(Storage(folder).read(name)))
    except FileNotFoundError:
        raise InputError(f"the taxonomy {location} does not exist") from None
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"the taxonomy {location} cannot be read: {reason}") from None
    except ValueError as error:
        raise InputError(f"the taxonomy {location} is not JSON: {error}") from None


def taxonomy_document(taxonomy: Taxonomy | None) -> dict[str, Any] | None:
    """The taxonomy as its JSON document."""
    if taxonomy is None:
        return None
    return {
        "name": taxonomy.name,
        "classes": list(taxonomy.classes),
        "void": taxonomy.void,
        "fine_to_coarse": taxonomy.fine_to_coarse and list(taxonomy.fine_to_coarse),
        "first_class_id": taxonomy.first_class_id,
        **({"colours": taxonomy.colours} if taxonomy.colours else {}),
    }
