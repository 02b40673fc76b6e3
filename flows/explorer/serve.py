"""Serving the page on this machine until Ctrl-C."""

import errno
import socket
import threading
import webbrowser
from contextlib import suppress

import uvicorn

from flows import console
from flows.explorer.app import Explorer
from flows.explorer.guard import is_loopback, is_wildcard
from stego_core.errors import OptionError
from tasks import machine
from tasks.workspace.workspace import Workspace

PORT = 8765
HIGHEST_PORT = 65535


def serve(location: str, host: str, port: int, browser: bool) -> None:
    """Show a workspace until Ctrl-C or SIGTERM.

    Args:
        location: path or URI of the workspace.
        host: to listen on.
        port: to listen on; 0 for a free one.
        browser: whether to open the page in the user's browser.

    Raises:
        WorkspaceError: there is none.
        OptionError: the address cannot be listened on.
    """
    machine.hold_threads()
    explorer = Explorer(Workspace.open(location))
    with listening(host, port) as server_socket:
        bound = int(server_socket.getsockname()[1])
        address = f"http://{_shown(host)}:{bound}/"
        if not is_loopback(host):
            console.say(
                f"warning: everybody who can reach {host}:{bound} can see these images and rename "
                "classes; leave out --host to serve this machine alone"
            )
        console.say(f"{location}: {address}  (Ctrl-C ends it)")
        if browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        explorer.searching.start()
        try:
            with suppress(KeyboardInterrupt):
                server(explorer, host, bound).run(sockets=[server_socket])
        finally:
            explorer.searching.stop()


def server(explorer: Explorer, host: str, port: int) -> uvicorn.Server:
    """A server of an explorer, to be run with a socket that is bound."""
    config = uvicorn.Config(
        explorer.application(host, port),
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        OptionError: the host is not this machine's, or the port cannot be had.
    """
    if not 0 <= port <= HIGHEST_PORT:
        raise OptionError(f"port {port} is none; give one from 1 to {HIGHEST_PORT}, or 0")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OptionError(
                f"port {port} of {host} is in use; give another one with --port, or --port 0 for "
                "any that is free"
            ) from None
        reason = error.strerror or str(error)
        raise OptionError(f"{host}:{port} cannot be listened on: {reason}") from None


def _shown(host: str) -> str:
    """The host as people open it."""
    if is_wildcard(host):
        return "127.0.0.1" if ":" not in host else "[::1]"
    return f"[{host}]" if ":" in host else host
