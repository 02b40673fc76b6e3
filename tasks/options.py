"""Options of every stage: one model each, which the command line and Prefect's forms both show."""

from typing import Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field

from stego_core.shifts import Calibration, calibration


class Options(BaseModel):
    """Frozen options that refuse unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CorpusOptions(Options):
    """Which images, and what is known about them."""

    images: str = Field(description="Folder or URI of images; searched recursively.")
    labels: str | None = Field(
        None, description="Folder or URI of label images: same relative path and stem."
    )
    taxonomy: str | None = Field(
        None, description="JSON file of class names, void id and optional fine-to-coarse table."
    )
    max_pixels: int = Field(
        128_000_000, gt=0, description="Pixels above which an image is quarantined as a bomb."
    )


class FeaturesOptions(Options):
    """What the backbone sees and which of its layers is read."""

    backbone: str = Field(
        "vit_small_patch16_224.dino", description="Any timm vision transformer, by name."
    )
    weights: str | None = Field(
        None,
        description="Weights file (.pth or .safetensors, path or URI), or 'untrained' for seeded "
        "random ones; default: timm's own, downloaded.",
    )
    layer: int | None = Field(
        None, ge=0, description="0-based block whose patch tokens are read; default: the last."
    )
    crops: Literal["five", "whole"] = Field(
        "five", description="Training crops: five half-size ones of each image, or the whole."
    )
    crop_size: int = Field(224, ge=32, description="Side of a training crop, pixels.")
    max_training_images: int = Field(
        100_000, ge=1, description="Images that features are kept for; drawn by a hash of the id."
    )


class NeighborsOptions(Options):
    """The table of nearest neighbours."""

    k: int = Field(30, ge=2, description="Neighbours stored per crop, itself included.")


class HeadOptions(Options):
    """Training of the head."""

    shifts: str = Field(
        "auto",
        description="auto (they calibrate themselves), three numbers self,knn,rand, or a preset: "
        "cocostuff27-s8, cocostuff27-b8, cityscapes27-b8, potsdam3-s8.",
    )
    steps: int = Field(800, ge=1, description="Optimiser steps.")
    batch: int = Field(16, ge=2, description="Images per step.")
    code_size: int = Field(70, ge=2, description="Depth of the codes.")
    grid: int = Field(11, ge=2, description="grid² tokens of each image take part in a step.")
    learning_rate: float = Field(5e-4, gt=0, description="Adam's learning rate.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Probability of dropping a channel.")
    seed: int = Field(0, ge=0, description="Seed of weights and draws.")

    def calibration(self) -> Calibration:
        """What `shifts` means.

        Raises:
            OptionError: it means nothing.
        """
        try:
            return calibration([float(number) for number in self.shifts.split(",")])
        except ValueError:
            return calibration(self.shifts)


class ClustersOptions(Options):
    """k-means over the codes."""

    classes: int | None = Field(
        None, ge=2, le=255, description="Clusters K; default: the taxonomy's classes, else 16."
    )
    restarts: int = Field(10, ge=1, description="Independent starts; the lowest inertia wins.")
    max_tokens: int = Field(200_000, ge=256, description="Codes drawn for clustering.")
    seed: int = Field(0, ge=0, description="Seed of the draw and the starts.")


class MasksOptions(Options):
    """How images are labelled."""

    resolution: int = Field(
        448,
        ge=32,
        description="Short side that the backbone sees, pixels; 448 is the scale of five-crops "
        "at 224. STEGO evaluates at 320.",
    )
    tile: int = Field(640, ge=64, description="Window that the backbone sees at once, pixels.")
    tile_overlap: int = Field(160, ge=0, description="Overlap of those windows, pixels.")
    sharpness: float = Field(
        1.0,
        gt=0,
        description="Factor of the cosine before the softmax over clusters; STEGO: 2. Smaller "
        "lets the CRF smooth more.",
    )
    crf_iterations: int = Field(10, ge=0, description="Mean-field iterations; 0 turns it off.")
    crf_tile: int = Field(1024, ge=64, description="Window of the CRF at full size, pixels.")
    crf_overlap: int = Field(128, ge=0, description="Overlap of those windows, pixels.")
    overlays: bool = Field(True, description="Also write each mask blended over its image.")


class ScoresOptions(Options):
    """What is measured where there are labels."""

    baseline: bool = Field(
        True, description="Also score k-means on the raw features, restarts and CRF alike."
    )
    linear_probe: bool = Field(True, description="Also score a linear probe of the codes.")


class StorageOptions(Options):
    """How object storage is reached, beyond the standard AWS variables and files."""

    endpoint: str | None = Field(
        None, description="URL of the S3 service; default: AWS_ENDPOINT_URL, else AWS itself."
    )
    region: str | None = Field(None, description="S3 region; default: AWS_DEFAULT_REGION.")
    profile: str | None = Field(
        None, description="Profile of the AWS credentials file; default: AWS_PROFILE."
    )
    wait: float = Field(
        3600.0,
        ge=0,
        description="Seconds to queue behind another run that writes the same workspace.",
    )


class ComputeOptions(Options):
    """Where and how the work runs; changes no result."""

    executor: Literal["dask", "loop"] = Field(
        "dask", description="dask: worker processes; loop: one after another in this process."
    )
    cluster: str = Field(
        "local", description="local, or the address of a Dask scheduler (tcp://host:port)."
    )
    workers: int | None = Field(
        None, ge=1, description="Local worker processes; default: one per core."
    )
    memory_limit: ByteSize | None = Field(
        None,
        ge=256 * 2**20,
        description="Memory of each local worker, such as 4GiB; one that holds 95 % of it is "
        "restarted and its shard given to another. Default: unlimited.",
    )
    device: str = Field("auto", description="Torch device; auto: cuda if there is one, else cpu.")
    feature_memory: int = Field(
        1024, ge=0, description="MiB of features held in memory while training; above: streamed."
    )
