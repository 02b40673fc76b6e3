"""Fixtures for tests against a real S3 server."""

import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import pytest
import s3fs
from swift_server import SwiftServer, swift_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    """One OpenStack Swift for the whole test run."""
    try:
        version("swift")
    except PackageNotFoundError:
        pytest.skip("OpenStack Swift is not installed: pip install swift")
    with swift_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_environment(s3: SwiftServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty bucket, `s3://test-1`; the AWS_* variables lead to its server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    # Neither a person's own profile nor a question to a cloud's metadata server.
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    # s3fs keeps its file systems, with endpoint and listings, for the next who asks alike.
    s3fs.S3FileSystem.clear_instance_cache()
    yield f"s3://{s3.bucket()}"
    s3fs.S3FileSystem.clear_instance_cache()
