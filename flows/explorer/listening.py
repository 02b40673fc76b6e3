"""The port, and how patient its connections are with clients that are slow or many."""

import asyncio
import errno
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from stego_core.errors import OptionError

HIGHEST_PORT = 65535
MOST_CONNECTIONS = 128
"""At a time; a browser has six. More would take the file handles of everything else."""
PATIENCE = 20.0
"""Seconds for a request to arrive whole."""


class Connection(H11Protocol):
    """A connection that ends where too many are open, or a request takes too long to arrive."""

    deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin, unless too many did."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        if self.deadline is not None:
            self.deadline.cancel()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
        self.deadline = self.loop.call_later(PATIENCE, self._late)

    def _late(self) -> None:
        """End, if no request has arrived; one that is being answered may take its time."""
        answering = self.cycle is not None and not self.cycle.response_complete
        if not (answering and not self.cycle.more_body):
            self.transport.abort()


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; OptionError if host or port cannot be had."""
    if not 0 <= port <= HIGHEST_PORT:
        raise OptionError(f"port {port} is none; give one from 1 to {HIGHEST_PORT}, or 0")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=MOST_CONNECTIONS)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OptionError(
                f"port {port} of {host} is in use; give another one with --port, or --port 0 for "
                "any that is free"
            ) from None
        reason = error.strerror or str(error)
        raise OptionError(f"{host}:{port} cannot be listened on: {reason}") from None
