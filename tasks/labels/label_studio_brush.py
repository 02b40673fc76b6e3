"""Label Studio's own encoder and decoder of brush masks, which its package brings."""

from typing import Any

from stego_core.errors import OptionError


def brush_codec(wanting: str) -> Any:
    """The module with `encode_rle` and `decode_rle`.

    Args:
        wanting: what needs it, as the message says.

    Raises:
        OptionError: the package is not installed.
    """
    try:
        from label_studio_sdk.converter import brush
    except ImportError:
        raise OptionError(
            f"{wanting} need the package label-studio-sdk; install it with "
            "`pip install 'stego-flows[labelstudio]'`"
        ) from None
    return brush
