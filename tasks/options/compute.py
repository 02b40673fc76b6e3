"""Options of storage and of where shards are computed."""

from typing import Literal

from pydantic import ByteSize, Field

from tasks.options.base import Options


class StorageOptions(Options):
    """How object storage is reached, beyond the standard AWS variables and files."""

    endpoint: str | None = Field(
        None,
        description="The S3 service answers at this URL. By default it is AWS_ENDPOINT_URL, else "
        "AWS itself.",
    )
    region: str | None = Field(
        None, description="The bucket lies in this S3 region. By default it is AWS_DEFAULT_REGION."
    )
    profile: str | None = Field(
        None,
        description="Credentials come from this profile of the AWS credentials file. By default "
        "it is AWS_PROFILE.",
    )
    wait: float = Field(
        3600.0,
        ge=0,
        description="A run queues for this many seconds behind another one that writes the same "
        "workspace.",
    )
    report_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="A web server shows the workspace's files at this address, such as "
        "https://reports.example.org/ws; links to reports begin with it.",
    )


class ComputeOptions(Options):
    """Where and how the work runs; changes no result."""

    executor: Literal["dask", "loop"] = Field(
        "dask",
        description="With dask, worker processes do the work; with loop, this process does it, "
        "one shard after another.",
    )
    cluster: str = Field(
        "local",
        description="Workers are local, or those of a Dask scheduler at this address "
        "(tcp://host:port).",
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="This many local worker processes are started, by default one per core.",
    )
    memory_limit: ByteSize | None = Field(
        None,
        ge=256 * 2**20,
        description="Each local worker may hold this much memory, such as 4GiB; one that holds 95 "
        "% of it is restarted and its shard given to another. By default there is no limit.",
    )
    device: str = Field(
        "auto", description="Torch computes on this device; auto is cuda if there is one, else cpu."
    )
    feature_memory: int = Field(
        1024,
        ge=0,
        description="This many MiB of features are kept in memory while training; above that they "
        "are streamed.",
    )
