"""Options of the scores."""

from typing import Literal

from pydantic import Field, model_validator

from stego_core.errors import OptionError
from tasks.options.base import Options


class ScoresOptions(Options):
    """What is measured where there are labels."""

    baseline: bool | Literal["picie"] = Field(
        True,
        description="k-means on the raw features is scored too, with the same restarts and CRF. "
        "With picie, so is PiCIE (Cho et al. 2021), which is trained for it on the same images.",
    )
    linear_probe: bool = Field(True, description="A linear probe of the codes is scored too.")
    probe_protocol: Literal["quick", "stego"] = Field(
        "quick",
        description="With quick, the probe is fitted to a sample of tokens and scored without "
        "CRF; with stego, it is fitted to every pixel's label, for the head's steps and batches, "
        "and scored with the CRF.",
    )
    probe_masks: bool = Field(
        False,
        description="The linear probe's masks are written, beside the scores, as PNGs of class "
        "ids.",
    )
    seeds: str | None = Field(
        None,
        description="Head, clusters, masks and scores are also made from each of these seeds, "
        "such as 0,1,2,3,4, and the spread of the figures is reported.",
    )

    @model_validator(mode="after")
    def _seeds_are_numbers(self) -> "ScoresOptions":
        self.seed_list()
        return self

    def seed_list(self) -> list[int]:
        """The seeds, each once, in the order given.

        Raises:
            OptionError: they are not whole numbers of at least 0.
        """
        parts = [part.strip() for part in self.seeds.split(",")] if self.seeds else []
        if not all(part.isdecimal() for part in parts):
            raise OptionError(
                f"--seeds {self.seeds!r} are not whole numbers separated by commas; write for "
                "example 0,1,2,3,4"
            )
        return list(dict.fromkeys(int(part) for part in parts))
