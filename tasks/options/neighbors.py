"""Options of the neighbours."""

from typing import Literal

from pydantic import Field

from tasks.options.base import Options


class NeighborsOptions(Options):
    """The table of nearest neighbours."""

    k: int = Field(
        30, ge=2, description="This many neighbours are stored per crop, itself included."
    )
    search: Literal["exact", "approximate"] = Field(
        "approximate",
        description="With exact, each crop is compared with all others, on a GPU where there is "
        "one. With approximate, each crop is compared with the few lists of similar crops that "
        "hold at least 98 % of the first seven neighbours of a sample, for a small part of the "
        "time. Among fewer than 32,768 crops both are exact.",
    )
