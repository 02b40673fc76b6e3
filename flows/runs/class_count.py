"""K: as many classes as are asked for, else as the taxonomy has, else the default."""

from flows.runs.settings import built
from stego_core.labels.taxonomy import require_classes
from tasks.corpus.index import IndexReader
from tasks.options import ClustersOptions
from tasks.workspace.workspace import Workspace

DEFAULT_CLASSES = 16
LEAST_CLASSES = 2


def with_classes(
    workspace: Workspace, dumps: list[str], options: ClustersOptions
) -> ClustersOptions:
    """The options with K as given (or left to the codes), else the taxonomy's, else the default."""
    if options.classes is not None:
        return options
    for dump in dumps:
        taxonomy = IndexReader(workspace, dump).manifest["taxonomy"]
        if taxonomy is not None:
            count = len(taxonomy["classes"])
            require_classes(count, f"the taxonomy of dump {dump}")
            break
    else:
        count = DEFAULT_CLASSES
    settled: ClustersOptions = built(
        "clusters", {**options.model_dump(), "classes": max(count, LEAST_CLASSES)}
    )
    return settled
