"""Columns of a dump's index and of its quarantine."""

from tasks.corpus.listing import CLIP_COLUMNS, PAGE_COLUMNS

INDEX_COLUMNS = {
    "image_id": "string",
    "path": "string",
    "height": "int32",
    "width": "int32",
    "bytes": "int64",
    "digest": "string",
    "label": "string",
    "label_digest": "string",
}
QUARANTINE_COLUMNS = {"path": "string", "reason": "string"}


def index_columns(has_clips: bool, every_page: bool = False) -> dict[str, str]:
    """Names and types of the index's columns."""
    clips_too = CLIP_COLUMNS if has_clips else {}
    return INDEX_COLUMNS | clips_too | (PAGE_COLUMNS if every_page else {})
