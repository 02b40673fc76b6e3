"""What the options of all stages share."""

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Frozen options that refuse unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")
