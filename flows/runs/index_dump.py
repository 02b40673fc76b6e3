"""A dump of images, videos or both: frames are cut from the videos, then all are indexed."""

from prefect import flow

from flows.reporting import console
from flows.runs import stages
from tasks.corpus.index import IndexReader
from tasks.files.left_out import LeftOutCounts
from tasks.log import Log
from tasks.options import ComputeOptions, CorpusOptions
from tasks.video import stage as frames
from tasks.workspace.workspace import Workspace

log = Log(__name__)


@flow(name="frames", flow_run_name="frames {dump}", task_runner=stages.RUNNER)
def frames_flow(
    workspace: Workspace, dump: str, options: CorpusOptions, compute_options: ComputeOptions
) -> None:
    """Write the frames of a dump's videos as image files; what is broken is quarantined."""
    stage = frames.plan(workspace, dump, options)
    stages.run_stage(stage, compute_options, frames.finish)


def index_dump(
    workspace: Workspace,
    dump: str,
    options: CorpusOptions,
    compute_options: ComputeOptions,
    like: str | None = None,
    continuing: bool = False,
) -> None:
    """Index a dump, its videos' frames included.

    Labels without a taxonomy mean what those of the dump `like` mean; numbers of a dump that is
    `continuing` the workspace's others mean what they mean there.
    """
    workspace.corpus(dump)  # refuses what cannot be a dump's name
    if frames.has_clips(workspace, dump, options):
        frames_flow(workspace, dump, options, compute_options)
    stages.corpus_flow(workspace, dump, options, like, compute_options, continuing)
    report_unused_files(workspace, dump)


def report_unused_files(workspace: Workspace, dump: str) -> None:
    """Say which files of a dump's place became no image."""
    manifest = workspace.corpus(dump).manifest()
    lines = LeftOutCounts.of(manifest).lines()
    if manifest["quarantined"]:
        first = IndexReader(workspace, dump).quarantine()[0]
        count = f"quarantined: {manifest['quarantined']:,}"
        lines.append(f"{count}, the first {first['path']}: {first['reason']}")
    for line in lines:
        log.info(line, dump=dump)
        console.say(line)
