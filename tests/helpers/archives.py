"""Small archives, and small pictures to put into them."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (12, 16)


def png(seed: int) -> bytes:
    return encoded(np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), np.uint8))


def label_png(*values: int) -> bytes:
    return encoded(np.resize(np.array(values, np.uint8), SIZE))


def encoded(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def tar_bytes(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def shards(folder: Path, count: int, each: int, first: int = 0) -> dict[str, bytes]:
    """Write tars `x-000000.tar` and so on; returns the images by their names."""
    folder.mkdir(parents=True, exist_ok=True)
    images = {f"{first + n:06d}.png": png(first + n) for n in range(count * each)}
    names = list(images)
    for shard in range(count):
        files = {name: images[name] for name in names[shard * each : (shard + 1) * each]}
        (folder / f"x-{shard:06d}.tar").write_bytes(tar_bytes(files))
    return images
