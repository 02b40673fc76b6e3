"""Counters for Prometheus, of this process: what Prefect's own switch serves beside its own."""

from prometheus_client import Counter, Summary

IMAGES = Counter("stego_images", "Images, or other rows, that a stage has finished.", ["stage"])
QUARANTINED = Counter(
    "stego_quarantined", "Images, or other rows, that a stage could not use.", ["stage"]
)
OUTAGES = Counter(
    "stego_outages", "Times that a service went away and the work was tried again.", ["service"]
)
STAGE_SECONDS = Summary("stego_stage_seconds", "Seconds that stages took.", ["stage"])
RUNS = Counter("stego_runs", "Commands and flow runs that ended.", ["command", "outcome"])


def stage(title: str) -> str:
    """The label of a stage: its name without the dump, so that labels stay few."""
    return title.partition(" ")[0]


def counted(title: str, rows: int, invalid: int) -> None:
    """Count a finished shard's rows, and those of them that could not be used."""
    IMAGES.labels(stage(title)).inc(rows)
    QUARANTINED.labels(stage(title)).inc(invalid)
