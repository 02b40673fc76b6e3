"""File systems besides S3 and the web, as fsspec knows them; their packages may be missing."""

from functools import lru_cache
from typing import Any

import fsspec

from stego_core.errors import InputError
from tasks.storage.refusal_errors import first_line

EXTRAS = {"gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure", "hf": "hf"}
"""The extra of stego-flows that reads a protocol."""


@lru_cache(maxsize=32)
def filesystem_of(uri: str) -> Any:
    """The file system of a path or URI; an InputError where its package is missing or refuses."""
    try:
        filesystem, _ = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        extra = EXTRAS.get(uri.split("://")[0])
        remedy = f"`pip install 'stego-flows[{extra}]'` makes it readable" if extra else ""
        raise InputError(f"{uri} cannot be opened: {remedy or first_line(error)}") from None
    except (ValueError, OSError) as error:
        raise InputError(
            f"{uri} is not a path or URI that can be opened: {first_line(error)}"
        ) from None
    except Exception as error:  # packages of other stores look for credentials and networks here
        raise InputError(f"{uri} cannot be reached: {first_line(error)}") from None
    return filesystem
