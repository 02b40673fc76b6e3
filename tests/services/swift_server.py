"""A real S3 server for the time of a test run: OpenStack Swift, as `make s3` starts it."""

import functools
import itertools
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.session import Session

SCRIPT = Path(__file__).parents[2] / "infra" / "s3" / "swift.py"
REGION = "us-east-1"
PORTS = 4

# One session: it reads the description of S3, some megabytes, once.
session = functools.cache(Session)


@dataclass(frozen=True)
class SwiftServer:
    """A running server, and what a client needs to use it."""

    folder: Path
    port: int
    access_key: str
    secret_key: str = field(repr=False)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)

    @property
    def endpoint(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """What S3 clients read; `endpoint` leads them through a proxy instead."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
        }

    def client(self, endpoint: str | None = None, **options: Any) -> Any:
        """A botocore client that tries once only; `options` are those of its Config."""
        config = Config(**{"retries": {"total_max_attempts": 1}, **options})
        return session().create_client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
            config=config,
        )

    def bucket(self) -> str:
        """Create one more bucket, `test-1`, `test-2` and so on; its name."""
        client = self.client()
        while True:
            name = f"test-{next(self._numbers)}"
            # It is there already if an earlier server had the same folder.
            with suppress(client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=name)
                return name


def run(action: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Give a command to infra/s3/swift.py."""
    command = [sys.executable, str(SCRIPT), action, "--folder", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=180)


def free_ports() -> int:
    """The first of four free ports in a row, below those that outgoing connections take."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000, PORTS)
        with suppress(OSError):
            for each in range(port, port + PORTS):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", each))
            return port


@contextmanager
def swift_server(folder: Path, port: int | None = None) -> Iterator[SwiftServer]:
    """Run a server whose data lie in `folder`, on `port` and the next three; stop it in any case.

    RuntimeError with the script's message if it does not start.
    """
    port = port or free_ports()
    try:
        started = run("start", folder, "--port", str(port))
        if started.returncode != 0:
            raise RuntimeError(started.stderr.strip())
        words = started.stdout.split()
        printed = dict(word.split("=", 1) for word in words if word.startswith("AWS_"))
        key, secret = printed["AWS_ACCESS_KEY_ID"], printed["AWS_SECRET_ACCESS_KEY"]
        yield SwiftServer(folder, port, key, secret)
    finally:
        run("stop", folder)
