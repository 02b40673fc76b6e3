"""An own Prefect server and worker in the background: `server`, `worker`, `deploy`, `stop`."""

import os
import socket
import sys
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import deploying
import httpx
from background import Service, ServiceError, folder, say
from deploying import POOL, ensure_pool
from keeper import worker_name
from lost import close_lost
from prefect_api import healthy, workers

HOST = "127.0.0.1"
KEEPER = Path(__file__).with_name("keeper.py")
PREFECT = [sys.executable, "-m", "prefect", "--no-prompt"]
HIDDEN = "***"
SQLITE = "sqlite"
LEASES = "prefect.server.concurrency.lease_storage.filesystem"
DATABASE_SETTING = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
DATABASE_FORM = "postgresql+asyncpg://user@host:5432/database"


def settings(**more: str) -> dict[str, str]:
    """The environment of what is started here; what the person has set stays."""
    defaults = {
        "PREFECT_HOME": str(folder() / "home"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        # In memory, Prefect's default, a killed server would forget who holds a limit: for ever.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
    }
    return {**defaults, **os.environ, **more}


def api_url() -> str:
    """The API of the server to use: PREFECT_API_URL, else the one that runs here."""
    known = os.environ.get("PREFECT_API_URL") or (Service("server").running() or {}).get("url")
    url = (known or f"http://{HOST}:{port()}/api").rstrip("/")
    if not healthy(url):
        raise ServiceError(f"no Prefect server answers at {url}; start one with: make server")
    return url


def port() -> int:
    """The server's port: PORT, else Prefect's own 4200."""
    text = os.environ.get("PORT") or "4200"
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise ServiceError(f"PORT is {text!r}; expected a number between 1 and 65535")
    return int(text)


def database() -> SplitResult | None:
    """The URL of the database, None for SQLite; the last server's where none is given.

    A password is never stored, so that a URL with one has to be given again.
    """
    url = os.environ.get("DATABASE") or os.environ.get(DATABASE_SETTING)
    if not url:
        note = folder() / "database"
        url = note.read_text() if note.exists() else SQLITE
        if HIDDEN in url:
            raise ServiceError(
                f"the last server kept its runs in {url}; give DATABASE again, with its password, "
                f"or DATABASE={SQLITE} to begin anew"
            )
    if url == SQLITE:
        return None
    parts = urlsplit(url)
    if parts.scheme != "postgresql+asyncpg" or not parts.hostname:
        raise ServiceError(f"DATABASE is not understood; expected {DATABASE_FORM}, or {SQLITE}")
    at = (parts.hostname, parts.port or 5432)
    try:
        socket.create_connection(at, timeout=5).close()
    except OSError as error:
        raise ServiceError(
            f"no database answers at {at[0]}:{at[1]} ({error}); start PostgreSQL or mend DATABASE"
        ) from None
    return parts


def remember(database_url: SplitResult | None) -> None:
    """Write the database's URL down without its password, for the server's next start."""
    text = SQLITE
    if database_url:
        user, host = database_url.username or "", database_url.netloc.rpartition("@")[2]
        secret = f":{HIDDEN}" if database_url.password else ""
        text = database_url._replace(netloc=f"{user}{secret}@{host}" if user else host).geturl()
    (folder() / "database").write_text(text)


def server() -> None:
    """Start the server, unless it runs, and wait until it answers."""
    service = Service("server")
    url = f"http://{HOST}:{port()}/api"
    if process := service.running():
        if os.environ.get("PORT") and process["url"] != url:
            at = process["url"]
            raise ServiceError(
                f"the server already runs at {at}; to move it: make stop, make server"
            )
        url = str(process["url"])
        service.wait(lambda: healthy(url))
    else:
        database_url = database()
        start_server(service, url, database_url)
        service.wait(lambda: healthy(url))
        remember(database_url)
    say(f"the server runs at {url.removesuffix('/api')}; its log: {service.log}")
    say(f"  export PREFECT_API_URL={url}")


def start_server(service: Service, url: str, database_url: SplitResult | None) -> None:
    """Start the server's process on the chosen port and database."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port()))
        except OSError:
            raise ServiceError(
                f"port {port()} is taken by another program; choose one: make server PORT=4300"
            ) from None
    environment = settings(PREFECT_API_URL=url)
    for name in ("DATABASE", DATABASE_SETTING):
        environment.pop(name, None)
    if database_url:
        environment[DATABASE_SETTING] = database_url.geturl()
    listen = ["--host", HOST, "--port", str(port())]
    service.start([*PREFECT, "server", "start", *listen], environment, url)


def worker() -> None:
    """Start a worker of the pool and wait until it has registered with the server.

    What an earlier worker of this machine left behind is closed first, at once.
    """
    url = api_url()
    ensure_pool(url)
    say(*close_lost(url, POOL))
    service = Service("worker")
    if process := service.running():
        if process.get("url", url) != url:
            raise ServiceError(f"the worker serves {process['url']}, not {url}; first: make stop")
    else:
        name = worker_name()
        command = [sys.executable, str(KEEPER), url, POOL, name]
        service.start(command, settings(PREFECT_API_URL=url), url)
        service.wait(lambda: name in workers(url, POOL))
    say(f"a worker serves the pool {POOL!r} of {url}; its log: {service.log}")


def deploy() -> None:
    """Pool, limits, deployments and automations, as deployment.toml says; may be repeated."""
    url = api_url()
    os.environ.update(settings(PREFECT_API_URL=url))  # before Prefect is imported
    deploying.deploy(url, dict(os.environ))


def stop() -> None:
    """End the worker, then the server; their runs stay in the database."""
    for name in ("worker", "server"):
        process = Service(name).running()
        say(f"the {name} " + ("is stopped" if Service(name).stop() else "was not running"))
        if name == "worker" and process and healthy(process["url"]):
            say(*close_lost(process["url"], POOL))


def status() -> None:
    """What runs."""
    for name in ("server", "worker"):
        process = Service(name).running()
        where = f"{process['url']}, pid {process['pid']}" if process else "not running"
        say(f"{name}: {where}")


COMMANDS = {"server": server, "worker": worker, "deploy": deploy, "stop": stop, "status": status}


def main(arguments: list[str]) -> int:
    """Run one command; 2 and one sentence where the person has to mend something."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        sys.stderr.write(f"usage: services.py {'|'.join(COMMANDS)}\n")
        return 2
    try:
        COMMANDS[arguments[0]]()
        return 0
    except ServiceError as error:
        reason = str(error)
    except httpx.HTTPStatusError as error:
        answer = error.response
        sentence = f"{answer.status_code} {answer.reason_phrase}: {answer.text[:500]}"
        reason = f"the Prefect server refused: {sentence}"
    except httpx.TransportError as error:
        reason = f"the Prefect server gave up in the middle: {error}"
    sys.stderr.write(f"error: {reason}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
