"""Content keys: same key, same bytes."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel

KEY_LENGTH = 16  # hexadecimal digits of a key


def digest(content: bytes) -> str:
    """BLAKE2b of bytes as 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def canonical(document: Any) -> bytes:
    """JSON with sorted keys and no spaces; equal documents give equal bytes."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def key(stage: str, version: int, options: BaseModel | None, inputs: Any) -> str:
    """Merkle key of a stage's outcome.

    Args:
        stage: the stage's name.
        version: raised whenever the stage's code gives other bytes for the same options.
        options: all that the outcome depends on besides the inputs.
        inputs: keys and digests of what the stage reads.
    """
    values = options.model_dump(mode="json") if options else {}
    return digest(canonical([stage, version, values, inputs]))[:KEY_LENGTH]
