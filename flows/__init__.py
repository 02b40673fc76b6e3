"""What runs, in which order: Prefect flows, settings, the command line. No arithmetic."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.api import OpenWorkspace, open_workspace

__all__ = ["OpenWorkspace", "open_workspace"]


def __getattr__(name: str) -> Any:
    """The public names, imported when asked for: torch and Prefect take seconds."""
    if name in __all__:
        from flows import api

        return getattr(api, name)
    raise AttributeError(f"module 'flows' has no attribute {name!r}")
