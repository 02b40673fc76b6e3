"""Options of every stage: one model each, which the command line and Prefect's forms both show."""

from tasks.options.base import Options as Options
from tasks.options.clusters import LEAST_CLASSES as LEAST_CLASSES
from tasks.options.clusters import ClustersOptions as ClustersOptions
from tasks.options.compute import ComputeOptions as ComputeOptions
from tasks.options.compute import StorageOptions as StorageOptions
from tasks.options.corpus import CorpusOptions as CorpusOptions
from tasks.options.corpus import InboxOptions as InboxOptions
from tasks.options.corpus import ReadOptions as ReadOptions
from tasks.options.export import ExportFormat as ExportFormat
from tasks.options.export import ExportOptions as ExportOptions
from tasks.options.features import LEAST_CROP as LEAST_CROP
from tasks.options.features import FeaturesOptions as FeaturesOptions
from tasks.options.head import HeadOptions as HeadOptions
from tasks.options.masks import MasksOptions as MasksOptions
from tasks.options.neighbors import NeighborsOptions as NeighborsOptions
from tasks.options.picie import PicieOptions as PicieOptions
from tasks.options.pretrain import PretrainOptions as PretrainOptions
from tasks.options.scores import ScoresOptions as ScoresOptions
