"""K: the number of classes that is requested, else that of the taxonomies, else the default."""

from collections.abc import Sequence

from flows.runs.settings import built
from stego_core.labels.taxonomy import require_classes
from tasks.corpus.index import IndexReader
from tasks.options import LEAST_CLASSES, ClustersOptions
from tasks.workspace.workspace import Workspace

DEFAULT_CLASSES = 16
"""K of a corpus without a taxonomy."""


def with_classes(
    workspace: Workspace, dumps: Sequence[str], options: ClustersOptions
) -> ClustersOptions:
    """The options with K as given (or left to the codes), else as many as the taxonomies of the
    dumps have classes of different names, else the default.

    Raises:
        InputError: the taxonomies have more classes than masks can hold.
    """
    if options.classes is not None:
        return options
    count = class_count(workspace, dumps) or DEFAULT_CLASSES
    values = {**options.model_dump(), "classes": max(count, LEAST_CLASSES)}
    with_count: ClustersOptions = built("clusters", values)
    return with_count


def class_count(workspace: Workspace, dumps: Sequence[str]) -> int:
    """Classes of different names in the taxonomies of some dumps; 0 where there is no taxonomy.

    The clusters of dumps that show different things have to separate the classes of all of them.
    """
    seen, count = set[str](), 0
    for dump in dumps:
        taxonomy = IndexReader(workspace, dump).manifest["taxonomy"]
        if taxonomy is not None:
            count += sum(name not in seen for name in taxonomy["classes"])
            seen |= set(taxonomy["classes"])
            alone = count == len(taxonomy["classes"])
            others = "" if alone else ", with those of the dumps before it,"
            require_classes(count, f"the taxonomy of dump {dump}{others}")
    return count
