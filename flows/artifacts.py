"""What the Prefect UI shows besides runs: progress, tables and links."""

import re
from collections.abc import Sequence
from typing import Any

from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.futures import PrefectFuture

from tasks.index import IndexReader
from tasks.progress import Progress
from tasks.workspace.workspace import Workspace

REFRESH_SECONDS = 2.0
TABLE_ROWS = 200


def follow(progress: Progress, futures: Sequence[PrefectFuture[Any]]) -> None:
    """Wait for partitions while the progress artifact moves; raises what a partition raised."""
    key = _key("progress", progress.title)
    artifact: Any = create_progress_artifact(_percent(progress), key, progress.title)
    for future in futures:
        while True:
            try:
                future.result(timeout=REFRESH_SECONDS)
                break
            except TimeoutError:
                update_progress_artifact(artifact, progress=_percent(progress))
    update_progress_artifact(artifact, progress=100.0)


def _percent(progress: Progress) -> float:
    return round(100.0 * progress.done / max(progress.total, 1), 1)


def corpus_tables(workspace: Workspace, dump: str) -> None:
    """Counts of a dump and its quarantine."""
    index = IndexReader(workspace, dump)
    names = ("images", "labelled", "quarantined", "megapixels")
    create_table_artifact(
        [{name: index.manifest[name] for name in names}], _key("corpus", dump), f"Dump {dump}"
    )
    quarantine = index.quarantine()
    if quarantine:
        create_table_artifact(
            quarantine[:TABLE_ROWS],
            _key("quarantine", dump),
            f"{len(quarantine)} files of dump {dump} that could not be used",
        )


def scores_table(workspace: Workspace, dump: str, key: str) -> None:
    """Scores of a dump's masks, the baseline and the linear probe, in percent."""
    figures = workspace.folder("scores", key, dump).manifest()["scores"]
    rows = [
        {"method": name, "accuracy": figures[f"{prefix}accuracy"], "mIoU": figures[f"{prefix}miou"]}
        for name, prefix in (
            ("STEGO", ""),
            ("k-means on raw features", "baseline_"),
            ("linear probe", "linear_"),
        )
    ]
    create_table_artifact(rows, _key("scores", dump), f"Scores of dump {dump}, percent")


def _key(kind: str, name: str) -> str:
    """An artifact key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{kind}-{name}".lower()).strip("-")
