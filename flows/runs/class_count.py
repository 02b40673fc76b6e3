"""K: the number of classes that is requested, else the taxonomy's, else the default."""

from collections.abc import Sequence

from flows.runs.settings import built
from stego_core.labels.taxonomy import require_classes
from tasks.corpus.index import IndexReader
from tasks.options import ClustersOptions
from tasks.workspace.workspace import Workspace

DEFAULT_CLASSES = 16
"""K of a corpus without a taxonomy."""
LEAST_CLASSES = 2
"""K of a taxonomy of one class, as one cluster separates nothing."""


def with_classes(
    workspace: Workspace, dumps: Sequence[str], options: ClustersOptions
) -> ClustersOptions:
    """The options with K as given (or left to the codes), else the taxonomy's, else the default."""
    if options.classes is not None:
        return options
    count = DEFAULT_CLASSES
    for dump in dumps:
        taxonomy = IndexReader(workspace, dump).manifest["taxonomy"]
        if taxonomy is not None:
            count = len(taxonomy["classes"])
            require_classes(count, f"the taxonomy of dump {dump}")
            break
    values = {**options.model_dump(), "classes": max(count, LEAST_CLASSES)}
    with_count: ClustersOptions = built("clusters", values)
    return with_count
