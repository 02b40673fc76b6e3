"""Serving the page until Ctrl-C, to whoever has the address that is printed."""

import html
import tempfile
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import uvicorn

from flows.explorer.app import application
from flows.explorer.export_jobs import Roots
from flows.explorer.guard import Guard, is_loopback, is_wildcard
from flows.explorer.home.run_request import Setup
from flows.explorer.listening import MOST_CONNECTIONS, Connection, listening
from flows.explorer.login import PARAMETER, Login
from flows.explorer.state import Explorer
from flows.reporting import console
from stego_core.errors import OptionError
from tasks.engine import machine
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace

OPENING_PAGE = (
    '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
    '<title>stego explore</title><meta http-equiv="refresh" content="0;url={address}">'
    '<p><a href="{address}">Open the explorer</a></p>\n'
)


def serve(
    location: str,
    host: str,
    port: int,
    browser: bool,
    export_roots: Sequence[str] = (),
    allow_changes: bool = False,
    setup: Setup | None = None,
) -> None:
    """Show a workspace, or a place for one, until Ctrl-C or SIGTERM.

    `allow_changes` lets other machines edit classes and export, `export_roots` export alone;
    `setup` says how runs are started, which only this machine may do.

    Raises:
        WorkspaceError: other files lie there.
        OptionError: the address cannot be listened on.
        InputError: an export root is no place for files.
    """
    machine.limit_threads()
    workspace = Workspace.at(location)
    with listening(host, port) as server_socket, ExitStack() as ending:
        bound, number = server_socket.getsockname()[:2]
        trusted = allow_changes or is_loopback(bound)
        roots = roots_of(workspace, export_roots, trusted)
        setup = replace(setup or Setup(workspace.storage.uri), allowed=is_loopback(bound))
        explorer = Explorer(workspace, roots, trusted, setup)
        login = Login(number)
        address = f"http://{_reachable(host, bound)}:{number}/"
        _warn(f"{host}:{number}", bound, explorer)
        console.show(f"{location}: {address}?{PARAMETER}={login.token}  (Ctrl-C ends it)")
        if browser:
            ending.enter_context(opened_page(f"{address}?{PARAMETER}={login.token}"))
        explorer.searching.start()
        ending.callback(explorer.searching.stop)
        ending.callback(explorer.preparing.stop)
        ending.callback(explorer.running.close)
        with suppress(KeyboardInterrupt):
            server(explorer, login, host, bound).run(sockets=[server_socket])


def server(explorer: Explorer, login: Login, host: str, bound: str) -> uvicorn.Server:
    """A server of an explorer, to be run with a socket that is bound."""
    config = uvicorn.Config(
        Guard(application(explorer), host, bound, login),
        http=Connection,
        ws="none",
        backlog=MOST_CONNECTIONS,
        log_config=None,
        log_level="error",  # what strangers send fills no log
        access_log=False,
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def roots_of(workspace: Workspace, named: Sequence[str], trusted: bool) -> Roots:
    """Where exports may go; InputError for an invalid location, one with a password, and one that
    cannot be reached, OptionError for a file.
    """
    roots = tuple(Storage.at(location) for location in dict.fromkeys(named))
    for root in roots:
        if root.is_local and Path(root.uri).exists() and not Path(root.uri).is_dir():
            raise OptionError(f"--export-root {root.uri} is no folder; give a folder or a URI")
        root.exists("")  # raises now where it cannot be reached
    return Roots(roots or (workspace.exports,), allowed=trusted or bool(roots))


def _warn(address: str, bound: str, explorer: Explorer) -> None:
    """Say what other machines may do, where they can reach the server."""
    if is_loopback(bound):
        return
    may = ["see these images"]
    may += ["change the classes"] * explorer.editable
    may += ["export"] * explorer.exporting.roots.allowed
    console.say(
        f"warning: {address} is reached from other machines: whoever has the address below, or "
        f"reads along on the network (nothing is encrypted), can {' and '.join(may)}; leave out "
        "--host to serve this machine alone, and use an SSH tunnel from others"
    )


def _reachable(host: str, bound: str) -> str:
    """The host as people open it."""
    if is_wildcard(bound):
        return "127.0.0.1" if ":" not in bound else "[::1]"
    return f"[{host}]" if ":" in host else host


@contextmanager
def opened_page(address: str) -> Iterator[Path]:
    """Open an address in the user's browser through a file that only this user can read.

    Everybody on a machine sees the arguments that a browser is started with. The file is removed
    at the end of the block.
    """
    with tempfile.TemporaryDirectory(prefix="stego-explore-") as folder:  # mode 0700
        file = Path(folder, "open.html")
        file.touch(mode=0o600)
        file.write_text(OPENING_PAGE.format(address=html.escape(address)), encoding="utf-8")
        threading.Thread(target=webbrowser.open, args=(file.as_uri(),), daemon=True).start()
        yield file
