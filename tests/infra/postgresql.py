"""A PostgreSQL of its own for the deployment's tests, where Debian's package is installed."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "not-to-be-seen-anywhere"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def programs() -> Path:
    """Where initdb and postgres lie; the newest version's."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(found[-1]) if found else shutil.which("initdb")
    if initdb is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return Path(initdb).parent


def account() -> tuple[list[str], int | None]:
    """A command's beginning that changes to the user `postgres`, who must own the data for root."""
    if os.getuid() != 0:
        return [], None
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres")
    if shutil.which("runuser") is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is no runuser")
    return ["runuser", "-u", "postgres", "--"], user.pw_uid


@contextmanager
def postgresql() -> Iterator[str]:
    """A new PostgreSQL on loopback; its URL, with the password."""
    binaries, (become, owner) = programs(), account()
    # Not under pytest's folder, which other users may not enter.
    folder = Path(tempfile.mkdtemp(prefix="stego-postgresql-"))
    secret = folder / "password"
    secret.write_text(PASSWORD)
    if owner is not None:
        shutil.chown(secret, owner)
        shutil.chown(folder, owner)
    initdb = [binaries / "initdb", "-D", folder / "data", "-U", "prefect", "-E", "UTF8"]
    access = ["--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"]
    port = free_port()
    quick = ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=60"]
    listen = ["-h", "127.0.0.1", "-p", str(port), "-k", folder]
    try:
        subprocess.run([*become, *initdb, *access], cwd=folder, check=True, capture_output=True)
        process = subprocess.Popen(
            [*become, binaries / "postgres", "-D", folder / "data", *listen, *quick],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            await_port(port, process)
            yield f"postgresql+asyncpg://prefect:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, "PostgreSQL ended while starting"
            assert time.monotonic() < deadline
            time.sleep(0.1)
