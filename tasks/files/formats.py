"""Which files are images: endings, the decoders that may see their bytes, and the small plugins."""

import importlib
from functools import lru_cache
from importlib.util import find_spec
from typing import NamedTuple

PILLOW = (
    "JPEG", "PNG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "AVIF", "JPEG2000", "QOI",
    "TGA",  # last: it has no mark that tells it
)  # fmt: skip
"""Decoders that may see a user's bytes, whatever the file's name: EPS would start Ghostscript."""
ENDINGS = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".tif",
    ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif", ".jp2", ".j2k",
    ".j2c", ".jpc", ".jpf", ".jpx", ".tga", ".icb", ".vda", ".vst", ".qoi",
}  # fmt: skip
"""Endings of images that Pillow and rasterio read without a plugin."""
LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".pgm", ".webp", ".ppm", ".tga")
"""Endings of files that can hold ids, the usual one first."""
HEIC_BRANDS = {"heic", "heix", "hevc", "hevx", "heim", "heis", "mif1", "msf1"}
"""Marks of HEIC behind `ftyp`."""


class Plugin(NamedTuple):
    """A package that reads a further format."""

    format: str  # its name for people
    module: str  # of the package
    extra: str  # the extra of stego-flows that installs it
    decoder: str  # its name among Pillow's decoders
    endings: frozenset[str]  # of its files

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        return f"pip install 'stego-flows[{self.extra}]'"


PLUGINS = (
    Plugin("HEIC", "pillow_heif", "heic", "HEIF", frozenset({".heic", ".heif", ".hif"})),
    Plugin("JPEG XL", "pillow_jxl", "jxl", "JXL", frozenset({".jxl"})),
)


@lru_cache
def installed(module: str) -> bool:
    """Whether a plugin's package is there."""
    return find_spec(module) is not None


def is_read(ending: str) -> bool:
    """Whether files of this ending, in lower case, are images that can be read here."""
    plugin = plugin_of(ending)
    return ending in ENDINGS or (plugin is not None and installed(plugin.module))


def plugin_of(ending: str) -> Plugin | None:
    """The plugin that reads files of this ending."""
    return next((plugin for plugin in PLUGINS if ending in plugin.endings), None)


def endings() -> list[str]:
    """All endings that are read here."""
    return sorted(ENDINGS.union(*(p.endings for p in PLUGINS if installed(p.module))))


def decoders() -> tuple[str, ...]:
    """Pillow's names of the decoders that may see a user's bytes."""
    return (*_plugin_decoders(), *PILLOW)


@lru_cache
def _plugin_decoders() -> tuple[str, ...]:
    plugins = [plugin for plugin in PLUGINS if installed(plugin.module)]
    for plugin in plugins:
        module = importlib.import_module(plugin.module)
        if plugin.module == "pillow_heif":
            module.register_heif_opener()
    return tuple(plugin.decoder for plugin in plugins)


def format_of(content: bytes) -> str | None:
    """The format, for people, that the first bytes of a file are of; None of an unknown one."""
    marks = {
        b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"qoif": "QOI",
        b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "BigTIFF", b"MM\0+": "BigTIFF",
        b"\0\0\0\x0cjP": "JPEG 2000", b"\xff\x4f\xff\x51": "JPEG 2000",
        b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL",
    }  # fmt: skip
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WebP"
    if content[4:8] == b"ftyp":
        brand = content[8:12].decode("latin-1")
        return "AVIF" if brand in ("avif", "avis") else "HEIC" if brand in HEIC_BRANDS else None
    return next((name for mark, name in marks.items() if content.startswith(mark)), None)


def refusal(content: bytes) -> str:
    """Why bytes that no decoder knows cannot be read."""
    name = format_of(content[:16])
    plugin = next((plugin for plugin in PLUGINS if plugin.format == name), None)
    if plugin and not installed(plugin.module):
        return f"it is {plugin.format}, which {plugin.remedy} makes readable"
    return "not an image: no decoder knows these bytes"
