"""What a flow of its own holds while it runs: the object store, the workspace, the cluster."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from uuid import uuid4

from flows.reporting import run_record
from tasks.options import ComputeOptions, StorageOptions
from tasks.storage import run_cache, s3
from tasks.storage.storage import Storage
from tasks.workspace import lease
from tasks.workspace.workspace import Workspace


@contextmanager
def connected(options: StorageOptions) -> Iterator[None]:
    """Reach object storage as these options say; what they leave open stays as it is.

    Nothing is remembered of a workspace from before the block.
    """
    given = s3.Service(options.endpoint, options.region, options.profile)
    service = s3.Service(
        *(new or old for new, old in zip(given, s3.current_service(), strict=True))
    )
    with s3.connected(service), run_cache.during(uuid4().hex):
        yield


def alone(workspace: str, options: StorageOptions) -> AbstractContextManager[None]:
    """Be a workspace's only writer until the end of the block.

    Raises:
        WorkspaceError: another run writes it, for longer than `options.wait` seconds.
    """
    return lease.writing(Storage.at(workspace), options.wait)


def workers(options: ComputeOptions) -> AbstractContextManager[object]:
    """Start this machine's workers of these options, which flows in the block use, and end them
    after it. Of another executor or cluster there are none to start.
    """
    if (options.executor, options.cluster) != ("dask", "local"):
        return nullcontext()
    from tasks.engine import compute  # torch and Dask take seconds

    return compute.executor(options)


@contextmanager
def session(
    workspace: str, storage: StorageOptions, run: ComputeOptions, create: bool = False
) -> Iterator[Workspace]:
    """Object storage, the opened workspace for oneself, and the cluster, for the block; `create`
    makes the workspace where there is none.

    Raises:
        WorkspaceError: another run writes the workspace, or there is none.
        OptionError: there is no scheduler at the cluster's address.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from tasks.engine import compute  # torch and Dask take seconds; not every command needs them

    # The flow's own heartbeats tell that it lives; each stage would wait up to a second for the
    # end of its own.
    quiet = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    with connected(storage), run_record.recorded("flow", workspace) as recorded:
        recorded.report_url = storage.report_url
        with alone(workspace, storage), compute.executor(run), quiet:
            try:
                yield Workspace.create(workspace) if create else Workspace.open(workspace)
            finally:
                recorded.figures = run_record.figures(recorded)


def gpu_turn(requested: bool, options: ComputeOptions) -> AbstractContextManager[None]:
    """Wait for the global limit `gpu`, where there is one, if a stage will use a GPU.

    Held for the whole stage: acquiring it for each item would stall two seconds each time.
    """
    from prefect.concurrency.sync import concurrency

    from tasks.engine import compute

    if requested and compute.has_gpu(options):
        return concurrency("gpu", occupy=1)
    return nullcontext()
