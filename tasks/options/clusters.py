"""Options of the clusters."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.options.base import Options

LEAST_CLASSES = 2
"""Clusters at least, as one separates nothing."""


class ClustersOptions(Options):
    """k-means over the codes."""

    classes: Annotated[int, Field(ge=LEAST_CLASSES, le=255)] | Literal["auto"] | None = Field(
        None,
        description="k-means makes this many clusters K; with auto as many as --max-classes, to "
        "be merged. By default they are as many as the classes of the dumps' taxonomies, else 16.",
    )
    max_classes: int = Field(
        32,
        ge=LEAST_CLASSES,
        le=255,
        description="With --classes auto, k-means makes this many clusters, or as many as there "
        "are crops if they are fewer.",
    )
    restarts: int = Field(
        10,
        ge=1,
        description="k-means starts this many times, independently, in each of four spaces: "
        "codes, codes of as many patches of each object, codes beside features, and features. Of "
        "the minima of nearly the lowest inertia, the one that separates the features best is "
        "kept; clusters of features alone need a margin. With --recipe stego, only codes are "
        "clustered, and the lowest inertia wins.",
    )
    max_tokens: int = Field(
        200_000, ge=256, description="This many codes are sampled for clustering."
    )
    seed: int = Field(0, ge=0, description="The sample and the starts come from this seed.")
