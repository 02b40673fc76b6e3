"""A local S3 server for tests and development: one OpenStack Swift node on 127.0.0.1, on disk.

`start` prints the variables that S3 clients read: eval "$(python infra/s3/swift.py start)".
"""

import argparse
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session
from configuration import ACCESS_KEY, HOST, SECRET_KEY, SERVERS, python, write_configuration

DEFAULT_PORT = 5557
REGION = "us-east-1"
START_SECONDS = 120
"""A server that does not answer by then has failed."""
STOP_SECONDS = 15
"""A process that has not ended by then is killed."""
ARGUMENT_LOOKS = 20
"""A process that has just been started has no arguments yet: its line is read again so often."""
MODULES = {
    "account": "swift.account.server",
    "container": "swift.container.server",
    "container-updater": "swift.container.updater",
    "object": "swift.obj.server",
    "object-updater": "swift.obj.updater",
    "proxy": "swift.proxy.server",
}

# The updaters look for swift.conf in /etc/swift only, unless they are told before they start.
RUN = """
import importlib, sys
from swift.common.utils import set_swift_dir
module, folder = sys.argv.pop(1), sys.argv.pop(1)
set_swift_dir(folder)
sys.exit(importlib.import_module(module).main())
"""


class ServerError(Exception):
    """The server cannot do what was asked; the message is one sentence for a person."""


def check(folder: Path, port: int) -> None:
    """Raise ServerError unless a server can work in this folder and on these ports."""
    try:
        version("swift")
    except PackageNotFoundError as error:
        reason = f"OpenStack Swift is not installed for {sys.executable}"
        raise ServerError(f"{reason}: run `make install`, or `pip install swift`") from error
    try:
        os.setxattr(folder, "user.stego", b"1")
    except OSError as error:
        reason = f"keeps no extended attributes, which Swift needs ({error.strerror})"
        raise ServerError(f"the file system of {folder} {reason}: choose another") from error
    for each in range(port, port + len(SERVERS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, each))
            except (OSError, OverflowError) as error:
                reason = f"port {each} cannot be used ({error})"
                raise ServerError(f"{reason}: choose four others in a row with --port") from error


def running(folder: Path) -> tuple[int | None, dict[str, int]]:
    """The port of the last start, and the processes of it that still run."""
    try:
        saved = json.loads((folder / "server.json").read_text())
    except FileNotFoundError:
        return None, {}
    pids = {name: pid for name, pid in saved["pids"].items() if is_ours(folder, name, pid)}
    return saved["port"], pids


def is_ours(folder: Path, name: str, pid: int) -> bool:
    """Whether `pid` still is that process of this folder, and not one that got its number."""
    for _ in range(ARGUMENT_LOOKS):
        try:
            if words := psutil.Process(pid).cmdline():
                return {MODULES[name], str(folder / "etc")} <= set(words)
        except psutil.Error:
            break
        time.sleep(0.05)
    return False


def launch(folder: Path, port: int) -> None:
    """Start all processes, each in a session of its own, and note their numbers."""
    etc, pids = folder / "etc", dict[str, int]()
    for name, module in MODULES.items():
        command = python(RUN, module, etc, etc / f"{name.removesuffix('-updater')}.conf", "-v")
        with (folder / "log" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        pids[name] = process.pid
        # Noted one by one: `stop` finds them even if this process ends here.
        (folder / "server.json").write_text(json.dumps({"port": port, "pids": pids}))


def create_bucket(folder: Path, port: int, bucket: str) -> None:
    """Create a bucket unless it is there, as soon as the server answers."""
    client = get_session().create_client(
        "s3",
        REGION,
        endpoint_url=f"http://{HOST}:{port}",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=START_SECONDS),
    )
    deadline, answer = time.monotonic() + START_SECONDS, "no answer"
    while len(running(folder)[1]) == len(MODULES) and time.monotonic() < deadline:
        try:
            client.create_bucket(Bucket=bucket)
            return
        except client.exceptions.BucketAlreadyOwnedByYou:
            return
        except ClientError as error:
            answer = str(error)
            if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                break
        except BotoCoreError as error:
            answer = str(error)
        time.sleep(0.1)
    if ended := ", ".join(MODULES.keys() - running(folder)[1].keys()):
        answer = f"{ended} ended"
    raise ServerError(f"no bucket {bucket!r} on port {port}: {answer}; logs: {folder / 'log'}")


def start(folder: Path, port: int | None, buckets: list[str]) -> None:
    """Start the server unless it runs, create the buckets, print what clients need."""
    last, pids = running(folder)
    if pids and port not in (None, last):
        raise ServerError(f"{folder} is served on port {last} already: stop that server first")
    port = port or last or DEFAULT_PORT
    whole = len(pids) == len(MODULES)
    if not whole:
        stop(folder)  # what is left of a server of which a part has died
        check(folder, port)
        write_configuration(folder, port)
        launch(folder, port)
    try:
        for bucket in buckets:
            create_bucket(folder, port, bucket)
    except ServerError:
        if not whole:
            stop(folder)
        raise
    print(f"export AWS_ENDPOINT_URL=http://{HOST}:{port} AWS_DEFAULT_REGION={REGION}")
    print(f"export AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY}")


def stop(folder: Path) -> None:
    """End this folder's processes, and no others; the data stay."""
    deadline = time.monotonic() + STOP_SECONDS
    while pids := running(folder)[1]:
        late = time.monotonic() > deadline
        for pid in pids.values():
            # Each leads a group of its own: the children of the updaters end as well.
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(0.1)


def status(folder: Path) -> None:
    """Say whether the server runs; raise ServerError if not."""
    port, pids = running(folder)
    if missing := MODULES.keys() - pids.keys():
        what = f"without its {', '.join(sorted(missing))}" if pids else "not running"
        raise ServerError(f"the server of {folder} is {what}")
    print(f"running on http://{HOST}:{port}, data in {folder}")


def main() -> None:
    """Read the command line and obey it, one command per folder at a time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("action", choices=("start", "stop", "status"))
    parser.add_argument("--folder", type=Path, default=".services/s3", help="data and logs")
    port = f"first of four ports ({DEFAULT_PORT}, or that of the last start)"
    parser.add_argument("--port", type=int, help=port)
    parser.add_argument("--bucket", action="append", help="bucket to create (stego); repeatable")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    # Swift's own name resolution fails to import beside trio; here all addresses are numbers.
    os.environ["EVENTLET_NO_GREENDNS"] = "yes"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if options.action == "start":
                start(folder, options.port, options.bucket or ["stego"])
            else:
                {"stop": stop, "status": status}[options.action](folder)
    except (ServerError, OSError, KeyError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
