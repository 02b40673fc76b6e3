"""Files with a bit turned over, as disks do it."""

from pathlib import Path

import pyarrow.parquet as pq


def flipped(path: Path, place: float = 0.5) -> None:
    """Turn over a bit at a share of a file; of a Parquet file, one that a checksum covers."""
    content = bytearray(path.read_bytes())
    parquet = path.suffix == ".parquet"
    content[end_of_a_page(path) if parquet else int(place * len(content))] ^= 4
    path.write_bytes(content)


def end_of_a_page(path: Path) -> int:
    """Last byte of a Parquet file's last column: pages have checksums, their headers none."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    column = group.column(group.num_columns - 1)
    first = column.dictionary_page_offset if column.has_dictionary_page else None
    return int((first or column.data_page_offset) + column.total_compressed_size - 1)
