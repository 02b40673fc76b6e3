"""Prefect's temporary server as a process, on a socket that its parent listens on.

Prefect starts the same application from the process that needs it, once that has imported the
server's modules itself.
"""

import os
import signal
import socket
import sys
import threading

from flows.reporting.paused_collector import paused

STARTUP_FAILED = 3
"""Exit code, as uvicorn's."""


def main() -> None:
    """Serve on the socket whose descriptor is the only argument, until the input ends.

    Where Prefect's settings name another server, this one is not needed and ends at once.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # without a traceback, until uvicorn handles it
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    with paused():
        from prefect.settings import get_current_settings

        if get_current_settings().api.url:
            return
        import uvicorn
        from prefect.server.api.server import create_app

        server = uvicorn.Server(uvicorn.Config(create_app(), log_level="error", lifespan="on"))
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
    if not server.started:
        sys.exit(STARTUP_FAILED)


def _end_with_the_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
