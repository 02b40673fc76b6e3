"""Options of every stage: one model each, which the command line and Prefect's forms both show."""

from tasks.options.base import Options
from tasks.options.clusters import ClustersOptions
from tasks.options.compute import ComputeOptions, StorageOptions
from tasks.options.corpus import CorpusOptions, InboxOptions, ReadOptions
from tasks.options.export import ExportFormat, ExportOptions
from tasks.options.features import (
    BACKBONE_HINT,
    LEAST_CROP,
    LEAST_GLOBAL,
    LEAST_LOCAL,
    FeaturesOptions,
)
from tasks.options.head import HeadOptions
from tasks.options.masks import MasksOptions
from tasks.options.neighbors import NeighborsOptions
from tasks.options.pretrain import PretrainOptions
from tasks.options.scores import ScoresOptions

__all__ = [
    "BACKBONE_HINT",
    "LEAST_CROP",
    "LEAST_GLOBAL",
    "LEAST_LOCAL",
    "ClustersOptions",
    "ComputeOptions",
    "CorpusOptions",
    "ExportFormat",
    "ExportOptions",
    "FeaturesOptions",
    "HeadOptions",
    "InboxOptions",
    "MasksOptions",
    "NeighborsOptions",
    "Options",
    "PretrainOptions",
    "ReadOptions",
    "ScoresOptions",
    "StorageOptions",
]
