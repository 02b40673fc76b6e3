"""What the options of all stages share."""

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Frozen options that refuse unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


EXPLORER_PORT = 8765
"""Where `stego explore` serves, and where the report links to, unless told otherwise."""
