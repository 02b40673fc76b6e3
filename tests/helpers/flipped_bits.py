"""Files with a bit turned over, as disks do it."""

from pathlib import Path

import pyarrow.parquet as pq


def flipped(path: Path, place: float = 0.5, column: int = -1) -> None:
    """Turn over a bit at a share of a file; of a Parquet file, one of a column's that a checksum
    covers.
    """
    content = bytearray(path.read_bytes())
    parquet = path.suffix == ".parquet"
    content[end_of_a_page(path, column) if parquet else int(place * len(content))] ^= 4
    path.write_bytes(content)


def end_of_a_page(path: Path, column: int = -1) -> int:
    """Last byte of a Parquet file's column: pages have checksums, their headers none."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    pages = group.column(column % group.num_columns)
    first = pages.dictionary_page_offset if pages.has_dictionary_page else None
    return int((first or pages.data_page_offset) + pages.total_compressed_size - 1)
